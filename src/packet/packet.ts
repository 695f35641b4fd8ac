/** One packet of a batch, seen through a cursor that a loop reuses. */
import { formatIpv4, formatIpv6 } from './address.js';
import { type DropReason, hasPorts, REASON_NAMES, VERDICTS, type VerdictName } from './names.js';

/** The descriptor arrays of a batch; one element a packet. */
export interface BatchView {
  readonly block: Uint8Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  readonly verdict: Uint8Array;
  readonly reason: Uint8Array;
  readonly endpoint: Uint16Array;
  readonly target: Uint16Array;
  readonly cookie: Uint32Array;
  readonly hash: BigUint64Array;
}

const ETHERNET = 0x6558;
const EXTENSIONS_MAX = 8;

/** Extension headers of IPv6 that say which header follows in their first byte (RFC 8200 §4). */
function isExtension(protocol: number): boolean {
  return protocol === 0 || protocol === 43 || protocol === 44 || protocol === 51 || protocol === 60;
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
  #end = 0;

  protected constructor(view: BatchView) {
    this.view = view;
  }

  /** @internal For batches. */
  static over(view: BatchView): Packet {
    return new Packet(view);
  }

  /** Points the cursor at another packet. */
  moveTo(index: number): this {
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
    const at = this.view.offset[this.index];
    return this.view.block.subarray(at, at + this.view.length[this.index]);
  }

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

  get destinationPort(): number {
    return this.#port(2);
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
    if (!later && hasPorts(this.#protocol) && at + 4 <= this.#end) this.#transport = at;
  }
}
