/** A failing case for people, one line an action. */
import type { Action, Case } from './commands.js';
import { ENDPOINTS, type PacketSpec, PROTOCOLS, TARGETS } from './world.js';

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG'];

export function showCase({ options, actions }: Case): string[] {
  const given = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  return [given.join(' '), ...actions.map((action, i) => `${i + 1}. ${showAction(action)}`)];
}

function showAction(action: Action): string {
  if (action.do === 'send') {
    const { zone } = ENDPOINTS[action.endpoint];
    return `send by endpoint ${action.endpoint} (zone ${zone}): ${action.packets.map(showPacket).join(' | ')}`;
  }
  const { do: name, ...rest } = action;
  const fields = Object.entries(rest).map(([field, value]) => {
    if (field === 'target') return TARGETS[value as number].address;
    return `${field}=${typeof value === 'object' ? JSON.stringify(value) : value}`;
  });
  return [name, ...fields].join(' ');
}

function showPacket(spec: PacketSpec): string {
  const { version, client, port, back, protocol, flags, heard, payload, ecn } = spec;
  const { id, dontFragment, options, piece, error } = spec;
  const names = FLAGS.filter((_, i) => flags & (1 << i)).join('+') || 'no flags';
  const ends = [
    `client${client}${protocol in PROTOCOLS && protocol !== 'gre' ? `:${port}` : ''}`,
    'server',
  ];
  if (back) ends.reverse();
  return [
    error && `${error.nested ? 'error about an ' : ''}error (${error.quoted} bytes quoted) about`,
    `IPv${version} ${protocol} ${ends.join('>')}`,
    protocol === 'tcp' && names,
    protocol === 'tcp' && !heard && 'with a wrong acknowledgment',
    protocol === 'tcp' && options !== 'none' && `options: ${options}`,
    piece && `${piece} fragment`,
    `id ${id}`,
    dontFragment && "Don't Fragment",
    piece === null && payload > 0 && `${payload} bytes`,
    ecn > 0 && `ECN ${ecn}`,
  ]
    .filter(Boolean)
    .join(' ');
}
