/** TCP connections through a recipe that send both ways all the time, to the last byte judged by their hashes. */
import type { Test } from 'tap';
import { CLIENT, SERVER } from '../../../test/support/fleet.js';
import { Talker } from '../../../test/support/processes.js';
import { type Host, type Stage, TENANTS, type Tenant } from './stage.js';

interface Tuple {
  protocol: 'tcp';
  source: string;
  destination: string;
}

/** What is taken for "goes on": more than could have been under way. */
const MORE = 200_000;
let nextPort = 20_000;

/** The namespaces of both ends. */
type Ends = Pick<Tenant, 'client' | 'server'>;

export class Streams {
  readonly client: Talker;
  readonly server: Talker;
  /** Of the connections, by their numbers. */
  readonly #flows = new Map<number, Tuple>();

  constructor(t: Test, { client, server }: Ends = TENANTS[0]) {
    this.client = new Talker(client);
    this.server = new Talker(server);
    t.teardown(() => this.client.close());
    t.teardown(() => this.server.close());
  }

  /** A connection that is open at both ends; its number. */
  async connect(host: string, port: number): Promise<number> {
    const number = nextPort++;
    await this.client.dial(host, port, number);
    await this.client.until(number, ({ open }) => open, 'connects');
    await this.server.until(number, ({ open }) => open, 'is accepted');
    const [source, destination] = host.includes(':')
      ? [`[${CLIENT.v6}]:${number}`, `[${host}]:${port}`]
      : [`${CLIENT.v4}:${number}`, `${host}:${port}`];
    this.#flows.set(number, { protocol: 'tcp', source, destination });
    return number;
  }

  /** What comes of a connection that is not let through. */
  async refused(host: string, port: number): Promise<string | null> {
    const number = nextPort++;
    await this.client.dial(host, port, number);
    return (await this.client.until(number, ({ closed }) => closed, 'ends'))?.error ?? null;
  }

  /** Connections to both of the server's addresses that send both ways, under way. */
  async begin(port: number, hosts: readonly string[] = [SERVER.v4, SERVER.v6]): Promise<number[]> {
    const numbers: number[] = [];
    for (const host of hosts) {
      const number = await this.connect(host, port);
      await this.client.stream(number);
      await this.server.stream(number);
      numbers.push(number);
    }
    await this.goOn(numbers);
    return numbers;
  }

  /** Whether they all go through one host. */
  areAt(host: Host, numbers: readonly number[], stage: Stage, endpoint: string): boolean {
    return numbers.every((number) => {
      const tuple = this.#flows.get(number) as Tuple;
      return stage.gateway.explain(tuple, { endpoint }).target?.address === host.address;
    });
  }

  /** Waits until each has carried more, both ways. */
  async goOn(numbers: readonly number[]): Promise<void> {
    for (const end of [this.client, this.server]) {
      for (const number of numbers) {
        const before = (await end.line(number))?.received ?? 0;
        await end.until(number, ({ received }) => received > before + MORE, 'goes on');
      }
    }
  }

  /** Ends them; what arrived, at either end, is what was sent. */
  async complete(t: Test, numbers: readonly number[]): Promise<void> {
    for (const number of numbers) {
      const up = await this.client.finish(number);
      const down = await this.server.finish(number);
      for (const [end, sent] of [
        [this.server, up],
        [this.client, down],
      ] as const) {
        const line = await end.until(number, ({ closed }) => closed, 'is complete');
        t.equal(line?.error, null);
        const arrived = { bytes: line?.received, sha256: line?.sha256 };
        t.strictSame(arrived, sent, `arrives at ${end.namespace} as it was sent`);
      }
    }
  }
}

export interface FailOver {
  streams: Streams;
  /** Of the server. */
  port: number;
  /** Whose connections; default the first one. */
  tenant?: Tenant;
  /** What is pasted before it is started again. */
  before?: string;
}

/** Connections that a host carries go on through the other one when it is killed; then it comes back. */
export async function failOver(
  t: Test,
  stage: Stage,
  { streams, port, tenant = TENANTS[0], before }: FailOver,
): Promise<void> {
  const [dying, other] = stage.hosts;
  await stage.prefer(dying);
  const numbers = await streams.begin(port);
  await stage.prefer(null);
  t.ok(streams.areAt(dying, numbers, stage, tenant.id));
  await dying.kill();
  await stage.turns(dying, 'unhealthy');
  await streams.goOn(numbers);
  t.ok(streams.areAt(other, numbers, stage, tenant.id), 'they have moved');
  if (before !== undefined) await dying.paste(before);
  await dying.start('Start it');
  await stage.turns(dying, 'healthy');
  await streams.goOn(numbers);
  await streams.complete(t, numbers);
}
