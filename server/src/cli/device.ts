/** `gwlb device`: TUN devices that a gateway left, so that the routes into them stay. */
import { removeTun } from 'gwlb';

/** Takes a device away; returns the exit code. */
export function removeDevice(name: string, { netns }: { netns?: string }): number {
  removeTun(name, netns);
  const where = netns === undefined ? '' : ` in network namespace ${netns}`;
  console.log(`removed TUN device ${name}${where}, and with it every route into it`);
  return 0;
}
