/** What an appliance's inspector sees: a batch of opened packets and one cursor over it. */

import { checkBytes } from '../base/checks.js';
import { GatewayError, invalidArgument, mismatch } from '../base/errors.js';
import type { NativeApplianceBatch } from '../native/binding.js';
import { formatEndpointId, formatIpv4, formatIpv6 } from '../packet/address.js';
import { Batch } from '../packet/batch.js';
import { reasonCode, Verdict } from '../packet/names.js';
import { type BatchView, Packet } from '../packet/packet.js';
import {
  type CheckedVerdict,
  checkDropFlow,
  checkPassFlow,
  type FlowVerdictOptions,
  type PassFlowOptions,
} from './flow-verdict.js';

const DETAIL_WORDS = 16;
const APPLIANCE_VERDICT = reasonCode('appliance_verdict');
const SOURCE_WORD = 8;
const DESTINATION_WORD = 12;
const PASS_AT_ONCE = checkPassFlow();
const DROP_AT_ONCE = checkDropFlow();
const FIRST_FRAGMENT = 2;
const LATER_FRAGMENT = 4;
const ICMP_ERROR = 8;

/** What only this package can give to constructors. */
const PRIVATE = Symbol('appliance');

function checkKey(name: string, key: unknown): void {
  if (key !== PRIVATE) throw invalidArgument(name, 'those that an inspector is given', key);
}

interface InspectedView extends BatchView {
  readonly native: NativeApplianceBatch;
  /** Another number each time that the batch is handed over. */
  readonly lease: number;
}

function givenBack(): GatewayError {
  return new GatewayError(
    'ERR_GWLB_CLOSED',
    'the batch was given back to the appliance, so nothing can be said about its packets any more: an ' +
      'inspector that decides later has to return its promise (a forgotten "return promise" or "await")',
  );
}

function checkWord(word: number): number {
  if (typeof word !== 'number') throw invalidArgument('word', 'a number from 0 to 3', word);
  return word;
}

/**
 * One packet on its way through the appliance, from its IP header on; a cursor, see `Packet`. Unless
 * something else is said, it is returned to the gateway as it came. The numbers of its headers have
 * been read by native code: reading them here costs next to nothing.
 */
export class InspectedPacket extends Packet {
  declare protected readonly view: InspectedView;
  readonly #details: Uint32Array;
  readonly #lease: number;
  #row = 0;

  /** @internal */
  static override over(view: InspectedView): InspectedPacket {
    return new InspectedPacket(PRIVATE, view);
  }

  private constructor(key: symbol, view: InspectedView) {
    checkKey('InspectedPacket', key);
    super(view);
    this.#details = view.native.details;
    this.#lease = view.lease;
  }

  /** @internal Whether it is one of this copy of the package, whatever a proxy says. */
  static is(value: unknown): value is InspectedPacket {
    return typeof value === 'object' && value !== null && #details in value;
  }

  /** @internal */
  override place(index: number): this {
    this.#row = index * DETAIL_WORDS;
    return super.place(index);
  }

  override get version(): number {
    return this.#details[this.#row] & 0xff;
  }

  override get protocol(): number {
    return (this.#details[this.#row] >>> 8) & 0xff;
  }

  /** Flags of the TCP header (FIN 1, SYN 2, RST 4, PSH 8, ACK 16 …); 0 for others and in later fragments. */
  get tcpFlags(): number {
    return this.#details[this.#row] >>> 24;
  }

  /** Type of ICMP and ICMPv6; 0 for others. */
  get icmpType(): number {
    return (this.#details[this.#row + 2] >>> 16) & 0xff;
  }

  /** Code of ICMP and ICMPv6; 0 for others. */
  get icmpCode(): number {
    return this.#details[this.#row + 2] >>> 24;
  }

  /** Whether it is a part of a fragmented packet. */
  get isFragment(): boolean {
    return ((this.#details[this.#row] >>> 16) & (FIRST_FRAGMENT | LATER_FRAGMENT)) !== 0;
  }

  /** Whether it is one without a transport header. */
  get isLaterFragment(): boolean {
    return ((this.#details[this.#row] >>> 16) & LATER_FRAGMENT) !== 0;
  }

  /** Whether it is an ICMP or ICMPv6 error, which is about the flow of the packet that it quotes. */
  get isIcmpError(): boolean {
    return ((this.#details[this.#row] >>> 16) & ICMP_ERROR) !== 0;
  }

  override get sourceAddress(): number {
    return this.version === 4 ? this.#details[this.#row + SOURCE_WORD] : 0;
  }

  override get destinationAddress(): number {
    return this.version === 4 ? this.#details[this.#row + DESTINATION_WORD] : 0;
  }

  /**
   * 32 bits of the source address in host order: word 0 of IPv4, words 0 to 3 of IPv6. For keys
   * without strings.
   */
  sourceWord(word: number): number {
    return this.#details[this.#row + SOURCE_WORD + (checkWord(word) & 3)];
  }

  /** The same of the destination address. */
  destinationWord(word: number): number {
    return this.#details[this.#row + DESTINATION_WORD + (checkWord(word) & 3)];
  }

  override get source(): string {
    return this.#addressText(this.sourceAddress, 8);
  }

  override get destination(): string {
    return this.#addressText(this.destinationAddress, 24);
  }

  override get sourcePort(): number {
    return this.#details[this.#row + 1] & 0xffff;
  }

  override get destinationPort(): number {
    return this.#details[this.#row + 1] >>> 16;
  }

  override get transportOffset(): number {
    return this.#details[this.#row + 2] & 0xffff;
  }

  protected override hasNoTransportHeader(): boolean {
    return this.isLaterFragment;
  }

  /** Flow cookie, 32 bits: equal for all packets of a flow. */
  override get cookie(): number {
    return this.#details[this.#row + 3];
  }

  /** Id of the endpoint the flow entered by, `vpce-…`; makes a new string each time. */
  get endpointId(): string {
    return formatEndpointId(this.#detail64(4));
  }

  /** @internal The same for keys, without a 64-bit number. */
  get endpointKey(): string {
    return `${this.#details[this.#row + 5]},${this.#details[this.#row + 4]}`;
  }

  /** Attachment id, 64 bits. */
  get attachmentId(): bigint {
    return this.#detail64(6);
  }

  /** Whether `drop` was called. */
  get dropped(): boolean {
    return this.view.verdict[this.index] === Verdict.drop;
  }

  /**
   * Does not return it to the gateway. Throws `ERR_GWLB_CLOSED` where its batch was given back, as the
   * other methods that decide do.
   */
  drop(): void {
    this.#checkLease();
    this.view.verdict[this.index] = Verdict.drop;
    this.view.reason[this.index] = APPLIANCE_VERDICT;
  }

  /**
   * Says that the inspector has seen enough: later packets of this packet's flow, in both directions,
   * are returned by native code and shown to nobody. They do not overtake those before. It lasts until
   * the flow ends. False where the flow cannot be kept in mind: there was no room for it (counted as
   * `packetsUntracked`), or this is an ICMP error about an unknown flow, or a later fragment whose
   * first one was not seen; then its packets go on to be shown.
   */
  passFlow(options?: PassFlowOptions): boolean {
    return this.#decide(options === undefined ? PASS_AT_ONCE : checkPassFlow(options));
  }

  /**
   * The same, but later packets are dropped by native code; without options this one too, unless it was
   * rejected: then its sender is told.
   */
  dropFlow(options?: FlowVerdictOptions): boolean {
    if (options === undefined && this.view.verdict[this.index] !== Verdict.reply) this.drop();
    return this.#decide(options === undefined ? DROP_AT_ONCE : checkDropFlow(options));
  }

  /**
   * Refuses it, and tells its sender: instead of it goes back a TCP RST, or for everything else ICMP or
   * ICMPv6 "administratively prohibited", from its destination. The other end is told nothing, and later
   * packets of the flow are shown as before (`dropFlow` ends that). False where no answer may be given
   * (RFC 1122 §3.2.2, RFC 4443 §2.4: to a RST, an ICMP error, a later fragment, multicast, or what was
   * answered already): then it is dropped.
   */
  reject(): boolean {
    this.#checkLease();
    if (!this.view.native.reject(this.index)) {
      this.drop();
      return false;
    }
    this.view.verdict[this.index] = Verdict.reply;
    this.place(this.index);
    return true;
  }

  /**
   * Replaces the packet by another IP packet of the same flow, which may be longer or shorter.
   * Checksums are the caller's: `updateChecksums` writes them. Throws `ERR_GWLB_INVALID_ARGUMENT` where the bytes are no IP packet
   * or do not fit.
   */
  rewrite(bytes: Uint8Array): void {
    this.#checkLease();
    checkBytes('bytes', bytes);
    const said = this.view.verdict[this.index];
    if (!this.view.native.rewrite(this.index, bytes)) {
      throw mismatch(
        'ERR_GWLB_INVALID_ARGUMENT',
        'bytes',
        'a whole IP packet that fits its slot',
        `${bytes.length} bytes`,
      );
    }
    if (said === Verdict.drop) this.drop();
    this.place(this.index);
  }

  #checkLease(): void {
    if (this.#lease !== this.view.lease) throw givenBack();
  }

  #decide({ verdict, packets, bytes }: CheckedVerdict): boolean {
    this.#checkLease();
    return this.view.native.decideFlow(this.index, verdict, packets, bytes);
  }

  #addressText(ipv4: number, at6: number): string {
    const { version } = this;
    if (version === 4) return formatIpv4(ipv4);
    return version === 6 ? formatIpv6(this.view.block, this.view.offset[this.index] + at6) : '';
  }

  #detail64(word: number): bigint {
    const low = this.#details[this.#row + word];
    return BigInt(low) | (BigInt(this.#details[this.#row + word + 1]) << 32n);
  }
}

/** Goes over the packets that are still to be looked at; one result and one cursor for all of them. */
class InspectedWalk implements IterableIterator<InspectedPacket> {
  readonly #result: { done: boolean; value: InspectedPacket };
  readonly #details: Uint32Array;
  readonly #end: number;
  readonly #lease: number;
  readonly #keep: (cursor: InspectedPacket, lease: number) => void;
  #at = 0;

  constructor(
    cursor: InspectedPacket,
    { native, lease }: InspectedView,
    keep: (cursor: InspectedPacket, lease: number) => void,
  ) {
    this.#result = { done: false, value: cursor };
    this.#details = native.details;
    this.#end = native.count();
    this.#lease = lease;
    this.#keep = keep;
  }

  next(): IteratorResult<InspectedPacket> {
    const result = this.#result;
    let at = this.#at;
    // A packet whose flow got its verdict since the batch was handed over has version 0.
    while (at < this.#end && this.#details[at * DETAIL_WORDS] === 0) at += 1;
    this.#at = at + 1;
    if (at < this.#end) result.value.place(at);
    else this.#finish();
    return result as IteratorResult<InspectedPacket>;
  }

  return(): IteratorResult<InspectedPacket> {
    this.#finish();
    return this.#result as IteratorResult<InspectedPacket>;
  }

  [Symbol.iterator](): this {
    return this;
  }

  #finish(): void {
    if (this.#result.done) return;
    this.#result.done = true;
    this.#keep(this.#result.value, this.#lease);
  }
}

/**
 * Packets for the inspector; valid until its callback returns or its promise is settled. A loop leaves
 * out packets whose flow gets a verdict (`passFlow`, `dropFlow`) before it comes to them.
 */
export class InspectedBatch extends Batch<InspectedPacket> {
  /** @internal */
  declare readonly native: NativeApplianceBatch;
  /** @internal */
  lease = 0;
  #lent = false;
  #idle: InspectedPacket | null = null;
  readonly #keep = (cursor: InspectedPacket, lease: number): void => {
    if (lease === this.lease) this.#idle = cursor;
  };

  /** @internal */
  static of(native: NativeApplianceBatch): InspectedBatch {
    return new InspectedBatch(PRIVATE, native);
  }

  private constructor(key: symbol, native: NativeApplianceBatch) {
    checkKey('InspectedBatch', key);
    super(native);
  }

  /** @internal The inspector has it from now on. */
  lend(): void {
    this.#lent = true;
  }

  /** @internal It has it no more; cursors that it may have kept decide nothing from now on. */
  giveBack(): void {
    this.#lent = false;
    this.lease += 1;
    this.#idle = null;
  }

  override get count(): number {
    return this.native.count();
  }

  /** As every batch; throws `ERR_GWLB_CLOSED` where it was given back. */
  override [Symbol.iterator](): IterableIterator<InspectedPacket> {
    if (!this.#lent) throw givenBack();
    const cursor = this.#idle ?? this.makeCursor();
    this.#idle = null;
    return new InspectedWalk(cursor, this, this.#keep);
  }

  /** Drops every packet that is still undecided. */
  dropAll(): void {
    for (const packet of this) packet.drop();
  }

  protected override makeCursor(): InspectedPacket {
    return InspectedPacket.over(this);
  }
}
