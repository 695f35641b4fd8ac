/** Addresses and ids: text to bytes and back. */
import fc from 'fast-check';
import t from 'tap';
import {
  formatEndpointId,
  formatIp,
  formatIpv4,
  formatIpv6,
  formatMac,
  formatSocketAddress,
  parseEndpointId,
  parseIp,
  parseIpv4,
  parseIpv6,
  parseMac,
  parsePrefix,
  parseSocketAddress,
} from '../../src/packet/address.js';

t.test('IPv4', async (t) => {
  t.equal(parseIpv4('10.0.0.1'), 0x0a000001);
  t.equal(parseIpv4('255.255.255.255'), 0xffffffff, 'unsigned');
  t.equal(parseIpv4('0.0.0.0'), 0);
  for (const bad of ['', '10.0.0', '10.0.0.256', '010.0.0.1', '10.0.0.1 ', '::1', 5, null]) {
    t.equal(parseIpv4(bad), null, `refuses ${JSON.stringify(bad)}`);
  }
  fc.assert(
    fc.property(fc.nat(0xffffffff), (address) => parseIpv4(formatIpv4(address)) === address),
  );
});

t.test('IPv6 has one canonical text (RFC 5952)', async (t) => {
  const canonical: [string, string][] = [
    ['2001:0DB8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['fe80::', 'fe80::'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ];
  for (const [text, expected] of canonical) {
    const bytes = parseIpv6(text);
    t.equal(bytes && formatIpv6(bytes), expected, text);
  }
  for (const bad of ['', '1:2', ':::', '::1%eth0', '10.0.0.1', '12345::', null]) {
    t.equal(parseIpv6(bad), null, `refuses ${JSON.stringify(bad)}`);
  }
  // URL has its own writer of IPv6; only the dotted tail of mapped addresses differs.
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      for (let i = 0; i < 16; i += 1) if (bytes[i] > 96) bytes[i] = 0;
      const text = formatIpv6(bytes);
      t.equal(new URL(`http://[${text}]`).hostname, `[${text}]`);
      t.strictSame(parseIpv6(text), bytes);
    }),
    { numRuns: 200 },
  );
});

t.test('addresses with ports', async (t) => {
  t.match(parseSocketAddress('203.0.113.9:52144'), { version: 4, port: 52144 });
  t.match(parseSocketAddress('[2001:db8::9]:443'), { version: 6, port: 443 });
  t.match(parseSocketAddress('[2001:db8::9]'), { version: 6, port: null });
  t.match(parseSocketAddress('2001:db8::9'), { version: 6, port: null });
  t.match(parseSocketAddress('10.0.0.1'), { version: 4, port: null });
  const bad = ['10.0.0.1:', '10.0.0.1:65536', '10.0.0.1:01', '10.0.0.1:-1', '[10.0.0.1]:1', '[::1'];
  for (const text of [...bad, '::1]:5', ':443', 'host:443', '', 7]) {
    t.equal(parseSocketAddress(text), null, `refuses ${JSON.stringify(text)}`);
  }
  const v6 = parseIpv6('2001:db8::9');
  t.equal(v6 && formatSocketAddress(v6, 443), '[2001:db8::9]:443');
  t.equal(formatSocketAddress(Uint8Array.of(10, 0, 0, 1), 80), '10.0.0.1:80');
});

t.test('prefixes', async (t) => {
  t.match(parsePrefix('10.0.0.0/8'), { version: 4, prefix: 8 });
  t.match(parsePrefix('10.0.0.1'), { version: 4, prefix: 32 });
  t.match(parsePrefix('2001:db8::/32'), { version: 6, prefix: 32 });
  t.match(parsePrefix('::/0'), { version: 6, prefix: 0 });
  for (const bad of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/08', '::/129', '/8', null]) {
    t.equal(parsePrefix(bad), null, `refuses ${JSON.stringify(bad)}`);
  }
  t.equal(formatIp(parseIp('::1')?.bytes ?? new Uint8Array(4)), '::1');
});

t.test('MAC addresses', async (t) => {
  const bytes = parseMac('02:00:5E:10:00:ff');
  t.equal(bytes && formatMac(bytes), '02:00:5e:10:00:ff');
  t.strictSame(parseMac('02-00-5e-10-00-ff'), bytes);
  for (const bad of ['02:00:5e:10:00', '02:00-5e:10:00:ff', '02:00:5e:10:00:fg', null]) {
    t.equal(parseMac(bad), null, `refuses ${JSON.stringify(bad)}`);
  }
});

t.test('endpoint ids', async (t) => {
  t.equal(parseEndpointId('vpce-0123456789abcdef0'), 0x123456789abcdef0n);
  t.equal(formatEndpointId(0x123456789abcdef0n), 'vpce-0123456789abcdef0');
  t.equal(parseEndpointId('vpce-1a2b3c4d'), 0x1a2b3c4dn, 'legacy');
  const bad = ['vpce-1123456789abcdef0', 'vpce-0123456789ABCDEF0', 'vpce-0123', 'eni-1a2b3c4d'];
  for (const text of [...bad, `vpce-${'0'.repeat(17)}`, 'vpce-00000000', 1n]) {
    t.equal(parseEndpointId(text), null, `refuses ${String(text)}`);
  }
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), (id) => {
      return parseEndpointId(formatEndpointId(id)) === id;
    }),
  );
});
