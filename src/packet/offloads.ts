/** What the kernel granted of the option `offloads`; all false where that is false. */
export interface UdpOffloads {
  /** Datagrams of one size to one peer leave as a train (UDP_SEGMENT, Linux 4.18). */
  readonly udpGso: boolean;
  /** Datagrams of one flow arrive as a train (UDP_GRO, Linux 5.0). */
  readonly udpGro: boolean;
}
