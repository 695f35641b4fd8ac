/** Where `gwlb appliance status` looks for its appliance unless it is told. */
export const DEFAULT_APPLIANCE_SOCKET = '/run/gwlb-appliance/control.sock';
