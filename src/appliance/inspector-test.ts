/** An inspector without sockets: packets in, what becomes of them out. */

import { checkIterable, copyOfBytes } from '../base/checks.js';
import { checkInteger, GatewayError, invalidArgument } from '../base/errors.js';
import { FLOWS_MIN } from '../base/limits.js';
import { object } from '../base/option-description.js';
import { integer, type Kind } from '../base/option-kinds.js';
import { readOptions, type TableOf } from '../base/option-table.js';
import {
  binding,
  type NativeApplianceConfig,
  type NativeApplianceEngine,
  type NativeOutcome,
} from '../native/binding.js';
import { formatEndpointId } from '../packet/address.js';
import { encodeGeneve } from '../packet/codec.js';
import { flowKey } from '../packet/flow-table.js';
import { type DropReason, REASON_NAMES } from '../packet/names.js';
import { attachmentId, endpointId } from '../packet/option-kinds.js';
import { type ApplianceCounters, readCounters } from './counters.js';
import type { DropRule } from './drop-rule.js';
import type { CaptureFilter } from './filter.js';
import { Inspection, type Inspector } from './inspection.js';
import {
  type ApplianceIdleTimeout,
  BATCHES,
  INSPECT,
  INSPECTION,
  idleMsOf,
  idleTimeout,
  roomOf,
  VERDICT_LIMITS,
} from './options.js';

/** As of an `Appliance`, with the same defaults. */
export interface InspectorTestOptions {
  /** Which packets the inspector is shown. Default: all. */
  filter?: string | CaptureFilter;
  /** Packets that are dropped without asking the inspector. Default none. */
  drop?: readonly DropRule[];
  /** Whether a batch whose inspector fails is returned. Default false. */
  failOpen?: boolean;
  /** Room for verdicts on flows. Default 1,024 of either version. */
  limits?: {
    /** IPv4 flows, 1,024 to 2^27. Default 1,024. */
    flows?: number;
    /** IPv6 flows, the same range. Default a quarter of `flows`, at least 1,024. */
    flowsIpv6?: number;
  };
  /** After how long without packets a verdict on a flow ends; see `advance`. */
  idleTimeout?: ApplianceIdleTimeout;
}

/** What a gateway says about a packet. */
export interface InspectorTestMetadata {
  /** Endpoint that the flow entered by. Default `'vpce-00000000000000001'`. */
  endpointId?: string;
  /** Attachment id, 64 bits. Default 0. */
  attachmentId?: bigint;
  /** Flow cookie, 32 bits. Default: one made of the packet's 5-tuple, the same in both directions. */
  cookie?: number;
}

/** What became of a packet. */
export interface InspectorOutcome {
  /** Returned as it came, returned changed, answered in its place (`reject`), or dropped. */
  verdict: 'returned' | 'rewritten' | 'rejected' | 'dropped';
  /** Why it was dropped; `none` where it was not. */
  reason: DropReason | 'none';
  /** Whether the inspector was shown it; otherwise a rule, the filter or its flow's verdict decided. */
  shown: boolean;
  /** The IP packet that goes back to the gateway; null where it was dropped. */
  bytes: Uint8Array | null;
}

const PACKETS_MAX = 65_535;

const LIMITS = {
  ...VERDICT_LIMITS,
  flows: { ...VERDICT_LIMITS.flows, preset: FLOWS_MIN },
} as const;

/** The options of an `InspectorTest`. */
export const INSPECTOR_TEST = {
  ...INSPECT,
  ...INSPECTION,
  limits: {
    says: 'room for verdicts on flows',
    kind: object<typeof LIMITS, NonNullable<InspectorTestOptions['limits']>>(LIMITS),
    preset: () => readOptions(LIMITS, 'limits', {}),
  },
  idleTimeout,
} as const satisfies TableOf<InspectorTestOptions>;

/** What a gateway says about packets. */
export const INSPECTOR_TEST_METADATA = {
  endpointId: {
    says: 'endpoint that the flow entered by',
    kind: endpointId,
    preset: 1n,
    presetText: 'vpce-00000000000000001',
  },
  attachmentId: {
    says: 'attachment id, 64 bits',
    kind: attachmentId,
    preset: 0n,
    presetText: '0',
  },
  cookie: {
    says: 'flow cookie',
    kind: integer(0, 0xffffffff) as Kind<number | null, number>,
    preset: null,
    presetText: "one made of the packet's 5-tuple",
  },
} as const satisfies TableOf<InspectorTestMetadata>;

/**
 * Runs an inspector over packets as an `Appliance` does, by the same native code: filter, drop rules,
 * verdicts on flows, order and limits; without sockets, threads or waiting. For unit tests of inspectors.
 * Time stands still but for `advance`.
 *
 * ```ts
 * const test = new InspectorTest(inspector, { filter: 'udp' });
 * const [first] = await test.send([dnsQuery]);
 * assert.equal(first.verdict, 'rejected');
 * test.close();
 * ```
 */
export class InspectorTest {
  readonly #engine: NativeApplianceEngine;
  readonly #inspection: Inspection;
  #errors: unknown[] = [];
  #nowMs = 1;
  #busy = false;
  #closed = false;

  /** Throws a `GatewayError` that names a wrong option. */
  constructor(inspector: Inspector, options: InspectorTestOptions = {}) {
    if (typeof inspector !== 'function')
      throw invalidArgument('inspector', 'a function', inspector);
    const checked = readOptions(INSPECTOR_TEST, 'options', options);
    const { filter, drop, failOpen, limits } = checked;
    const room = roomOf({ ...limits, returnPorts: 1 });
    const idle = idleMsOf(checked.idleTimeout);
    this.#engine = new binding.ApplianceEngine({ ...OFFLINE, ...room, ...idle, drop });
    this.#engine.setInspect(true, filter.compiled());
    this.#inspection = new Inspection(this.#engine, failOpen, (error) => {
      this.#errors.push(error);
    });
    this.#inspection.inspector = inspector;
  }

  /**
   * Sends IP packets through, as if they had come at once, and resolves with what became of each, in
   * their order, when the inspector is done with all of them. Rejects with what the inspector threw; the
   * packets have had their fate by then (`counters` tells). At most 65,535 packets, one call at a time.
   */
  async send(
    packets: Iterable<Uint8Array>,
    metadata: InspectorTestMetadata = {},
  ): Promise<InspectorOutcome[]> {
    const datagrams = checkPackets(packets, metadata);
    if (this.#closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the test was closed');
    if (this.#busy) {
      throw invalidArgument('send', 'to be called when its last call has ended', 'a call before');
    }
    this.#busy = true;
    try {
      datagrams.forEach(({ bytes }, id) => {
        this.#engine.put(id, bytes);
      });
      await this.#run();
      const outcomes: InspectorOutcome[] = new Array(datagrams.length);
      for (const native of this.#engine.takeOutcomes()) {
        outcomes[native.id] = outcomeOf(native, datagrams[native.id].headerBytes);
      }
      const [error] = this.#errors.splice(0);
      if (error !== undefined) throw error;
      return outcomes;
    } finally {
      this.#busy = false;
    }
  }

  /** Lets time go by for timers of flows: 0 to 2^31 - 1 milliseconds. */
  advance(milliseconds: number): void {
    this.#nowMs += checkInteger('milliseconds', milliseconds, 0, 2 ** 31 - 1);
  }

  /** All counters, as of an `Appliance`. */
  counters(): ApplianceCounters {
    return readCounters(this.#engine);
  }

  /** Ends it; idempotent. Counters stay readable. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#inspection.stop();
    void this.#engine.stop();
  }

  /** Until nothing is under way any more. */
  async #run(): Promise<void> {
    const looking: PromiseLike<void>[] = [];
    for (;;) {
      this.#engine.pump(this.#nowMs % 2 ** 32);
      const native = this.#engine.next();
      if (native) {
        const pending = this.#inspection.show(native);
        if (pending) looking.push(pending);
      } else if (looking.length > 0) {
        await looking.shift();
      } else {
        return;
      }
      if (this.#closed) throw new GatewayError('ERR_GWLB_CLOSED', 'the test was closed meanwhile');
    }
  }
}

/** Of what an engine without sockets does not use. */
const OFFLINE = {
  udp: {
    address: 0x7f000001,
    address6: null,
    port: 0,
    netns: '',
    receiveBufferBytes: 0,
    sendBufferBytes: 0,
    ttl: 255,
    offloads: false,
    udpChecksum: true,
  },
  optionClass: 0x0108,
  gatewayPort: 6081,
  batches: BATCHES,
  inspect: false,
  offline: true,
} satisfies Partial<NativeApplianceConfig>;

function checkPackets(packets: unknown, metadata: unknown) {
  const said = readOptions(INSPECTOR_TEST_METADATA, 'metadata', metadata);
  const { attachmentId } = said;
  const endpointId = formatEndpointId(said.endpointId);
  const list = checkIterable('packets', packets, 'an array of packets', PACKETS_MAX);
  return list.map((one, i) => {
    const packet = copyOfBytes(`packets[${i}]`, one);
    const cookie = said.cookie ?? cookieOf(packet);
    const protocolType = packet[0] >>> 4 === 6 ? 0x86dd : 0x0800;
    const header = encodeGeneve({ gateway: { endpointId, attachmentId, cookie }, protocolType });
    return { bytes: Buffer.concat([header, packet]), headerBytes: header.length };
  });
}

/** FNV-1a of the flow's key, never 0. */
function cookieOf(packet: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of flowKey(packet) ?? []) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0 || 1;
}

function outcomeOf(native: NativeOutcome, headerBytes: number): InspectorOutcome {
  const { reason, shown, rewritten, rejected } = native;
  const returned = rejected ? 'rejected' : rewritten ? 'rewritten' : 'returned';
  return {
    verdict: reason === 0 ? returned : 'dropped',
    reason: REASON_NAMES[reason],
    shown,
    bytes: reason === 0 ? native.bytes.subarray(headerBytes) : null,
  };
}
