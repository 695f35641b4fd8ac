/** Targets by the names that users give them. */
import { invalidArgument, mismatch, show } from '../base/errors.js';
import { type Fleet, type FleetTarget, membersOf } from './state.js';

/** The registered or draining target with this id, or with this address where only one has it. */
export function findTarget(fleet: Fleet, name: string): FleetTarget | null {
  const known = memberWithId(fleet, name);
  if (known) return known;
  const named = membersOf(fleet).filter(({ address }) => address === name);
  if (named.length < 2) return named[0] ?? null;
  const ids = named.map(({ id }) => id).join(', ');
  throw invalidArgument('target', `address and port, since ${ids} are registered`, name);
}

/** The same; throws `ERR_GWLB_UNKNOWN_TARGET` where there is none. */
export function targetNamed(fleet: Fleet, name: string): FleetTarget {
  const target = findTarget(fleet, name);
  if (target) return target;
  throw mismatch('ERR_GWLB_UNKNOWN_TARGET', 'target', 'a registered target', show(name));
}

/** The registered or draining target of the group in use with this id. */
export function memberWithId(fleet: Fleet, id: string): FleetTarget | null {
  const known = presentWithId(fleet, id);
  return known?.group === fleet.group ? known : null;
}

/** The registered or draining target with this id, of whatever group. */
export function presentWithId({ targets }: Fleet, id: string): FleetTarget | null {
  const known = Object.hasOwn(targets, id) ? targets[id] : undefined;
  return known === undefined || known.phase === 'gone' ? null : known;
}
