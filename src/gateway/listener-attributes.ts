/** Listener attributes under their AWS names (`ModifyListenerAttributes`), all of them text. */
import { checkRecord } from '../base/checks.js';
import { type AttributeDefinition, checkAttribute } from './group-attributes.js';

/** The attributes of a gateway's one listener. */
export interface ListenerAttributes {
  /** `"60"`–`"6000"`; other than `"350"` with 5-tuple stickiness only. */
  readonly 'tcp.idle_timeout.seconds': string;
  /** `"true"` or `"false"`. */
  readonly 'send_tcp_reset.on_idle_timeout.enabled': string;
}

/** What they are another name for. */
export interface ListenerSettings {
  tcpSeconds: number;
  onIdleTimeout: boolean;
}

const IDLE = 'tcp.idle_timeout.seconds';
const RESET = 'send_tcp_reset.on_idle_timeout.enabled';

const DEFINITIONS: Readonly<Record<string, AttributeDefinition<ListenerSettings>>> = {
  [IDLE]: {
    expected: '"60"–"6000"',
    accepts: (value) =>
      /^[1-9]\d{1,3}$/.test(value) && Number(value) >= 60 && Number(value) <= 6000,
    read: ({ tcpSeconds }) => String(tcpSeconds),
  },
  [RESET]: {
    expected: '"true" or "false"',
    accepts: (value) => value === 'true' || value === 'false',
    read: ({ onIdleTimeout }) => String(onIdleTimeout),
  },
};

export function readListenerAttributes(settings: ListenerSettings): ListenerAttributes {
  const values = Object.entries(DEFINITIONS).map(([key, { read }]) => [key, read(settings)]);
  return Object.freeze(Object.fromEntries(values));
}

/** The settings that `changes` names; throws `ERR_GWLB_ATTRIBUTES`. */
export function changeListenerAttributes(given: unknown): Partial<ListenerSettings> {
  const changes = checkRecord('changes', given);
  for (const [key, value] of Object.entries(changes)) {
    checkAttribute(DEFINITIONS, 'a listener', key, value);
  }
  const { [IDLE]: idle, [RESET]: reset } = changes;
  return {
    ...(idle !== undefined && { tcpSeconds: Number(idle) }),
    ...(reset !== undefined && { onIdleTimeout: reset === 'true' }),
  };
}
