/** Kinds of options, and options, that several objects have. */
import { checkBytesOf } from '../base/checks.js';
import { invalidArgument } from '../base/errors.js';
import { FLOWS_MAX, FLOWS_MIN } from '../base/limits.js';
import { integer, type Kind, special, text } from '../base/option-kinds.js';
import type { Settings } from '../base/option-table.js';
import { isUnicastIpv4, parseEndpointId, parseIpv4 } from './address.js';
import { checkNetns, checkSignal } from './lifecycle.js';
import { checkGatewayAddress } from './own-address.js';

/** The name of a zone. */
export const zoneName: Kind<string> = text(
  '1–63 letters, digits, ".", "_" and "-"',
  /^[\w.-]+$/,
  63,
);

export const unicastIpv4: Kind<string> = special(
  'unicast IPv4 address',
  { type: 'string', format: 'ipv4' },
  (field, value) => {
    const number = parseIpv4(value);
    if (number !== null && isUnicastIpv4(number)) return value as string;
    throw invalidArgument(field, 'a unicast IPv4 address', value);
  },
);

/** UDP and TCP. */
export const portNumber: Kind<number> = integer(1, 65_535);

/** '' for null, the process's own. */
export const networkNamespace: Kind<string, string | null> = special(
  'name or null',
  { type: ['string', 'null'] },
  checkNetns,
);

export const abortSignal: Kind<AbortSignal | undefined, AbortSignal> = special(
  'AbortSignal',
  {},
  checkSignal,
);

/** Class of the gateway's GENEVE options. */
export const optionClass: Kind<number> = integer(0, 0xffff);

/** As a number; text of either form. */
export const endpointId: Kind<bigint, string> = special(
  '`vpce-`, 0 and 16 hex digits',
  { type: 'string', pattern: '^vpce-0[0-9a-f]{16}$' },
  (field, value) => {
    const id = parseEndpointId(value);
    if (id !== null) return id;
    const expected =
      'an id such as "vpce-0123456789abcdef0" (vpce-, 0 and 16 lower-case hex digits, not all 0)';
    throw invalidArgument(field, expected, value);
  },
);

export const attachmentId: Kind<bigint> = special('64 bits', {}, (field, value) => {
  if (typeof value === 'bigint' && BigInt.asUintN(64, value) === value) return value;
  throw invalidArgument(field, 'a bigint of 64 bits', value);
});

/** A copy: what the caller's array has later is another matter. */
export const secretKey: Kind<Uint8Array> = special(
  '16 bytes',
  {},
  (field, value) => new Uint8Array(checkBytesOf(field, value, 16)),
);

/** As a number in host order. */
export const gatewayAddress: Kind<number, string> = special(
  'IPv4 address',
  { type: 'string', format: 'ipv4' },
  checkGatewayAddress,
);

/** The options of who has room for flows: what `flows` and `flowsIpv6` are, and the default of `flows`. */
export function roomForFlows(ipv4: string, ipv6: string, flows: number) {
  const kind = integer(FLOWS_MIN, FLOWS_MAX);
  return {
    flows: { says: ipv4, kind, preset: flows },
    flowsIpv6: {
      says: ipv6,
      kind,
      preset: (before: Settings) => Math.max(FLOWS_MIN, Math.floor((before.flows as number) / 4)),
      presetText: 'a quarter of `flows`',
    },
  };
}
