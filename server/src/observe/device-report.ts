/** Tells of the devices of a running gateway: lost and back, and where packets would go around them. */
import type { DeviceEvent, Endpoint, GatewayLoadBalancer } from 'gwlb';
import {
  bypasses,
  bypassText,
  type DeviceObstacle,
  deviceObstacles,
  RouteReader,
} from '../obstacles/devices.js';
import type { Logger } from './log.js';

const EVENTS = { gone: 'device_lost', down: 'device_down', up: 'device_restored' } as const;

export class DeviceReport {
  readonly #routes = new RouteReader();
  readonly #gateway: GatewayLoadBalancer;
  readonly #log: Logger;
  readonly #onDevice = (event: DeviceEvent) => this.#tell(event);
  /** Ways around that were told and are still there. */
  #told = new Set<string>();

  constructor(gateway: GatewayLoadBalancer, log: Logger) {
    this.#gateway = gateway;
    this.#log = log;
    gateway.on('device', this.#onDevice);
  }

  /** What is in the way of packets into the device of an endpoint. */
  obstacles(endpoint: Endpoint): DeviceObstacle[] {
    return deviceObstacles(endpoint, this.#gateway.deviceStatus(endpoint), this.#routes);
  }

  /** Tells of each way around the devices once, and again when it was closed meanwhile. */
  look(): void {
    const texts = new Set<string>();
    for (const gap of bypasses(this.#gateway.endpoints(), this.#routes)) {
      const text = bypassText(gap);
      texts.add(text);
      if (!this.#told.has(text)) this.#log.warn({ event: 'inspection_bypass', ...gap }, text);
    }
    this.#told = texts;
  }

  /** Makes every device again that is not up; what cannot be is told. */
  async restore(): Promise<void> {
    for (const endpoint of this.#gateway.endpoints()) {
      const status = this.#gateway.deviceStatus(endpoint);
      if (status === null) continue;
      try {
        await this.#gateway.restoreDevice(endpoint);
      } catch (error) {
        const { id, device } = endpoint;
        const fields = { event: 'device_not_restored', endpoint: id, device };
        this.#log.error(fields, (error as Error).message);
      }
    }
  }

  close(): void {
    this.#gateway.off('device', this.#onDevice);
  }

  #tell({ endpoint, previous, state, error }: DeviceEvent): void {
    const { id, device, netns } = endpoint;
    const fields = { event: EVENTS[state], endpoint: id, device, netns, previous };
    this.#routes.forget();
    if (error) this.#log.error(fields, error.message);
    else this.#log.info(fields, `TUN device ${device} is up again: see that its routes are there`);
  }
}
