/**
 * One health check of a target's data path: a UDP packet is sent through the target as a packet of a
 * flow would be, and has to come back.
 */

import { tuplePacket } from '../packet/tuple.js';
import { Deadline, lostText } from './deadline.js';
import type { CancelProbe, ProbeCallback } from './probe-callback.js';
import type { ProbeResult } from './thresholds.js';

/** How a load balancer sends a probe to one target, and learns what came back. */
export interface DataPath {
  /** From where to where the packet inside says it goes. */
  readonly source: string;
  readonly destination: string;
  /** 1–0xfffff, another one for each probe. */
  readonly nonce: number;
  /** False where it could not be sent. */
  send(nonce: number, inner: Uint8Array): boolean;
  /** The last probe that came back was the one with this nonce. */
  returned(nonce: number): boolean;
}

export const NONCE_MAX = 0xfffff;

const PAYLOAD = new TextEncoder().encode('gwlb health check');

/** Dynamic ports (RFC 6335); different ones, so that a firewall sees different flows. */
const SOURCE_PORT_MIN = 49_152;
const SOURCE_PORTS = 16_384;

/** The first look comes after so long, each other after twice as long, up to the second number. */
const LOOK_MIN_MS = 1;
const LOOK_MAX_MS = 10;

const BACK: ProbeResult = { ok: true, detail: 'the probe came back' };

/** Begins a check. The callback is never called before this returns. */
export function startGeneveProbe(
  path: DataPath,
  port: number,
  timeoutMs: number,
  callback: ProbeCallback,
): CancelProbe {
  const { nonce } = path;
  const startedAt = performance.now();
  const sent = path.send(nonce, probePacket(path, port));
  const deadline = new Deadline(timeoutMs, (lostMs) => {
    clearTimeout(timer);
    if (path.returned(nonce)) return finish(BACK);
    const detail = `the probe did not come back within ${timeoutMs} ms`;
    if (lostMs === 0) return finish({ ok: false, failure: 'timeout', detail });
    finish({ ok: false, failure: 'internal', detail: `${detail}, but ${lostText(lostMs)}` });
  });
  let timer: NodeJS.Timeout;
  const finish = (result: ProbeResult) => {
    deadline.clear();
    callback(result, performance.now() - startedAt);
  };
  const look = (waitMs: number) => {
    if (!sent) {
      return finish({ ok: false, failure: 'connection', detail: 'the probe could not be sent' });
    }
    if (path.returned(nonce)) return finish(BACK);
    const next = Math.min(2 * waitMs, LOOK_MAX_MS);
    timer = setTimeout(() => look(next), waitMs).unref();
  };
  timer = setTimeout(() => look(LOOK_MIN_MS), LOOK_MIN_MS).unref();
  return () => {
    clearTimeout(timer);
    deadline.clear();
  };
}

function probePacket({ source, destination, nonce }: DataPath, port: number): Uint8Array {
  const end = (address: string, port: number) =>
    address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  const tuple = {
    protocol: 'udp',
    source: end(source, SOURCE_PORT_MIN + (nonce % SOURCE_PORTS)),
    destination: end(destination, port),
  };
  return tuplePacket(tuple, undefined, PAYLOAD);
}
