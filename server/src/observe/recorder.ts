/**
 * The last seconds of a running gateway, for `gwlb replay`: the headers of its packets, which worker
 * threads keep, and what happened to its targets. Written when somebody asks, and when something looks
 * wrong.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type DropReason,
  type Endpoint,
  encodeGeneve,
  type GatewayLoadBalancer,
  PcapWriter,
  type RecordedPacket,
  type Recording,
} from 'gwlb';
import type { Config } from '../config/types.js';
import type { Logger } from './log.js';
import {
  type ChangeEvent,
  changesBetween,
  configuredState,
  type GroupState,
  stateOf,
} from './recorder-state.js';
import { NewFile, pruneRecordings, type RecordingLimits } from './recordings.js';

/** Drops of one reason in a second that are an anomaly. */
export const DROPS_A_SECOND = 1000;
/** Anomalies are written at most so often. */
const ANOMALY_PAUSE_MS = 60_000;
const LOOK_MS = 1000;
const CHUNK = 1 << 16;
/** What a packet has in front of it in a recording, and behind it of what is kept, at most. */
const PACKET_BYTES = 16 + 28 + 40 + 128;

/**
 * Drops that say that something is wrong here: with the targets, or with what this machine can do. All other
 * reasons are what anybody can send.
 */
const OURS: readonly DropReason[] = [
  'no_headroom',
  'wrong_target',
  'wrong_cookie',
  'no_flow',
  'no_targets',
  'bad_super_packet',
  'send_failed',
  'send_would_block',
  'endpoint_has_no_device',
];

/** CLOCK_MONOTONIC, as the workers have it. */
const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export interface RecorderOptions {
  gateway: GatewayLoadBalancer;
  /** The configuration in force. */
  config: () => Config;
  /** Keys of the gateway where the configuration has none: with them a replay chooses the same targets. */
  keys: { hashKey: Uint8Array; cookieKey: Uint8Array };
  /** How much is kept, 1–3600. */
  seconds: number;
  /** Folder to write to. */
  directory: string;
  /** What is kept there. */
  limits: RecordingLimits;
  log: Logger;
}

interface Change {
  /** On the clock that packets are recorded with. */
  atMs: number;
  after: GroupState;
}

/** The target group over the time that is kept. */
interface Moment {
  /** The state before the first of the changes. */
  before: GroupState;
  changes: readonly Change[];
}

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #startedMs = monotonicMs();
  readonly #timer: NodeJS.Timeout;
  readonly #onChange = () => this.#note();
  readonly #onHealth = ({ state }: { state: string }) => {
    if (state === 'unhealthy') this.#anomaly('target unhealthy');
  };
  /** The state before the first of the changes. */
  #before: GroupState;
  #changes: Change[] = [];
  #drops: Readonly<Record<string, number>>;
  #anomalyMs = Number.NEGATIVE_INFINITY;
  /** What is being written. */
  #writing: Promise<void> = Promise.resolve();
  #waiting = 0;

  /** Begins to record. */
  static async begin(options: RecorderOptions): Promise<Recorder> {
    const { directory: folder, gateway, log, seconds } = options;
    // What happens from now on is noted, also while the memory is taken.
    const recorder = new Recorder(options);
    try {
      await gateway.record(seconds);
    } catch (error) {
      await recorder.close();
      throw error;
    }
    log.info({ event: 'recording', seconds, folder }, 'recording');
    return recorder;
  }

  private constructor(options: RecorderOptions) {
    const { gateway } = options;
    this.#options = options;
    this.#before = stateOf(gateway.targetGroup);
    this.#drops = { ...gateway.counters().drops };
    gateway.targetGroup.on('change', this.#onChange);
    gateway.targetGroup.on('health', this.#onHealth);
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** Ends it; what was kept is forgotten. Resolves when what is being written has been. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#options.gateway.targetGroup.off('change', this.#onChange);
    this.#options.gateway.targetGroup.off('health', this.#onHealth);
    await this.#writing;
  }

  /**
   * Writes what there is, behind what is being written; says where, or what went wrong, in the log. Who
   * asks while another one waits gets that one's.
   */
  write(cause: string): Promise<void> {
    if (this.#waiting > 0) return this.#writing;
    this.#waiting += 1;
    this.#writing = this.#writing.then(() => {
      this.#waiting -= 1;
      return this.#write(cause);
    });
    return this.#writing;
  }

  async #write(cause: string): Promise<void> {
    const { directory, limits, log } = this.#options;
    const files: NewFile[] = [];
    try {
      const { recording, events } = await this.#take();
      const { count: packets, lost } = recording;
      const more = { count: 1, bytes: packets * PACKET_BYTES };
      let removed = await pruneRecordings(directory, limits, more);
      const name = `gwlb-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`;
      const path = unused(join(directory, name));
      files.push(await NewFile.make(`${path}.pcap`));
      const firstMs = await this.#writePackets(files[0], recording);
      files.push(await NewFile.make(`${path}.jsonl`));
      const lines = events(firstMs);
      await files[1].write(Buffer.from(lines.map((line) => `${line}\n`).join('')));
      for (const file of files.splice(0)) await file.close();
      removed += await pruneRecordings(directory, limits, { count: 0, bytes: 0 });
      const told = { event: 'recorded', cause, file: `${path}.pcap`, packets, lost, removed };
      log.info({ ...told, events: lines.length }, 'recorded');
    } catch (error) {
      for (const file of files) await file.discard();
      log.error(
        { event: 'recording_failed', cause, error: (error as Error).message },
        'recording failed',
      );
    }
  }

  /** What there is now: packets, and the lines of the events file by when the first packet entered. */
  async #take(): Promise<{ recording: Recording; events: (firstMs: number | null) => string[] }> {
    const now = monotonicMs();
    const recording = await this.#options.gateway.recording();
    this.#note();
    this.#prune(now);
    const windowMs = Math.max(this.#startedMs, now - this.#options.seconds * 1000);
    const moment = { before: this.#before, changes: [...this.#changes] };
    const events = (firstMs: number | null) =>
      this.#events(firstMs === null ? windowMs : firstMs - recording.offsetMs, moment);
    return { recording, events };
  }

  #note(): void {
    const after = stateOf(this.#options.gateway.targetGroup);
    const last = this.#changes.at(-1)?.after ?? this.#before;
    if (changesBetween(last, after).length === 0) return;
    this.#changes.push({ atMs: monotonicMs(), after });
  }

  #prune(nowMs: number): void {
    const sinceMs = nowMs - this.#options.seconds * 1000;
    while (this.#changes.length > 0 && this.#changes[0].atMs < sinceMs) {
      this.#before = this.#changes[0].after;
      this.#changes.shift();
    }
  }

  #look(): void {
    this.#note();
    this.#prune(monotonicMs());
    const { drops } = this.#options.gateway.counters();
    const before = this.#drops;
    this.#drops = { ...drops };
    for (const reason of OURS) {
      if (drops[reason] - (before[reason] ?? 0) <= DROPS_A_SECOND) continue;
      this.#anomaly(`drops: ${reason}`);
      return;
    }
  }

  #anomaly(cause: string): void {
    const now = monotonicMs();
    if (now - this.#anomalyMs < ANOMALY_PAUSE_MS) return;
    this.#anomalyMs = now;
    void this.write(cause);
  }

  /** A GENEVE capture; resolves with when its first packet entered. */
  async #writePackets(file: NewFile, recording: Recording): Promise<number | null> {
    const { gateway } = this.#options;
    const envelopes = new Envelopes(gateway, gateway.targetGroup.optionClass);
    let firstMs: number | null = null;
    let waiting: Uint8Array[] = [];
    let bytes = 0;
    const writer = new PcapWriter((piece) => {
      waiting.push(piece);
      bytes += piece.length;
    });
    for (const packet of recording) {
      firstMs ??= packet.timeMs;
      const { frame, length } = envelopes.around(packet);
      writer.write(frame, BigInt(packet.timeMs) * 1_000_000n, length);
      if (bytes < CHUNK) continue;
      await file.write(Buffer.concat(waiting));
      waiting = [];
      bytes = 0;
    }
    await file.write(Buffer.concat(waiting));
    return firstMs;
  }

  /** The lines of the events file; times count from `startMs`. */
  #events(startMs: number, { before, changes }: Moment): string[] {
    const { config, keys } = this.#options;
    const hex = (key: Uint8Array) => Buffer.from(key).toString('hex');
    const configured = config().gateway;
    // Those of the configuration are its user's secrets, and a replay reads them there.
    const own = {
      ...(configured.hashKey === undefined && { hash: hex(keys.hashKey) }),
      ...(configured.cookieKey === undefined && { cookie: hex(keys.cookieKey) }),
    };
    const lines = Object.keys(own).length > 0 ? [JSON.stringify({ at: 0, keys: own })] : [];
    const add = (atMs: number, made: readonly ChangeEvent[]) => {
      const at = Math.max(0, atMs - startMs) / 1000;
      for (const change of made) lines.push(JSON.stringify({ at, ...change }));
    };
    add(startMs, changesBetween(configuredState(config()), before));
    let state = before;
    for (const { atMs, after } of changes) {
      add(atMs, changesBetween(state, after));
      state = after;
    }
    return lines;
  }
}

/** Two dumps may fall into one second. */
function unused(path: string): string {
  for (let n = 1; ; n += 1) {
    const candidate = n === 1 ? path : `${path}-${n}`;
    if (!existsSync(`${candidate}.pcap`) && !existsSync(`${candidate}.jsonl`)) return candidate;
  }
}

const HEADERS = 28;

/** Outer headers as if the gateway had sent the packet to itself: so its endpoint's id is kept. */
class Envelopes {
  readonly #gateway: GatewayLoadBalancer;
  readonly #optionClass: number;
  /** By endpoint and IP version, without what depends on the packet's length. */
  readonly #made = new Map<Endpoint | null, [four: Uint8Array, six: Uint8Array]>();

  constructor(gateway: GatewayLoadBalancer, optionClass: number) {
    this.#gateway = gateway;
    this.#optionClass = optionClass;
  }

  around({ endpoint, bytes, length }: RecordedPacket): { frame: Uint8Array; length: number } {
    let made = this.#made.get(endpoint);
    if (!made) {
      made = [this.#make(endpoint, 0x0800), this.#make(endpoint, 0x86dd)];
      this.#made.set(endpoint, made);
    }
    const headers = made[bytes[0] >>> 4 === 6 ? 1 : 0];
    const frame = new Uint8Array(headers.length + bytes.length);
    frame.set(headers);
    frame.set(bytes, headers.length);
    const total = headers.length + length;
    const view = new DataView(frame.buffer);
    view.setUint16(2, total);
    view.setUint16(24, total - 20);
    let sum = 0;
    for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(10, ~sum & 0xffff);
    return { frame, length: total };
  }

  #make(endpoint: Endpoint | null, protocolType: number): Uint8Array {
    const { address, port } = this.#gateway;
    const geneve = encodeGeneve({
      protocolType,
      optionClass: this.#optionClass,
      ...(endpoint && { gateway: { endpointId: endpoint.id, cookie: 0 } }),
    });
    const headers = new Uint8Array(HEADERS + geneve.length);
    const view = new DataView(headers.buffer);
    const own = address.split('.').map(Number);
    view.setUint16(0, 0x4500);
    view.setUint16(8, 0x4011);
    headers.set(own, 12);
    headers.set(own, 16);
    view.setUint16(20, port);
    view.setUint16(22, port);
    headers.set(geneve, HEADERS);
    return headers;
  }
}
