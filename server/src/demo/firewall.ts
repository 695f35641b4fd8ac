/** One of the appliances as a Linux firewall: its kernel forwards packets, and a rule of nftables drops some. */
import { spawnSync } from 'node:child_process';
import type { Lab } from '../lab/lab.js';
import type { Remote } from '../lab/remote.js';
import { KERNEL_PORT } from './types.js';

const DEVICE = 'gwlb0';

/** Again where an appliance starts again: its device has gone with it, its rules have not. */
const RULES = [
  'add table inet firewall',
  'add counter inet firewall refused',
  'add chain inet firewall forward { type filter hook forward priority 0; policy accept; }',
  'flush chain inet firewall forward',
  `add rule inet firewall forward iifname "${DEVICE}" tcp dport ${KERNEL_PORT} counter name "refused" drop`,
].join('; ');

/** Why there can be none here, as a sentence; null where there can. */
export function whyNoFirewall(): string | null {
  return spawnSync('nft', ['--version']).error ? 'the command `nft` is not installed' : null;
}

export class Firewall {
  readonly rule = `nft: iifname "${DEVICE}" tcp dport ${KERNEL_PORT} drop`;
  /** Of the appliance that it is. */
  readonly name: string;
  /** Why it is an appliance like the others instead. */
  obstacle: string | null;
  readonly #lab: Lab;
  readonly #namespace: string;

  constructor(lab: Lab, name: string, namespace: string) {
    this.#lab = lab;
    this.name = name;
    this.#namespace = namespace;
    this.obstacle = whyNoFirewall();
  }

  /** Leads packets of an appliance that has just started through the kernel, and what that forwards back. */
  async stand(appliance: Remote): Promise<void> {
    if (this.obstacle !== null) return;
    try {
      await this.#lab.run(this.#namespace, 'nft', RULES);
      await this.#lab.sysctl(this.#namespace, [
        'net.ipv4.ip_forward=1',
        'net.ipv4.conf.all.rp_filter=0',
        'net.ipv4.conf.default.rp_filter=0',
        'net.ipv4.conf.all.send_redirects=0',
        'net.ipv4.conf.default.send_redirects=0',
      ]);
      await appliance.call('attach', DEVICE);
      await this.#lab.ip(this.#namespace, [`route replace default dev ${DEVICE}`]);
    } catch (error) {
      await appliance.call('detach');
      this.obstacle = (error as Error).message;
    }
  }

  /** Packets that its rule has dropped. */
  async dropped(): Promise<number> {
    const list = ['-j', 'list', 'counter', 'inet', 'firewall', 'refused'];
    const answer = JSON.parse(await this.#lab.run(this.#namespace, 'nft', ...list));
    const found = (answer.nftables as { counter?: { packets: number } }[]).find((o) => o.counter);
    return found?.counter?.packets ?? 0;
  }
}
