/** The commands that `--print-setup` shows: devices for an appliance to take, and what the host needs. */
import { Host } from './host.js';
import { interfaceOfDefault, setupText } from './host-setup.js';
import { quoted, stepText } from './host-steps.js';
import type { ApplianceSettings } from './options.js';

/** As `gwlb` makes a device: packets that wait in it until they are read. */
const QUEUE = 4096;

/** One a line; comments are among them. */
export async function printedSetup({ tun, setup }: ApplianceSettings): Promise<string[]> {
  if (tun === null || setup === null) return [];
  const host = new Host();
  const first = (pattern: string) => pattern.replace('%d', '0');
  const netns = tun.netns ? first(tun.netns) : null;
  const name = first(tun.name ?? '');
  const out = tun.out ? first(tun.out) : name;
  const nat = setup.nat === 'default' ? await interfaceOfDefault(host, netns) : setup.nat;
  const steps = await setupText(host, { name, out, netns, nat, table: setup.table });
  if (tun.perEndpoint) {
    return [
      `# For the device of the first endpoint; the next one's table is ${setup.table + 1}. Run the appliance`,
      '# with --no-setup, and these for each device when it appears (--on-endpoint).',
      ...steps,
    ];
  }
  const devices = [...new Set([name, out])];
  return [
    '# Run the appliance with --no-setup afterwards.',
    ...devices.flatMap((device) => deviceText(device, netns, tun.mtu ?? 8500)),
    ...steps,
  ];
}

/** A device that stays, and does not talk by itself. */
function deviceText(device: string, netns: string | null, mtu: number): string[] {
  const ip = ['ip', ...(netns === null ? [] : ['-n', netns])];
  const link = [...ip, 'link', 'set', 'dev', device];
  const key = `net/ipv6/conf/${device}/addr_gen_mode`;
  return [
    [...ip, 'tuntap', 'add', 'dev', device, 'mode', 'tun', 'multi_queue'].map(quoted).join(' '),
    stepText({ kind: 'setting', netns, key, value: '1' }),
    [...link, 'mtu', String(mtu), 'txqueuelen', String(QUEUE), 'up'].map(quoted).join(' '),
  ];
}
