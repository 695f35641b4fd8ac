/** Packets of a capture, sorted into flows by several judges, and where two of them disagree. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type CapturedFrame, readCapture, replay } from '../../src/index.js';
import { packetOf } from '../../src/replay/frames.js';
import { checksum } from './emitted.js';

/** A flow's name, whatever that is, for each packet; null for a packet of none. */
export type Labels = readonly (string | null)[];

/** A capture's packets as the gateway has them, from their IP headers on, and the flow of each. */
export interface Sorted {
  /** Numbers of the frames that the packets are of. */
  frames: number[];
  packets: Uint8Array[];
  flows: Labels;
}

const FORMAT = { port: 6081, optionClass: 0x0108 };

/** All captures below a folder, as paths from there. */
export function capturesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.pcap(ng)?$/.test(path))
    .sort();
}

function framesOf(path: string): CapturedFrame[] {
  const frames: CapturedFrame[] = [];
  try {
    for (const frame of readCapture(path)) frames.push({ ...frame, data: frame.data.slice() });
  } catch {
    // What was cut is not there; the frames before it are.
  }
  return frames;
}

/** By our gateway. */
export function sortByGateway(folder: string, capture: string): Sorted {
  const path = join(folder, capture);
  const keys = new Map<number, string | null>();
  for (const { frame, direction, flow } of replay({ capture: path })) {
    if (direction === 'ingress') keys.set(frame, flow?.key ?? null);
  }
  const sorted = {
    frames: [] as number[],
    packets: [] as Uint8Array[],
    flows: [] as (string | null)[],
  };
  for (const [i, frame] of framesOf(path).entries()) {
    const content = packetOf(frame, FORMAT);
    if (!('bytes' in content) || content.bytes.length === 0) continue;
    sorted.frames.push(i + 1);
    sorted.packets.push(content.bytes.slice());
    sorted.flows.push(keys.get(i + 1) ?? null);
  }
  return sorted;
}

/** With a good sum over IPv4's header: who is on a capture under another name often has none. */
export function withGoodHeader(packet: Uint8Array): Uint8Array {
  const bytes = packet.slice();
  const header = (bytes[0] & 15) * 4;
  if (bytes[0] >> 4 !== 4 || header < 20 || bytes.length < header) return bytes;
  bytes[10] = bytes[11] = 0;
  new DataView(bytes.buffer).setUint16(10, checksum(bytes.subarray(0, header)));
  return bytes;
}

/** What the pieces of one packet have in common; null for a whole packet. */
function trainOf(ip: Uint8Array): string | null {
  const hex = (from: number, to: number) => Buffer.from(ip.subarray(from, to)).toString('hex');
  if (ip[0] >> 4 === 4) {
    const cut = ip.length >= 20 && ((ip[6] & 0x3f) | ip[7]) !== 0;
    return cut ? `${hex(12, 20)} ${ip[9]} ${hex(4, 6)}` : null;
  }
  // Hop-by-hop options, routing, destination options.
  let [next, at] = [ip[6], 40];
  while ((next === 0 || next === 43 || next === 60) && at + 8 <= ip.length) {
    [next, at] = [ip[at], at + (ip[at + 1] + 1) * 8];
  }
  if (next !== 44 || at + 8 > ip.length) return null;
  const whole = ip[at + 2] === 0 && (ip[at + 3] & 0xf9) === 0;
  return whole ? null : `${hex(8, 40)} ${hex(at + 4, at + 8)}`;
}

/** The kernel puts a train together before it looks at it: all pieces are where the last one went. */
export function withTrains(packets: readonly Uint8Array[], labels: Labels): Labels {
  const trains = packets.map(trainOf);
  const known = new Map<string, string>();
  for (const [i, train] of trains.entries()) {
    const label = labels[i];
    if (train !== null && label !== null) known.set(train, label);
  }
  return labels.map((label, i) => label ?? known.get(trains[i] ?? '') ?? null);
}

/**
 * Where two sort differently: groups of frames that no flow of either joins with another frame, one
 * text each, "ours 1 2 | 3, theirs 1 | 2 3". "-" stands for frames of no flow.
 */
export function differences(frames: readonly number[], ours: Labels, theirs: Labels): string[] {
  const groups: Set<number>[] = [];
  const byLabel = new Map<string, Set<number>>();
  for (const i of frames.keys()) {
    const group = new Set([i]);
    for (const key of [ours[i] && `ours ${ours[i]}`, theirs[i] && `theirs ${theirs[i]}`]) {
      if (!key) continue;
      const other = byLabel.get(key);
      if (other && other !== group) {
        for (const j of other) group.add(j);
      }
      byLabel.set(key, group);
    }
    // Every label of the group's frames leads to it from now on.
    for (const j of group) {
      if (ours[j]) byLabel.set(`ours ${ours[j]}`, group);
      if (theirs[j]) byLabel.set(`theirs ${theirs[j]}`, group);
    }
    groups.push(group);
  }
  const whole = [...new Set([...byLabel.values()])];
  return whole.flatMap((group) => {
    const members = [...group].sort((a, b) => a - b);
    const [mine, yours] = [ours, theirs].map((labels) => inWords(frames, members, labels));
    return mine === yours ? [] : [`ours ${mine}, theirs ${yours}`];
  });
}

/** `3 4 | 6`: two flows; ranges for neighbours. */
function inWords(frames: readonly number[], members: readonly number[], labels: Labels): string {
  const flows = new Map<string | null, number[]>();
  for (const i of members) {
    const flow = flows.get(labels[i]) ?? [];
    flow.push(frames[i]);
    flows.set(labels[i], flow);
  }
  return [...flows]
    .map(([label, numbers]) => `${label === null ? '- ' : ''}${ranges(numbers)}`)
    .join(' | ');
}

function ranges(numbers: readonly number[]): string {
  const texts: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    let end = i;
    while (numbers[end + 1] === numbers[end] + 1) end++;
    texts.push(end > i ? `${numbers[i]}-${numbers[end]}` : String(numbers[i]));
    i = end + 1;
  }
  return texts.join(' ');
}
