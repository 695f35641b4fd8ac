/** The gateway's process: one target group, one load balancer, two endpoints. */
import {
  type EndpointOptions,
  type FlowEvent,
  GatewayLoadBalancer,
  type ListenOptions,
  TargetGroup,
  type TargetGroupOptions,
} from 'gwlb';
import { serve } from '../lab/remote.js';
import { type FlowNote, type GatewayView, type HealthNote, now } from './types.js';

export interface GatewayStart {
  group: TargetGroupOptions;
  listen: Omit<ListenOptions, 'targetGroup'>;
  endpoints: EndpointOptions[];
  /** Ends that belong to clients; the others are servers. */
  clientPrefix: string;
}

let group: TargetGroup;
let gateway: GatewayLoadBalancer;
let clientPrefix = '';

async function begin(options: GatewayStart): Promise<{ sourcePorts: number; endpoints: string[] }> {
  clientPrefix = options.clientPrefix;
  group = new TargetGroup(options.group);
  gateway = await GatewayLoadBalancer.listen({ ...options.listen, targetGroup: group });
  const endpoints: string[] = [];
  for (const endpoint of options.endpoints) {
    endpoints.push((await gateway.createEndpoint(endpoint)).id);
  }
  group.on('health', ({ target, previous, state, reason }) => {
    note('health', { target: target.id, previous, state, reason, at: now() } satisfies HealthNote);
  });
  gateway.on('flow', (event) => note('flow', flowNote(event)));
  gateway.on('error', (error) => note('failure', error.message));
  return { sourcePorts: gateway.sourcePorts, endpoints };
}

function flowNote(event: FlowEvent): FlowNote {
  const [a, b] = event.ends;
  const [client, server] = a.startsWith(clientPrefix) ? [a, b] : [b, a];
  return {
    type: event.type,
    at: now() - (Date.now() - event.at),
    end: event.end,
    protocol: event.protocol,
    client,
    server,
    endpoint: event.endpoint?.id ?? '',
    target: event.target?.id ?? '',
    previous: event.previous?.id ?? null,
    cookie: event.cookie,
  };
}

function view(): GatewayView {
  const counters = gateway.counters();
  const drops = Object.entries(counters.drops).filter(([, count]) => count > 0);
  return {
    targets: group.targets().map((target) => {
      const { flowsActive, flowsNew, packetsTo, packetsFrom } = counters.targets[target.id];
      const { id, address, zone, state, reason } = target;
      return { id, address, zone, state, reason, flowsActive, flowsNew, packetsTo, packetsFrom };
    }),
    packetsIn: counters.packetsIn,
    packetsToTargets: counters.packetsToTargets,
    packetsFromTargets: counters.packetsFromTargets,
    packetsOut: counters.packetsOut,
    flowsNew: counters.flowsNew,
    flowsMoved: counters.flowsMoved,
    flowsActive: counters.flowsActiveIpv4 + counters.flowsActiveIpv6,
    drops: Object.fromEntries(drops),
  };
}

let note: (name: string, value: unknown) => void;

export function start(): void {
  note = serve({
    begin,
    view,
    register: (target: { address: string; zone: string }) => group.register(target)[0].id,
    deregister: (id: string) => group.deregister(id),
    explain: (flow: { source: string; destination: string; endpoint: string }) =>
      gateway.explain(
        { protocol: 'tcp', source: flow.source, destination: flow.destination },
        { endpoint: flow.endpoint },
      ).text,
    close: () => gateway.close(),
  });
}
