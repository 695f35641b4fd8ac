/** The checks of the options that all gateways have, and what they are for native code. */

import { mismatch, outOfRange } from '../base/errors.js';
import { fillOptions, readOptions } from '../base/option-table.js';
import type { GatewayState } from '../fleet/saved.js';
import type { NativeGatewayConfig, NativeLiveConfig } from '../native/binding.js';
import { parseMac } from '../packet/address.js';
import type { GroupPolicy } from './data-plane.js';
import type { Stickiness } from './group-options.js';
import { GATEWAY_BASE, IDLE_TIMEOUT, LISTENER_TCP_RESET } from './option-tables.js';
import type { IdleTimeout, SourcePorts } from './options.js';
import type { TargetGroup } from './target-group.js';

/** Idle timeouts in milliseconds, checked. */
export type IdleMs = Pick<NativeLiveConfig, 'tcpIdleMs' | 'otherIdleMs'>;

/** Default of `idleTimeout.tcpSeconds`. */
export const TCP_SECONDS = IDLE_TIMEOUT.tcpSeconds.preset;
/** Stickiness as native code says it. */
const TUPLE = { '5-tuple': 5, '3-tuple': 3, '2-tuple': 2 } as const;

/** Flow events kept until somebody reads them. */
const EVENTS = 16_384;

export interface BaseSettings {
  targetGroup: TargetGroup;
  crossZone: boolean;
  /** What another one left, to go on from. */
  state: GatewayState | null;
  config: NativeGatewayConfig;
}

/** Checks the shared options; the outer address and port are the caller's. */
export function checkBase(
  field: string,
  given: Readonly<Record<string, unknown>>,
  address: number,
  port: number,
): BaseSettings {
  const options = fillOptions(GATEWAY_BASE, field, given);
  const { targetGroup: group, limits, sourcePorts } = options;
  const idle = idleMsOf(`${field}.idleTimeout`, options.idleTimeout, group.stickiness);
  checkSourcePorts(`${field}.sourcePorts`, sourcePorts);
  const noMac = new Uint8Array(6);
  return {
    targetGroup: group,
    crossZone: options.crossZone,
    state: null,
    config: {
      hashKey: options.hashKey,
      cookieKey: options.cookieKey,
      ...groupPolicy(group),
      scopeGateway: group.scope === 'gateway',
      strictCookies: options.cookieCheck === 'strict',
      midStream: options.midStream,
      learningMs: idle.tcpIdleMs,
      flowsIpv4: limits.flows,
      flowsIpv6: limits.flowsIpv6,
      ...idle,
      mtu: options.mtu,
      optionClass: group.optionClass,
      attachmentId: options.attachmentId,
      innerEthernet: group.inner === 'ethernet',
      sourceMac: parseMac(group.sourceMac) ?? noMac,
      destinationMac: parseMac(group.destinationMac) ?? noMac,
      promoteOnIngress: options.promotion === 'ingress',
      pathMtuDiscovery: options.pathMtuDiscovery,
      clampMss: options.clampMss,
      resetOnIdle: options.sendTcpReset.onIdleTimeout,
      pathMtu: 0,
      reportMs: 0,
      flowCounters: options.flowCounters,
      outerHeaders: false,
      address,
      port,
      sourcePortBase: sourcePorts.base,
      sourcePortCount: sourcePorts.count,
      events: EVENTS,
    },
  };
}

/** What of it may change while the gateway runs. */
export function liveOf(config: NativeGatewayConfig): NativeLiveConfig {
  const { stickiness, failOpen, resetOnIdle, clampMss, pathMtu } = config;
  const { tcpIdleMs, otherIdleMs, reportMs } = config;
  return {
    stickiness,
    failOpen,
    resetOnIdle,
    clampMss,
    pathMtu,
    tcpIdleMs,
    otherIdleMs,
    reportMs,
  };
}

/** What packets are decided by that is the group's. */
export function groupPolicy({ failOpen, stickiness }: TargetGroup): GroupPolicy {
  return { failOpen, stickiness: TUPLE[stickiness] };
}

/** Whether `onIdleTimeout` is on. */
export function checkListenerReset(field: string, value: unknown): boolean {
  return readOptions(LISTENER_TCP_RESET, field, value).onIdleTimeout;
}

/** Idle timeouts; those not given are as `before` says. */
export function checkIdleTimeout(
  field: string,
  timeout: unknown,
  group: TargetGroup,
  before: IdleMs,
): IdleMs {
  const now = { tcpSeconds: before.tcpIdleMs / 1000, otherSeconds: before.otherIdleMs / 1000 };
  return idleMsOf(field, readOptions(IDLE_TIMEOUT, field, timeout, now), group.stickiness);
}

function idleMsOf(
  field: string,
  { tcpSeconds, otherSeconds }: Required<IdleTimeout>,
  stickiness: Stickiness,
): IdleMs {
  if (tcpSeconds !== TCP_SECONDS && stickiness !== '5-tuple') {
    throw mismatch(
      'ERR_GWLB_ATTRIBUTES',
      `${field}.tcpSeconds`,
      `${TCP_SECONDS} with ${stickiness} stickiness (it can be changed with 5-tuple stickiness only)`,
      String(tcpSeconds),
    );
  }
  return { tcpIdleMs: tcpSeconds * 1000, otherIdleMs: otherSeconds * 1000 };
}

function checkSourcePorts(field: string, { base, count }: Required<SourcePorts>): void {
  if (base + count <= 65_536) return;
  throw outOfRange(`${field}.count`, `at most ${65_536 - base} with base ${base}`, count);
}
