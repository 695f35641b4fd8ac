/** What `gwlb replay` prints: a line a packet and direction, and a summary. */
import { DROP_REASONS, type ReplayLine, type ReplayReason, type ReplaySummary } from 'gwlb';

function cookieText(cookie: number): string {
  return `0x${cookie.toString(16).padStart(8, '0')}`;
}

/** The line as `--json` prints it: keys, their order and the form of numbers are a promise. */
export function lineJson(line: ReplayLine): string {
  const { frame, time, direction, flow, target, cookie, verdict, reason } = line;
  const rest = JSON.stringify({
    direction,
    flow: flow && { id: flow.id, key: flow.key, new: flow.new },
    target,
    cookie: cookie === null ? null : cookieText(cookie),
    verdict,
    reason,
  });
  return `{"frame":${frame},"time":${time.toFixed(6)},${rest.slice(1)}`;
}

/** The same for people. */
export function lineText(line: ReplayLine): string {
  const { frame, time, direction, flow, target, cookie, verdict, reason } = line;
  const parts = [String(frame), time.toFixed(6), direction.padEnd(7), verdict];
  if (target !== null) parts.push(direction === 'ingress' ? `to ${target}` : `from ${target}`);
  if (cookie !== null) parts.push(`cookie ${cookieText(cookie)}`);
  if (flow?.id != null) parts.push(`flow ${flow.id}${flow.new ? ' (new)' : ''}`);
  if (flow) parts.push(flow.key);
  if (reason !== null) parts.push(`${reason}: ${reasonText(reason)}`);
  return parts.join('  ');
}

function reasonText(reason: ReplayReason): string {
  if (reason === 'unknown_link') return 'the link type of the frame is not read';
  return reason === 'not_ip' ? 'the frame has no IP packet' : DROP_REASONS[reason];
}

/** The summary for people, several lines. */
export function summaryText(summary: ReplaySummary): string {
  const { frames, seconds, packets, bytes, flows, verdicts, drops, targets } = summary;
  const counted = Object.entries(verdicts).filter(([, count]) => count > 0);
  const lines = [
    `${frames} frames in ${seconds.toFixed(6)} s, ${packets} packets, ${bytes} bytes, ${flows} flows`,
    `verdicts: ${counted.map(([name, count]) => `${name} ${count}`).join(', ') || 'none'}`,
  ];
  for (const [reason, count] of Object.entries(drops)) {
    lines.push(`${reason} ${count}: ${reasonText(reason as ReplayReason)}`);
  }
  for (const [address, target] of Object.entries(targets)) {
    lines.push(
      `target ${address}: ${target.flows} flows, ${target.packets} packets, ${target.bytes} bytes`,
    );
  }
  return lines.join('\n');
}
