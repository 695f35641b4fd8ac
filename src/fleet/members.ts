/** Who belongs to the group in use: registration, deregistration, and another group. */
import { type GatewayError, mismatch } from '../base/errors.js';
import { type Change, type Plan, tell, touch } from './change.js';
import type { CommandOf } from './commands.js';
import { presentWithId, targetNamed } from './find.js';
import { activate, drain, enlist, quit } from './life.js';
import { available } from './numbers.js';
import {
  everyTarget,
  type Fleet,
  type FleetTarget,
  membersOf,
  type RegisteredTarget,
} from './state.js';
import { checkTargetZones } from './zones.js';

export function planGroup(fleet: Fleet, { group }: CommandOf<'useGroup'>, now: number): Plan {
  checkDistinct(group.targets);
  checkRoom(fleet, group.targets, now);
  return (change) => {
    const wanted = new Set(group.targets.map(({ id }) => id));
    const former = fleet.group;
    for (const target of membersOf(fleet)) {
      if (target.phase === 'active' && !wanted.has(target.id)) drain(change, target, 'detach');
    }
    fleet.group = Math.max(0, former, ...Object.keys(fleet.groups).map(Number)) + 1;
    fleet.groups[fleet.group] = { name: group.name, policy: group.policy, targets: 0 };
    for (const { said, ...spec } of group.targets) {
      const known = presentWithId(fleet, spec.id);
      if (known) adopt(change, known, spec);
      const target = known ?? enlist(change, spec, said);
      target.said = said;
      activate(change, target, 'attach');
    }
    if (fleet.groups[former]?.targets === 0) delete fleet.groups[former];
    change.everywhere = true;
    change.revised = true;
  };
}

/** A target that the group before had too: for this one it is new, its flows stay. */
function adopt(change: Change, target: FleetTarget, { zone, weight }: RegisteredTarget): void {
  const { fleet } = change;
  touch(change, target);
  if (target.group !== fleet.group) {
    quit(fleet, target.group);
    target.group = fleet.group;
    fleet.groups[fleet.group].targets++;
    target.state = 'unused';
  }
  target.zone = zone;
  target.weight = weight;
  target.said = null;
}

export function planRegistration(
  fleet: Fleet,
  { targets }: CommandOf<'register'>,
  now: number,
): Plan {
  const seen = new Set<string>();
  for (const [i, { id }] of targets.entries()) {
    if (seen.has(id) || isActive(fleet, id)) {
      throw duplicate(i, 'a target that is not registered', `"${id}"`);
    }
    seen.add(id);
  }
  checkRoom(fleet, targets, now);
  return (change) => register(change, targets);
}

export function planDeregistration(
  fleet: Fleet,
  { targets }: Pick<CommandOf<'deregister'>, 'targets'>,
): Plan {
  const named = targets.map((name) => targetNamed(fleet, name));
  return (change) => {
    for (const target of named) {
      if (target.phase === 'active') drain(change, target, 'deregister');
    }
  };
}

export function planExpiry(fleet: Fleet, { targets }: CommandOf<'expire'>): Plan {
  const named = targets.map((name) => targetNamed(fleet, name));
  const deregister = planDeregistration(fleet, { targets });
  return (change) => {
    deregister(change);
    for (const target of named) target.drainUntil = change.now;
  };
}

export function planTargets(fleet: Fleet, { targets }: CommandOf<'setTargets'>, now: number): Plan {
  checkDistinct(targets);
  checkRoom(fleet, targets, now);
  const wanted = new Map(targets.map((target) => [target.id, target]));
  return (change) => {
    const active = membersOf(fleet).filter(({ phase }) => phase === 'active');
    for (const target of active) if (!wanted.has(target.id)) drain(change, target, 'deregister');
    register(
      change,
      targets.filter(({ id }) => !isActive(fleet, id)),
    );
    for (const target of active) {
      const spec = wanted.get(target.id);
      if (spec) adjust(change, target, spec.weight, spec.zone);
    }
  };
}

export function planWeight(fleet: Fleet, { target: name, weight }: CommandOf<'setWeight'>): Plan {
  const target = targetNamed(fleet, name);
  return (change) => adjust(change, target, weight, target.zone);
}

function register(change: Change, targets: readonly RegisteredTarget[]): void {
  for (const spec of targets) {
    const known = presentWithId(change.fleet, spec.id);
    if (known) adopt(change, known, spec);
    const target = known ?? enlist(change, spec, null);
    tell(change, target, { type: 'register', cause: 'register' });
    activate(change, target, 'register');
  }
}

/** Changes weight and zone in place; flows stay where they are. */
function adjust(change: Change, target: FleetTarget, weight: number, zone: string): void {
  if (target.weight === weight && target.zone === zone) return;
  touch(change, target);
  if (target.weight !== weight) {
    target.weight = weight;
    tell(change, target, { type: 'weight', cause: 'set-weight' });
  }
  target.zone = zone;
  change.revised = true;
}

function isActive(fleet: Fleet, id: string): boolean {
  const known = presentWithId(fleet, id);
  return known?.phase === 'active' && known.group === fleet.group;
}

function checkDistinct(targets: readonly RegisteredTarget[]): void {
  const seen = new Set<string>();
  const i = targets.findIndex(({ id }) => seen.size === seen.add(id).size);
  if (i >= 0) throw duplicate(i, 'each target once', `"${targets[i].id}" again`);
}

function duplicate(i: number, expected: string, received: string): GatewayError {
  return mismatch('ERR_GWLB_DUPLICATE_TARGET', ['targets', i], expected, received);
}

/** Throws where these targets do not all get slots and zones. */
function checkRoom(fleet: Fleet, targets: readonly RegisteredTarget[], now: number): void {
  checkTargetZones(
    fleet,
    targets.map(({ zone }) => zone),
  );
  const added = targets.filter(({ id }) => presentWithId(fleet, id) === null).length;
  const most = fleet.limits.targets;
  const total = everyTarget(fleet).length + added;
  const room = available(fleet.slots, now);
  if (total > most) {
    throw tooMany(`at most ${most} targets, draining ones included`, total);
  }
  if (added > room) {
    const why = 'the other slots wait until the flows of former targets have ended';
    throw tooMany(`at most ${room} new targets (${why})`, added);
  }
}

function tooMany(expected: string, received: number): GatewayError {
  return mismatch('ERR_GWLB_TARGET_LIMIT', 'targets', expected, String(received));
}
