/** A target group at one moment, and the events of a replay that lead from one moment to another. */
import { type ReplayEvent, TargetGroup, type TargetGroupAttributes } from 'gwlb';
import type { Config } from '../config/types.js';

interface TargetMoment {
  readonly address: string;
  readonly port: number;
  readonly zone: string;
  readonly weight: number;
  /** Everything but `healthy` takes no new flows, so it is `unhealthy` in a replay. */
  readonly health: 'healthy' | 'unhealthy';
  readonly draining: boolean;
}

export interface GroupState {
  readonly targets: ReadonlyMap<string, TargetMoment>;
  readonly attributes: TargetGroupAttributes;
}

/** An event without its time. */
export type ChangeEvent = ReplayEvent extends infer E
  ? E extends ReplayEvent
    ? Omit<E, 'at'>
    : never
  : never;

export function stateOf(group: TargetGroup): GroupState {
  const targets = group.targets().map((target): [string, TargetMoment] => {
    const { id, address, port, zone, weight, state } = target;
    const health = state === 'healthy' ? 'healthy' : 'unhealthy';
    return [id, { address, port, zone, weight, health, draining: state === 'draining' }];
  });
  return { targets: new Map(targets), attributes: group.attributes };
}

/** Where a replay with this configuration begins. */
export function configuredState(config: Config): GroupState {
  const { targets, ...options } = config.targetGroup;
  const group = new TargetGroup(options);
  group.setTargets(targets);
  const state = stateOf(group);
  const healthy = [...state.targets].map(([id, target]): [string, TargetMoment] => {
    return [id, { ...target, health: 'healthy' }];
  });
  return { targets: new Map(healthy), attributes: state.attributes };
}

/** What has to happen between the two; nothing where they are equal. */
export function changesBetween(before: GroupState, after: GroupState): ChangeEvent[] {
  const events: ChangeEvent[] = [];
  const attribute = Object.fromEntries(
    Object.entries(after.attributes).filter(([key, value]) => before.attributes[key] !== value),
  );
  if (Object.keys(attribute).length > 0) events.push({ attribute });
  for (const [id, target] of before.targets) {
    // One that was draining is gone after its delay, in a replay too.
    if (!after.targets.has(id) && !target.draining) events.push({ target: id, deregister: true });
  }
  for (const [id, target] of after.targets)
    events.push(...targetChanges(id, before.targets.get(id), target));
  return events;
}

function targetChanges(
  id: string,
  before: TargetMoment | undefined,
  after: TargetMoment,
): ChangeEvent[] {
  const events: ChangeEvent[] = [];
  const { address, port, zone, weight, health, draining } = after;
  const registered = before === undefined || (before.draining && !draining);
  if (registered) events.push({ register: { address, port, zone, weight } });
  else if (before.weight !== weight) events.push({ target: id, weight });
  // A target is healthy when it is registered.
  const known = registered ? 'healthy' : before.health;
  if (!draining && known !== health) events.push({ target: id, health });
  if (draining && !before?.draining) events.push({ target: id, deregister: true });
  return events;
}
