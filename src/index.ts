/** The public surface of the package; re-exports only. */
// Its declarations use Node's (EventEmitter, AbortSignal), which TypeScript 6 loads only where they are asked for.
/// <reference types="node" preserve="true" />

export {
  Appliance,
  type ApplianceEvents,
} from './appliance/appliance.js';
export type { ApplianceCounters } from './appliance/counters.js';
export { type DropRule, parseDropRule } from './appliance/drop-rule.js';
export { CaptureFilter } from './appliance/filter.js';
export {
  type FlowContextEnd,
  FlowContexts,
  type FlowContextsOptions,
} from './appliance/flow-contexts.js';
export type { FlowVerdictOptions, PassFlowOptions } from './appliance/flow-verdict.js';
export type { ApplianceHealthCheck, ApplianceHealthState } from './appliance/health-check.js';
export { InspectedBatch, InspectedPacket } from './appliance/inspected-batch.js';
export type { Inspector } from './appliance/inspection.js';
export {
  type InspectorOutcome,
  InspectorTest,
  type InspectorTestMetadata,
  type InspectorTestOptions,
} from './appliance/inspector-test.js';
export type {
  ApplianceIdleTimeout,
  ApplianceLimits,
  ApplianceOptions,
  InspectOptions,
} from './appliance/options.js';
export { ApplianceTun } from './appliance/tun.js';
export type {
  ApplianceTunLimits,
  ApplianceTunOptions,
  ApplianceTunPerEndpoint,
} from './appliance/tun-options.js';
export type {
  ApplianceTunCounters,
  ApplianceTunDevice,
  ApplianceTunEvents,
  ApplianceTunFlows,
} from './appliance/tun-types.js';
export {
  ERROR_CODES,
  type ErrorPath,
  GatewayError,
  type GatewayErrorCode,
  type GatewayErrorOptions,
} from './base/errors.js';
export {
  BATCH_PACKETS_MAX,
  ENDPOINTS_MAX,
  FLOWS_MAX,
  FLOWS_MIN,
  INNER_BYTES_MAX,
  INNER_BYTES_MIN,
  RETURN_PORTS_MAX,
  SOURCE_PORTS_MAX,
  TARGETS_MAX,
  WEIGHT_MAX,
  WORKERS_MAX,
  ZONES_MAX,
} from './base/limits.js';
export type { OptionDescription } from './base/option-description.js';
export type { JsonSchema } from './base/option-kinds.js';
export {
  checkOptionsOf,
  completeOptions,
  type DescribedKind,
  describeOptions,
  type OptionsKind,
  optionProblems,
  optionsSchema,
} from './check-options.js';
export type { HealthCause, WeightCause } from './fleet/commands.js';
export type {
  GatewayState,
  SavedEndpoint,
  SavedFreeSlot,
  SavedGroup,
  SavedTarget,
} from './fleet/saved.js';
export type { AwsMetrics, AwsZoneMetrics } from './gateway/aws-metrics.js';
export type {
  EndpointCounters,
  GatewayCounters,
  GatewayTotals,
  TargetCounters,
} from './gateway/counters.js';
export type { DeviceEvent, TunOptions } from './gateway/device.js';
export { Endpoint, type EndpointKind, type EndpointPeer } from './gateway/endpoint.js';
export type {
  BatchEndpointOptions,
  EndpointOptions,
  GeneveEndpointOptions,
  TunEndpointOptions,
} from './gateway/endpoint-options.js';
export type { FlowDecision, WhatIf } from './gateway/explain-rules.js';
export type {
  Candidate,
  Excluded,
  ExplainedPolicy,
  ExplainOptions,
  Explanation,
  FlowCookie,
  IdleTimer,
  RecentMove,
  TcpProgress,
} from './gateway/explain-types.js';
export type { FlowCause, FlowCounters, FlowEnd, FlowEvent } from './gateway/flow-events.js';
export { Gateway } from './gateway/gateway.js';
export type { GatewayBase } from './gateway/gateway-base.js';
export { GatewayLoadBalancer, type Offloads } from './gateway/gateway-load-balancer.js';
export type { GatewayOptions } from './gateway/gateway-options.js';
export type { GatewayEvents } from './gateway/gateway-settings.js';
export type { GenevePeerOptions } from './gateway/geneve-peer.js';
export type { TargetGroupAttributes } from './gateway/group-attributes.js';
export type {
  HealthEvent,
  MembershipEvent,
  ProbeEvent,
  TargetGroupEvents,
  WeightEvent,
} from './gateway/group-events.js';
export type {
  Failover,
  TargetGroupOptions,
  TargetGroupPolicy,
  TargetSpec,
  TargetTcpReset,
} from './gateway/group-options.js';
export type { ListenOptions } from './gateway/listen-options.js';
export type { ListenerAttributes } from './gateway/listener-attributes.js';
export type { SaveState } from './gateway/live-fleet.js';
export type {
  ClampMss,
  CookieKeyOptions,
  GatewayBaseOptions,
  GatewayLimits,
  IdleTimeout,
  ListenerTcpReset,
  MidStream,
  SourcePorts,
} from './gateway/options.js';
export type {
  FlowPreview,
  FlowPreviewMove,
  RowMove,
  TargetGroupChange,
  TargetGroupPreview,
  ZonePreview,
} from './gateway/preview-types.js';
export type { RecordedPacket, Recording } from './gateway/recording.js';
export { Target, type TargetReference } from './gateway/target.js';
export { TargetGroup } from './gateway/target-group.js';
export type {
  HealthCheckOptions,
  HealthCheckProtocol,
  HealthCheckValues,
} from './health/options.js';
export type { HealthProfile, TargetReason, TargetState } from './health/thresholds.js';
export {
  formatEndpointId,
  formatIpv4,
  parseEndpointId,
  parseIpv4,
} from './packet/address.js';
export { PacketBatch, type PacketBatchOptions } from './packet/batch.js';
export {
  type CapturedFrame,
  CaptureReader,
  PcapWriter,
  type PcapWriterOptions,
  readCapture,
} from './packet/capture.js';
export { updateChecksums } from './packet/checksums.js';
export { type DecodedFrame, decodeFrame, decodeGeneve, encodeGeneve } from './packet/codec.js';
export type {
  DecodeFrameOptions,
  DecodeGeneveOptions,
  EncodeGeneveHeader,
} from './packet/codec-options.js';
export type { DeviceState, DeviceStatus } from './packet/device-watch.js';
export {
  FlowTable,
  type FlowTableOptions,
  flowKey,
  NO_FLOW,
  type Stickiness,
} from './packet/flow-table.js';
export type {
  DecodedGeneve,
  DecodeError,
  GatewayOptions as GatewayOptionValues,
  GeneveHeader,
  GeneveOption,
} from './packet/geneve-types.js';
export { LINK_TYPES } from './packet/links.js';
export {
  DROP_REASONS,
  type DropReason,
  protocolName,
  protocolNumber,
  REASON_NAMES,
  Verdict,
  type VerdictName,
} from './packet/names.js';
export type { UdpOffloads } from './packet/offloads.js';
export { Packet } from './packet/packet.js';
export { type FlowTuple, tuplePacket } from './packet/tuple.js';
export type { EventPlace, EventProblem, ReplayEvent } from './replay/events.js';
export type { ReplayLine, ReplayReason, ReplaySummary, ReplayVerdict } from './replay/lines.js';
export { type Replay, ReplayEventsError, type ReplayOptions, replay } from './replay/replay.js';
export {
  type Capability,
  limitPrivileges,
  type Route,
  type RouteRule,
  type RoutingTables,
  readRoutes,
  removeTun,
} from './system.js';
