/**
 * Arguments that the addon accepts, and processes of their own to use it in. The functions that make
 * arguments are self-contained: their text is also the beginning of every child's program.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createRequire } from 'node:module';
import type {
  NativeApplianceConfig,
  NativeEndpoint,
  NativeGatewayConfig,
  NativeLiveConfig,
  NativeTargets,
  NativeUdpConfig,
} from '../../src/native/binding.js';
import { gatewayHeader } from '../support/gateway-header.js';
import { ROOT } from '../support/places.js';

export { gatewayHeader };

/** The file that src/native/binding.ts loads. */
export const addonPath: string = createRequire(import.meta.url)('node-gyp-build').path(ROOT);

export function liveConfig(): NativeLiveConfig {
  return {
    stickiness: 5,
    failOpen: false,
    resetOnIdle: false,
    clampMss: 0,
    pathMtu: 0,
    tcpIdleMs: 350_000,
    otherIdleMs: 120_000,
    reportMs: 0,
  };
}

export function gatewayConfig(): NativeGatewayConfig {
  return {
    hashKey: new Uint8Array(16).fill(1),
    cookieKey: new Uint8Array(16).fill(2),
    ...liveConfig(),
    scopeGateway: false,
    strictCookies: false,
    midStream: 'auto',
    learningMs: 1000,
    flowsIpv4: 1024,
    flowsIpv6: 1024,
    mtu: 1500,
    optionClass: 0x0108,
    attachmentId: 0n,
    innerEthernet: false,
    sourceMac: new Uint8Array(6),
    destinationMac: new Uint8Array(6),
    promoteOnIngress: false,
    pathMtuDiscovery: true,
    flowCounters: false,
    outerHeaders: false,
    address: 0x7f000001,
    port: 6081,
    sourcePortBase: 32768,
    sourcePortCount: 16,
    events: 64,
  };
}

export function udpConfig(): NativeUdpConfig {
  return {
    address: 0x7f000001,
    port: 0,
    netns: '',
    sourcePortBase: 32768,
    sourcePortCount: 0,
    receiveBufferBytes: 262_144,
    sendBufferBytes: 262_144,
    ttl: 64,
    offloads: true,
    udpChecksum: true,
  };
}

export function applianceConfig(): NativeApplianceConfig {
  return {
    udp: { ...udpConfig(), address6: null },
    returnPorts: 64,
    optionClass: 0x0108,
    gatewayPort: 6081,
    batches: 2,
    inspect: true,
    offline: false,
    flowsIpv4: 1024,
    flowsIpv6: 1024,
    tcpIdleMs: 350_000,
    otherIdleMs: 120_000,
    drop: [{ protocol: 6, port: 23, address: new Uint8Array([10, 0, 0, 0]), prefix: 8 }],
  };
}

/** 10.9.0.1 and 10.9.0.2, both eligible, in zone 0. */
export function twoTargets(): NativeTargets {
  const both = (first: number, second: number) => Uint32Array.of(first, second);
  return {
    zones: 1,
    crossZone: false,
    seed: 7n,
    slot: both(0, 1),
    zone: both(0, 0),
    address: both(0x0a090001, 0x0a090002),
    port: both(6081, 6081),
    eligible: both(1, 1),
    reset: both(0, 0),
    gone: both(0, 0),
    keeps: both(1, 1),
    generation: both(0, 0),
    weight: both(1, 1),
    identity: BigUint64Array.of(1n, 2n),
  };
}

export function plainEndpoint(): NativeEndpoint {
  return { id: 0xabcdef0123456789n, zone: 0, mtu: 0 };
}

export function peerEndpoint(): NativeEndpoint {
  const geneve = {
    peer: 0x7f000002,
    port: 6081,
    vni: 7,
    ethernet: false,
    sourceMac: new Uint8Array(6),
    destinationMac: new Uint8Array(6),
  };
  return { ...plainEndpoint(), geneve };
}

/** IPv4 + UDP from 203.0.113.9 to 10.0.2.10, with `payload` bytes of 0x5a. */
export function udpPacket(sourcePort = 40000, destinationPort = 53, payload = 8): Uint8Array {
  const packet = new Uint8Array(28 + payload).fill(0x5a, 28);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 203, 0, 113, 9, 10, 0, 2, 10]);
  view.setUint16(2, packet.length);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(20, sourcePort);
  view.setUint16(22, destinationPort);
  view.setUint16(24, 8 + payload);
  return packet;
}

const PRELUDE = `
'use strict';
const addonPath = process.env.GWLB_TEST_ADDON;
const addon = require(addonPath);
${[
  liveConfig,
  gatewayConfig,
  udpConfig,
  applianceConfig,
  twoTargets,
  plainEndpoint,
  peerEndpoint,
  udpPacket,
  gatewayHeader,
].join('\n')}
`;

/** A program for a child process or a worker: `addon` and the functions above, then `body`. */
export function program(body: string): string {
  return `${PRELUDE}\n${body}\n`;
}

export interface ChildResult {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

/** Long enough for any of them on a busy machine. */
const HANGS_MS = 240_000;

/** Children that are there when this process ends, by a timeout for example, end with it. */
const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Runs a program in a process of its own, with `gc()`; one that hangs is killed (signal SIGKILL). */
export function runChild(body: string, flags: readonly string[] = []): Promise<ChildResult> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(process.execPath, ['--expose-gc', ...flags, '-e', program(body)], {
    env: { ...env, GWLB_TEST_ADDON: addonPath },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  const result: ChildResult = { code: null, signal: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    result.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    result.stderr += text;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), HANGS_MS);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      children.delete(child);
      resolve({ ...result, code, signal });
    });
  });
}

/** Why sockets cannot be opened here, or false. */
export async function socketsRefused(): Promise<string | false> {
  const socket = createSocket('udp4');
  return new Promise((resolve) => {
    socket.on('error', (error) => resolve(`no UDP socket on 127.0.0.1: ${error.message}`));
    socket.bind(0, '127.0.0.1', () => socket.close(() => resolve(false)));
  });
}
