/** What the objects are that the addon takes: configurations, targets, endpoints. */
import { binding } from '../../src/native/binding.js';
import {
  bigint,
  boolean,
  bytes,
  choice,
  integer,
  list,
  object,
  optional,
  text,
  words,
} from './kinds.js';

export const U32 = 0xffffffff;

const STICKINESS = { accepts: (value: unknown) => [5, 3, 2].includes(value as number) };
export const LIVE_FIELDS = {
  stickiness: STICKINESS,
  failOpen: boolean,
  resetOnIdle: boolean,
  clampMss: integer(0, 0xffff),
  pathMtu: integer(0, 0xffff),
  tcpIdleMs: integer(1, 2 ** 31 - 1),
  otherIdleMs: integer(1, 2 ** 31 - 1),
  reportMs: integer(0, 2 ** 31 - 1),
};

export const GATEWAY_FIELDS = {
  ...LIVE_FIELDS,
  hashKey: bytes(16),
  cookieKey: bytes(16),
  scopeGateway: boolean,
  strictCookies: boolean,
  midStream: choice(binding.names.midStream),
  learningMs: integer(0, U32),
  flowsIpv4: integer(1024, 2 ** 27),
  flowsIpv6: integer(1024, 2 ** 27),
  mtu: integer(576, 8500),
  optionClass: integer(0, 0xffff),
  attachmentId: bigint,
  innerEthernet: boolean,
  sourceMac: bytes(6),
  destinationMac: bytes(6),
  promoteOnIngress: boolean,
  pathMtuDiscovery: boolean,
  flowCounters: boolean,
  outerHeaders: boolean,
  address: integer(0, U32),
  port: integer(0, 65535),
  sourcePortBase: integer(1, 65520),
  sourcePortCount: integer(1, 1024),
  events: integer(0, 2 ** 20),
};

export const UDP = {
  address: integer(0, U32),
  port: integer(0, 65535),
  netns: text(4096),
  receiveBufferBytes: integer(0, 2 ** 30),
  sendBufferBytes: integer(0, 2 ** 30),
  ttl: integer(1, 255),
  offloads: boolean,
};

export const PORTS = { sourcePortBase: integer(1, 65535), sourcePortCount: integer(0, 1024) };

export const APPLIANCE = object({
  udp: object({ ...UDP, address6: optional(bytes(16)) }),
  returnPorts: integer(1, 32_768),
  optionClass: integer(0, 0xffff),
  gatewayPort: integer(1, 65535),
  batches: integer(1, 256),
  inspect: boolean,
  offline: boolean,
  flowsIpv4: integer(1024, 2 ** 27),
  flowsIpv6: integer(1024, 2 ** 27),
  tcpIdleMs: integer(1, 2 ** 31 - 1),
  otherIdleMs: integer(1, 2 ** 31 - 1),
  drop: list(
    object({
      protocol: integer(0, 255),
      port: integer(0, 65535),
      address: optional(bytes(4)),
      prefix: integer(0, 32),
    }),
  ),
});

const COLUMN = words(2, 2);
export const TARGETS = object({
  zones: integer(1, 64),
  crossZone: boolean,
  seed: bigint,
  slot: COLUMN,
  zone: COLUMN,
  address: COLUMN,
  port: COLUMN,
  eligible: COLUMN,
  reset: COLUMN,
  gone: COLUMN,
  keeps: COLUMN,
  generation: COLUMN,
  weight: COLUMN,
  identity: {
    accepts: (value) => value instanceof BigUint64Array && value.length === 2,
  },
});

const MAC = bytes(6);
const ENDPOINT_FIELDS = { id: bigint, zone: integer(0, 63), mtu: integer(0, 0) };
export const ENDPOINT = object(ENDPOINT_FIELDS);
/** Of a gateway without sockets. */
export const BATCH_ENDPOINT = object({ ...ENDPOINT_FIELDS, cuts: boolean });
export const PEER = object({
  id: bigint,
  zone: integer(0, 63),
  mtu: integer(0, 0),
  geneve: optional(
    object({
      peer: integer(0, U32),
      port: integer(1, 65535),
      vni: integer(0, 0xffffff),
      ethernet: boolean,
      sourceMac: MAC,
      destinationMac: MAC,
    }),
  ),
});
