/** `gwlb replay`: what would have become of a capture's packets, a line each. */

import { readFileSync } from 'node:fs';
import {
  GatewayError,
  PcapWriter,
  type Replay,
  ReplayEventsError,
  type ReplayOptions,
  replay,
} from 'gwlb';
import { loadConfig, problemLine } from '../config/config.js';
import type { Config } from '../config/types.js';
import { Output } from './output.js';
import { lineJson, lineText, summaryText } from './replay-text.js';

export interface ReplayArguments {
  config?: string;
  events?: string;
  out?: string;
  json: boolean;
}

type Given = Pick<ReplayOptions, 'targetGroup' | 'targets' | 'endpoints' | 'gateway'>;

/** The configuration of `gwlb run` as a replay takes it. */
function optionsOf(config: Config): Given {
  const { targets, healthCheck: _, ...targetGroup } = config.targetGroup;
  // What is about sockets and threads is nothing to a replay.
  const {
    name: _n,
    netns: _s,
    workers: _w,
    offloads: _o,
    udpChecksum: _u,
    ...gateway
  } = config.gateway;
  const endpoints = config.endpoints.map(({ id, zone, mtu }) => ({
    id,
    zone,
    ...(mtu !== undefined && { mtu }),
  }));
  return { targetGroup, targets, endpoints, gateway };
}

/** The options of the configuration file; null where it is wrong, which has been said then. */
function readConfig(file: string): Given | null {
  const loaded = loadConfig(file);
  if (!loaded.ok) {
    for (const problem of loaded.problems) console.error(problemLine(file, problem));
    return null;
  }
  if (loaded.config.endpoints.length === 0) {
    console.error(
      `${file}: endpoints: expected an endpoint for packets to enter by, received none`,
    );
    return null;
  }
  return optionsOf(loaded.config);
}

/** Null where the file cannot be read, which has been said then. */
function readEvents(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    console.error(`gwlb: --events: cannot read ${file}: ${(error as Error).message}`);
    return null;
  }
}

/** Prints the lines of a replay; resolves with the exit code. */
export async function runReplay(file: string, given: ReplayArguments): Promise<number> {
  const config = given.config === undefined ? {} : readConfig(given.config);
  const events = given.events === undefined ? '' : readEvents(given.events);
  if (config === null || events === null) return 2;
  let writer: PcapWriter | null = null;
  try {
    const run = replay({
      ...config,
      capture: file,
      events,
      ...(given.out !== undefined && { onSent: (bytes, ns) => writer?.write(bytes, ns) }),
    });
    if (given.out !== undefined) writer = new PcapWriter(given.out);
    return await print(run, file, given.json);
  } catch (error) {
    if (error instanceof ReplayEventsError) {
      for (const { place, field, message } of error.problems) {
        console.error(`${given.events}:${place.number}: ${field && `${field}: `}${message}`);
      }
      return 2;
    }
    if (!(error instanceof GatewayError) || error.code !== 'ERR_GWLB_CAPTURE') throw error;
    console.error(`gwlb: ${error.message}`);
    return 1;
  } finally {
    writer?.close();
  }
}

async function print(run: Replay, file: string, json: boolean): Promise<number> {
  const output = new Output();
  const textOf = json ? lineJson : lineText;
  for (const line of run) {
    if (!(await output.print(textOf(line)))) return 0;
  }
  if (!(await output.flush())) return 0;
  const { summary, error } = run;
  console.error(json ? JSON.stringify(summary) : summaryText(summary));
  if (error === null) return 0;
  console.error(`gwlb: ${file}: ${error} (after frame ${summary.frames})`);
  return 1;
}
