/** Rules by which an appliance drops packets without JavaScript, and their text form. */

import { checkArray } from '../base/checks.js';
import { checkString, GatewayError, invalidArgument, show } from '../base/errors.js';
import { schemaOf } from '../base/option-description.js';
import { type Kind, special } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import type { NativeApplianceConfig } from '../native/binding.js';
import { type IpPrefix, parseDecimal, parsePrefix } from '../packet/address.js';
import { hasPorts, protocolName, protocolNumber } from '../packet/names.js';
import { portNumber } from '../packet/option-kinds.js';

/** A packet that has all of what is given is dropped; at least one thing must be. */
export interface DropRule {
  /** A name such as `tcp`, `udp`, `icmp`, or an IP protocol number 1–255. */
  protocol?: string | number;
  /** Source or destination port, 1–65535. */
  port?: number;
  /** Source or destination address, or a prefix: `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`. */
  host?: string;
}

/** Rules of an appliance. */
const RULES_MAX = 4096;

/** Characters of a rule as text. */
const TEXT_MAX = 1000;

type NativeDropRule = NativeApplianceConfig['drop'][number];

const protocol: Kind<number | null, string | number> = special(
  'a name such as `tcp`, or 1–255',
  { anyOf: [{ type: 'string' }, { type: 'integer', minimum: 1, maximum: 255 }] },
  (field, value) => {
    const number = protocolNumber(value);
    if (number) return number;
    const expected = 'a protocol such as "tcp", "udp" or "icmp", or a number 1–255';
    throw invalidArgument(field, expected, value);
  },
);

const host: Kind<IpPrefix | null, string> = special(
  'address or prefix',
  { type: 'string' },
  (field, value) => {
    const prefix = parsePrefix(value);
    if (prefix) return prefix;
    throw invalidArgument(field, 'an address or prefix such as "10.0.0.1" or "10.0.0.0/8"', value);
  },
);

const any = { preset: null, presetText: 'any' } as const;

/** What a rule names; all of it must match. */
const DROP_RULE = {
  protocol: { says: 'IP protocol', kind: protocol, ...any },
  port: {
    says: 'source or destination port',
    kind: portNumber as Kind<number | null, number>,
    ...any,
  },
  host: { says: 'source or destination address, or a prefix of it', kind: host, ...any },
} as const satisfies TableOf<DropRule>;

/** A rule as native code takes it. */
function checkDropRule(field: string, value: unknown): NativeDropRule {
  const { protocol, port, host } = readOptions(DROP_RULE, field, value);
  if (protocol === null && port === null && host === null) {
    throw invalidArgument(field, 'a protocol, a port or a host (else every packet matches)', value);
  }
  if (port !== null && protocol !== null && !hasPorts(protocol)) {
    const expected = `nothing with protocol ${protocolName(protocol)}, which has no ports`;
    throw invalidArgument(`${field}.port`, expected, port);
  }
  return {
    protocol: protocol ?? 0,
    port: port ?? 0,
    address: host?.bytes ?? null,
    prefix: host?.prefix ?? 0,
  };
}

/** A list of them. */
export const dropRules: Kind<NativeDropRule[], readonly DropRule[]> = special(
  'rules `{ protocol?, port?, host? }`',
  { type: 'array', items: schemaOf(DROP_RULE), maxItems: RULES_MAX },
  (field, value) =>
    checkArray(field, value, 'an array of rules', RULES_MAX).map((rule, i) =>
      checkDropRule(`${field}[${i}]`, rule),
    ),
);

interface Word {
  text: string;
  /** Counts from 1. */
  position: number;
}

function expectedAt(text: string, word: Word | undefined, expected: string): GatewayError {
  const position = word?.position ?? text.length + 1;
  const received = word ? show(word.text) : 'the end';
  const message = `drop rule ${show(text)}, position ${position}: expected ${expected}, received ${received}`;
  const options = { field: 'drop', expected, received, detail: message };
  return new GatewayError('ERR_GWLB_INVALID_ARGUMENT', message, options);
}

/**
 * Reads a rule as text: any of `PROTOCOL` (a name, or `proto` and a number), `port NUMBER` and
 * `host ADDRESS[/PREFIX]`, each at most once, in any order: `tcp port 23`, `host 10.0.0.1`,
 * `udp port 53 host 10.1.0.0/16`. Throws `ERR_GWLB_INVALID_ARGUMENT` with the position (counted from
 * 1) of what it does not understand.
 */
export function parseDropRule(text: string): DropRule {
  checkString('drop', text, { min: 0, max: TEXT_MAX, expected: 'a rule as text' });
  const words = [...text.matchAll(/\S+/g)].map((match): Word => {
    return { text: match[0], position: match.index + 1 };
  });
  if (words.length === 0) throw expectedAt(text, undefined, 'a protocol, "port" or "host"');
  const rule: DropRule = {};
  for (let i = 0; i < words.length; ) i = readPart(text, words, i, rule);
  return rule;
}

/** Reads what begins at word `i` into the rule; returns where the next part begins. */
function readPart(text: string, words: readonly Word[], i: number, rule: DropRule): number {
  const word = words[i];
  const key = word.text.toLowerCase();
  const value = words[i + 1];
  const once = (name: keyof DropRule): void => {
    if (rule[name] !== undefined) throw expectedAt(text, word, `no second ${name}`);
  };
  if (key === 'port') {
    once('port');
    const port = value && parseDecimal(value.text, 65_535);
    if (!port) throw expectedAt(text, value, 'a port 1–65535');
    if (rule.protocol !== undefined) checkPorts(text, word, rule.protocol);
    rule.port = port;
    return i + 2;
  }
  if (key === 'host') {
    once('host');
    if (!value || !parsePrefix(value.text)) {
      throw expectedAt(text, value, 'an address or prefix such as 10.0.0.1 or 10.0.0.0/8');
    }
    rule.host = value.text;
    return i + 2;
  }
  const numbered = key === 'proto';
  const named = numbered ? value : word;
  const protocol = numbered ? value && parseDecimal(value.text, 255) : protocolNumber(key);
  if (!protocol) {
    const expected = numbered ? 'a protocol number 1–255' : 'a protocol, "port" or "host"';
    throw expectedAt(text, named, expected);
  }
  once('protocol');
  if (rule.port !== undefined) checkPorts(text, word, protocol);
  rule.protocol = numbered ? protocol : protocolName(protocol);
  return numbered ? i + 2 : i + 1;
}

function checkPorts(text: string, word: Word, protocol: string | number): void {
  const number = protocolNumber(protocol) ?? 0;
  if (hasPorts(number)) return;
  throw expectedAt(text, word, `no port with protocol ${protocolName(number)}, which has none`);
}
