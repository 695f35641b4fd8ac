/**
 * Client, VPC router and application in one, where there are no namespaces: generated TCP
 * conversations that enter and leave the gateway as a GENEVE peer, one VNI a zone. Every packet of a
 * conversation crosses the gateway and an appliance; both ends keep to the protocol and retransmit.
 */

import { createSocket, type Socket } from 'node:dgram';
import { decodeGeneve, encodeGeneve, tuplePacket } from 'gwlb';
import { type Held, type PortOptions, type RequestOptions, serveTraffic } from './traffic.js';
import { type HeldConnection, now, type RequestResult } from './types.js';

export interface GeneratorStart {
  /** Own address; GENEVE is sent from and received on its port 6081. */
  address: string;
  gateway: string;
  client: string;
  /** VNI of the endpoint that leads to each address of the application. */
  vnis: Record<string, number>;
}

const GENEVE_PORT = 6081;
const RETRANSMIT_MS = 250;
const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;

let socket: Socket;
let setup: GeneratorStart;
let nextPort = 20_000;
const conversations = new Map<string, Conversation>();

/** Sends an inner packet into the endpoint of an application address. */
function emit(vni: number, packet: Uint8Array): void {
  const header = encodeGeneve({ protocolType: 0x0800, vni, options: [] });
  socket.send([header, packet], GENEVE_PORT, setup.gateway);
}

function receive(datagram: Uint8Array): void {
  const { header } = decodeGeneve(datagram);
  if (!header) return;
  const packet = datagram.subarray(header.headerLength);
  const { outer, tcp } = readPacket(packet);
  if (!outer) return;
  const toServer = outer.source === setup.client;
  const [client, server] = toServer
    ? [`${outer.source}:${outer.sourcePort}`, `${outer.destination}:${outer.destinationPort}`]
    : [`${outer.destination}:${outer.destinationPort}`, `${outer.source}:${outer.sourcePort}`];
  conversations.get(`${client} ${server}`)?.arrived(toServer, tcp.flags, tcp.payload);
}

/** Addresses and ports of a bare IPv4/TCP packet, its flags and its payload. */
function readPacket(packet: Uint8Array) {
  const header = (packet[0] & 15) * 4;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const dotted = (at: number) => packet.subarray(at, at + 4).join('.');
  if (packet[9] !== 6) return { outer: null, tcp: { flags: 0, payload: packet } };
  const outer = {
    source: dotted(12),
    destination: dotted(16),
    sourcePort: view.getUint16(header),
    destinationPort: view.getUint16(header + 2),
  };
  const data = header + (packet[header + 12] >> 4) * 4;
  return { outer, tcp: { flags: packet[header + 13], payload: packet.subarray(data) } };
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

/** One TCP connection, both ends of it: what is on its way is sent again until it has arrived. */
class Conversation {
  readonly client: string;
  readonly server: string;
  readonly #vni: number;
  readonly #key: string;
  #timer: NodeJS.Timeout | null = null;
  #expected: ((toServer: boolean, flags: number, payload: Uint8Array) => boolean) | null = null;
  #resolve: ((payload: Uint8Array) => void) | null = null;

  constructor(address: string, port: number, localPort = nextPort++) {
    this.client = `${setup.client}:${localPort}`;
    this.server = `${address}:${port}`;
    this.#vni = setup.vnis[address];
    this.#key = `${this.client} ${this.server}`;
    conversations.set(this.#key, this);
  }

  /** One packet across; resolves with its payload when it has come out at the other end. */
  cross(toServer: boolean, flags: number, payload = ''): Promise<Uint8Array> {
    const [source, destination] = toServer
      ? [this.client, this.server]
      : [this.server, this.client];
    const bytes = tuplePacket(
      { protocol: 'tcp', source, destination },
      flags,
      Buffer.from(payload),
    );
    const send = () => emit(this.#vni, bytes);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#expected = (side, got, data) =>
        side === toServer && got === flags && text(data) === payload;
      this.#timer = setInterval(send, RETRANSMIT_MS);
      send();
    });
  }

  arrived(toServer: boolean, flags: number, payload: Uint8Array): void {
    if (!this.#expected?.(toServer, flags, payload)) return;
    this.#settle();
    this.#resolve?.(payload);
  }

  #settle(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    this.#expected = null;
  }

  async open(): Promise<void> {
    await this.cross(true, SYN);
    await this.cross(false, SYN | ACK);
    await this.cross(true, ACK);
  }

  /** A request and its answer; the server tells which client it saw. */
  async exchange(path: string): Promise<{ client: string; balancer: string; application: string }> {
    await this.cross(true, PSH | ACK, `GET ${path} HTTP/1.1\r\nhost: demo\r\n\r\n`);
    const seen = { client: this.client, balancer: this.server, application: this.server };
    const answer = await this.cross(
      false,
      PSH | ACK,
      `HTTP/1.1 200 OK\r\n\r\n${JSON.stringify(seen)}`,
    );
    return JSON.parse(text(answer).split('\r\n\r\n')[1]);
  }

  async close(): Promise<void> {
    await this.cross(true, FIN | ACK);
    await this.cross(false, FIN | ACK);
    await this.cross(true, ACK);
    this.forget();
  }

  /** Ends it at once; with a RST where the server should hear of it. */
  forget(reset = false): void {
    this.#settle();
    conversations.delete(this.#key);
    if (!reset) return;
    const tuple = { protocol: 'tcp', source: this.client, destination: this.server };
    emit(this.#vni, tuplePacket(tuple, RST));
  }
}

async function ask(options: RequestOptions): Promise<RequestResult> {
  const began = now();
  const conversation = new Conversation(options.address, options.port, options.localPort);
  const { client, server } = conversation;
  const work = async () => {
    await conversation.open();
    const seen = await conversation.exchange(options.path);
    await conversation.close();
    return { ok: true, status: 200, seen };
  };
  const late = new Promise<{ ok: boolean; status: number; error: string }>((resolve) => {
    setTimeout(() => resolve({ ok: false, status: 0, error: 'timed out' }), options.timeoutMs);
  });
  const result = await Promise.race([work(), late]);
  conversation.forget();
  return { ...result, ms: now() - began, client, server };
}

async function tryPort(options: PortOptions): Promise<boolean> {
  const conversation = new Conversation(options.address, options.port);
  const late = new Promise<boolean>((resolve) =>
    setTimeout(() => resolve(false), options.timeoutMs),
  );
  const open = await Promise.race([conversation.open().then(() => true), late]);
  conversation.forget();
  return open;
}

/** A conversation that goes on: an exchange every so often. */
class Dialogue implements Held {
  readonly #conversation: Conversation;
  #stopped = false;
  #answers = 0;
  #gapMs = 0;
  #last = now();

  constructor(address: string, port: number) {
    this.#conversation = new Conversation(address, port);
  }

  run(everyMs: number): void {
    void this.#talk(everyMs);
  }

  async #talk(everyMs: number): Promise<void> {
    await this.#conversation.open();
    while (!this.#stopped) {
      await this.#conversation.exchange('/');
      this.#answers++;
      this.#gapMs = Math.max(this.#gapMs, this.silentMs);
      this.#last = now();
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  get silentMs(): number {
    return now() - this.#last;
  }

  get state(): HeldConnection {
    const { client, server } = this.#conversation;
    const gapMs = Math.max(this.#gapMs, this.silentMs);
    return { client, server, alive: true, answers: this.#answers, gapMs };
  }

  mark(): void {
    this.#gapMs = 0;
    this.#last = now();
  }

  stop(): void {
    this.#stopped = true;
    this.#conversation.forget(true);
  }
}

function begin(options: GeneratorStart): Promise<void> {
  setup = options;
  socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  socket.on('message', receive);
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(GENEVE_PORT, options.address, resolve);
  });
}

export function start(): void {
  const hold = (address: string, port: number) => new Dialogue(address, port);
  serveTraffic({ ask, tryPort, hold }, { begin });
}
