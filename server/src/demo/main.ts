/** `gwlb demo`: the classic inspection topology, running, with every promise checked. */
import { Command, CommanderError, Option } from 'commander';
import type { Lab } from '../lab/lab.js';
import { isInside, runInside, whyNoNamespaces } from '../lab/sandbox.js';
import { live } from './live.js';
import { loopbackPlace } from './place-loopback.js';
import { namespacesPlace } from './place-namespaces.js';
import { Promises } from './promises.js';
import { count, Report } from './report.js';
import { askToStop, INSIDE, onStop } from './stop.js';
import { Story } from './story.js';
import { World } from './world.js';

interface Options {
  json: boolean;
  once: boolean;
  loopback: boolean;
}

function parse(argv: readonly string[]): Options | number {
  const command = new Command('gwlb demo')
    .description(
      'Runs a gateway load balancer, its appliances, a client and an application on this machine, ' +
        'tells what happens and checks every promise. Needs Linux with network namespaces (as root, ' +
        'or where unprivileged user namespaces are allowed); otherwise it uses 127.0.0.0/8.',
    )
    .option('--once', 'end after the story, also on a terminal', false)
    .option('--json', 'one JSON object a line instead of text; implies --once', false)
    .addOption(new Option('--loopback', 'use 127.0.0.0/8, not namespaces').default(false))
    .addHelpText(
      'after',
      '\nExit code: 0 if every promise held, 1 if one did not, 2 for wrong arguments.\n' +
        'On a terminal it goes on with a live table until Ctrl-C; otherwise it ends within 60 s.',
    )
    .exitOverride();
  try {
    command.parse(argv as string[], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
  return command.opts<Options>();
}

/** Resolves with the exit code. */
export async function runDemo(argv: readonly string[]): Promise<number> {
  const options = parse(argv);
  if (typeof options === 'number') return options;
  const report = new Report(options.json);
  if (!isInside(INSIDE) && !options.loopback) {
    const obstacle = whyNoNamespaces();
    if (obstacle === null) return runInside([process.argv[1], 'demo', ...argv], INSIDE, askToStop);
    const sentence = `${obstacle} The demo runs over 127.0.0.0/8 instead, with generated packets.`;
    report.event('fallback', { reason: obstacle }, sentence);
  }
  const stopping = new AbortController();
  onStop(() => stopping.abort());
  return new Demo(report, options, stopping.signal).run(isInside(INSIDE));
}

class Demo {
  readonly #report: Report;
  readonly #options: Options;
  readonly #stopped: AbortSignal;
  readonly #promises: Promises;

  constructor(report: Report, options: Options, stopped: AbortSignal) {
    this.#report = report;
    this.#options = options;
    this.#stopped = stopped;
    this.#promises = new Promises(report);
  }

  async run(inNamespaces: boolean): Promise<number> {
    const place = await (inNamespaces ? namespacesPlace() : loopbackPlace());
    const lab: Lab = place.lab;
    try {
      this.#report.show(place.picture);
      this.#report.event('topology', { kind: place.kind });
      const world = new World(place);
      const story = new Story(world, this.#report, this.#promises, this.#stopped);
      const told = await this.#untilStopped(story.tell());
      const stay = process.stdout.isTTY && !this.#options.once && !this.#options.json;
      if (told && stay) await live(world, this.#report, this.#stopped);
      if (world.gateway) await story.settle(told);
      return this.#end(told);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#promises.check('the demo runs to its end', false, message);
      return this.#end(true);
    } finally {
      await lab.close();
      this.#report.event('gone', {}, 'every process and namespace of the demo is gone');
    }
  }

  /** False where Ctrl-C came first. */
  async #untilStopped(story: Promise<void>): Promise<boolean> {
    let stop = () => {};
    const stopped = new Promise<boolean>((resolve) => {
      stop = () => resolve(false);
      this.#stopped.addEventListener('abort', stop, { once: true });
    });
    const told = story.then(
      () => true,
      (error) => {
        if (this.#stopped.aborted) return false;
        throw error;
      },
    );
    return Promise.race([told, stopped]);
  }

  #end(told: boolean): number {
    const { broken, all } = this.#promises;
    const { green, red, yellow } = this.#report.style;
    const code = broken.length > 0 ? 1 : 0;
    const verdict =
      broken.length > 0
        ? red(
            `${broken.length} of ${all.length} promises broken: ${broken.map((b) => b.promise).join('; ')}`,
          )
        : told
          ? green(`all ${count(all.length)} promises held`)
          : yellow(`stopped early; the ${count(all.length)} promises checked so far held`);
    this.#report.event('end', { told, promises: all, exitCode: code }, verdict);
    return code;
  }
}
