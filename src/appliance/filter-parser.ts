/** Capture-filter expressions: text to a tree of tests. The language is the common part of pcap-filter(7). */
import { GatewayError, show } from '../base/errors.js';
import { parseDecimal, parseIp } from '../packet/address.js';

export type Direction = 'source' | 'destination' | 'either' | 'both';

/** One test on a packet's headers. */
export type FilterTest =
  | { kind: 'version'; version: 4 | 6 }
  | { kind: 'protocol'; protocol: number }
  | { kind: 'address'; direction: Direction; bytes: Uint8Array; prefix: number }
  | { kind: 'port'; direction: Direction; low: number; high: number };

export type FilterTree =
  | { kind: 'test'; test: FilterTest }
  | { kind: 'not'; operand: FilterTree }
  | { kind: 'and' | 'or'; left: FilterTree; right: FilterTree };

interface Token {
  text: string;
  /** As it is compared with keywords: lower case, one spelling for each operator. */
  word: string;
  /** Counts from 0. */
  at: number;
}

type Type = 'address' | 'host' | 'net' | 'port' | 'portrange' | 'proto';

/** What stands in front of a value, and is taken over by values that follow `and` and `or`. */
interface Qualifiers {
  protocol: string | null;
  direction: Direction;
  type: Type;
}

/** Nesting and length that nobody writes by hand. */
const DEPTH_MAX = 100;
const TOKENS_MAX = 8192;
/** Characters of the expression that an error shows, in all and in front of the place. */
const SHOWN_MAX = 120;
const SHOWN_BEFORE = 60;

const OPERATORS: Readonly<Record<string, string>> = { '&&': 'and', '||': 'or', '!': 'not' };
const TYPES = new Set(['host', 'net', 'port', 'portrange', 'proto']);
const PORT_PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = {
  ...PORT_PROTOCOLS,
  icmp: 1,
  icmp6: 58,
  igmp: 2,
  esp: 50,
  ah: 51,
  pim: 103,
  vrrp: 112,
};
const VERSIONS: Readonly<Record<string, 4 | 6>> = { ip: 4, ip6: 6 };
const KEYWORDS = new Set([
  ...['and', 'or', 'not', '(', ')', 'src', 'dst', 'mask'],
  ...TYPES,
  ...Object.keys(PROTOCOL_NUMBERS),
  ...Object.keys(VERSIONS),
]);

const PRIMITIVE =
  'host, net, port, portrange, proto, src, dst or a protocol (ip, ip6, tcp, udp, sctp, icmp, icmp6 …)';

const test = (one: FilterTest): FilterTree => ({ kind: 'test', test: one });
const both = (left: FilterTree, right: FilterTree): FilterTree => ({ kind: 'and', left, right });
const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;

function tokens(text: string): Token[] {
  return [...text.matchAll(/&&|\|\||[()!]|(?:(?!&&|\|\|)[^\s()!])+/g)].map((match) => ({
    text: match[0],
    word: own(OPERATORS, match[0]) ?? match[0].toLowerCase(),
    at: match.index,
  }));
}

class Parser {
  readonly #text: string;
  readonly #tokens: Token[];
  #next = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = tokens(text);
  }

  parse(): FilterTree | null {
    if (this.#tokens.length === 0) return null;
    if (this.#tokens.length > TOKENS_MAX) {
      this.#fail(`at most ${TOKENS_MAX} words`, this.#tokens[TOKENS_MAX]);
    }
    const tree = this.#expression();
    if (this.#peek()) this.#fail('and, or, or the end');
    return tree;
  }

  #peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#next + ahead];
  }

  #accept(...words: string[]): Token | null {
    const token = this.#peek();
    if (!token || !words.includes(token.word)) return null;
    this.#next += 1;
    return token;
  }

  /** An error at a token, or at the end; the line with a mark below it. */
  #fail(expected: string, token = this.#peek()): never {
    const at = token?.at ?? this.#text.length;
    const received = token ? show(token.text) : 'the end';
    // Of a long expression, what is around.
    const from = Math.max(0, at - SHOWN_BEFORE);
    const line = this.#text.slice(from, from + SHOWN_MAX).replace(/\s/g, ' ');
    const message =
      `filter, column ${at + 1}: expected ${expected}, received ${received}\n` +
      `  ${line}\n  ${' '.repeat(at - from)}^`;
    const options = { field: 'filter', expected, received, detail: message };
    throw new GatewayError('ERR_GWLB_INVALID_ARGUMENT', message, options);
  }

  /** `and` and `or` bind alike, from left to right, as in pcap-filter. */
  #expression(): FilterTree {
    if (++this.#depth > DEPTH_MAX) this.#fail(`at most ${DEPTH_MAX} levels of nesting`);
    let qualifiers: Qualifiers | null = null;
    const term = (first: boolean): FilterTree => {
      let negated = false;
      while (this.#accept('not')) negated = !negated;
      let tree: FilterTree;
      if (this.#accept('(')) {
        tree = this.#expression();
        if (!this.#accept(')')) this.#fail('and, or, or ")"');
        qualifiers = null;
      } else if (!first && qualifiers !== null && this.#isValue()) {
        tree = this.#value(qualifiers);
      } else {
        [tree, qualifiers] = this.#primitive();
      }
      return negated ? { kind: 'not', operand: tree } : tree;
    };
    let tree = term(true);
    for (let token = this.#accept('and', 'or'); token; token = this.#accept('and', 'or')) {
      tree = { kind: token.word as 'and' | 'or', left: tree, right: term(false) };
    }
    this.#depth -= 1;
    return tree;
  }

  #isValue(): boolean {
    const token = this.#peek();
    return token !== undefined && !KEYWORDS.has(token.word);
  }

  /** `[protocol] [direction] [type] value`, or a protocol alone. */
  #primitive(): [FilterTree, Qualifiers | null] {
    const first = this.#peek();
    const protocol = this.#protocol();
    const direction = this.#direction();
    const typed = this.#accept(...TYPES);
    if (direction === null && !typed) {
      if (protocol === null) this.#fail(PRIMITIVE);
      return [this.#protocolAlone(protocol), null];
    }
    const type = (typed?.word ?? 'address') as Type;
    const qualifiers = { protocol, direction: direction ?? ('either' as const), type };
    this.#checkProtocol(qualifiers, first!, direction !== null);
    return [this.#values(qualifiers), qualifiers];
  }

  #protocol(): string | null {
    const token = this.#peek();
    if (!token) return null;
    const known = own(PROTOCOL_NUMBERS, token.word) ?? own(VERSIONS, token.word);
    if (known === undefined) return null;
    this.#next += 1;
    return token.word;
  }

  #protocolAlone(name: string): FilterTree {
    const version = own(VERSIONS, name);
    if (version !== undefined) return test({ kind: 'version', version });
    const tree = test({ kind: 'protocol', protocol: PROTOCOL_NUMBERS[name] });
    // As in pcap-filter: ICMP and IGMP are IPv4's, ICMPv6 is IPv6's.
    if (name === 'icmp' || name === 'igmp')
      return both(test({ kind: 'version', version: 4 }), tree);
    return name === 'icmp6' ? both(test({ kind: 'version', version: 6 }), tree) : tree;
  }

  #direction(): Direction | null {
    const one = this.#accept('src', 'dst');
    if (!one) return null;
    const join = this.#peek();
    const other = this.#peek(1);
    const joined = join?.word === 'and' || join?.word === 'or';
    if (joined && (other?.word === 'src' || other?.word === 'dst') && other.word !== one.word) {
      this.#next += 2;
      return join.word === 'and' ? 'both' : 'either';
    }
    return one.word === 'src' ? 'source' : 'destination';
  }

  #checkProtocol({ protocol, type }: Qualifiers, first: Token, directed: boolean): void {
    if (type === 'proto' && directed) this.#fail('proto without a direction', first);
    if (protocol === null) return;
    if (type === 'port' || type === 'portrange') {
      if (own(PORT_PROTOCOLS, protocol) === undefined) {
        this.#fail(`tcp, udp or sctp in front of ${type}`, first);
      }
    } else if (own(VERSIONS, protocol) === undefined) {
      const what = type === 'address' ? 'an address' : type;
      this.#fail(`ip or ip6 in front of ${what}`, first);
    }
  }

  /** One value, or several in parentheses: `port (80 or 443)`. */
  #values(qualifiers: Qualifiers): FilterTree {
    if (!this.#accept('(')) return this.#value(qualifiers);
    let negated = this.#accept('not') !== null;
    const one = (): FilterTree => {
      const value = this.#values(qualifiers);
      return negated ? { kind: 'not', operand: value } : value;
    };
    if (++this.#depth > DEPTH_MAX) this.#fail(`at most ${DEPTH_MAX} levels of nesting`);
    let tree = one();
    for (let token = this.#accept('and', 'or'); token; token = this.#accept('and', 'or')) {
      negated = this.#accept('not') !== null;
      tree = { kind: token.word as 'and' | 'or', left: tree, right: one() };
    }
    this.#depth -= 1;
    if (!this.#accept(')')) this.#fail('and, or, or ")"');
    return tree;
  }

  #value(qualifiers: Qualifiers): FilterTree {
    switch (qualifiers.type) {
      case 'port':
      case 'portrange':
        return this.#port(qualifiers);
      case 'proto':
        return this.#protocolNumber(qualifiers);
      default:
        return this.#address(qualifiers);
    }
  }

  /** The next token, which is not a keyword. */
  #take(expected: string): Token {
    const token = this.#peek();
    if (!token || KEYWORDS.has(token.word)) this.#fail(expected);
    this.#next += 1;
    return token;
  }

  #port({ protocol, direction, type }: Qualifiers): FilterTree {
    const range = type === 'portrange';
    const expected = range ? 'two ports such as 1024-2047' : 'a port 0–65535';
    const token = this.#take(expected);
    const [from, to, ...more] = token.text.split('-');
    const low = parseDecimal(from, 65_535);
    const high = to === undefined || !range ? low : parseDecimal(to, 65_535);
    if (low === null || high === null || more.length > 0 || (to !== undefined && !range)) {
      this.#fail(expected, token);
    }
    // As in pcap-filter, whichever way round.
    const bounds = { low: Math.min(low, high), high: Math.max(low, high) };
    const ports = test({ kind: 'port', direction, ...bounds });
    if (protocol === null) return ports;
    return both(test({ kind: 'protocol', protocol: PORT_PROTOCOLS[protocol] }), ports);
  }

  #protocolNumber({ protocol }: Qualifiers): FilterTree {
    const expected = 'a protocol number 0–255, or a name such as tcp or icmp6';
    const token = this.#peek();
    if (!token) this.#fail(expected);
    this.#next += 1;
    // pcap-filter wants names that are keywords with a backslash in front.
    const number =
      own(PROTOCOL_NUMBERS, token.word.replace(/^\\/, '')) ?? parseDecimal(token.text, 255);
    if (number === null) this.#fail(expected, token);
    const tree = test({ kind: 'protocol', protocol: number });
    const version = protocol === null ? undefined : own(VERSIONS, protocol);
    return version === undefined ? tree : both(test({ kind: 'version', version }), tree);
  }

  #address({ protocol, direction, type }: Qualifiers): FilterTree {
    const expected =
      type === 'host'
        ? 'an address such as 10.0.0.1 or 2001:db8::1'
        : 'an address or network such as 10.0.0.0/8, 192.168 or 2001:db8::/32';
    const token = this.#take(expected);
    const [address, length, ...more] = token.text.split('/');
    const partial = type === 'host' ? null : partialNetwork(address);
    const bytes = parseIp(address)?.bytes ?? partial?.bytes;
    if (!bytes || more.length > 0) this.#fail(expected, token);
    if (length !== undefined && type === 'host') this.#fail('an address without a prefix', token);
    const bits = bytes.length * 8;
    let prefix = length === undefined ? (partial?.prefix ?? bits) : parseDecimal(length, bits);
    if (prefix === null) this.#fail(`a prefix length 0–${bits}`, token);
    if (type === 'net' && length === undefined && this.#accept('mask')) {
      prefix = this.#mask(bytes.length);
    }
    const version = bytes.length === 4 ? 4 : 6;
    const wanted = protocol === null ? undefined : own(VERSIONS, protocol);
    if (wanted !== undefined && wanted !== version) {
      this.#fail(`an IPv${wanted} address behind ${protocol}`, token);
    }
    if (!isNetwork(bytes, prefix)) {
      this.#fail(`a network whose bits behind the first ${prefix} are 0`, token);
    }
    return test({ kind: 'address', direction, bytes, prefix });
  }

  #mask(addressBytes: number): number {
    const expected = 'an IPv4 mask such as 255.255.0.0';
    const token = this.#take(expected);
    const bytes = addressBytes === 4 ? (parseIp(token.text)?.bytes ?? null) : null;
    if (bytes?.length !== 4) this.#fail(expected, token);
    const mask = ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) >>> 0;
    const prefix = Math.clz32(~mask);
    const whole = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
    if (mask !== whole) this.#fail('a mask whose ones come before its zeros', token);
    return prefix;
  }
}

/** `10` is 10.0.0.0/8, `192.168` is 192.168.0.0/16. */
function partialNetwork(text: string): { bytes: Uint8Array; prefix: number } | null {
  const parts = text.split('.');
  if (parts.length > 3) return null;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    const value = parseDecimal(part, 255);
    if (value === null) return null;
    bytes[i] = value;
  }
  return { bytes, prefix: parts.length * 8 };
}

function isNetwork(bytes: Uint8Array, prefix: number): boolean {
  return bytes.every((byte, i) => {
    const kept = Math.min(Math.max(prefix - i * 8, 0), 8);
    return (byte & (0xff >> kept)) === 0;
  });
}

/** Null for no expression at all: everything matches. */
export function parseFilter(text: string): FilterTree | null {
  return new Parser(text).parse();
}
