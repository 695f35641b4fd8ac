/** What is learned of a target's health: from its checks, from packets, or from somebody who knows. */
import { checking, condemn, saidToBe, step } from '../health/thresholds.js';
import type { Plan } from './change.js';
import type { CommandOf } from './commands.js';
import { memberWithId, targetNamed } from './find.js';
import { describe, setHealth, warmUp } from './life.js';
import { type Fleet, type FleetTarget, policyOf } from './state.js';

export function planWord(fleet: Fleet, command: CommandOf<'setHealth'>): Plan {
  const target = targetNamed(fleet, command.target);
  return (change) => {
    if (target.phase !== 'active') return;
    target.said = saidToBe(command.state, command.description);
    if (fleet.inUse) setHealth(change, target, target.said, 'set-health');
  };
}

export function planSlowStartEnd(fleet: Fleet, command: CommandOf<'skipSlowStart'>): Plan {
  const target = targetNamed(fleet, command.target);
  return (change) => {
    target.warmingSince = null;
    warmUp(change, target);
  };
}

export function planFirstCheck(fleet: Fleet, command: CommandOf<'checkStarted'>): Plan {
  return () => {
    const target = checkedTarget(fleet, command.target);
    if (target === null) return;
    target.health = checking(target.health);
    describe(target);
  };
}

export function planResult(fleet: Fleet, { target: id, result }: CommandOf<'checked'>): Plan {
  return (change) => {
    const target = checkedTarget(fleet, id);
    const rule = target && policyOf(fleet, target).rule;
    if (!target || !rule) return;
    setHealth(change, target, step(target.health, result, rule, change.now), 'health-check');
  };
}

export function planConviction(fleet: Fleet, command: CommandOf<'condemned'>): Plan {
  return (change) => {
    const target = checkedTarget(fleet, command.target);
    const rule = target && policyOf(fleet, target).rule;
    if (!rule || target.state !== 'healthy') return;
    const { evidence, result } = command;
    setHealth(
      change,
      target,
      condemn(target.health, evidence, result, rule, change.now),
      'suspicion',
    );
  };
}

/** The target of a result that counts; null where it left, or is not checked any more. */
function checkedTarget(fleet: Fleet, id: string): FleetTarget | null {
  const target = memberWithId(fleet, id);
  return fleet.inUse && target?.phase === 'active' ? target : null;
}
