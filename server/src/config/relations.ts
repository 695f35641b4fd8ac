/**
 * What is wrong between keys that are each correct: limits that depend on another key, things given
 * twice. Everything here tolerates a file whose single values are wrong; those are told elsewhere.
 */
import { parseEndpointId, TARGETS_MAX, ZONES_MAX } from 'gwlb';
import { zoneObstacle } from '../obstacles/readiness.js';
import { mappingOf } from './shapes.js';
import type { Config, Found, Path } from './types.js';

type Given = Readonly<Record<string, unknown>>;

function listOf(value: unknown): Given[] {
  return Array.isArray(value) ? value.map(mappingOf) : [];
}

export function relationProblems(given: unknown): Found[] {
  const root = mappingOf(given);
  const gateway = mappingOf(root.gateway);
  const { targets, ...group } = mappingOf(root.targetGroup);
  const endpoints = listOf(root.endpoints);
  return [
    ...targetProblems(listOf(targets), group, gateway.address),
    ...endpointProblems(endpoints, listOf(targets), gateway),
    ...zoneProblems(listOf(targets), endpoints),
  ];
}

/** Calls `twice` with every item that has the key of an earlier one. */
function repeats<T>(
  items: readonly T[],
  keyOf: (item: T) => unknown,
  twice: (i: number, first: number) => void,
): void {
  const first = new Map<unknown, number>();
  items.forEach((item, i) => {
    const key = keyOf(item);
    if (key === null || key === undefined) return;
    const before = first.get(key);
    if (before === undefined) first.set(key, i);
    else twice(i, before);
  });
}

function targetProblems(targets: readonly Given[], group: Given, own: unknown): Found[] {
  const found: Found[] = [];
  const path: Path = ['targetGroup', 'targets'];
  const idOf = (target: Given) =>
    typeof target.address === 'string'
      ? `${target.address}:${target.port ?? group.port ?? 6081}`
      : null;
  repeats(targets, idOf, (i, first) => {
    const message = `expected each target once, received ${idOf(targets[i])} again (as targets[${first}])`;
    found.push({ path: [...path, i], message });
  });
  targets.forEach((target, i) => {
    if (typeof own !== 'string' || target.address !== own) return;
    const message = `expected an address that is not the gateway's own, received "${own}"`;
    found.push({ path: [...path, i, 'address'], message });
  });
  if (targets.length > TARGETS_MAX) {
    const message = `expected at most ${TARGETS_MAX} targets, received ${targets.length}`;
    found.push({ path, message });
  }
  return found;
}

function endpointProblems(
  endpoints: readonly Given[],
  targets: readonly Given[],
  gateway: Given,
): Found[] {
  const found: Found[] = [];
  const add = (i: number, keys: Path, message: string) =>
    found.push({ path: ['endpoints', i, ...keys], message });
  repeats(
    endpoints,
    ({ id }) => parseEndpointId(id),
    (i, first) => add(i, ['id'], `expected an id of its own, received that of endpoints[${first}]`),
  );
  const deviceOf = ({ tun, netns }: Given) => {
    const name = typeof tun === 'string' ? tun : mappingOf(tun).name;
    return typeof name === 'string'
      ? JSON.stringify([name, (netns === undefined ? gateway.netns : netns) ?? ''])
      : null;
  };
  repeats(endpoints, deviceOf, (i, first) =>
    add(i, ['tun'], `expected a device of its own, received that of endpoints[${first}]`),
  );
  const peerOf = ({ geneve }: Given) => {
    const { peer, vni } = mappingOf(geneve);
    return typeof peer === 'string' ? JSON.stringify([peer, vni ?? 0]) : null;
  };
  repeats(endpoints, peerOf, (i, first) =>
    add(i, ['geneve'], `expected a peer and VNI of its own, received those of endpoints[${first}]`),
  );
  const addresses = targets.map(({ address }) => address);
  endpoints.forEach((endpoint, i) => {
    const { geneve, mtu } = endpoint;
    const max = gateway.mtu ?? 8500;
    if (typeof mtu === 'number' && typeof max === 'number' && mtu > max) {
      add(i, ['mtu'], `expected at most gateway.mtu (${max}), received ${mtu}`);
    }
    const peer = mappingOf(geneve).peer;
    if (typeof peer !== 'string') return;
    const target = addresses.indexOf(peer);
    if (target >= 0) {
      const message = `expected an address that is not a target's, received "${peer}", that of targetGroup.targets[${target}]`;
      add(i, ['geneve', 'peer'], message);
    }
    if (peer === gateway.address) {
      const message = `expected an address that is not the gateway's own, received "${peer}"`;
      add(i, ['geneve', 'peer'], message);
    }
  });
  return found;
}

function zoneProblems(targets: readonly Given[], endpoints: readonly Given[]): Found[] {
  const zones = new Set([...targets, ...endpoints].map(({ zone }) => zone ?? 'default'));
  if (zones.size <= ZONES_MAX) return [];
  const message = `expected at most ${ZONES_MAX} zones in targets and endpoints, received ${zones.size}`;
  return [{ path: [], message }];
}

/** What a correct configuration lacks: endpoints whose packets would get nowhere. */
export function configWarnings({ gateway, targetGroup, endpoints }: Config): Found[] {
  if (endpoints.length === 0) {
    return [{ path: ['endpoints'], message: 'there is none, so no packet can enter' }];
  }
  const targets = targetGroup.targets.map(({ zone, weight }) => ({
    zone,
    weight,
    state: 'healthy' as const,
  }));
  const policy = { crossZone: gateway.crossZone, failOpen: targetGroup.failOpen };
  return endpoints.flatMap(({ zone }, i) => {
    const obstacle = zoneObstacle(zone, targets, policy);
    return obstacle ? [{ path: ['endpoints', i, 'zone'], message: obstacle.text }] : [];
  });
}
