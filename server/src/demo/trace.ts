/** One request, hop by hop, from what every station saw of it. */
import type { Promises } from './promises.js';
import { hex, ms, type Report } from './report.js';
import type { FlowNote, RequestResult, SeenPacket } from './types.js';
import { now } from './types.js';
import type { World } from './world.js';

const LOCAL_PORT = 47_211;

export async function tellOneRequest(
  world: World,
  report: Report,
  promises: Promises,
): Promise<void> {
  report.chapter('One request, hop by hop');
  const { client, addresses, servicePort, clientPrefix } = world.place;
  const end = `${clientPrefix}:${LOCAL_PORT}`;
  for (const { remote } of world.appliances.values()) await remote.call('follow', end);
  const began = now();
  const result = await client.call<RequestResult>('ask', {
    address: addresses[0],
    port: servicePort,
    path: '/',
    timeoutMs: 5000,
    localPort: LOCAL_PORT,
  });
  const note = await flowNote(world, end);
  const witnesses = await packetsByAppliance(world);
  const [name, packets] = witnesses[0] ?? ['nobody', []];
  const there = packets.find(({ toServer, tcpFlags }) => toServer && tcpFlags.includes('PSH'));
  const back = packets.find(({ toServer, tcpFlags }) => !toServer && tcpFlags.includes('PSH'));
  const complete = result.ok && note !== undefined && there !== undefined && back !== undefined;
  promises.check('one request can be followed through every hop', complete, result.error ?? name);
  if (!note || !there || !back) return;

  const steps = describe(world, {
    result,
    note,
    name,
    there,
    back,
    began,
    endpoint: note.endpoint,
  });
  report.event('trace', { result, flow: note, appliance: name, there, back, steps }, ...steps);
  const cookies = new Set(packets.map(({ cookie }) => cookie));
  const ports = new Set(packets.map(({ outerSourcePort }) => outerSourcePort));
  promises.check(
    'one appliance, one cookie and one source port for both directions',
    witnesses.length === 1 && cookies.size === 1 && ports.size === 1 && cookies.has(note.cookie),
    `${witnesses.length} appliances, ${cookies.size} cookies, ${ports.size} ports`,
  );
}

/** The gateway's word on the flow; events are fetched ten times a second. */
async function flowNote(world: World, end: string): Promise<FlowNote | undefined> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const note = world.flowNotes.find(({ type, client }) => type === 'opened' && client === end);
    if (note) return note;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return undefined;
}

async function packetsByAppliance(world: World): Promise<[string, SeenPacket[]][]> {
  const all: [string, SeenPacket[]][] = [];
  for (const { name, remote } of world.appliances.values()) {
    const packets = await remote.call<SeenPacket[]>('followed');
    if (packets.length > 0) all.push([name, packets]);
  }
  return all;
}

interface Followed {
  result: RequestResult;
  note: FlowNote;
  name: string;
  there: SeenPacket;
  back: SeenPacket;
  began: number;
  endpoint: string;
}

function describe(world: World, followed: Followed): string[] {
  const { result, note, name, there, back, began } = followed;
  const { names } = world.place;
  const after = (packet: SeenPacket) => `${(packet.at - began).toFixed(2)} ms`;
  const wire = (packet: SeenPacket) =>
    `${packet.bytes} B inner, cookie ${hex(packet.cookie)}, outer source port ${packet.outerSourcePort}`;
  const address = note.target;
  return [
    ` 1  client ${result.client} → ${result.server}: GET /`,
    ` 2  ${names.ingress}`,
    ` 3  ${names.entry} ${note.endpoint}: a new flow (SYN), pinned to ${name}`,
    ` 4  gateway → ${name} ${address}: GENEVE (${wire(there)})`,
    ` 5  ${name} at +${after(there)}: ${there.tcpFlags}, endpoint ${there.endpoint}, verdict ${there.verdict}; returned`,
    ` 6  gateway checks source and cookie, decapsulates; ${names.exit}`,
    ` 7  ${names.application} ${result.server} sees the client itself: ${result.seen?.client}`,
    ` 8  application ${result.seen?.application} answers; the answer is routed to the same endpoint`,
    ` 9  gateway finds the flow: the same target, the same cookie`,
    `10  gateway → ${name}: GENEVE (${wire(back)})`,
    `11  ${name} at +${after(back)}: ${back.tcpFlags}, endpoint ${back.endpoint}, verdict ${back.verdict}; returned`,
    `12  gateway → ${note.endpoint} → client: status ${result.status} after ${ms(result.ms)}`,
  ];
}
