/** The 40 bytes of GENEVE in front of a gateway's packet. Of no import: programs of tests contain it. */
export function gatewayHeader(endpointId: bigint, cookie: number, version: 4 | 6 = 4): Uint8Array {
  const header = new Uint8Array(40);
  const view = new DataView(header.buffer);
  view.setUint8(0, 8);
  view.setUint16(2, version === 4 ? 0x0800 : 0x86dd);
  view.setUint32(8, 0x01080102);
  view.setBigUint64(12, endpointId);
  view.setUint32(20, 0x01080202);
  view.setUint32(32, 0x01080301);
  view.setUint32(36, cookie);
  return header;
}
