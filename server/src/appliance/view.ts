/** A running appliance, as its metrics and its status see it. */
import type { Appliance } from 'gwlb';
import type { DeviceProgram } from './device-program.js';
import type { ApplianceDevices, AttachedTun } from './devices.js';
import type { Health } from './health.js';
import type { PacketFiles } from './packet-files.js';

export interface ApplianceView {
  readonly appliance: Pick<Appliance, 'address' | 'port' | 'netns' | 'healthCheck' | 'counters'>;
  readonly health: Health;
  /** Null where packets never leave native code. */
  readonly tun: AttachedTun | null;
  readonly devices: ApplianceDevices | null;
  readonly deviceProgram: DeviceProgram | null;
  readonly capture: PacketFiles | null;
}

export interface StatusSource {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Why it does not go on; null while it works. */
  failure(): Error | null;
}

/** What the control socket answers to `/v1/status`. */
export function statusOf(view: ApplianceView, { version, startedAt, failure }: StatusSource) {
  const { appliance, health, tun, devices, capture } = view;
  const { address, port, netns, healthCheck } = appliance;
  return {
    version,
    startedAt: new Date(startedAt).toISOString(),
    failure: failure()?.message ?? null,
    appliance: { address, port, netns, healthCheck },
    health: {
      ...health.now,
      sources: health.sources.map(({ name, problem }) => ({ name, problem })),
    },
    devices: (tun?.devices ?? []).map(({ error, ...device }) => {
      return { ...device, error: error?.message ?? null };
    }),
    deviceLosses: devices?.losses ?? 0,
    flows: tun?.flows() ?? null,
    capture: capture && { packets: capture.written, lost: capture.lost },
    counters: appliance.counters(),
  };
}

export type ApplianceStatus = ReturnType<typeof statusOf>;
