/** Health check probes as packets of a flow: of an endpoint that no gateway has. */

import { formatEndpointId, parseMac } from '../packet/address.js';
import { encodeGeneve } from '../packet/codec.js';
import type { TargetGroup } from './target-group.js';

/** The endpoint id of probes; endpoints may have any other. `kProbeEndpointId` of native code. */
export const PROBE_ENDPOINT_ID = 0xffff_ffff_ffff_ffffn;

const NONCE_BITS = 20;
const ETHERNET_BYTES = 14;
const ETHERTYPES = { 4: 0x0800, 6: 0x86dd, ethernet: 0x6558 } as const;

/** The UDP payload that carries a probe to the target in a slot. */
export function probeDatagram(
  group: TargetGroup,
  attachmentId: bigint,
  slot: number,
  nonce: number,
  inner: Uint8Array,
): Uint8Array {
  const etherType = ETHERTYPES[inner[0] >> 4 === 6 ? 6 : 4];
  const ethernet = group.inner === 'ethernet';
  const header = encodeGeneve({
    protocolType: ethernet ? ETHERTYPES.ethernet : etherType,
    optionClass: group.optionClass,
    gateway: {
      endpointId: formatEndpointId(PROBE_ENDPOINT_ID),
      attachmentId,
      cookie: slot * 2 ** NONCE_BITS + nonce,
    },
  });
  const frame = ethernet ? ethernetHeader(group, etherType) : new Uint8Array();
  return Buffer.concat([header, frame, inner]);
}

function ethernetHeader(group: TargetGroup, etherType: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES);
  frame.set(parseMac(group.destinationMac) ?? []);
  frame.set(parseMac(group.sourceMac) ?? [], 6);
  new DataView(frame.buffer).setUint16(12, etherType);
  return frame;
}
