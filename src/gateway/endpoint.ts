/** Endpoints: where traffic enters a gateway and leaves it. */
import { randomBytes } from 'node:crypto';
import { invalidArgument, outOfRange } from '../base/errors.js';
import { INNER_BYTES_MAX, INNER_BYTES_MIN } from '../base/limits.js';
import { integer, type Kind, special } from '../base/option-kinds.js';
import { fillOptions, type TableOf } from '../base/option-table.js';
import type { NativeEndpoint } from '../native/binding.js';
import { formatEndpointId, parseEndpointId } from '../packet/address.js';
import { ENDPOINT_ID_FORM } from '../packet/codec.js';
import { zoneName } from '../packet/option-kinds.js';
import { PROBE_ENDPOINT_ID } from './probe.js';

/**
 * `tun`: a TUN device that kernel routes point at. `geneve`: a remote GENEVE peer, such as a Linux
 * host or a switch. `batch`: an embedder hands the packets over.
 */
export type EndpointKind = 'tun' | 'geneve' | 'batch';

/** A remote GENEVE peer, as an endpoint has it. */
export interface EndpointPeer {
  /** Its IPv4 address. */
  readonly address: string;
  /** UDP port that it receives on. */
  readonly port: number;
  /** VNI of its packets, 24 bits. */
  readonly vni: number;
  /** What it exchanges: IP packets, or Ethernet frames. */
  readonly inner: 'ip' | 'ethernet';
}

type EndpointFields = Omit<Endpoint, 'toJSON'>;

/** What only `make` can give to the constructor. */
const PRIVATE = Symbol('Endpoint.make');

/** One endpoint of a gateway. A packet leaves by the endpoint its flow entered by. */
export class Endpoint {
  /** `vpce-` and 17 hex digits; carried in every packet as GENEVE option type 1. */
  readonly id: string;
  /** The zone whose targets its flows go to. */
  readonly zone: string;
  /** Where its packets come from and go to. */
  readonly kind: EndpointKind;
  /** Largest inner packet in bytes. */
  readonly mtu: number;
  /** Number of the endpoint in `batch.endpoint`; not reused for as long as its flows may live. */
  readonly index: number;
  /** Name of the device, for kind `tun`. */
  readonly device: string | null;
  /** Network namespace of the device; null for this process's own. */
  readonly netns: string | null;
  /** The peer, for kind `geneve`. */
  readonly peer: EndpointPeer | null;

  readonly #made = true;

  private constructor(key: symbol, fields: EndpointFields) {
    if (key !== PRIVATE) throw invalidArgument('Endpoint', 'a call of createEndpoint', key);
    this.id = fields.id;
    this.zone = fields.zone;
    this.kind = fields.kind;
    this.mtu = fields.mtu;
    this.index = fields.index;
    this.device = fields.device;
    this.netns = fields.netns;
    this.peer = fields.peer;
    Object.freeze(this);
  }

  /** @internal Whether it is one of this copy of the package, whatever a proxy says. */
  static is(value: unknown): value is Endpoint {
    return typeof value === 'object' && value !== null && #made in value;
  }

  /** @internal For gateways. */
  static make(fields: EndpointFields): Endpoint {
    return new Endpoint(PRIVATE, fields);
  }

  /** What describes it, without the fields of other kinds. */
  toJSON(): Record<string, unknown> {
    const { id, zone, kind, mtu, device, netns, peer } = this;
    return { id, zone, kind, mtu, ...(device && { device, netns }), ...(peer && { peer }) };
  }
}

/** The options every kind of endpoint has, checked. */
export interface EndpointSettings {
  id: bigint;
  zone: string;
  /** 0: the gateway's. */
  mtu: number;
}

/** What depends on its kind. */
export type OtherFields = Pick<Endpoint, 'kind' | 'device' | 'netns' | 'peer'>;

/** An endpoint that is being made: it has its id, its index and its zone. */
export interface OpeningEndpoint {
  readonly id: string;
  readonly settings: EndpointSettings;
  readonly index: number;
  /** As native code knows it. */
  readonly zone: number;
}

/** A random id of the long form. */
export function randomEndpointId(): bigint {
  return BigInt(`0x${randomBytes(8).toString('hex')}`) || 1n;
}

const endpointId: Kind<bigint, string> = special(
  '`vpce-`, 0 and 16 hex digits',
  { type: 'string', pattern: '^vpce-0[0-9a-f]{16}$' },
  (field, value) => {
    const id = parseEndpointId(value);
    if (id === null) throw invalidArgument(field, ENDPOINT_ID_FORM, value);
    if (id !== PROBE_ENDPOINT_ID) return id;
    const expected = 'an id other than that of health checks, vpce-0ffffffffffffffff';
    throw invalidArgument(field, expected, value);
  },
);

/** The options that every kind of endpoint has. */
export const ENDPOINT = {
  id: {
    says: 'carried in every packet as GENEVE option type 1',
    kind: endpointId,
    preset: randomEndpointId,
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
} as const satisfies TableOf<{ id: string; zone: string; mtu: number }>;

/** Those options, checked; `mtuMax` is the gateway's. */
export function checkEndpoint(
  field: string,
  given: { id?: unknown; zone?: unknown; mtu?: unknown },
  mtuMax: number = INNER_BYTES_MAX,
): EndpointSettings {
  const settings = fillOptions(ENDPOINT, field, given);
  if (settings.mtu > mtuMax) {
    throw outOfRange(`${field}.mtu`, `${INNER_BYTES_MIN}–${mtuMax}`, settings.mtu);
  }
  return settings;
}

/** The endpoint's id as messages and results show it. */
export function endpointIdText(settings: EndpointSettings | NativeEndpoint): string {
  return formatEndpointId(settings.id);
}
