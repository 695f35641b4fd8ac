/** What of a gateway can be changed while it forwards, besides its targets. */
import { EventEmitter } from 'node:events';
import { type GatewayError, mismatch } from '../base/errors.js';
import { readOptions } from '../base/option-table.js';
import type { NativeGatewayControl, NativeTargetTable } from '../native/binding.js';
import {
  type BaseSettings,
  checkIdleTimeout,
  checkListenerReset,
  type IdleMs,
  liveOf,
  TCP_SECONDS,
} from './base-settings.js';
import { DataPlane, type Wanted } from './data-plane.js';
import type { DeviceEvent } from './device.js';
import type { FlowEvent } from './flow-events.js';
import type { Stickiness } from './group-options.js';
import {
  changeListenerAttributes,
  type ListenerAttributes,
  readListenerAttributes,
} from './listener-attributes.js';
import { COOKIE_KEY, FLOW_REPORTS } from './option-tables.js';
import type { CookieKeyOptions, IdleTimeout, ListenerTcpReset } from './options.js';
import type { TargetGroup } from './target-group.js';
import type { BuildTable } from './target-table.js';

/** Events of a gateway, each with the arguments of its listeners. */
export interface GatewayEvents {
  /** A flow was opened, moved or ended; fetched ten times a second while somebody listens. */
  flow: [FlowEvent];
  /**
   * A socket cannot be read any more (once), or a device that was lost cannot be made again (once for
   * each loss; it is tried again and again). What else there is goes on.
   */
  error: [GatewayError];
  /** The device of an endpoint was lost, set down, or is back. */
  device: [DeviceEvent];
  /** It was closed. */
  close: [];
}

export abstract class GatewaySettings extends EventEmitter<GatewayEvents> {
  readonly #native: NativeGatewayControl;
  /** @internal */
  protected readonly dataPlane: DataPlane;

  /** @internal `table`: one that differs little from the first one, or null. */
  protected constructor(
    { config }: BaseSettings,
    native: NativeGatewayControl,
    build: BuildTable,
    table: NativeTargetTable | null,
  ) {
    super();
    this.#native = native;
    this.dataPlane = new DataPlane(native, liveOf(config), build, () => this.wanted(), table);
  }

  /** @internal */
  protected abstract wanted(): Wanted;

  /** Where new flows go. */
  abstract get targetGroup(): TargetGroup;

  /** @internal The clock that packets are given, whole milliseconds. */
  protected abstract nowMs(): number;

  /** @internal Throws where it was closed. */
  protected abstract checkOpen(): void;

  /** @internal Throws where the idle timeout excludes it. */
  protected checkStickiness(stickiness: Stickiness): void {
    const seconds = this.dataPlane.live.tcpIdleMs / 1000;
    if (stickiness === '5-tuple' || seconds === TCP_SECONDS) return;
    throw mismatch(
      'ERR_GWLB_ATTRIBUTES',
      'stickiness.type',
      `no other stickiness than 5-tuple while the gateway's tcpSeconds is ${seconds} (others need ${TCP_SECONDS})`,
      `${stickiness}`,
    );
  }

  /** Idle timeouts in force. */
  get idleTimeout(): Required<IdleTimeout> {
    const { tcpIdleMs, otherIdleMs } = this.dataPlane.live;
    return { tcpSeconds: tcpIdleMs / 1000, otherSeconds: otherIdleMs / 1000 };
  }

  /**
   * Changes the idle timeouts that are given, also for flows that are there. Throws
   * `ERR_GWLB_OUT_OF_RANGE`, or `ERR_GWLB_ATTRIBUTES` for `tcpSeconds` without 5-tuple stickiness.
   */
  setIdleTimeout(idleTimeout: IdleTimeout): void {
    this.checkOpen();
    this.dataPlane.configure(this.#idleMs(idleTimeout));
  }

  #idleMs(idleTimeout: IdleTimeout): IdleMs {
    return checkIdleTimeout('idleTimeout', idleTimeout, this.targetGroup, this.dataPlane.live);
  }

  /** RST answers of the listener, as they are. */
  get sendTcpReset(): Required<ListenerTcpReset> {
    return { onIdleTimeout: this.dataPlane.live.resetOnIdle };
  }

  /** Changes them; an option that is not given gets its default. */
  setTcpReset(sendTcpReset: ListenerTcpReset): void {
    this.checkOpen();
    this.dataPlane.configure({ resetOnIdle: checkListenerReset('sendTcpReset', sendTcpReset) });
  }

  /** Attributes of the listener under their AWS names. */
  get listenerAttributes(): ListenerAttributes {
    return readListenerAttributes({
      tcpSeconds: this.idleTimeout.tcpSeconds,
      onIdleTimeout: this.sendTcpReset.onIdleTimeout,
    });
  }

  /**
   * Changes the attributes of the listener that are named, as AWS `ModifyListenerAttributes` does; all
   * or none. Throws `ERR_GWLB_ATTRIBUTES`.
   */
  modifyListenerAttributes(changes: Partial<ListenerAttributes>): void {
    this.checkOpen();
    const { tcpSeconds, onIdleTimeout } = changeListenerAttributes(changes);
    this.dataPlane.configure({
      ...(tcpSeconds !== undefined && this.#idleMs({ tcpSeconds })),
      ...(onIdleTimeout !== undefined && { resetOnIdle: onIdleTimeout }),
    });
  }

  /**
   * Signs the cookies of new flows with another key. Flows that are there keep their cookies, and
   * signatures with the key before stay good for a while: they only matter for packets of flows that
   * the gateway does not know or that were reopened.
   */
  rotateCookieKey(options: CookieKeyOptions = {}): void {
    this.checkOpen();
    const { key, overlapSeconds } = readOptions(COOKIE_KEY, 'options', options);
    const overlapMs =
      overlapSeconds === null ? this.dataPlane.live.tcpIdleMs : overlapSeconds * 1000;
    this.#native.setCookieKey(key, this.nowMs(), overlapMs);
  }

  /**
   * Has every flow in the table reported once in about so many seconds, with a `flow` event of type
   * `lives`; 0 (the default) for never. For flow logs; with `flowCounters` the events have counters.
   */
  setFlowReports(intervalSeconds: number): void {
    this.checkOpen();
    const { kind } = FLOW_REPORTS.intervalSeconds;
    const seconds = kind.check('intervalSeconds', intervalSeconds);
    this.dataPlane.configure({ reportMs: seconds * 1000 });
  }
}
