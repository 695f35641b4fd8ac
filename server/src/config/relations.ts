/**
 * What is wrong between keys that are each correct: limits that depend on another key, things given
 * twice. Everything here tolerates a file whose single values are wrong; those are told elsewhere.
 */
import {
  checkOptionsOf,
  GatewayError,
  type OptionsKind,
  parseEndpointId,
  TARGETS_MAX,
  TargetGroup,
  ZONES_MAX,
} from 'gwlb';
import { detailOf } from '../errors.js';
import { zoneObstacle } from '../obstacles/readiness.js';
import type { Config, Found, Path } from './types.js';

type Given = Record<string, unknown>;

function mapping(value: unknown): Given {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Given)
    : {};
}

function list(value: unknown): Given[] {
  return Array.isArray(value) ? value.map(mapping) : [];
}

/** What the library says to whole objects; `path` is the object's. */
function told(kind: OptionsKind, options: unknown, path: Path): Found[] {
  try {
    checkOptionsOf(kind, options);
    return [];
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    // Unknown keys have their own message, with a hint.
    if (error.received === 'an unknown option') return [];
    return [{ path: [...path, ...error.path.slice(1)], message: detailOf(error) }];
  }
}

export function relationProblems(given: unknown): Found[] {
  const root = mapping(given);
  const gateway = mapping(root.gateway);
  const { targets, ...group } = mapping(root.targetGroup);
  const endpoints = list(root.endpoints);
  const groupProblems = told('targetGroup', group, ['targetGroup']);
  return [
    ...groupProblems,
    ...gatewayProblems(gateway, group),
    ...targetProblems(list(targets), group, gateway.address),
    ...endpointProblems(endpoints, list(targets), gateway),
    ...zoneProblems(list(targets), endpoints),
  ];
}

/** Such as `tcpSeconds`, which depends on the group's stickiness. */
function gatewayProblems(gateway: Given, group: Given): Found[] {
  const targetGroup = groupOf(group);
  // A missing address is told by the schema, what is wrong with the group by others.
  if (gateway.address === undefined || !targetGroup) return [];
  // Keys are no bytes yet; what is wrong with them the schema tells.
  const { hashKey: _, cookieKey: __, ...options } = gateway;
  return told('listen', { ...options, targetGroup }, ['gateway']);
}

/** null where its options are wrong. */
function groupOf(options: Given): TargetGroup | null {
  try {
    return new TargetGroup(options);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return null;
  }
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
    const name = typeof tun === 'string' ? tun : mapping(tun).name;
    return typeof name === 'string'
      ? JSON.stringify([name, (netns === undefined ? gateway.netns : netns) ?? ''])
      : null;
  };
  repeats(endpoints, deviceOf, (i, first) =>
    add(i, ['tun'], `expected a device of its own, received that of endpoints[${first}]`),
  );
  const peerOf = ({ geneve }: Given) => {
    const { peer, vni } = mapping(geneve);
    return typeof peer === 'string' ? JSON.stringify([peer, vni ?? 0]) : null;
  };
  repeats(endpoints, peerOf, (i, first) =>
    add(i, ['geneve'], `expected a peer and VNI of its own, received those of endpoints[${first}]`),
  );
  const addresses = targets.map(({ address }) => address);
  endpoints.forEach((endpoint, i) => {
    const { tun, geneve, netns, mtu } = endpoint;
    if ((tun === undefined) === (geneve === undefined)) {
      const received = tun === undefined ? 'none of them' : 'both';
      add(i, [], `expected either tun or geneve, received ${received}`);
    }
    if (geneve !== undefined && netns !== undefined) {
      add(i, ['netns'], 'expected nothing with geneve, which uses the sockets of the gateway');
    }
    const max = gateway.mtu ?? 8500;
    if (typeof mtu === 'number' && typeof max === 'number' && mtu > max) {
      add(i, ['mtu'], `expected at most gateway.mtu (${max}), received ${mtu}`);
    }
    const peer = mapping(geneve).peer;
    if (typeof peer !== 'string') return;
    const whole = told('geneve', geneve, ['geneve']);
    for (const { path, message } of whole) add(i, path, message);
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
  const targets = targetGroup.targets.map(({ zone = 'default', weight = 1 }) => ({
    zone,
    weight,
    state: 'healthy' as const,
  }));
  const policy = { crossZone: gateway.crossZone, failOpen: targetGroup.failOpen };
  return endpoints.flatMap(({ zone = 'default' }, i) => {
    const obstacle = zoneObstacle(zone, targets, policy);
    return obstacle ? [{ path: ['endpoints', i, 'zone'], message: obstacle.text }] : [];
  });
}
