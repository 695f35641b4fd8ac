/** Kinds of options that several objects have. */
import { invalidArgument } from '../base/errors.js';
import { type Kind, special, text } from '../base/option-kinds.js';
import { isUnicastIpv4, parseIpv4 } from './address.js';

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
