/** What happens in a simulation, as plain data that a seed makes and shrinking takes away again. */

import type { FleetCommand } from '../../src/fleet/commands.js';
import type { FleetPolicy, GroupMembers, RegisteredTarget } from '../../src/fleet/state.js';
import { checkTarget } from '../../src/gateway/group-options.js';
import { Random } from './random.js';

/** How the way between the gateway and its appliances is. */
export interface Weather {
  /** Percent of the datagrams. */
  readonly loss: number;
  readonly duplication: number;
  /** The longest way, in milliseconds; each datagram takes its own time, so that they overtake. */
  readonly delayMs: number;
}

export type Step =
  /**
   * The end whose turn it is sends, so many times, with a moment between; on an established connection
   * the one that is named begins.
   */
  | {
      readonly do: 'talk';
      readonly flow: number;
      readonly back: boolean;
      readonly turns: number;
    }
  /** A datagram in two fragments, the later one first where it says so. */
  | { readonly do: 'fragments'; readonly flow: number; readonly tailFirst: boolean }
  | { readonly do: 'close'; readonly flow: number; readonly how: 'fin' | 'rst' }
  /** A SYN that is no part of the connection. */
  | { readonly do: 'stray'; readonly flow: number }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'weather'; readonly weather: Weather }
  /** An appliance fails, or is well again. */
  | { readonly do: 'appliance'; readonly address: string; readonly up: boolean }
  | { readonly do: 'command'; readonly command: FleetCommand }
  | { readonly do: 'open'; readonly endpoint: string; readonly zone: string }
  | { readonly do: 'remove'; readonly endpoint: string }
  /** The process ends, and another goes on from what was saved. */
  | { readonly do: 'restart' };

export interface Setting {
  readonly seed: number;
  readonly stickiness: 5 | 3 | 2;
  readonly scopeGateway: boolean;
  readonly crossZone: boolean;
  /** Milliseconds of the clock at the beginning. */
  readonly startMs: number;
}

export const ADDRESSES = [1, 2, 3, 4, 5, 6].map((n) => `10.0.0.${n}`);
export const ENDPOINTS = [1, 2, 3, 4].map((n) => `vpce-0${n.toString(16).padStart(16, '0')}`);
export const FLOWS = 24;
const ZONES = ['a', 'b', 'c'];

/** Small, so that every number is used again. */
export const LIMITS = { targets: 8, zones: 4, endpoints: 3 };

export function settingOf(seed: number): Setting {
  const random = new Random(seed ^ 0x5e771e);
  return {
    seed,
    stickiness: random.weighted([
      [4, 5],
      [1, 3],
      [1, 2],
    ] as const),
    scopeGateway: random.chance(20),
    crossZone: random.chance(30),
    // Clocks of 31 and 32 bits wrap on the way.
    startMs: random.of([0, 2 ** 31 - 400_000, 2 ** 32 - 400_000, 1_800_000_000_000]),
  };
}

export function stepsOf(seed: number, count: number): Step[] {
  const random = new Random(seed);
  const first: Step[] = [
    { do: 'command', command: { type: 'useGroup', group: groupOf(random, 5) } },
    { do: 'open', endpoint: ENDPOINTS[0], zone: 'a' },
    { do: 'open', endpoint: ENDPOINTS[1], zone: 'b' },
    { do: 'open', endpoint: ENDPOINTS[2], zone: 'a' },
    { do: 'wait', ms: 25_000 },
  ];
  return [...first, ...Array.from({ length: count }, () => stepOf(random))];
}

function stepOf(random: Random): Step {
  const flow = random.below(FLOWS);
  return random.weighted<() => Step>([
    [60, () => ({ do: 'talk', flow, back: random.chance(50), turns: 1 + random.below(5) })],
    [4, () => ({ do: 'fragments', flow, tailFirst: random.chance(50) })],
    [3, () => ({ do: 'close', flow, how: random.of(['fin', 'rst'] as const) })],
    [2, () => ({ do: 'stray', flow })],
    [24, () => ({ do: 'wait', ms: waitOf(random) })],
    [2, () => ({ do: 'weather', weather: weatherOf(random) })],
    [4, () => ({ do: 'appliance', address: random.of(ADDRESSES), up: random.chance(60) })],
    [10, () => ({ do: 'command', command: commandOf(random) })],
    [2, () => ({ do: 'open', endpoint: random.of(ENDPOINTS), zone: random.of(ZONES) })],
    [1, () => ({ do: 'remove', endpoint: random.of(ENDPOINTS) })],
    [1, () => ({ do: 'restart' })],
  ])();
}

function waitOf(random: Random): number {
  return random.weighted([
    [12, 1],
    [8, 30],
    [6, 1_000],
    [6, 11_000],
    [2, 45_000],
    [1, 400_000],
    [1, 700_000],
  ]);
}

function weatherOf(random: Random): Weather {
  if (random.chance(50)) return { loss: 0, duplication: 0, delayMs: 1 };
  return {
    loss: random.of([0, 5, 30]),
    duplication: random.of([0, 10]),
    delayMs: random.of([1, 20, 3_000]),
  };
}

function commandOf(random: Random): FleetCommand {
  const target = random.of(ADDRESSES);
  return random.weighted<() => FleetCommand>([
    [8, () => ({ type: 'register', targets: specsOf(random, 1 + random.below(2)) })],
    [6, () => ({ type: 'deregister', targets: [target] })],
    [3, () => ({ type: 'setTargets', targets: specsOf(random, random.below(5)) })],
    [5, () => ({ type: 'setWeight', target, weight: random.of([0, 1, 1, 10]) })],
    [2, () => ({ type: 'skipSlowStart', target })],
    [
      2,
      () => ({
        type: 'setHealth',
        target,
        state: random.of(['healthy', 'unhealthy'] as const),
      }),
    ],
    [
      8,
      () => ({
        type: 'condemned',
        target: `${target}:6081`,
        evidence: 'nothing came back',
        result: { ok: false, failure: 'timeout', detail: 'silence' },
      }),
    ],
    [5, () => ({ type: 'setPolicy', policy: policyOf(random), recount: random.chance(30) })],
    [2, () => ({ type: 'setCrossZone', crossZone: random.chance(50) })],
    [2, () => ({ type: 'useGroup', group: groupOf(random, random.below(5)) })],
  ])();
}

export function specOf(address: string, zone: string, weight: number): RegisteredTarget {
  return checkTarget({ address, zone, weight }, 6081, 'target');
}

function specsOf(random: Random, count: number): RegisteredTarget[] {
  const addresses = new Set(Array.from({ length: count }, () => random.of(ADDRESSES)));
  return [...addresses].map((address) =>
    specOf(
      address,
      random.of(ZONES),
      random.weighted([
        [6, 1],
        [2, 10],
        [1, 0],
      ]),
    ),
  );
}

function groupOf(random: Random, count: number): GroupMembers {
  const targets = specsOf(random, count).map((spec) => ({ ...spec, said: null }));
  return { name: `group-${random.below(100)}`, policy: policyOf(random), targets };
}

function policyOf(random: Random): FleetPolicy {
  const onLoss = random.of(['rebalance', 'no_rebalance', 'reset'] as const);
  return {
    failover: onLoss === 'rebalance' ? 'rebalance' : 'no_rebalance',
    resetOnUnhealthy: onLoss === 'reset',
    resetOnDeregistration: onLoss === 'reset' && random.chance(50),
    deregistrationDelayMs: random.of([0, 20_000, 300_000]),
    slowStartMs: random.of([0, 0, 60_000]),
    rule: random.chance(15)
      ? null
      : {
          healthyThreshold: 2,
          unhealthyThreshold: 2,
          profile: 'aws',
          flapDamping: random.chance(20),
        },
  };
}
