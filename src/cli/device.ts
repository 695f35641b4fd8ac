/** `gwlb device`: TUN devices that a gateway left, so that the routes into them stay. */
import { binding } from '../binding.js';
import { checkTunName } from '../gateway/device.js';
import { checkNetns, systemError } from '../packet/lifecycle.js';

/** Takes a device away; returns the exit code. */
export function removeDevice(name: string, { netns }: { netns?: string }): number {
  const device = checkTunName('name', name);
  const space = checkNetns('--netns', netns ?? null);
  const where = space && ` in network namespace ${space}`;
  try {
    binding.removeTun(device, space);
  } catch (error) {
    throw systemError(error, `remove TUN device ${device}${where}`, 'device');
  }
  console.log(`removed TUN device ${device}${where}, and with it every route into it`);
  return 0;
}
