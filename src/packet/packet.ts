/** One packet of a batch, seen through a cursor that a loop reuses. */
import { checkInteger, outOfRange } from '../base/errors.js';
import { formatIpv4, formatIpv6 } from './address.js';
import { type DropReason, hasPorts, REASON_NAMES, VERDICTS, type VerdictName } from './names.js';

/** The descriptor arrays of a batch; one element a packet. */
export interface BatchView {
  readonly count: number;
  readonly block: Uint8Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  readonly verdict: Uint8Array;
  readonly reason: Uint8Array;
  readonly endpoint: Uint16Array;
  readonly target: Uint16Array;
  readonly cookie: Uint32Array;
  readonly hash: BigUint64Array;
  /** @internal Throws where its memory was moved out of it. */
  checkHere(): void;
}

const ETHERNET = 0x6558;
const EXTENSIONS_MAX = 8;
const TCP = 6;
const UDP = 17;

/** Extension headers of IPv6 that say which header follows in their first byte (RFC 8200 §4). */
function isExtension(protocol: number): boolean {
  return protocol === 0 || protocol === 43 || protocol === 44 || protocol === 51 || protocol === 60;
}

/** Bytes of a transport header; `offsetByte` is TCP's data offset. */
function headerBytes(protocol: number, offsetByte: number): number {
  if (protocol === TCP) return Math.max(20, (offsetByte >>> 4) * 4);
  if (protocol === 132) return 12;
  const isShort = protocol === UDP || protocol === 136 || protocol === 1 || protocol === 58;
  return isShort ? 8 : 0;
}

/**
 * A cursor: the packet it shows changes with every step of the loop, so take out what you want to
 * keep. Reading numbers allocates nothing; `bytes`, `source` and `destination` make a new object
 * each time they are read.
 *
 * The fields of the IP and transport headers are those of the inner packet: where the bytes begin
 * with a GENEVE header, it is skipped. They are read without judging: a malformed packet has
 * version 0, or ports 0.
 */
export class Packet {
  /** Position in the batch. */
  index = 0;

  protected readonly view: BatchView;
  #parsed = -1;
  #version = 0;
  #protocol = 0;
  #ip = 0;
  #transport = 0;
  #next = 0;
  #later = false;
  #end = 0;

  protected constructor(view: BatchView) {
    this.view = view;
  }

  /** @internal For batches. */
  static over(view: BatchView): Packet {
    return new Packet(view);
  }

  /** Points the cursor at another packet. Throws `ERR_GWLB_OUT_OF_RANGE` where the batch has no such one. */
  moveTo(index: number): this {
    const { count } = this.view;
    if (count === 0) throw outOfRange('index', 'a packet of the batch, which has none', index);
    return this.place(checkInteger('index', index, 0, count - 1));
  }

  /** @internal The same of a packet that is known to be there. */
  place(index: number): this {
    this.index = index;
    this.#parsed = -1;
    return this;
  }

  /** Bytes of the whole packet, with its GENEVE header where it has one. */
  get length(): number {
    return this.view.length[this.index];
  }

  /** A view of the packet's bytes in the batch; valid until the batch is filled again. */
  get bytes(): Uint8Array {
    this.view.checkHere();
    const at = this.view.offset[this.index];
    return this.view.block.subarray(at, at + this.view.length[this.index]);
  }

  /** What is to be done with it; see `VERDICTS`. */
  get verdict(): VerdictName {
    return VERDICTS[this.view.verdict[this.index]];
  }

  /** Why it is dropped; `none` where it is not. */
  get reason(): DropReason | 'none' {
    return REASON_NAMES[this.view.reason[this.index]];
  }

  /** Index of the endpoint, 0xffff for none. */
  get endpoint(): number {
    return this.view.endpoint[this.index];
  }

  /** Slot of the target, 0xffff for none. */
  get target(): number {
    return this.view.target[this.index];
  }

  /** Flow cookie; 0 where the packet has no flow. */
  get cookie(): number {
    return this.view.cookie[this.index];
  }

  /** Keyed hash of the flow's key. */
  get hash(): bigint {
    return this.view.hash[this.index];
  }

  /** 4 or 6; 0 where the bytes are no IP packet. */
  get version(): number {
    this.#parse();
    return this.#version;
  }

  /** IP protocol number; for IPv6 that of the last header of the chain. */
  get protocol(): number {
    this.#parse();
    return this.#protocol;
  }

  /** IPv4 source as a number in host order; 0 for IPv6. */
  get sourceAddress(): number {
    return this.#address4(12);
  }

  /** IPv4 destination as a number in host order; 0 for IPv6. */
  get destinationAddress(): number {
    return this.#address4(16);
  }

  /** Source address as canonical text; '' where the bytes are no IP packet. */
  get source(): string {
    return this.#addressText(12, 8);
  }

  /** Destination address as canonical text; '' where the bytes are no IP packet. */
  get destination(): string {
    return this.#addressText(16, 24);
  }

  /** Port of TCP, UDP, SCTP and UDP-Lite; 0 for others and in later fragments. */
  get sourcePort(): number {
    return this.#port(0);
  }

  /** Destination port, likewise. */
  get destinationPort(): number {
    return this.#port(2);
  }

  /**
   * Where in `bytes` the inner IP packet's transport header begins: behind the IP header and its
   * extension headers. In later fragments, which have none, where their data does. 0 where the bytes are
   * no IP packet.
   */
  get transportOffset(): number {
    this.#parse();
    return this.#next === 0 ? 0 : this.#next - this.view.offset[this.index];
  }

  /**
   * Where in `bytes` the payload begins: behind the header of TCP, UDP, UDP-Lite (8 bytes), SCTP (12), ICMP
   * and ICMPv6 (8); of other protocols and later fragments, and where that header is cut short, the
   * same as `transportOffset`.
   */
  get payloadOffset(): number {
    const at = this.transportOffset;
    if (at === 0 || this.hasNoTransportHeader()) return at;
    const { block, offset, length } = this.view;
    const header = headerBytes(this.protocol, block[offset[this.index] + at + 12]);
    return at + header <= length[this.index] ? at + header : at;
  }

  /**
   * A view of the bytes behind the transport header, as far as the IP packet and a UDP datagram say that
   * they go: what an application sent. Empty where there are none.
   */
  get payload(): Uint8Array {
    const start = this.view.offset[this.index];
    const from = start + this.payloadOffset;
    return this.view.block.subarray(from, Math.max(from, this.#payloadEnd(start)));
  }

  /** Whether it is a later fragment, as far as that is known. */
  protected hasNoTransportHeader(): boolean {
    this.#parse();
    return this.#later;
  }

  #payloadEnd(start: number): number {
    const { block } = this.view;
    const end = start + this.view.length[this.index];
    if (this.version === 0) return start;
    this.#parse();
    const ip = this.#ip;
    const word = (at: number): number => (block[at] << 8) | block[at + 1];
    const total = this.version === 4 ? word(ip + 2) : 40 + word(ip + 4);
    const packetEnd = Math.min(end, ip + total);
    if (this.protocol !== UDP || this.hasNoTransportHeader()) return packetEnd;
    const udp = start + this.transportOffset;
    const datagram = udp + 8 <= packetEnd ? word(udp + 4) : 0;
    return datagram < 8 ? packetEnd : Math.min(packetEnd, udp + datagram);
  }

  #address4(at: number): number {
    this.#parse();
    if (this.#version !== 4) return 0;
    const { block } = this.view;
    const i = this.#ip + at;
    return ((block[i] << 24) | (block[i + 1] << 16) | (block[i + 2] << 8) | block[i + 3]) >>> 0;
  }

  #addressText(at4: number, at6: number): string {
    this.#parse();
    if (this.#version === 4) return formatIpv4(this.#address4(at4));
    return this.#version === 6 ? formatIpv6(this.view.block, this.#ip + at6) : '';
  }

  #port(at: number): number {
    this.#parse();
    if (this.#transport === 0) return 0;
    const i = this.#transport + at;
    return (this.view.block[i] << 8) | this.view.block[i + 1];
  }

  /** Locates the IP and transport headers, once per packet and only when a field is asked for. */
  #parse(): void {
    const { block } = this.view;
    const start = this.view.offset[this.index];
    const length = this.view.length[this.index];
    // Encapsulation moves a packet's start, so the position tells whether this is still known.
    if (this.#parsed === start && this.#end === start + length) return;
    this.#parsed = start;
    this.#end = start + length;
    this.#version = 0;
    this.#protocol = 0;
    this.#transport = 0;
    this.#next = 0;
    this.#later = false;
    this.#ip = this.#innerStart(start);
    const left = this.#end - this.#ip;
    const version = left > 0 ? block[this.#ip] >>> 4 : 0;
    if (version === 4 && left >= 20) this.#parse4();
    else if (version === 6 && left >= 40) this.#parse6();
  }

  /** An IP packet starts with 4 or 6 in the high bits; a GENEVE header (version 0) with 0 to 3. */
  #innerStart(start: number): number {
    const { block } = this.view;
    if (this.#end - start < 8 || block[start] >= 0x40) return start;
    const payload = start + 8 + (block[start] & 0x3f) * 4;
    const type = (block[start + 2] << 8) | block[start + 3];
    return Math.min(type === ETHERNET ? payload + 14 : payload, this.#end);
  }

  #parse4(): void {
    const { block } = this.view;
    const ip = this.#ip;
    const header = (block[ip] & 15) * 4;
    if (header < 20) return;
    this.#version = 4;
    this.#protocol = block[ip + 9];
    const later = ((block[ip + 6] & 0x1f) | block[ip + 7]) !== 0;
    this.#setTransport(ip + header, later);
  }

  #parse6(): void {
    const { block } = this.view;
    let protocol = block[this.#ip + 6];
    let at = this.#ip + 40;
    let later = false;
    for (let i = 0; i < EXTENSIONS_MAX && isExtension(protocol) && at + 8 <= this.#end; i += 1) {
      const size =
        protocol === 44 ? 8 : protocol === 51 ? (block[at + 1] + 2) * 4 : (block[at + 1] + 1) * 8;
      if (protocol === 44) later = (block[at + 2] | (block[at + 3] & 0xf8)) !== 0;
      protocol = block[at];
      at += size;
      if (later) break;
    }
    this.#version = 6;
    this.#protocol = protocol;
    this.#setTransport(at, later);
  }

  #setTransport(at: number, later: boolean): void {
    this.#next = Math.min(at, this.#end);
    this.#later = later;
    if (!later && hasPorts(this.#protocol) && at + 4 <= this.#end) this.#transport = at;
  }
}
