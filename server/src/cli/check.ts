/** `gwlb check`. */
import { loadConfig, problemLine } from '../config/config.js';
import type { EndpointConfig } from '../config/types.js';
import { bypasses, bypassText, RouteReader } from '../obstacles/devices.js';

/** Where packets would go around devices that are here already. */
function warnOfBypasses(path: string, endpoints: readonly EndpointConfig[]): void {
  const places = endpoints.map(({ tun, netns = null }) => {
    const device = typeof tun === 'object' ? tun.name : (tun ?? null);
    return { device, netns };
  });
  for (const bypass of bypasses(places, new RouteReader())) {
    const at = places.findIndex(
      ({ device, netns }) => device === bypass.device && netns === bypass.netns,
    );
    console.error(`${path}: warning: endpoints[${at}].tun: ${bypassText(bypass)}`);
  }
}

/** Prints every problem of the file, and what is correct but lacks something; returns the exit code. */
export function check(path: string): number {
  const loaded = loadConfig(path);
  if (!loaded.ok) {
    for (const problem of loaded.problems) console.error(problemLine(path, problem));
    return 2;
  }
  for (const { message, ...place } of loaded.warnings) {
    console.error(problemLine(path, { ...place, message: `warning: ${message}` }));
  }
  const { gateway, targetGroup, endpoints } = loaded.config;
  warnOfBypasses(path, endpoints);
  const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
  console.log(
    `${path}: correct: gateway ${gateway.name} on ${gateway.address}:${gateway.port}, target group ` +
      `${targetGroup.name} with ${count(targetGroup.targets.length, 'target')}, ` +
      `${count(endpoints.length, 'endpoint')}`,
  );
  return 0;
}
