/** `gwlb status`: the running gateway at a glance. */
import { askGateway } from '../api/client.js';
import { type AskArguments, socketOf } from './socket-of.js';
import { age, table } from './table.js';

type Counts = Record<string, number>;

/** What is shown of the answer to `/v1/status`. */
interface Status {
  version: string;
  startedAt: string;
  failure: string | null;
  gateway: { name: string; address: string; port: number; netns: string | null; workers: number };
  targetGroup: Record<string, unknown> & { name: string };
  targets: {
    id: string;
    zone: string;
    state: string;
    reason: string | null;
    impeded: string | null;
    since: number;
    weight: number;
    share: number;
    counters?: Counts;
  }[];
  endpoints: {
    id: string;
    zone: string;
    kind: string;
    device?: string;
    peer?: { address: string; vni: number };
    ready: boolean;
    obstacles: { reason: string; text: string }[];
    counters?: Counts;
  }[];
  counters: Counts & { drops: Counts };
  hints: { reason: string; text: string }[];
}

/** Prints the answer; resolves with the exit code. */
export async function status(given: AskArguments): Promise<number> {
  const answer = (await askGateway(socketOf(given), '/v1/status')) as Status;
  console.log(given.json ? JSON.stringify(answer) : statusText(answer, Date.now()));
  return 0;
}

/** `now` is in milliseconds since 1970. */
export function statusText(answer: Status, now: number): string {
  const { gateway, targetGroup: group, counters } = answer;
  const { failover, stickiness, failOpen } = group;
  const drops = Object.entries(counters.drops).filter(([, count]) => count > 0);
  const netns = gateway.netns === null ? '' : ` in ${gateway.netns}`;
  return [
    `gateway ${gateway.name} on ${gateway.address}:${gateway.port}${netns}, gwlb ${answer.version}, ` +
      `${gateway.workers === 1 ? '1 worker' : `${gateway.workers} workers`}, ` +
      `up ${age(Date.parse(answer.startedAt), now)}`,
    ...stateLines(answer),
    `target group ${group.name}: failover ${failover}, stickiness ${stickiness}, failOpen ${failOpen}`,
    '',
    targetTable(answer, now),
    '',
    endpointTable(answer),
    '',
    `flows: ${sum(counters, 'flowsActiveIpv4', 'flowsActiveIpv6')} now, ${counters.flowsNew} opened, ` +
      `${counters.flowsMoved} moved, ${counters.flowsRejected} rejected`,
    `packets: ${counters.packetsIn} in, ${counters.packetsToTargets} to targets, ` +
      `${counters.packetsFromTargets} from targets, ${counters.packetsOut} out`,
    `drops: ${drops.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none'}`,
    ...answer.hints.map(({ text }) => `likely: ${text}`),
  ].join('\n');
}

/** Whether it forwards, and what is in the way. */
function stateLines({ failure, targets, endpoints }: Status): string[] {
  const lines = failure === null ? [] : [`FAILED: ${failure}`];
  for (const { id, zone, obstacles } of endpoints) {
    for (const { text } of obstacles) lines.push(`NOT READY: ${id} (zone ${zone}): ${text}`);
  }
  if (endpoints.length === 0) lines.push('NOT READY: there is no endpoint');
  if (lines.length === 0) lines.push('forwarding works');
  const unchecked = targets.filter(({ impeded }) => impeded !== null);
  if (unchecked.length === 0) return lines;
  const many = `${unchecked.length} of ${targets.length} targets`;
  const why = `whose last health check could not be made: ${unchecked[0]?.impeded}`;
  return [...lines, `UNCHECKED: ${many} keep the state they had, ${why}`];
}

function sum(counters: Counts, ...keys: string[]): number {
  return keys.reduce((total, key) => total + (counters[key] ?? 0), 0);
}

function targetTable({ targets }: Status, now: number): string {
  const head = [
    'TARGET',
    'ZONE',
    'STATE',
    'FOR',
    'WEIGHT',
    'NEW FLOWS',
    'FLOWS',
    'SENT',
    'RETURNED',
  ];
  const rows = targets.map(
    ({ id, zone, state, reason, since, weight, share, counters, impeded }) => [
      id,
      zone,
      `${reason === null ? state : `${state} (${reason})`}${impeded === null ? '' : ', unchecked'}`,
      age(since, now),
      String(weight),
      `${(share * 100).toFixed(1)} %`,
      ...['flowsActive', 'packetsTo', 'packetsFrom'].map((key) => String(counters?.[key] ?? 0)),
    ],
  );
  return table(head, rows, 4);
}

function endpointTable({ endpoints }: Status): string {
  const rows = endpoints.map(({ id, zone, kind, device, peer, ready, counters }) => [
    id,
    zone,
    device === undefined ? `${kind} ${peer?.address} vni ${peer?.vni}` : `${kind} ${device}`,
    ready ? 'yes' : 'no',
    ...['packetsIn', 'packetsOut'].map((key) => String(counters?.[key] ?? 0)),
  ]);
  return table(['ENDPOINT', 'ZONE', 'KIND', 'READY', 'IN', 'OUT'], rows, 4);
}
