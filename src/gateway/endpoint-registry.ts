/** The endpoints of a gateway: who has which id and index, from when they are made until they are gone. */
import { wrongObject } from '../base/checks.js';
import { invalidArgument, mismatch } from '../base/errors.js';
import { zoneNumber } from '../fleet/zones.js';
import type { CounterReader } from './counters.js';
import {
  Endpoint,
  type EndpointSettings,
  endpointIdText,
  type OpeningEndpoint,
  type OtherFields,
} from './endpoint.js';
import type { LiveFleet } from './live-fleet.js';

export class EndpointRegistry {
  readonly #live: LiveFleet;
  readonly #counters: CounterReader;
  readonly #endpoints = new Map<string, Endpoint>();
  /** Who had an index last, alive or not: for events that are still on their way. */
  readonly #byIndex = new Map<number, Endpoint>();

  constructor(live: LiveFleet, counters: CounterReader) {
    this.#live = live;
    this.#counters = counters;
  }

  /** In the order they were made. */
  all(): Endpoint[] {
    return [...this.#endpoints.values()];
  }

  get(id: string): Endpoint | undefined {
    return this.#endpoints.get(id);
  }

  at(index: number): Endpoint | undefined {
    const endpoint = this.#byIndex.get(index);
    return endpoint && this.#endpoints.has(endpoint.id) ? endpoint : undefined;
  }

  /** Who has the index, or had it last. */
  lastAt(index: number): Endpoint | null {
    return this.#byIndex.get(index) ?? null;
  }

  /** The one that is meant; throws `ERR_GWLB_UNKNOWN_ENDPOINT`. */
  find(field: string, reference: unknown): Endpoint {
    const id = Endpoint.is(reference) ? reference.id : reference;
    if (typeof id !== 'string') {
      throw wrongObject(field, 'Endpoint', reference, 'an Endpoint or its id');
    }
    const endpoint = this.#endpoints.get(id);
    if (endpoint && (typeof reference === 'string' || endpoint === reference)) return endpoint;
    throw mismatch('ERR_GWLB_UNKNOWN_ENDPOINT', field, 'an endpoint of this gateway', id);
  }

  /** The same; undefined is the only one there is. */
  findOrOnly(field: string, reference: unknown): Endpoint {
    if (reference !== undefined) return this.find(field, reference);
    const [only] = this.#endpoints.values();
    const { size } = this.#endpoints;
    if (size === 1) return only;
    const expected =
      size === 0 ? 'an endpoint (there is none yet)' : `the id of one of the ${size} endpoints`;
    throw invalidArgument(field, expected, reference);
  }

  /**
   * Takes id, index and zone; then `keep` or `giveUp`. Throws `ERR_GWLB_DUPLICATE_ENDPOINT`,
   * `ERR_GWLB_ENDPOINT_LIMIT`.
   */
  begin(settings: EndpointSettings): OpeningEndpoint {
    const id = endpointIdText(settings);
    const { fleet } = this.#live;
    this.#live.apply({ type: 'addEndpoint', id, zone: settings.zone });
    const { index } = fleet.endpoints[id];
    this.#counters.startEndpoint(index);
    return { id, settings, index, zone: zoneNumber(fleet, settings.zone) };
  }

  /** Native code has it; `mtu` is the gateway's. */
  keep({ id, index, settings }: OpeningEndpoint, fields: OtherFields, mtu: number): Endpoint {
    const { zone } = settings;
    const endpoint = Endpoint.make({ id, zone, mtu: settings.mtu || mtu, index, ...fields });
    this.#endpoints.set(id, endpoint);
    this.#byIndex.set(index, endpoint);
    return endpoint;
  }

  /** Native code has refused it. */
  giveUp({ id }: OpeningEndpoint): void {
    this.#live.apply({ type: 'removeEndpoint', id, unused: true });
  }

  /** It is no endpoint any more; then `removed`, until which nobody gets its id. */
  beginRemoval(reference: Endpoint | string): Endpoint {
    const endpoint = this.find('endpoint', reference);
    this.#endpoints.delete(endpoint.id);
    return endpoint;
  }

  /** Native code has let go of it. */
  removed({ id, index }: Endpoint): void {
    const unused = this.#counters.endpoint(index).packetsIn === 0;
    this.#live.apply({ type: 'removeEndpoint', id, unused });
  }
}
