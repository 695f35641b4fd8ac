/**
 * The fleet as the data plane decides by it: who takes new flows, whose flows are reset, whose choose
 * anew. A pure read.
 *
 * New flows go to targets of the pool (the zone, or all zones with cross-zone) that are healthy and
 * have a weight; where none is, to all of the pool that are registered and have a weight, checked or
 * not: AWS fails open to its appliances, never around them.
 *
 * With TCP reset the flows of a target that is lost are answered with a RST, only while its pool has a
 * healthy target.
 */
import { fnv1a64 } from '../base/hash.js';
import { weightIn } from './slow-start.js';
import { everyTarget, type Fleet, type FleetTarget, policyOf } from './state.js';
import { helpedZones } from './zones.js';

/**
 * What the rendezvous scores are seeded with: one number for all, so that every node and every
 * restart chooses the same target. It need not be secret: which row a flow takes depends on the
 * gateway's hash key.
 */
export const TARGET_SEED = 0n;

/**
 * What a target's rendezvous scores are computed from: its id. The same on every node and after every
 * restart, whatever the slot.
 */
export function targetIdentity(id: string): bigint {
  return fnv1a64(id);
}

/** Identities of targets, whose ids never change: all of them are asked for with every table. */
const identities = new WeakMap<FleetTarget, bigint>();

function identityOf(target: FleetTarget): bigint {
  const known = identities.get(target);
  if (known !== undefined) return known;
  const identity = targetIdentity(target.id);
  identities.set(target, identity);
  return identity;
}

/** A target as the data plane knows it. */
export interface TableTarget {
  slot: number;
  /** Number of its zone. */
  zone: number;
  address: number;
  port: number;
  /** Takes new flows. */
  eligible: boolean;
  /** TCP flows that are pinned to it are answered with a RST. */
  reset: boolean;
  /** Its deregistration delay is over. */
  gone: boolean;
  /** Neither failed nor gone, though it may take no new flows: its connections are safe there. */
  keeps: boolean;
  generation: number;
  weight: number;
  identity: bigint;
}

/** All of them, in order of registration. */
export interface FleetTable {
  targets: TableTarget[];
  /** More than the largest number of a zone, and at least 1. */
  zones: number;
  crossZone: boolean;
  seed: bigint;
}

export function tableOf(fleet: Fleet): FleetTable {
  const helped = helpedZones(fleet);
  const numbers = new Map(fleet.zones.map((zone, number) => [zone?.name, number]));
  const targets = everyTarget(fleet).map((target) => {
    const zone = numbers.get(target.zone) ?? 0;
    return {
      slot: target.slot,
      zone,
      address: target.number,
      port: target.port,
      eligible: takesNewFlows(target, helped[zone]),
      reset: helped[zone] && isReset(fleet, target),
      gone: target.phase === 'gone',
      keeps: target.phase !== 'gone' && !target.failing,
      generation: target.generation,
      // A weight of 0 is not eligible, and native code takes none below 1.
      weight: Math.max(1, weightIn(target.step, target.weight)),
      identity: identityOf(target),
    };
  });
  const zones = Math.max(1, fleet.zones.length);
  return { targets, zones, crossZone: fleet.crossZone, seed: TARGET_SEED };
}

/** `helped`: whether a healthy target of its pool takes new flows. */
export function takesNewFlows({ phase, weight, state }: FleetTarget, helped: boolean): boolean {
  return phase === 'active' && weight > 0 && (state === 'healthy' || !helped);
}

function isReset(fleet: Fleet, target: FleetTarget): boolean {
  const { resetOnUnhealthy, resetOnDeregistration } = policyOf(fleet, target);
  const { failing, phase } = target;
  return (resetOnUnhealthy && failing) || (resetOnDeregistration && phase === 'gone');
}
