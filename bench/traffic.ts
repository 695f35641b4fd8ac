// Packets to measure with: UDP over IPv4, each number a flow of its own.

export const INNER_BYTES = 92;
const HEADERS = 28;

/** Small, fast, repeatable; not for secrets. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Numbers 0 to count - 1, shuffled. */
export function shuffled(count: number, seed: number): Uint32Array {
  const random = randomNumbers(seed);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = random(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** A packet of flow `flow`: 10.x.y.z:p to 10.200.0.1:443, with the UDP checksum left out. */
export function udpPacket(flow: number, length = INNER_BYTES): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, (0x4500 << 16) | length);
  view.setUint32(4, 0x4000);
  view.setUint16(8, 0x4011);
  view.setUint32(12, 0x0a00_0001 + (flow >>> 2));
  view.setUint32(16, 0x0ac8_0001);
  view.setUint16(20, 1024 + ((flow & 3) << 13) + ((flow >>> 2) & 0x1fff));
  view.setUint16(22, 443);
  view.setUint16(24, length - 20);
  for (let i = HEADERS; i < length; i += 1) bytes[i] = (flow + i) & 0xff;
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  return bytes;
}
