/** The two ends of one flow, and what is known from outside of its entry in the data plane. */
import { ACK, FIN, type Packet, packet, RST, reversed, SYN, TCP, UDP } from '../model/packets.js';

/**
 * How far a TCP connection is, by what has been delivered: `closed`, none; `opened`, a SYN; `answered`,
 * a SYN-ACK; `established`, the rest.
 */
type Stage = 'closed' | 'opened' | 'answered' | 'established';

/** Where packets of the flow go. */
export interface Pin {
  readonly slot: number;
  /** Which registration of that slot, counted over all. */
  readonly owner: number;
  readonly generation: number;
}

/** For so long an entry lives for certain: half a second less than it does. */
const ESTABLISHED_MS = 349_500;
const OTHER_MS = 119_500;
const HANDSHAKE_MS = 59_500;
const CLOSING_MS = 9_500;

export class Connection {
  readonly number: number;
  readonly protocol: number;
  /** Place of its endpoint among the simulation's. */
  readonly endpoint: number;
  pin: Pin | null = null;
  /** Index of the endpoint when it was pinned. */
  index = -1;
  #stage: Stage = 'closed';
  #seenMs = Number.NEGATIVE_INFINITY;
  /** A FIN or RST was seen. */
  #closing = false;
  /** The entry may be another's: a SYN was seen that may have begun it anew. */
  unclear = false;
  /** What came back may have made its entry: it is where it was before a restart. */
  learnt = false;
  /** By table and index of the endpoint: the target that it was given as a new flow. */
  readonly #given = new Map<string, number>();
  #incarnation = 0;
  #datagrams = 0;
  readonly #up: Packet;

  constructor(number: number, endpoints: number) {
    this.number = number;
    this.protocol = number % 3 === 2 ? UDP : TCP;
    this.endpoint = number % endpoints;
    const six = number % 4 === 3;
    this.#up = packet({
      source: six ? `fd00::${(number + 1).toString(16)}` : `203.0.113.${number + 1}`,
      destination: six ? 'fd00:1::1' : '10.9.0.1',
      protocol: this.protocol,
      sourcePort: 40_000 + number,
      destinationPort: 443,
    });
  }

  get isTcp(): boolean {
    return this.protocol === TCP;
  }

  get isOpen(): boolean {
    return this.#stage !== 'closed';
  }

  /** What the end sends whose turn it is; `back`: the server where either may. */
  next(back: boolean): Packet {
    if (!this.isTcp) return this.#with(back, {});
    switch (this.#stage) {
      case 'closed':
        return this.#with(false, { flags: SYN, sequence: this.#first });
      case 'opened':
        return this.#with(true, {
          flags: SYN | ACK,
          sequence: this.#firstBack,
          acknowledgment: this.#first + 1,
        });
      case 'answered':
        return this.#talk(false, ACK);
      default:
        return this.#talk(back, ACK);
    }
  }

  fin(back: boolean): Packet {
    return this.#talk(back, FIN | ACK);
  }

  rst(): Packet {
    return this.#talk(false, RST | ACK);
  }

  /** Another connection between the same ends, or a stray. */
  stray(): Packet {
    return this.#with(false, { flags: SYN, sequence: 77 });
  }

  /** A datagram in two pieces. */
  fragments(): [first: Packet, later: Packet] {
    const whole = this.#with(false, { payload: 48, id: ++this.#datagrams & 0xffff });
    const id = (this.number << 16) | this.#datagrams;
    const piece = this.#up.version === 4 ? id & 0xffff : id;
    const part = (offset: number, length: number, more: boolean): Packet => ({
      ...whole,
      fragment: { id: piece, offset, length, more },
    });
    return [part(0, 24, true), part(24, 32, false)];
  }

  get #first(): number {
    return 1_000 + this.#incarnation * 100_000;
  }

  get #firstBack(): number {
    return 9_000 + this.#incarnation * 100_000;
  }

  #talk(back: boolean, flags: number): Packet {
    const [own, other] = back ? [this.#firstBack, this.#first] : [this.#first, this.#firstBack];
    return this.#with(back, { flags, sequence: own + 1, acknowledgment: other + 1 });
  }

  #with(back: boolean, fields: Partial<Packet>): Packet {
    const up = { ...this.#up, payload: 8, ...fields };
    return back ? { ...reversed(this.#up), payload: 8, ...fields } : up;
  }

  /** The entry has seen a packet of it. */
  seen(flags: number, now: number): void {
    this.#seenMs = now;
    if ((flags & (FIN | RST)) !== 0) this.#closing = true;
    if (this.isTcp && (flags & (SYN | ACK)) === SYN && (this.#closing || this.isOpen)) {
      this.unclear = true;
    }
  }

  /** It has arrived at its other end. */
  delivered(flags: number, sequence: number): void {
    if (!this.isTcp) return;
    const stage = this.#stage;
    if ((flags & (FIN | RST)) !== 0) {
      this.#hangUp();
    } else if ((flags & (SYN | ACK)) === SYN) {
      if (stage === 'closed' && sequence === this.#first) this.#stage = 'opened';
    } else if ((flags & SYN) !== 0) {
      if (stage === 'opened' && sequence === this.#firstBack) this.#stage = 'answered';
    } else if (stage === 'answered' && sequence === this.#first + 1) {
      this.#stage = 'established';
    }
  }

  #hangUp(): void {
    this.#stage = 'closed';
    this.#closing = true;
    this.#incarnation++;
  }

  /** Its entry was told to answer with a RST: that was the connection. */
  refused(): void {
    this.#hangUp();
    this.unclear = true;
  }

  /** It was pinned to a target by this packet, as far as is known for the first time. */
  pinned(pin: Pin, index: number): void {
    this.pin = pin;
    this.index = index;
  }

  /** Whether a new flow is given the target that this table gave it before. */
  isGiven(table: string, index: number, slot: number): boolean {
    const key = `${index} ${table}`;
    const known = this.#given.get(key) ?? slot;
    this.#given.set(key, slot);
    return known === slot;
  }

  /** Nothing is known of its entry any more; its ends go on. */
  forget(): void {
    this.pin = null;
    this.#closing = false;
    this.unclear = false;
    this.learnt = false;
  }

  /** Whether its entry is there, for certain. */
  isCertain(now: number): boolean {
    if (this.pin === null) return false;
    return now - this.#seenMs < this.#lifetimeMs();
  }

  /** A FIN or RST was seen: the next SYN begins another. */
  get isClosing(): boolean {
    return this.#closing;
  }

  /** What it was is certain, and no SYN may have begun it anew. */
  get isPlain(): boolean {
    return !this.#closing && !this.unclear;
  }

  #lifetimeMs(): number {
    if (!this.isTcp) return OTHER_MS;
    if (this.#closing) return CLOSING_MS;
    // A SYN may have begun another connection in its place.
    return this.#stage === 'established' && !this.unclear ? ESTABLISHED_MS : HANDSHAKE_MS;
  }
}

/** The number of the flow that a packet belongs to, and what of it matters here. */
export function read(bytes: Uint8Array): {
  flow: number;
  flags: number;
  sequence: number;
  later: boolean;
} {
  const four = bytes[0] >> 4 === 4;
  const [at, length] = four ? [12, 4] : [8, 16];
  const fromClient = four ? bytes[at] === 203 : bytes[at + 3] === 0;
  const client = bytes.subarray(fromClient ? at : at + length);
  const flow = client[length - 1] - 1;
  const protocol = four ? bytes[9] : bytes[6];
  const later = four
    ? (((bytes[6] << 8) | bytes[7]) & 0x1fff) !== 0
    : protocol === 44 && bytes[43] > 1;
  const header = four ? 20 : 40;
  if (protocol !== TCP) return { flow, flags: 0, sequence: 0, later };
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { flow, flags: bytes[header + 13] & 0x3f, sequence: view.getUint32(header + 4), later };
}
