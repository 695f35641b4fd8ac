/** A target group's options as they are. */
import { EventEmitter } from 'node:events';
import type { HealthCheckValues } from '../health/options.js';
import { readAttributes, type TargetGroupAttributes } from './group-attributes.js';
import type { TargetGroupEvents } from './group-events.js';
import type { Failover, Settings, Stickiness, TargetTcpReset } from './group-options.js';

/** What can be read of a target group's options; `TargetGroup` changes them. */
export abstract class GroupSettings extends EventEmitter<TargetGroupEvents> {
  /** @internal */
  protected settings: Settings;

  /** @internal */
  protected constructor(settings: Settings) {
    super();
    this.settings = settings;
  }

  /** For logs and metrics. AWS `Name`. */
  get name(): string {
    return this.settings.name;
  }

  /** UDP port on which targets receive GENEVE unless they say another. */
  get port(): number {
    return this.settings.port;
  }

  /** What travels inside of GENEVE. */
  get inner(): 'ip' | 'ethernet' {
    return this.settings.inner;
  }

  /** Source address of inner frames; null with `inner: 'ip'`. */
  get sourceMac(): string | null {
    return this.settings.sourceMac;
  }

  /** Destination address of inner frames; null with `inner: 'ip'`. */
  get destinationMac(): string | null {
    return this.settings.destinationMac;
  }

  /** Class of the gateway's GENEVE options. */
  get optionClass(): number {
    return this.settings.optionClass;
  }

  /** Which fields make a flow. */
  get stickiness(): Stickiness {
    return this.settings.stickiness;
  }

  /** Whether equal tuples of different endpoints are different flows. */
  get scope(): 'endpoint' | 'gateway' {
    return this.settings.scope;
  }

  /** What becomes of the flows of a target that turns unhealthy or leaves. */
  get failover(): Failover {
    return this.settings.failover;
  }

  /** When TCP connections of a lost target are answered with a RST. */
  get sendTcpReset(): Required<TargetTcpReset> {
    return this.settings.sendTcpReset;
  }

  /** Seconds that a deregistered target keeps its flows. */
  get deregistrationDelaySeconds(): number {
    return this.settings.deregistrationDelaySeconds;
  }

  /** Seconds in which a target that turned healthy comes to its whole weight; 0 for at once. */
  get slowStartSeconds(): number {
    return this.settings.slowStartSeconds;
  }

  /** Whether new flows are forwarded uninspected where no target takes any. */
  get failOpen(): boolean {
    return this.settings.failOpen;
  }

  /** Every health check option with its value (those of GENEVE only with it), or false. */
  get healthCheck(): HealthCheckValues | false {
    const check = this.settings.healthCheck;
    if (!check) return false;
    const { source, destination, ...rest } = { ...check, matcher: check.matcher.text };
    return check.protocol === 'GENEVE' ? { ...rest, source, destination } : rest;
  }

  /** Attributes under their AWS names. */
  get attributes(): TargetGroupAttributes {
    return readAttributes(this.settings);
  }
}
