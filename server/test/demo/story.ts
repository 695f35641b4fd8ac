/** What the demo promises, judged from what client, application and appliances saw. */
import type { Test } from 'tap';
import { type DemoRun, one } from './demo-run.js';

interface Promised {
  promise: string;
  held: boolean;
  detail: string;
}

const PROMISES = [
  'targets get healthy',
  'every request is served',
  'the application sees the client itself',
  'flows spread over the appliances',
  'one request can be followed through every hop',
  'one appliance, one cookie and one source port for both directions',
  'a forbidden request is blocked',
  'a dead appliance is detected',
  'only the dead appliance loses flows',
  'its connections go on through others',
  'it comes back',
  'one more appliance joins under load',
  'and leaves without harm',
  'both directions of every flow cross one appliance',
  'no request failed but the forbidden one',
];

/** Where there are namespaces. */
const FIREWALL = 'a Linux firewall drops what its rule forbids';

/** Checks a finished story; `kind` is where it was told. */
export async function checkStory(t: Test, run: DemoRun, kind: string): Promise<void> {
  t.equal(await run.ended, 0, `exit code 0; stderr: ${run.stderr()}`);
  t.equal(one(run, 'topology').kind, kind);

  const end = one(run, 'end') as unknown as { promises: Promised[]; told: boolean; at: number };
  t.equal(end.told, true, 'told to its end');
  t.same(
    end.promises.map(({ promise }) => promise).sort(),
    [...PROMISES, ...(kind === 'namespaces' ? [FIREWALL] : [])].sort(),
    'every promise was checked',
  );
  for (const { promise, held, detail } of end.promises) t.ok(held, `${promise} (${detail})`);

  const requests = one(run, 'requests') as unknown as { asked: number; served: number };
  t.equal(requests.served, requests.asked);
  const trace = one(run, 'trace') as unknown as { steps: string[]; appliance: string };
  t.equal(trace.steps.length, 12, 'twelve steps');
  const failover = one(run, 'failover') as unknown as {
    appliance: string;
    moved: { from: string; to: string }[];
  };
  t.ok(failover.moved.length > 0, 'flows moved');
  for (const { from, to } of failover.moved) {
    t.equal(from, failover.appliance);
    t.not(to, failover.appliance);
  }
  checkAccount(t, run);
}

function checkAccount(t: Test, run: DemoRun): void {
  const { account, view, failed } = one(run, 'account') as unknown as {
    account: {
      flows: number;
      symmetric: number;
      unseen: number;
      moved: unknown[];
      wrong: string[];
    };
    view: {
      packetsIn: number;
      packetsToTargets: number;
      packetsFromTargets: number;
      packetsOut: number;
      drops: Record<string, number>;
    };
    failed: unknown[];
  };
  t.same(account.wrong, []);
  t.ok(account.flows > 300, `${account.flows} flows`);
  const movedFlows = new Set((account.moved as { flow: string }[]).map(({ flow }) => flow));
  t.equal(
    account.symmetric + account.unseen + movedFlows.size,
    account.flows,
    'every flow is in the account',
  );
  t.equal(failed.length, 1, 'only the forbidden request failed');
  t.same(view.drops, {}, 'the gateway dropped nothing');
  t.equal(view.packetsIn, view.packetsToTargets, 'every packet that entered went to an appliance');
  t.equal(view.packetsFromTargets, view.packetsOut, 'every packet that came back went out');
}
