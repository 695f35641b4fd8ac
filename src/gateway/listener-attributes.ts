/** Listener attributes under their AWS names (`ModifyListenerAttributes`), all of them text. */
import { checkRecord } from '../base/checks.js';
import {
  type Attributes,
  attributeOf,
  attributeTable,
  attributeValues,
  checkAttributes,
} from './attributes.js';
import { IDLE_TIMEOUT, LISTENER_TCP_RESET } from './option-tables.js';

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

const ATTRIBUTES: Attributes<ListenerSettings> = {
  [IDLE]: attributeOf(IDLE_TIMEOUT.tcpSeconds, ({ tcpSeconds }) => tcpSeconds),
  [RESET]: attributeOf(LISTENER_TCP_RESET.onIdleTimeout, ({ onIdleTimeout }) => onIdleTimeout),
};

/** The attributes of a listener, described. */
export const LISTENER_ATTRIBUTES = attributeTable(ATTRIBUTES);

export function readListenerAttributes(settings: ListenerSettings): ListenerAttributes {
  return Object.freeze(attributeValues(ATTRIBUTES, settings)) as unknown as ListenerAttributes;
}

/** The settings that `changes` names; throws `ERR_GWLB_ATTRIBUTES`. */
export function changeListenerAttributes(given: unknown): Partial<ListenerSettings> {
  const changes = checkAttributes(ATTRIBUTES, 'a listener', checkRecord('changes', given));
  const { [IDLE]: idle, [RESET]: reset } = changes;
  return {
    ...(idle !== undefined && { tcpSeconds: Number(idle) }),
    ...(reset !== undefined && { onIdleTimeout: reset === 'true' }),
  };
}
