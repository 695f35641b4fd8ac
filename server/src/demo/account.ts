/** The final account: what the gateway said of each flow, against what the appliances saw. */
import type { FlowNote, SeenFlow } from './types.js';
import type { World } from './world.js';

export interface Account {
  /** Connections that the gateway pinned. */
  flows: number;
  /** Of those, the ones whose every packet, both ways, was seen by one and the same appliance. */
  symmetric: number;
  /** Connections that a native drop rule kept from every inspector. */
  unseen: number;
  /** Flows that failover moved. */
  moved: { flow: string; from: string; to: string; symmetricAfter: boolean }[];
  /** Anything else, with what is wrong. */
  wrong: string[];
}

/** Cookies of appliances that saw a connection, by `client server`. */
function sightings(world: World): Map<string, Map<string, SeenFlow[]>> {
  const all = new Map<string, Map<string, SeenFlow[]>>();
  for (const [name, flows] of world.seen) {
    for (const flow of flows.values()) {
      const key = `${flow.client} ${flow.server}`;
      const byAppliance = all.get(key) ?? new Map<string, SeenFlow[]>();
      byAppliance.set(name, [...(byAppliance.get(name) ?? []), flow]);
      all.set(key, byAppliance);
    }
  }
  return all;
}

const sum = (flows: readonly SeenFlow[] | undefined, side: 'toServer' | 'toClient') =>
  (flows ?? []).reduce((total, flow) => total + flow[side], 0);

export interface Exceptions {
  /** Connections whose server cannot have answered everything: an inspector dropped the request. */
  isBlocked(key: string): boolean;
  /** Connections that a drop rule takes before the inspector sees them. */
  isUnseen(key: string): boolean;
}

export function settleAccount(world: World, exceptions: Exceptions): Account {
  const seen = sightings(world);
  const byKey = new Map<string, FlowNote[]>();
  for (const note of world.flowNotes) {
    if (note.type === 'ended' || note.protocol !== 'tcp') continue;
    const key = `${note.client} ${note.server}`;
    byKey.set(key, [...(byKey.get(key) ?? []), note]);
  }
  const account: Account = { flows: byKey.size, symmetric: 0, unseen: 0, moved: [], wrong: [] };
  for (const [key, notes] of byKey) {
    if (exceptions.isUnseen(key)) {
      account.unseen++;
      if (seen.has(key)) account.wrong.push(`${key}: seen although a drop rule forbids it`);
      continue;
    }
    const moves = notes.filter(({ type }) => type === 'moved');
    const expected = new Set(notes.map(({ target }) => world.nameOf(target)));
    for (const { previous } of moves) if (previous) expected.add(world.nameOf(previous));
    const strangers = [...(seen.get(key)?.keys() ?? [])].filter((name) => !expected.has(name));
    const last = world.nameOf(notes.at(-1)?.target ?? '');
    const flows = seen.get(key)?.get(last);
    const bothWays =
      sum(flows, 'toServer') > 0 && (sum(flows, 'toClient') > 0 || exceptions.isBlocked(key));
    if (strangers.length > 0) {
      account.wrong.push(`${key}: also seen by ${strangers.join(', ')}`);
    } else if (!bothWays) {
      account.wrong.push(`${key}: ${last} saw only one direction`);
    } else if (moves.length === 0) {
      account.symmetric++;
    }
    for (const move of moves) {
      account.moved.push({
        flow: key,
        from: world.nameOf(move.previous ?? ''),
        to: world.nameOf(move.target),
        symmetricAfter: bothWays && strangers.length === 0,
      });
    }
  }
  return account;
}
