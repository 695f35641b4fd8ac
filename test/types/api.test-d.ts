/** What the public API's types promise; compiled by `npm run lint`, never run. */
import { expectTypeOf } from 'expect-type';
import {
  Appliance,
  type ApplianceCounters,
  CaptureFilter,
  type DropReason,
  type DropRule,
  decodeFrame,
  decodeGeneve,
  type Endpoint,
  type EndpointOptions,
  type Explanation,
  encodeGeneve,
  type FlowEvent,
  FlowTable,
  type FlowTuple,
  flowKey,
  Gateway,
  type GatewayCounters,
  type GatewayError,
  type GatewayErrorCode,
  GatewayLoadBalancer,
  type InspectedPacket,
  type ListenOptions,
  type Packet,
  PacketBatch,
  parseDropRule,
  parseEndpointId,
  readCapture,
  type Stickiness,
  type Target,
  TargetGroup,
  type VerdictName,
} from '../../src/index.js';

const group = new TargetGroup({ stickiness: '5-tuple', failover: 'rebalance' });
expectTypeOf(group.register({ address: '10.0.1.10', zone: 'a' })).toEqualTypeOf<Target[]>();
expectTypeOf(group.stickiness).toEqualTypeOf<Stickiness>();
// @ts-expect-error no such failover
new TargetGroup({ failover: 'sometimes' });
// @ts-expect-error a misspelt option
new TargetGroup({ stickyness: '5-tuple' });

// The load balancer.
expectTypeOf(GatewayLoadBalancer.listen).parameter(0).toEqualTypeOf<ListenOptions>();
expectTypeOf(GatewayLoadBalancer.listen).returns.resolves.toEqualTypeOf<GatewayLoadBalancer>();
expectTypeOf<ListenOptions>().pick<'address' | 'targetGroup'>().toEqualTypeOf<{
  address: string;
  targetGroup: TargetGroup;
}>();
// @ts-expect-error the address is required
GatewayLoadBalancer.listen({ targetGroup: group });
// @ts-expect-error the target group is required
GatewayLoadBalancer.listen({ address: '10.0.1.5' });

declare const lb: GatewayLoadBalancer;
expectTypeOf(lb).toExtend<AsyncDisposable>();
expectTypeOf(lb.createEndpoint({ zone: 'a', tun: 'gwlbe0' })).resolves.toEqualTypeOf<Endpoint>();
expectTypeOf<{ geneve: { peer: string } }>().toExtend<EndpointOptions>();
// @ts-expect-error one kind or the other
lb.createEndpoint({ tun: 'gwlbe0', geneve: { peer: '10.0.0.1' } });
// @ts-expect-error a namespace is for devices
lb.createEndpoint({ netns: 'x', geneve: { peer: '10.0.0.1' } });
expectTypeOf(lb.explain).parameter(0).toEqualTypeOf<FlowTuple | Uint8Array>();
expectTypeOf(lb.explain).returns.toEqualTypeOf<Explanation>();
expectTypeOf(lb.counters()).toEqualTypeOf<GatewayCounters>();
expectTypeOf(lb.counters().drops).toEqualTypeOf<Record<DropReason, number>>();
expectTypeOf(lb.removeEndpoint).parameter(0).toEqualTypeOf<Endpoint | string>();
lb.on('flow', (event) => {
  expectTypeOf(event).toEqualTypeOf<FlowEvent>();
  expectTypeOf(event.target).toEqualTypeOf<Target | null>();
});
lb.on('error', (error) => expectTypeOf(error).toEqualTypeOf<GatewayError>());
// @ts-expect-error no packet crosses into JavaScript here
lb.toTargets;

declare const explanation: Explanation;
expectTypeOf(explanation.dropReason).toEqualTypeOf<DropReason | null>();
expectTypeOf(explanation.idleLeftMs).toEqualTypeOf<number | null>();

// For embedders.
const gateway = new Gateway({ targetGroup: group });
const batch = new PacketBatch({ packets: 256 });
const endpoint = gateway.createEndpoint({ zone: 'a' });
expectTypeOf(endpoint).toEqualTypeOf<Endpoint>();
expectTypeOf(gateway.toTargets).parameters.toEqualTypeOf<
  [batch: PacketBatch, endpoint: Endpoint | null, now?: number]
>();
expectTypeOf(gateway.fromTargets).parameters.toEqualTypeOf<[batch: PacketBatch, now?: number]>();
expectTypeOf(batch.target).toEqualTypeOf<Uint16Array>();
expectTypeOf(batch.hash).toEqualTypeOf<BigUint64Array>();
for (const packet of batch) {
  expectTypeOf(packet).toEqualTypeOf<Packet>();
  expectTypeOf(packet.verdict).toEqualTypeOf<VerdictName>();
  expectTypeOf(packet.reason).toEqualTypeOf<DropReason | 'none'>();
  expectTypeOf(packet.source).toEqualTypeOf<string>();
  // @ts-expect-error only an appliance's packets can be dropped
  packet.drop();
  // @ts-expect-error headers are read only
  packet.sourcePort = 5;
}
// @ts-expect-error a tuple needs both ends
gateway.explain({ protocol: 'tcp', source: '10.0.0.1:1' });

// The appliance.
declare const appliance: Appliance;
expectTypeOf(Appliance.listen).returns.resolves.toEqualTypeOf<Appliance>();
expectTypeOf(appliance).toExtend<AsyncDisposable>();
expectTypeOf(appliance.counters()).toEqualTypeOf<ApplianceCounters>();
appliance.inspect((packets) => {
  for (const packet of packets) {
    expectTypeOf(packet).toEqualTypeOf<InspectedPacket>();
    expectTypeOf(packet.attachmentId).toEqualTypeOf<bigint>();
    if (packet.destinationPort === 23) packet.drop();
  }
});
appliance.inspect(async () => {});
appliance.inspect({ filter: 'tcp' }, (packets) => {
  for (const packet of packets) {
    expectTypeOf(packet.passFlow()).toEqualTypeOf<boolean>();
    packet.dropFlow({ afterPackets: 3, afterBytes: 1000 });
    // @ts-expect-error no such option
    packet.passFlow({ after: 3 });
    expectTypeOf(packet.sourceWord(0)).toEqualTypeOf<number>();
  }
});
appliance.inspect({ filter: new CaptureFilter('udp') }, async () => {});
// @ts-expect-error a filter needs an inspector
appliance.inspect({ filter: 'tcp' });
expectTypeOf(new CaptureFilter('').matches(new Uint8Array())).toEqualTypeOf<boolean>();
expectTypeOf(appliance.counters().flowPacketsPassed).toEqualTypeOf<number>();
appliance.inspect(null);
// @ts-expect-error one packet at a time is not how it works
appliance.inspect((packet: Packet) => packet.bytes);
expectTypeOf(parseDropRule).toEqualTypeOf<(text: string) => DropRule>();

// Codec and tables.
expectTypeOf(encodeGeneve).returns.toExtend<Uint8Array>();
expectTypeOf(decodeGeneve(new Uint8Array()).gateway).exclude<null>().toHaveProperty('cookie');
expectTypeOf(decodeFrame).returns.extract<null>().toEqualTypeOf<null>();
expectTypeOf(parseEndpointId('')).toEqualTypeOf<bigint | null>();
expectTypeOf(flowKey).returns.extract<null>().toEqualTypeOf<null>();
expectTypeOf(new FlowTable({ capacity: 1024 }).get(new Uint8Array(16), 0)).toEqualTypeOf<
  number | undefined
>();
for (const frame of readCapture('x')) expectTypeOf(frame.timeNs).toEqualTypeOf<bigint>();

// Errors.
declare const error: GatewayError;
expectTypeOf(error.code).toEqualTypeOf<GatewayErrorCode>();
expectTypeOf<'ERR_GWLB_ADDRESS_IN_USE'>().toExtend<GatewayErrorCode>();
// @ts-expect-error codes are a closed list
error.code === 'EADDRINUSE';
