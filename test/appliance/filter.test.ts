/** Capture filters: what they match, and what is said about those that are none. */
import t from 'tap';
import { CaptureFilter, tuplePacket } from '../../src/index.js';

const tcp4 = tuplePacket({
  protocol: 'tcp',
  source: '10.1.2.3:4000',
  destination: '192.0.2.7:443',
});
const udp4 = tuplePacket({ protocol: 'udp', source: '10.9.0.1:53', destination: '10.1.2.3:1024' });
const icmp4 = tuplePacket({ protocol: 'icmp', source: '10.1.2.3', destination: '192.0.2.7' });
const tcp6 = tuplePacket({
  protocol: 'tcp',
  source: '[2001:db8::1]:443',
  destination: '[2001:db8:1::2]:5000',
});
const icmp6 = tuplePacket({ protocol: 'icmp', source: 'fe80::1', destination: 'ff02::1' });
const gre = tuplePacket({ protocol: 47, source: '10.1.2.3', destination: '10.1.2.4' });
const packets = { tcp4, udp4, icmp4, tcp6, icmp6, gre };
type Name = keyof typeof packets;

function matching(text: string): Name[] {
  const filter = new CaptureFilter(text);
  return (Object.keys(packets) as Name[]).filter((name) => filter.matches(packets[name]));
}

const ALL: Name[] = ['tcp4', 'udp4', 'icmp4', 'tcp6', 'icmp6', 'gre'];

t.test('what matches', async (t) => {
  const table: [string, Name[]][] = [
    ['', ALL],
    ['ip', ['tcp4', 'udp4', 'icmp4', 'gre']],
    ['ip6', ['tcp6', 'icmp6']],
    ['tcp', ['tcp4', 'tcp6']],
    ['UDP', ['udp4']],
    ['icmp', ['icmp4']],
    ['icmp6', ['icmp6']],
    ['sctp', []],
    ['proto 47', ['gre']],
    ['proto 6', ['tcp4', 'tcp6']],
    ['ip proto 6', ['tcp4']],
    ['ip6 proto \\tcp', ['tcp6']],
    ['proto icmp6 or 47', ['icmp6', 'gre']],
    ['host 10.1.2.3', ['tcp4', 'udp4', 'icmp4', 'gre']],
    ['src host 10.1.2.3', ['tcp4', 'icmp4', 'gre']],
    ['dst 10.1.2.3', ['udp4']],
    ['ip dst host 10.1.2.3', ['udp4']],
    ['src or dst 192.0.2.7', ['tcp4', 'icmp4']],
    ['dst or src host 192.0.2.7', ['tcp4', 'icmp4']],
    ['src and dst net 10', ['udp4', 'gre']],
    ['net 10.1', ['tcp4', 'udp4', 'icmp4', 'gre']],
    ['net 10.9.0', ['udp4']],
    ['net 192.0.2.0/24', ['tcp4', 'icmp4']],
    ['net 192.0.2.0 mask 255.255.255.0', ['tcp4', 'icmp4']],
    ['net 0.0.0.0/0', ['tcp4', 'udp4', 'icmp4', 'gre']],
    ['net ::/0', ['tcp6', 'icmp6']],
    ['net 2001:db8::/32', ['tcp6']],
    ['dst net 2001:db8:1::/48', ['tcp6']],
    ['src net 2001:db8:1::/48', []],
    ['ip6 host 2001:db8::1', ['tcp6']],
    ['port 443', ['tcp4', 'tcp6']],
    ['dst port 443', ['tcp4']],
    ['tcp src port 443', ['tcp6']],
    ['udp port 443', []],
    ['port 53 or 443', ['tcp4', 'udp4', 'tcp6']],
    ['port (53 or 443)', ['tcp4', 'udp4', 'tcp6']],
    ['tcp port 53 or 443', ['tcp4', 'tcp6']],
    ['portrange 1000-2000', ['udp4']],
    ['tcp portrange 4999-4000', ['tcp4']],
    ['src and dst portrange 400-5000', ['tcp4', 'tcp6']],
    ['not tcp', ['udp4', 'icmp4', 'icmp6', 'gre']],
    ['! tcp && !udp', ['icmp4', 'icmp6', 'gre']],
    ['!(tcp||udp)', ['icmp4', 'icmp6', 'gre']],
    ['not not tcp', ['tcp4', 'tcp6']],
    // From left to right, not "and" first.
    ['ip6 or tcp and port 4000', ['tcp4']],
    ['ip6 or (tcp and port 4000)', ['tcp4', 'tcp6', 'icmp6']],
    ['tcp and dst port 443 and not net 10.0.0.0/8', []],
    ['host 10.1.2.3 and not (port 53 or port 443)', ['icmp4', 'gre']],
    ['not port 53 or 443', ['tcp4', 'icmp4', 'tcp6', 'icmp6', 'gre']],
    ['host not-a-name or tcp'.replace('not-a-name', '192.0.2.7'), ['tcp4', 'icmp4', 'tcp6']],
  ];
  for (const [text, names] of table) t.strictSame(matching(text), names, text);
});

t.test('fragments and ICMP errors have no ports', async (t) => {
  const later = Uint8Array.from(udp4);
  later[7] = 2;
  const first = Uint8Array.from(udp4);
  first[6] = 0x20;
  const port = new CaptureFilter('port 53');
  t.equal(port.matches(udp4), true);
  t.equal(port.matches(first), true);
  t.equal(port.matches(later), false);
  t.equal(new CaptureFilter('udp').matches(later), true);
  t.equal(new CaptureFilter('not port 53').matches(later), true);
  const error = new Uint8Array(28 + udp4.length);
  error.set(icmp4.subarray(0, 28));
  error.set([3, 3, 0, 0, 0, 0, 0, 0], 20);
  error.set(udp4, 28);
  error[2] = 0;
  error[3] = error.length;
  t.equal(new CaptureFilter('icmp').matches(error), true);
  t.equal(port.matches(error), false);
});

t.test('bytes that are no packet match nothing', async (t) => {
  for (const text of ['', 'ip', 'not ip']) {
    t.equal(new CaptureFilter(text).matches(new Uint8Array(10)), false);
  }
  t.throws(() => new CaptureFilter('').matches('x' as never), {
    name: 'GatewayError',
    field: 'packet',
  });
});

t.test('what is not understood is shown where it stands', async (t) => {
  const table: [string, number, RegExp][] = [
    ['tcp and', 8, /expected host, net, .*, received the end/],
    ['ether host 1', 1, /expected host, net, .*, received "ether"/],
    ['tcp[13] & 2 != 0', 1, /received "tcp\[13\]"/],
    ['less 100', 1, /received "less"/],
    ['and tcp', 1, /received "and"/],
    ['tcp udp', 5, /expected and, or, or the end, received "udp"/],
    ['(tcp', 5, /expected and, or, or "\)", received the end/],
    ['tcp)', 4, /expected and, or, or the end, received "\)"/],
    ['port', 5, /expected a port 0–65535, received the end/],
    ['port 70000', 6, /expected a port 0–65535, received "70000"/],
    ['port http', 6, /expected a port 0–65535, received "http"/],
    ['port 1-2', 6, /expected a port 0–65535, received "1-2"/],
    ['portrange 1-2-3', 11, /expected two ports such as 1024-2047/],
    ['portrange x-3', 11, /expected two ports/],
    ['icmp port 5', 1, /expected tcp, udp or sctp in front of port, received "icmp"/],
    ['tcp host 10.0.0.1', 1, /expected ip or ip6 in front of host, received "tcp"/],
    ['tcp 10.0.0.1', 5, /expected and, or, or the end, received "10\.0\.0\.1"/],
    ['tcp src 10.0.0.1', 1, /expected ip or ip6 in front of an address/],
    ['host 10.0.0.256', 6, /expected an address such as 10\.0\.0\.1/],
    ['host example.com', 6, /expected an address/],
    ['host 10.0.0.0/8', 6, /expected an address without a prefix/],
    ['net 10.0.0.0/33', 5, /expected a prefix length 0–32/],
    ['net 10.1.0.0/8', 5, /expected a network whose bits behind the first 8 are 0/],
    ['net 10.0.0.0 mask 255.0.255.0', 19, /expected a mask whose ones come before its zeros/],
    ['net 10.0.0.0 mask ::', 19, /expected an IPv4 mask/],
    ['net 2001:db8:: mask 255.0.0.0', 21, /expected an IPv4 mask/],
    ['ip6 host 10.0.0.1', 10, /expected an IPv6 address behind ip6/],
    ['ip net ::/0', 8, /expected an IPv4 address behind ip/],
    ['proto 256', 7, /expected a protocol number 0–255/],
    ['src proto 6', 1, /expected proto without a direction, received "src"/],
    ['port (80 or', 12, /expected a port/],
    ['port (80', 9, /expected and, or, or "\)"/],
    ['tcp & udp', 5, /received "&"/],
    ['not', 4, /received the end/],
    ['10.0.0.1', 1, /expected host/],
    [`${'('.repeat(101)}tcp${')'.repeat(101)}`, 101, /at most 100 levels/],
    [`port ${'('.repeat(101)}1${')'.repeat(101)}`, 106, /at most 100 levels/],
    [Array(5000).fill('tcp').join(' or '), 4096 * 7 + 1, /at most 8192 words/],
  ];
  for (const [text, column, told] of table) {
    const message = new RegExp(`^filter, column ${column}: .*${told.source}`);
    t.throws(() => new CaptureFilter(text), { code: 'ERR_GWLB_INVALID_ARGUMENT', message }, text);
  }
  t.throws(() => new CaptureFilter('tcp port x and udp'), {
    field: 'filter',
    message:
      'filter, column 10: expected a port 0–65535, received "x"\n  tcp port x and udp\n           ^',
  });
  const many = Array(1025).fill('tcp').join(' or ');
  t.throws(() => new CaptureFilter(many), {
    code: 'ERR_GWLB_OUT_OF_RANGE',
    message: /at most 1024 tests, received 1025/,
  });
  t.equal(new CaptureFilter(Array(1024).fill('tcp').join(' or ')).matches(tcp6), true);
  t.throws(() => new CaptureFilter(5 as never), { name: 'GatewayError', field: 'filter' });
});

t.test('an error far into a long expression shows what is around it', async (t) => {
  const text = `${'tcp or '.repeat(50)}what or ${'udp or '.repeat(50)}ip`;
  try {
    new CaptureFilter(text);
    t.fail('it was taken');
  } catch (error) {
    const [, line, mark] = (error as Error).message.split('\n');
    t.ok(line.length <= 122);
    t.equal(line.slice(mark.indexOf('^'), mark.indexOf('^') + 4), 'what');
  }
});
