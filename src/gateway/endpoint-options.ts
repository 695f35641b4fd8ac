/** The options of endpoints: their meaning, ranges and defaults, each described once, and the checks of them. */
import { randomBytes } from 'node:crypto';
import { invalidArgument, mismatch, outOfRange } from '../base/errors.js';
import { INNER_BYTES_MAX, INNER_BYTES_MIN } from '../base/limits.js';
import { schemaOf } from '../base/option-description.js';
import { integer, type Kind } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import { endpointId, networkNamespace, zoneName } from '../packet/option-kinds.js';
import { type CheckedTun, checkTun, TUN, type TunOptions } from './device.js';
import type { EndpointSettings } from './endpoint.js';
import {
  type CheckedPeer,
  checkGeneve,
  GENEVE_PEER,
  type GenevePeerOptions,
} from './geneve-peer.js';
import { PROBE_ENDPOINT_ID } from './probe.js';

/** Options of `Gateway.createEndpoint`. */
export interface BatchEndpointOptions {
  /** `vpce-`, 0 and 16 hex digits. Default random. */
  id?: string;
  /** Zone whose targets its flows go to. Default `'default'`. */
  zone?: string;
  /** Largest inner packet in bytes, 576 up to the gateway's. Default the gateway's. */
  mtu?: number;
}

/** An endpoint that is a TUN device: kernel routes that lead into it lead to the gateway. */
export interface TunEndpointOptions extends BatchEndpointOptions {
  /** The device, or its name alone. */
  tun: string | TunOptions;
  /** Named network namespace of the device. Default: the gateway's. */
  netns?: string | null;
  /** Not of a TUN endpoint. */
  geneve?: never;
}

/** An endpoint that is a remote GENEVE peer, told from others by its address and VNI. */
export interface GeneveEndpointOptions extends BatchEndpointOptions {
  /** The peer. */
  geneve: GenevePeerOptions;
  /** Not of a GENEVE endpoint. */
  tun?: never;
  /** Not of a GENEVE endpoint: its packets use the gateway's sockets. */
  netns?: never;
}

/** Options of `GatewayLoadBalancer.createEndpoint`: `tun` or `geneve` says which kind. */
export type EndpointOptions = TunEndpointOptions | GeneveEndpointOptions;

/** A random id of the long form. */
export function randomEndpointId(): bigint {
  return BigInt(`0x${randomBytes(8).toString('hex')}`) || 1n;
}

const ownId: Kind<bigint, string> = {
  ...endpointId,
  check: (field, value) => {
    const id = endpointId.check(field, value);
    if (id !== PROBE_ENDPOINT_ID) return id;
    const expected = 'an id other than that of health checks, vpce-0ffffffffffffffff';
    throw invalidArgument(field, expected, value);
  },
};

/** The options that every kind of endpoint has. */
export const BATCH_ENDPOINT = {
  id: {
    says: 'carried in every packet as GENEVE option type 1',
    kind: ownId,
    fresh: randomEndpointId,
    presetText: 'random',
  },
  zone: { says: 'zone whose targets its flows go to', kind: zoneName, preset: 'default' },
  mtu: {
    says: "largest inner packet, up to the gateway's",
    kind: integer(INNER_BYTES_MIN, INNER_BYTES_MAX),
    preset: 0,
    presetText: "the gateway's",
    unit: 'bytes',
  },
} as const satisfies TableOf<BatchEndpointOptions>;

interface AnyEndpoint extends BatchEndpointOptions {
  tun?: string | TunOptions;
  netns?: string | null;
  geneve?: GenevePeerOptions;
}

const tunDevice: Kind<CheckedTun | null, string | TunOptions> = {
  check: checkTun,
  range: '',
  schema: { anyOf: [{ type: 'string' }, schemaOf(TUN)] },
  options: TUN,
};

const peer: Kind<CheckedPeer | null, GenevePeerOptions> = {
  check: checkGeneve,
  range: '',
  schema: schemaOf(GENEVE_PEER),
  options: GENEVE_PEER,
};

/** The options of an endpoint with a device or a peer. */
export const ENDPOINT = {
  ...BATCH_ENDPOINT,
  tun: {
    says: 'a TUN device: its name, or a mapping; made if it does not exist, and set up',
    kind: tunDevice,
    preset: null,
    presetText: 'none',
  },
  netns: {
    says: 'network namespace of the device',
    kind: {
      ...networkNamespace,
      // null is a namespace too: the process's own.
      check: (field, value) =>
        value === undefined ? undefined : networkNamespace.check(field, value),
    } as Kind<string | undefined, string | null>,
    preset: undefined,
    presetText: "the gateway's",
  },
  geneve: {
    says: 'instead of a device: a remote GENEVE peer',
    kind: peer,
    preset: null,
    presetText: 'none',
  },
} as const satisfies TableOf<AnyEndpoint>;

/** The options of an endpoint of packets that are handed over, checked; `mtuMax` is the gateway's. */
export function checkBatchEndpoint(
  field: string,
  value: unknown,
  mtuMax: number = INNER_BYTES_MAX,
): EndpointSettings {
  return fitting(field, readOptions(BATCH_ENDPOINT, field, value), mtuMax);
}

/** Where the packets of an endpoint come from and go to. */
export type EndpointPlace =
  /** `netns` undefined: the gateway's. */
  | { readonly tun: CheckedTun; readonly netns: string | undefined; readonly geneve: null }
  | { readonly geneve: CheckedPeer; readonly tun: null };

/** The options of an endpoint with a device or a peer, checked; `mtuMax` is the gateway's. */
export function checkEndpoint(
  field: string,
  value: unknown,
  mtuMax: number = INNER_BYTES_MAX,
): { settings: EndpointSettings; place: EndpointPlace } {
  const { tun, netns, geneve, ...own } = readOptions(ENDPOINT, field, value);
  const settings = fitting(field, own, mtuMax);
  if (geneve === null && tun !== null) return { settings, place: { tun, netns, geneve } };
  if (geneve === null || tun !== null) {
    const received = geneve === null ? 'none of them' : 'both';
    throw mismatch('ERR_GWLB_INVALID_ARGUMENT', field, 'either tun or geneve', received);
  }
  if (netns !== undefined) {
    const expected = 'nothing with geneve, which uses the sockets of the gateway';
    throw invalidArgument(`${field}.netns`, expected, netns || null);
  }
  return { settings, place: { geneve, tun } };
}

function fitting(field: string, settings: EndpointSettings, mtuMax: number): EndpointSettings {
  if (settings.mtu <= mtuMax) return settings;
  throw outOfRange(`${field}.mtu`, `${INNER_BYTES_MIN}–${mtuMax}`, settings.mtu);
}
