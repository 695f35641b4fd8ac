/** Types of what the native part asks and tells the system besides forwarding. See binding.ts. */

/** A route as rtnetlink has it; none of the local table. */
export interface NativeRoute {
  /** Of IP. */
  version: 4 | 6;
  /** RTN_UNICAST 1, RTN_BLACKHOLE 6, RTN_UNREACHABLE 7, RTN_PROHIBIT 8, RTN_THROW 9, … */
  type: number;
  /** Number of its table; 254: main. */
  table: number;
  /** Of equal routes the one with the least is taken. */
  metric: number;
  /** RTPROT_KERNEL 2: made for an address of the device. */
  protocol: number;
  /** 4 or 16 bytes. */
  prefix: Uint8Array;
  /** Length of the prefix. */
  bits: number;
  /** Devices it leads to; several for a multipath route. */
  devices: string[];
}

export interface NativeRouteRule {
  /** Of IP. */
  version: 4 | 6;
  /** FR_ACT_TO_TBL 1, FR_ACT_BLACKHOLE 6, FR_ACT_UNREACHABLE 7, FR_ACT_PROHIBIT 8. */
  action: number;
  /** Rules are tried from the least to the highest. */
  priority: number;
  /** Number of the table that is asked. */
  table: number;
  /** Device that packets enter by; '' for any. */
  input: string;
}

export interface NativeRoutingTables {
  routes: NativeRoute[];
  /** In the order they are tried. */
  rules: NativeRouteRule[];
  /** False: there are more than 65,536 routes; these are the first. */
  complete: boolean;
}

export interface NativeSystem {
  /**
   * Every thread of the process becomes the user ('': stays who it is), keeps of its capabilities those
   * whose bits are set (numbers of linux/capability.h), and gets no others any more. Those of `inherited`
   * among them are its programs' too. Throws system errors: ENOENT for an unknown user, EPERM.
   */
  limitPrivileges(capabilities: bigint, user: string, inherited: bigint): void;
  /** Takes away a persistent TUN device that nobody holds. Throws system errors. */
  removeTun(name: string, netns: string): void;
  /** The routes and rules of a network namespace ('': the current one). Throws system errors. */
  readRoutes(netns: string): NativeRoutingTables;
}

export interface NativeTun {
  name: string;
  netns: string;
  mtu: number;
  /** 0: a new device has the default, another one stays as it is. */
  queuePackets: number;
  /** When nobody holds it any more: as it was found (a new one goes), it stays, it goes. */
  lifetime: 'as-found' | 'persistent' | 'held';
}

/** `gone`: deleted, or moved to another network namespace. */
export type NativeDeviceState = 'up' | 'down' | 'gone';
