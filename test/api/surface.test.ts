/** What the package exports, and that every member of it is documented. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import * as api from '../../src/index.js';
import { ROOT } from '../support/places.js';

const folder = join(ROOT, 'docs/api');
const pages = new Map(
  readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'utf8')]),
);
const errors = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8');

type Class = abstract new (...args: never[]) => object;

const classes = Object.entries(api as unknown as Record<string, Class>).filter(
  ([, value]) =>
    typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value)),
);

t.test('exports', async (t) => {
  t.strictSame(Object.keys(api).sort(), [
    'Appliance',
    'ApplianceTun',
    'BATCH_PACKETS_MAX',
    'CaptureFilter',
    'CaptureReader',
    'DROP_REASONS',
    'ENDPOINTS_MAX',
    'ERROR_CODES',
    'Endpoint',
    'FLOWS_MAX',
    'FLOWS_MIN',
    'FlowContexts',
    'FlowTable',
    'Gateway',
    'GatewayError',
    'GatewayLoadBalancer',
    'INNER_BYTES_MAX',
    'INNER_BYTES_MIN',
    'InspectedBatch',
    'InspectedPacket',
    'InspectorTest',
    'LINK_TYPES',
    'NO_FLOW',
    'Packet',
    'PacketBatch',
    'PcapWriter',
    'REASON_NAMES',
    'RETURN_PORTS_MAX',
    'ReplayEventsError',
    'SOURCE_PORTS_MAX',
    'TARGETS_MAX',
    'Target',
    'TargetGroup',
    'Verdict',
    'WEIGHT_MAX',
    'WORKERS_MAX',
    'ZONES_MAX',
    'checkOptionsOf',
    'completeOptions',
    'decodeFrame',
    'decodeGeneve',
    'describeOptions',
    'encodeGeneve',
    'flowKey',
    'formatEndpointId',
    'formatIpv4',
    'limitPrivileges',
    'optionProblems',
    'optionsSchema',
    'parseDropRule',
    'parseEndpointId',
    'parseIpv4',
    'protocolName',
    'protocolNumber',
    'readCapture',
    'readRoutes',
    'removeTun',
    'replay',
    'tuplePacket',
    'updateChecksums',
  ]);
});

t.test('every export is on a page', async (t) => {
  const all = [...pages.values(), errors].join('\n');
  t.strictSame(
    Object.keys(api).filter((name) => name !== 'ERROR_CODES' && !all.includes(name)),
    [],
  );
});

t.test('a page begins with what it is, then when not, then code', async (t) => {
  for (const [file, text] of pages) {
    const [title, what, whenNot, code] = text.split('\n\n');
    t.match(title, /^# \w+$/, file);
    t.match(what, /^[A-Z]/, `${file}: what`);
    t.match(whenNot, /^\*\*When not:\*\*/, `${file}: when not`);
    t.match(code, /^```ts\n/, `${file}: code`);
  }
});

/** Members for code inside of the package, marked @internal in their declarations. */
const INTERNAL = new Set([
  'checkHere',
  'checkStickiness',
  'constructor',
  'makeCursor',
  'place',
  'hasNoTransportHeader',
  'endpointKey',
  'lend',
  'giveBack',
  'nowMs',
  'epochOffsetMs',
  'tellsFlows',
  'checkTarget',
  'samplePeaks',
  'countLosses',
  'unreachable',
  'wanted',
  'saveBy',
  'saved',
  'savedState',
]);

/** What a gateway does with an endpoint beside its native part. */
const ENDPOINT_STEPS = [
  'beginEndpoint',
  'keepEndpoint',
  'giveUpEndpoint',
  'beginRemoval',
  'endpointRemoved',
];

function membersOf(type: Class): string[] {
  const members = new Set<string>();
  for (
    let prototype = type.prototype;
    prototype !== null && prototype.constructor.name !== 'EventEmitter';
    prototype = Object.getPrototypeOf(prototype)
  ) {
    if (prototype === Object.prototype) break;
    for (const name of Object.getOwnPropertyNames(prototype)) members.add(name);
  }
  const inherited = ['checkOpen', 'findEndpoint', 'flushEvents', 'end', 'readEvents', 'describe'];
  for (const name of [...INTERNAL, ...ENDPOINT_STEPS, ...inherited]) members.delete(name);
  return [...members];
}

t.test('every class has a page, and every member is on it', async (t) => {
  t.ok(classes.length >= 14);
  const missing: string[] = [];
  for (const [name, type] of classes) {
    // Errors are on the page of what throws them.
    if (type.prototype instanceof Error) continue;
    const heading = new RegExp(`^# ${name}$`, 'm');
    const page = [...pages.values()].find((text) => heading.test(text)) ?? '';
    if (!page) missing.push(`${name}: no page`);
    const linked = /All members of \[Packet\]/.test(page) ? pages.get('packet.md') : '';
    for (const member of membersOf(type)) {
      const word = new RegExp(`\\b${member}\\b`);
      if (!word.test(page) && !word.test(linked ?? '')) missing.push(`${name}.${member}`);
    }
  }
  t.strictSame(missing, []);
});
