/** Endpoints: where traffic enters a gateway and leaves it. */
import { invalidArgument } from '../base/errors.js';
import type { NativeEndpoint } from '../native/binding.js';
import { formatEndpointId } from '../packet/address.js';

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

/** The endpoint's id as messages and results show it. */
export function endpointIdText(settings: EndpointSettings | NativeEndpoint): string {
  return formatEndpointId(settings.id);
}
