/** `gwlb appliance` and `gwlb appliance status`, as the command line shows them. */
import type { Command } from 'commander';
import { DEFAULT_APPLIANCE_SOCKET } from './appliance-socket.js';

/** Gets the exit code of the command that ran. */
type Done = (code: number) => void;

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

const NOTES = `
Packets that no rule drops are returned, or with --tun and --tun-per-endpoint enter the kernel by a TUN
device; what it routes back into the device is returned to the gateway. A rule has any of PROTOCOL,
port NUMBER and host ADDRESS[/PREFIX]. Health checks are told that all is well as long as none of
--health-command, --health-file and --health-flow says otherwise.

SIGTERM and SIGINT end it: it says that it is not healthy, waits for --drain-seconds, and stops; a second one
ends the waiting. SIGUSR1 prints its counters.

Examples:
  gwlb appliance --listen 10.0.1.10 --tun gwlb0
  gwlb appliance --listen 10.0.1.10 --tun gwlb0 --nat eth1
  gwlb appliance --listen 10.0.1.10 --tun-per-endpoint 'gwi%d' --endpoints any --on-endpoint ./rules
  gwlb appliance status`;

export function declareAppliance(program: Command, version: string, done: Done): void {
  const appliance = program
    .command('appliance')
    .description('run an appliance: it passes packets, or hands them to the kernel (--tun)')
    .helpCommand(false)
    .enablePositionalOptions()
    .addHelpText('after', NOTES);
  declareListening(appliance);
  declareDevices(appliance);
  declareHealth(appliance);
  declareObserving(appliance);
  appliance.action(async (options) => {
    const { appliance: run } = await import('./appliance.js');
    done(await run(options, version));
  });
  appliance
    .command('status')
    .description('the running appliance at a glance')
    .option('--socket <path>', 'its control socket', DEFAULT_APPLIANCE_SOCKET)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExit codes: 0 answered, 1 the appliance could not answer, 2 wrong arguments, or no appliance\n' +
        'answers there. It must run with --socket; the socket is for its user and root alone.',
    )
    .action(async (options) => {
      const { applianceStatus } = await import('./appliance-status.js');
      done(await applianceStatus(options));
    });
}

function declareListening(appliance: Command): void {
  appliance
    .option('--listen <address>', 'own address; 0.0.0.0 or :: for all', '127.0.0.1')
    .option('--port <port>', 'UDP port that GENEVE is received on', '6081')
    .option(
      '--drop <rule>',
      "drop what matches, such as 'tcp port 23'; may be repeated",
      collect,
      [],
    )
    .option('--option-class <class>', "class of the gateway's GENEVE options", '0x0108')
    .option('--netns <name>', 'network namespace of its sockets (then --health-port off)')
    .option('--user <name>', 'become this user before anything is opened')
    .option('--no-drop-privileges', 'keep every privilege that it was started with')
    .option('--no-offloads', 'exchange packets one by one with the kernel');
}

function declareDevices(appliance: Command): void {
  appliance
    .option('--tun <device>', 'hand packets to the kernel by this device, or in=NAME,out=NAME')
    .option('--tun-per-endpoint <pattern>', "the same with one for each endpoint, such as 'gwi%d'")
    .option('--endpoints <ids>', 'endpoints that get one: vpce-…,vpce-… or any')
    .option('--max-endpoints <count>', 'endpoints that have one at a time, 1-256', '16')
    .option('--netns-per-endpoint <pattern>', "network namespaces of theirs, such as 'tenant%d'")
    .option('--tun-netns <name>', 'network namespace of the device')
    .option('--tun-mtu <bytes>', 'MTU of devices', '8500')
    .option('--flows <count>', 'IPv4 flows whose way back is known at a time', '65536')
    .option('--remove-devices', 'take the device of --tun away at the end', false)
    .option(
      '--nat [interface]',
      "masquerade what enters out of an interface (default: the default route's)",
    )
    .option('--table <number>', 'routing table of the first device; the next ones follow', '6081')
    .option('--no-setup', 'leave forwarding, routes and rules of the host to you')
    .option('--print-setup', 'print the commands that would set the host up, and end', false)
    .option('--on-endpoint <program>', 'run: PROGRAM create|destroy DEVICE OUT ENDPOINT')
    .option('--on-endpoint-timeout <seconds>', 'and end it after so long, 1-600', '30');
}

function declareHealth(appliance: Command): void {
  appliance
    .option('--health-port <port>', 'TCP port that answers health checks, or off', '80')
    .option('--health-protocol <protocol>', 'http (200 or 503), or tcp (open or refused)', 'http')
    .option('--health-command <words>', 'healthy while this command ends with exit code 0')
    .option('--health-interval <seconds>', 'between two runs of it, 1-300', '5')
    .option('--health-timeout <seconds>', 'and end it after so long, 1-300', '4')
    .option('--health-file <path>', 'healthy while this file is there')
    .option('--health-flow <seconds>', 'unhealthy when packets enter so long and none returns')
    .option('--drain-seconds <seconds>', 'from the signal to the stop, 0-3600', '0');
}

function declareObserving(appliance: Command): void {
  appliance
    .option('--metrics <address:port>', 'answer /metrics, /healthz and /readyz there')
    .option('--socket <path>', 'answer gwlb appliance status there')
    .option('--pcap <file>', 'capture what comes from the gateway: inner packets, raw IP')
    .option('--pcap-filter <expression>', "and of it only what matches, such as 'tcp port 443'", '')
    .option('--pcap-bytes <bytes>', 'of one file', '134217728')
    .option('--pcap-keep <count>', 'files kept: FILE, FILE.1 …', '10')
    .option('--log-level <level>', 'of its log (default: info with devices, else warn)');
}
