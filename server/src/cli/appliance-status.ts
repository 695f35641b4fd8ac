/** `gwlb appliance status`: the running appliance at a glance. */
import { ask } from '../api/client.js';
import type { ApplianceStatus } from '../appliance/view.js';
import { checkSocketPath } from '../config/socket-path.js';
import { age, table } from './table.js';

/** Prints the answer; resolves with the exit code. */
export async function applianceStatus(given: { socket: string; json: boolean }): Promise<number> {
  const socket = checkSocketPath('--socket', given.socket);
  const answer = (await ask('appliance', socket, '/v1/status')) as ApplianceStatus;
  console.log(given.json ? JSON.stringify(answer) : applianceStatusText(answer, Date.now()));
  return 0;
}

/** `now` is in milliseconds since 1970. */
export function applianceStatusText(answer: ApplianceStatus, now: number): string {
  const { appliance, counters, capture, flows } = answer;
  const netns = appliance.netns === null ? '' : ` in ${appliance.netns}`;
  const up = age(Date.parse(answer.startedAt), now);
  return [
    `appliance on ${appliance.address}:${appliance.port}${netns}, gwlb ${answer.version}, up ${up}`,
    ...stateLines(answer),
    '',
    ...(answer.devices.length > 0 ? [deviceTable(answer), ''] : []),
    ...(flows ? [`flows: ${flows.ipv4} of IPv4, ${flows.ipv6} of IPv6`] : []),
    `packets: ${counters.packetsReceived} received, ${counters.packetsReturned} returned`,
    `drops: ${dropsText(counters.drops)}`,
    ...(capture ? [`capture: ${capture.packets} packets, ${capture.lost} lost`] : []),
  ].join('\n');
}

/** Whether it works, and what health checks are told. */
function stateLines({ failure, health, devices, appliance }: ApplianceStatus): string[] {
  const lines = failure === null ? [] : [`FAILED: ${failure}`];
  for (const { error } of devices) if (error !== null) lines.push(`LOST: ${error}`);
  const { healthCheck } = appliance;
  const told = healthCheck
    ? `health checks (${healthCheck.protocol}, port ${healthCheck.port}) are told`
    : 'it answers no health checks; it is';
  return [
    ...lines,
    `${told}: ${health.reason === null ? 'healthy' : `NOT HEALTHY: ${health.reason}`}`,
  ];
}

function deviceTable({ devices }: ApplianceStatus): string {
  const head = ['DEVICE', 'ENDPOINT', 'STATE', 'TO KERNEL', 'FROM KERNEL', 'RETURNED', 'DROPPED'];
  const rows = devices.map(({ name, out, endpoint, netns, state, counters }) => [
    `${out === null ? name : `${name}, ${out}`}${netns === null ? '' : ` in ${netns}`}`,
    endpoint ?? 'all',
    state,
    String(counters.packetsToKernel),
    String(counters.packetsFromKernel),
    String(counters.packetsReturned),
    String(Object.values(counters.drops).reduce((sum, count) => sum + count, 0)),
  ]);
  return table(head, rows, 3);
}

function dropsText(drops: Readonly<Record<string, number>>): string {
  const some = Object.entries(drops).filter(([, count]) => count > 0);
  return some.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none';
}
