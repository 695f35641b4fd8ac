/**
 * The last seconds of a running gateway, for `gwlb replay`: the headers of its packets, which worker
 * threads keep, and what happened to its targets. Written when somebody asks, and when something looks
 * wrong.
 */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { GatewayLoadBalancer } from '../gateway/gateway-load-balancer.js';
import type { RecordedPacket, Recording } from '../gateway/recording.js';
import { ipv4Bytes, parseIpv4 } from '../packet/address.js';
import { PcapWriter } from '../packet/capture.js';
import { encodeGeneve } from '../packet/codec.js';
import type { Config } from './config-types.js';
import type { Logger } from './log.js';
import {
  type ChangeEvent,
  changesBetween,
  configuredState,
  type GroupState,
  stateOf,
} from './recorder-state.js';

/** Drops of one reason in a second that are an anomaly. */
export const DROPS_A_SECOND = 1000;
/** Anomalies are written at most so often. */
const ANOMALY_PAUSE_MS = 60_000;
const LOOK_MS = 1000;
const CHUNK = 1 << 16;

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
  log: Logger;
}

interface Change {
  /** On the clock that packets are recorded with. */
  atMs: number;
  after: GroupState;
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

  /** Begins to record. */
  constructor(options: RecorderOptions) {
    const { gateway, seconds } = options;
    this.#options = options;
    gateway.record(seconds);
    this.#before = stateOf(gateway.targetGroup);
    this.#drops = { ...gateway.counters().drops };
    gateway.targetGroup.on('change', this.#onChange);
    gateway.targetGroup.on('health', this.#onHealth);
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
    options.log.info({ event: 'recording', seconds, folder: options.directory }, 'recording');
  }

  /** Ends it; what was kept is forgotten. */
  close(): void {
    clearInterval(this.#timer);
    this.#options.gateway.targetGroup.off('change', this.#onChange);
    this.#options.gateway.targetGroup.off('health', this.#onHealth);
  }

  /** Writes what there is; says where, or what went wrong, in the log. */
  write(cause: string): void {
    const { gateway, directory, log } = this.#options;
    const now = monotonicMs();
    this.#note();
    this.#prune(now);
    const name = `gwlb-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`;
    try {
      const recording = gateway.recording();
      const file = unused(join(directory, name));
      const firstMs = this.#writePackets(`${file}.pcap`, recording);
      const windowMs = Math.max(this.#startedMs, now - this.#options.seconds * 1000);
      const startMs = firstMs === null ? windowMs : firstMs - recording.offsetMs;
      const events = this.#events(startMs);
      writeFileSync(`${file}.jsonl`, events.map((line) => `${line}\n`).join(''), {
        mode: 0o600,
        flag: 'wx',
      });
      const { count: packets, lost } = recording;
      const told = { event: 'recorded', cause, file: `${file}.pcap`, packets, lost };
      log.info({ ...told, events: events.length }, 'recorded');
    } catch (error) {
      log.error(
        { event: 'recording_failed', cause, error: (error as Error).message },
        'recording failed',
      );
    }
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
    for (const [reason, count] of Object.entries(drops)) {
      if (count - (before[reason] ?? 0) <= DROPS_A_SECOND) continue;
      this.#anomaly(`drops: ${reason}`);
      return;
    }
  }

  #anomaly(cause: string): void {
    const now = monotonicMs();
    if (now - this.#anomalyMs < ANOMALY_PAUSE_MS) return;
    this.#anomalyMs = now;
    this.write(cause);
  }

  /** A GENEVE capture; returns when its first packet entered. */
  #writePackets(path: string, recording: Recording): number | null {
    const { gateway } = this.#options;
    const { optionClass } = gateway.targetGroup;
    const file = openSync(path, 'wx', 0o600);
    let firstMs: number | null = null;
    let waiting: Uint8Array[] = [];
    let bytes = 0;
    const flush = (): void => {
      writeSync(file, Buffer.concat(waiting));
      waiting = [];
      bytes = 0;
    };
    try {
      const writer = new PcapWriter((piece) => {
        waiting.push(piece);
        bytes += piece.length;
        if (bytes >= CHUNK) flush();
      });
      for (const packet of recording) {
        firstMs ??= packet.timeMs;
        const { frame, length } = encapsulated(packet, gateway, optionClass);
        writer.write(frame, BigInt(packet.timeMs) * 1_000_000n, length);
      }
      flush();
    } finally {
      closeSync(file);
    }
    return firstMs;
  }

  /** The lines of the events file; times count from `startMs`. */
  #events(startMs: number): string[] {
    const { config, keys } = this.#options;
    const hex = (key: Uint8Array) => Buffer.from(key).toString('hex');
    const configured = config().gateway;
    // Those of the configuration are its user's secrets, and a replay reads them there.
    const own = {
      ...(configured.hashKey === undefined && { hash: hex(keys.hashKey) }),
      ...(configured.cookieKey === undefined && { cookie: hex(keys.cookieKey) }),
    };
    const lines = Object.keys(own).length > 0 ? [JSON.stringify({ at: 0, keys: own })] : [];
    const add = (atMs: number, changes: readonly ChangeEvent[]) => {
      const at = Math.max(0, atMs - startMs) / 1000;
      for (const change of changes) lines.push(JSON.stringify({ at, ...change }));
    };
    add(startMs, changesBetween(configuredState(config()), this.#before));
    let state = this.#before;
    for (const { atMs, after } of this.#changes) {
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
    try {
      closeSync(openSync(`${candidate}.jsonl`, 'r'));
    } catch {
      return candidate;
    }
  }
}

const HEADERS = 28;

/** The packet as if the gateway had sent it to itself: so its endpoint's id is kept. */
function encapsulated(
  { endpoint, bytes, length }: RecordedPacket,
  { address, port }: GatewayLoadBalancer,
  optionClass: number,
): { frame: Uint8Array; length: number } {
  const geneve = encodeGeneve({
    protocolType: bytes[0] >>> 4 === 6 ? 0x86dd : 0x0800,
    optionClass,
    ...(endpoint && { gateway: { endpointId: endpoint.id, cookie: 0 } }),
  });
  const frame = new Uint8Array(HEADERS + geneve.length + bytes.length);
  const total = HEADERS + geneve.length + length;
  const view = new DataView(frame.buffer);
  const own = ipv4Bytes(parseIpv4(address) ?? 0);
  view.setUint16(0, 0x4500);
  view.setUint16(2, total);
  view.setUint16(8, 0x4011);
  frame.set(own, 12);
  frame.set(own, 16);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(20, port);
  view.setUint16(22, port);
  view.setUint16(24, total - 20);
  frame.set(geneve, HEADERS);
  frame.set(bytes, HEADERS + geneve.length);
  return { frame, length: total };
}
