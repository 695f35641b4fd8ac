/** What an appliance's inspector sees: a batch of opened packets and one cursor over it. */
import type { NativeApplianceBatch } from '../binding.js';
import { GatewayError, invalidArgument } from '../errors.js';
import { formatEndpointId } from '../packet/address.js';
import { Batch } from '../packet/batch.js';
import { reasonCode, Verdict } from '../packet/names.js';
import { type BatchView, Packet } from '../packet/packet.js';

const DETAIL_WORDS = 8;
const APPLIANCE_VERDICT = reasonCode('appliance_verdict');

interface InspectedView extends BatchView {
  readonly native: NativeApplianceBatch;
}

/**
 * One packet on its way through the appliance, from its IP header on; a cursor, see `Packet`. Unless
 * something else is said, it is returned to the gateway as it came.
 */
export class InspectedPacket extends Packet {
  declare protected readonly view: InspectedView;
  override get version(): number {
    return this.#detail(0) & 0xff;
  }

  override get protocol(): number {
    return (this.#detail(0) >>> 8) & 0xff;
  }

  override get sourcePort(): number {
    return this.#detail(1) & 0xffff;
  }

  override get destinationPort(): number {
    return this.#detail(1) >>> 16;
  }

  /** Flow cookie, 32 bits: equal for all packets of a flow. */
  override get cookie(): number {
    return this.#detail(3);
  }

  /** Id of the endpoint the flow entered by, `vpce-…`; makes a new string each time. */
  get endpointId(): string {
    return formatEndpointId(this.#detail64(4));
  }

  /** Attachment id, 64 bits. */
  get attachmentId(): bigint {
    return this.#detail64(6);
  }

  /** Whether `drop` was called. */
  get dropped(): boolean {
    return this.view.verdict[this.index] === Verdict.drop;
  }

  /** Does not return it to the gateway. */
  drop(): void {
    this.view.verdict[this.index] = Verdict.drop;
    this.view.reason[this.index] = APPLIANCE_VERDICT;
  }

  /**
   * Replaces the packet by another IP packet of the same flow, which may be longer or shorter.
   * Checksums are the caller's. Throws `ERR_GWLB_INVALID_ARGUMENT` where the bytes are no IP packet
   * or do not fit.
   */
  rewrite(bytes: Uint8Array): void {
    if (!(bytes instanceof Uint8Array)) throw invalidArgument('bytes', 'a Uint8Array', bytes);
    if (!this.view.native.rewrite(this.index, bytes)) {
      throw new GatewayError(
        'ERR_GWLB_INVALID_ARGUMENT',
        `bytes: expected a whole IP packet that fits its slot, received ${bytes.length} bytes`,
        { field: 'bytes' },
      );
    }
    this.moveTo(this.index);
  }

  #detail(word: number): number {
    return this.view.native.details[this.index * DETAIL_WORDS + word];
  }

  #detail64(word: number): bigint {
    return BigInt(this.#detail(word)) | (BigInt(this.#detail(word + 1)) << 32n);
  }
}

/** Packets for the inspector; valid until its callback returns or its promise is settled. */
export class InspectedBatch extends Batch<InspectedPacket> {
  declare readonly native: NativeApplianceBatch;

  /** @internal */
  constructor(native: NativeApplianceBatch) {
    super(native);
  }

  override get count(): number {
    return this.native.count();
  }

  /** Drops every packet that is still undecided. */
  dropAll(): void {
    for (const packet of this) packet.drop();
  }

  protected override makeCursor(): InspectedPacket {
    return new InspectedPacket(this);
  }
}
