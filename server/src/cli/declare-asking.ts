/** The commands that talk to a running gateway, as the command line shows them. */
import type { Command } from 'commander';

/** Gets the exit code of the command that ran. */
type Done = (code: number) => void;

function askingCommand(
  program: Command,
  name: string,
  description: string,
  failed = 'the gateway could not answer',
): Command {
  return program
    .command(name)
    .description(description)
    .helpCommand(false)
    .option('--socket <path>', "the gateway's control socket (default: /run/gwlb/control.sock)")
    .addOption(
      program
        .createOption('--config <file>', 'the configuration that names the socket')
        .conflicts('socket'),
    )
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      `\nExit codes: 0 answered, 1 ${failed}, 2 wrong arguments, or no gateway\nanswers there. It must run with ` +
        'control.socket in its configuration; the socket is for its user and root alone.',
    );
}

export function declareAsking(program: Command, done: Done): void {
  askingCommand(program, 'explain', 'why a flow goes where it goes, asked of the running gateway')
    .argument('<protocol>', 'tcp, udp, icmp … or a number')
    .argument('<source>', 'such as 203.0.113.9:52144 or [2001:db8::9]:52144; icmp: no port')
    .argument('<destination>', 'such as 10.0.2.10:443')
    .option('--endpoint <id>', 'where it enters; needed unless there is one only')
    .action(async (protocol: string, source: string, destination: string, options) => {
      const { explain } = await import('./explain.js');
      done(await explain(protocol, source, destination, options));
    });
  declarePreview(program, done);
  const again = 'has the running gateway read its configuration again, and tells what changed';
  askingCommand(program, 'reload', again, 'refused: nothing changed').action(async (options) => {
    const { reload } = await import('./reload.js');
    done(await reload(options));
  });
  askingCommand(program, 'status', 'the running gateway at a glance').action(async (options) => {
    const { status } = await import('./status.js');
    done(await status(options));
  });
}

/** Changes of targets that are named: ADDRESS, or ADDRESS:PORT where several have the address. */
const TARGET_CHANGES = [
  ['fail', 'fail', 'targets turn unhealthy'],
  ['recover', 'recover', 'targets turn healthy'],
  ['deregister', 'deregister', 'targets begin to drain'],
  ['drain-over', 'drainOver', 'targets are deregistered and their delay is over'],
] as const;

function declarePreview(program: Command, done: Done): void {
  const preview = program
    .command('preview')
    .description('which rows and live flows a change would move; changes nothing')
    .helpCommand(false);
  const ask = async (change: Record<string, unknown>, options: { json: boolean }) => {
    const { runPreview } = await import('./preview.js');
    done(await runPreview(change, options));
  };
  for (const [name, kind, description] of TARGET_CHANGES) {
    askingCommand(preview, name, description)
      .argument('<target...>', 'such as 10.0.1.10, or 10.0.1.10:6081')
      .action((targets: string[], options) => ask({ [kind]: targets }, options));
  }
  askingCommand(preview, 'register', 'a target is registered, and healthy')
    .argument('<address>', 'IPv4 address')
    .option('--port <port>', "UDP port (default: the group's)")
    .option('--zone <zone>', 'its zone (default: default)')
    .option('--weight <weight>', 'share of new flows, 0-1000 (default: 1)')
    .action(async (address: string, options) => {
      const { targetOf } = await import('./preview.js');
      await ask({ register: targetOf(address, options) }, options);
    });
  askingCommand(preview, 'weight', 'a target gets another weight')
    .argument('<target>', 'such as 10.0.1.10')
    .argument('<weight>', '0-1000')
    .action(async (target: string, weight: string, options) => {
      const { weightOf } = await import('./preview.js');
      await ask({ weight: { target, weight: weightOf(weight) } }, options);
    });
  askingCommand(preview, 'update', 'the policy changes')
    .argument('<key=value...>', 'such as failover=rebalance or sendTcpReset.onUnhealthy=true')
    .action(async (pairs: string[], options) => {
      const { policyArgument } = await import('./preview.js');
      await ask({ update: policyArgument(pairs) }, options);
    });
}
