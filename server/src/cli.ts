#!/usr/bin/env node
/**
 * The `gwlb` command: reads arguments and loads the module of the one command that is asked for. Exit
 * codes: 0 done or stopped, 1 failed while running, 2 wrong arguments or configuration.
 */
import './cli/hold-signals.js';

import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { declareAppliance } from './cli/declare-appliance.js';
import { declareAsking } from './cli/declare-asking.js';
import { IS_SERVICE } from './cli/hold-signals.js';
import { leaveSoon } from './service/signals.js';

const EXAMPLES = `
Examples:
  gwlb demo                                a whole topology on this machine, explained as it runs
  gwlb check gateway.yaml                  every mistake of a configuration, with its place
  gwlb run gateway.yaml                    the gateway as a foreground service
  gwlb device remove gwlbe0                take away a device that a stopped gateway left
  gwlb appliance --listen 10.0.1.10        an appliance that passes everything, to test a gateway with
  gwlb appliance --listen 10.0.1.10 --tun gwlb0
                                           the kernel as an appliance: its routes and rules decide
  gwlb decode capture.pcap                 the GENEVE packets of a capture, one line each
  gwlb explain tcp 203.0.113.9:52144 10.0.2.10:443
                                           where this flow goes in the running gateway, and why
  gwlb preview fail 10.0.1.10              which flows would move if this target failed
  gwlb status                              the running gateway at a glance
  gwlb reload                              has it read its configuration again, and tells what changed
  gwlb replay capture.pcap                 where each packet of a capture would have gone, and why

Exit codes: 0 done or stopped, 1 failed while running, 2 wrong arguments or configuration.`;

function packageVersion(): string {
  const text = readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Gets the exit code of the command that ran. */
type Done = (code: number) => void;

function declare(program: Command, done: Done): void {
  program
    .name('gwlb')
    .description('Gateway load balancer: steers flows through a fleet of appliances over GENEVE.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help, or that of a command')
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .enablePositionalOptions()
    .addHelpText('after', EXAMPLES);
  declareDemo(program, done);
  declareService(program, done);
  declareDevice(program, done);
  declareAppliance(program, packageVersion(), done);
  declareDecode(program, done);
  declareAsking(program, done);
  declareReplay(program, done);
}

function declareDemo(program: Command, done: Done): void {
  program
    .command('demo')
    .description('run a whole topology on this machine (its own options: gwlb demo --help)')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .passThroughOptions()
    .action(async (_options, command: Command) => {
      const { runDemo } = await import('./demo/main.js');
      done(await runDemo(command.args));
    });
}

function declareService(program: Command, done: Done): void {
  program
    .command('run')
    .description('run a gateway in the foreground')
    .argument('<config>', 'configuration file (YAML)')
    .option('--record <seconds>', 'keep the headers of packets, and events, of the last seconds')
    .option('--record-dir <folder>', 'where SIGUSR2 and anomalies write them to', '.')
    .option('--state <folder>', 'keep there what has to outlive the process, and go on from it')
    .option('--user <name>', 'become this user before anything is opened')
    .option('--no-drop-privileges', 'keep every privilege that it was started with')
    .option('--record-keep <count>', 'keep the newest so many recordings there', '10')
    .option('--record-bytes <bytes>', 'and of all of them so many bytes', '1073741824')
    .option(
      '--remove-devices',
      'take the TUN devices away at the end, and the routes with them',
      false,
    )
    .addHelpText(
      'after',
      '\nSIGTERM and SIGINT stop it; SIGHUP reads the file again: targets, policy, endpoints, idle\n' +
        'timeouts and log level change without losing flows. Logs go to standard output: JSON lines,\n' +
        'readable ones on a terminal.',
    )
    .action(async (path: string, options) => {
      const { run } = await import('./cli/run.js');
      done(await run(path, options, packageVersion()));
    });
  program
    .command('check')
    .description('check a configuration file and name every mistake')
    .argument('<config>', 'configuration file (YAML)')
    .action(async (path: string) => {
      const { check } = await import('./cli/check.js');
      done(check(path));
    });
}

function declareDevice(program: Command, done: Done): void {
  program
    .command('device')
    .description('TUN devices that a gateway left behind')
    .command('remove')
    .description('take away a TUN device that no gateway holds, and the routes into it')
    .argument('<name>', 'name of the device')
    .option('--netns <name>', 'network namespace of the device')
    .action(async (name: string, options) => {
      const { removeDevice } = await import('./cli/device.js');
      done(removeDevice(name, options));
    });
}

function declareDecode(program: Command, done: Done): void {
  program
    .command('decode')
    .description('print the GENEVE packets of a capture (pcap or pcapng), one line each')
    .argument('<file>', 'capture file')
    .option('--json', 'one JSON object a line', false)
    .option('--port <port>', 'UDP port that means GENEVE', '6081')
    .option('--option-class <class>', "class of the gateway's GENEVE options", '0x0108')
    .addHelpText(
      'after',
      '\nExit codes: 0 the file was readable to its end (also where packets are malformed), 1 it was\n' +
        'not, 2 wrong arguments.',
    )
    .action(async (file: string, options) => {
      const { decode } = await import('./cli/decode.js');
      done(await decode(file, options));
    });
}

function declareReplay(program: Command, done: Done): void {
  program
    .command('replay')
    .description('send the packets of a capture through a gateway in simulated time')
    .argument('<file>', 'capture file (pcap or pcapng), of plain packets or of GENEVE')
    .option('--config <file>', 'configuration of gwlb run; default two targets and one endpoint')
    .option('--events <file>', 'what happens to targets meanwhile, a JSON object a line')
    .option('--out <file>', 'capture to write the GENEVE packets to that targets would have got')
    .option('--json', 'one JSON object a line', false)
    .addHelpText(
      'after',
      '\nAppliances return every packet at once. A summary goes to standard error. Equal input gives\n' +
        'equal output, always.\n' +
        'Exit codes: 0 done, 1 the capture is cut or not readable, 2 wrong arguments, configuration or\n' +
        'events.',
    )
    .action(async (file: string, options) => {
      const { runReplay } = await import('./cli/replay.js');
      done(await runReplay(file, options));
    });
}

/** Runs the command that the arguments name; resolves with its exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const { Command, CommanderError } = await import('commander');
  const program = new Command();
  let code = 0;
  program.exitOverride();
  declare(program, (result) => {
    code = result;
  });
  if (argv.length === 0) {
    program.outputHelp({ error: true });
    return 2;
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
  return code;
}

// Nothing is loaded to say so: there is no descriptor left.
const TOO_MANY_FILES =
  'too many open files: raise the limit of this process (LimitNOFILE= of its unit, ulimit -n)';

/** Prints what ended the command; returns the exit code. */
function report(error: unknown): number {
  // Modules are files, too.
  if (error instanceof Error && 'code' in error && error.code === 'EMFILE') {
    console.error(`gwlb: ${TOO_MANY_FILES}`);
    return 1;
  }
  if (isOurs(error)) {
    console.error(`gwlb: ${error.message}`);
    return ARGUMENT_ERRORS.has(error.code) || error.field === '--socket' ? 2 : 1;
  }
  console.error(error);
  return 1;
}

/** By its code, so that the library need not be there, and any copy of it will do. */
function isOurs(error: unknown): error is Error & { code: string; field?: string } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_GWLB_');
}

const ARGUMENT_ERRORS = new Set<string>([
  'ERR_GWLB_INVALID_ARGUMENT',
  'ERR_GWLB_OUT_OF_RANGE',
  'ERR_GWLB_ATTRIBUTES',
  'ERR_GWLB_DUPLICATE_TARGET',
  'ERR_GWLB_UNKNOWN_TARGET',
  'ERR_GWLB_UNKNOWN_ENDPOINT',
  'ERR_GWLB_CONFIG',
]);

const started = process.argv[1];
if (started !== undefined && realpathSync(started) === fileURLToPath(import.meta.url)) {
  process.exitCode = await main(process.argv.slice(2)).catch(report);
  if (IS_SERVICE) leaveSoon();
}
