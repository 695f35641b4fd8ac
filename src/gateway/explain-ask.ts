/** What native code is asked for an explanation: packets of a flow, as by one endpoint or another. */
import { types } from 'node:util';
import { checkBytes } from '../base/checks.js';
import type { NativeExplanation } from '../native/binding.js';
import { checkTuple, type FlowTuple, TCP_ACK, TCP_SYN, tuplePacket } from '../packet/tuple.js';
import type { Endpoint } from './endpoint.js';

/** Explains a packet by the endpoint with this index. */
export type Ask = (packet: Uint8Array, endpoint: number) => NativeExplanation;

/** Endpoints that are looked at for a flow that entered by another one than was asked about. */
const ELSEWHERE_MAX = 256;

/** What is asked about, read once. */
export function checkFlow(flow: unknown): FlowTuple | Uint8Array {
  return types.isUint8Array(flow) ? checkBytes('flow', flow) : checkTuple(flow);
}

/** For the tuple of a TCP connection that is there its next packet, else the SYN that would open it. */
export function askFlow(ask: Ask, flow: FlowTuple | Uint8Array, index: number): NativeExplanation {
  const established = ask(packetOf(flow), index);
  if (established.pinned || flow instanceof Uint8Array) return established;
  return ask(tuplePacket(flow, TCP_SYN), index);
}

/** Endpoints other than the one that was asked about where this is a flow. */
export function askElsewhere(
  ask: Ask,
  flow: FlowTuple | Uint8Array,
  endpoints: readonly Endpoint[],
  asked: Endpoint,
): Endpoint[] {
  const packet = packetOf(flow);
  const others = endpoints.filter((endpoint) => endpoint !== asked).slice(0, ELSEWHERE_MAX);
  return others.filter(({ index }) => ask(packet, index).pinned);
}

function packetOf(flow: FlowTuple | Uint8Array): Uint8Array {
  return flow instanceof Uint8Array ? flow : tuplePacket(flow, TCP_ACK);
}
