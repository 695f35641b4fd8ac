#!/usr/bin/env python3
"""Writes the seeds of the inner, fragment, mss, geneve, frame and capture fuzz targets: small packets of every kind
the parsers know, built here byte by byte. Run it from anywhere; it overwrites corpus/<target>/."""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / 'corpus'
H = bytes.fromhex


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def ipv4(protocol, payload, fragment=0, options=b''):
    words = 5 + len(options) // 4
    head = struct.pack('>BBHHHBBH', 0x40 | words, 2, words * 4 + len(payload), 0x1234, fragment, 64,
                       protocol, 0) + H('0a010203 c0a80105'.replace(' ', '')) + options
    return head[:10] + struct.pack('>H', checksum(head)) + head[12:] + payload


def ipv6(protocol, payload):
    return struct.pack('>IHBB', 0x60000000, len(payload), protocol, 64) + \
        H('fd00000000000000000000000000000a') + H('fd00000000000000000000000000000b') + payload


def udp(source, destination, payload, length=None):
    return struct.pack('>HHHH', source, destination, length if length is not None else 8 + len(payload),
                       0) + payload


TCP = H('c9c601bb000003e8000000005012ffff00000000')
UDP = udp(53, 5353, b'question')
ECHO = H('08000000000700016162636465666768')
SCTP = H('270f0b5900000000000000000100000c')
EXTENSION = lambda kind, following: bytes([following, 0, 1, 4, 0, 0, 0, 0])
FRAGMENT = lambda following, field: bytes([following, 0]) + struct.pack('>HI', field, 0xcafe0001)

inner = {
    'tcp4': ipv4(6, TCP), 'udp4': ipv4(17, UDP), 'udplite4': ipv4(136, UDP), 'sctp4': ipv4(132, SCTP),
    'echo4': ipv4(1, ECHO), 'gre4': ipv4(47, H('00000800')), 'options4': ipv4(6, TCP, options=b'\x01' * 12),
    'first4': ipv4(17, UDP, 0x2000), 'later4': ipv4(17, UDP, 0x20b9), 'tiny4': ipv4(6, TCP[:8], 0x2000),
    'overwrite4': ipv4(6, TCP, 1),
    'tcp6': ipv6(6, TCP), 'udp6': ipv6(17, UDP), 'echo6': ipv6(58, H('80000000') + ECHO[4:]),
    'chain6': ipv6(0, EXTENSION(0, 43) + EXTENSION(43, 51) + H('3c040000') + b'\0' * 20 +
                   EXTENSION(60, 135) + EXTENSION(135, 139) + EXTENSION(139, 140) + EXTENSION(140, 6) + TCP),
    'long6': ipv6(60, EXTENSION(60, 60) * 8 + EXTENSION(60, 17) + UDP),
    'esp6': ipv6(50, b'\1' * 12), 'none6': ipv6(59, b''),
    'first6': ipv6(44, FRAGMENT(17, 1) + UDP), 'later6': ipv6(44, FRAGMENT(17, 1448) + UDP),
    'atomic6': ipv6(44, FRAGMENT(6, 0) + TCP), 'short_first6': ipv6(44, FRAGMENT(60, 1) + EXTENSION(60, 6)),
    'jumbo6': ipv6(0, b'')[:40] + H('0600c20400010000') + TCP,
    'unreachable4': ipv4(1, H('0303000000000000') + ipv4(17, UDP)),
    'exceeded4_4884': ipv4(1, H('0b00000000200000') + ipv4(6, TCP).ljust(128, b'\0') + H('20000000')),
    'quote_cut4': ipv4(1, H('0304000000000500') + ipv4(6, TCP)[:22]),
    'nested4': ipv4(1, H('0300000000000000') + ipv4(1, H('0b00000000000000'))),
    'too_big6': ipv6(58, H('0200000000000500') + ipv6(0, EXTENSION(0, 44) + FRAGMENT(17, 0) + UDP)),
    'quote_later6': ipv6(58, H('0100000000000000') + ipv6(44, FRAGMENT(17, 1448) + UDP)),
}
for name, data in inner.items():
    write('inner', name, data)



def test_words(kind, direction, version, on_true, on_false, low=0, high=0, address=(0,) * 4, mask=(0,) * 4):
    return struct.pack('<12I', kind | direction << 8 | version << 16, on_true | on_false << 16, low | high << 16, 0,
                       *address, *mask)


YES, NO = 0xffff, 0xfffe
TEN = test_words(2, 3, 4, YES, NO, 0, 0, (0x0a000000, 0, 0, 0), (0xff000000, 0, 0, 0))
filters = {
    'none': [], 'ip6': [test_words(0, 0, 6, YES, NO)], 'net10': [TEN],
    'udp-port': [test_words(1, 0, 0, 1, NO, 17, 17), test_words(3, 2, 0, YES, NO, 1, 1024)],
    'either': [test_words(1, 0, 0, YES, 1, 6, 6), test_words(3, 4, 0, NO, 2, 53, 53), TEN],
    'backward': [test_words(0, 0, 4, 0, NO)],
}
for name, rows in filters.items():
    for packet in ('udp4', 'tcp6') if 'udp4' in inner and 'tcp6' in inner else list(inner)[:2]:
        write('filter', f'{name}-{packet}', bytes([len(rows)]) + b''.join(rows) + inner[packet])

LONG = udp(53, 5353, bytes(range(256)) * 8)
cuts = {
    'whole': (1400, ipv4(17, LONG)), 'many': (68, ipv4(17, LONG)), 'not': (1400, ipv4(17, LONG, 0x4000)),
    'first': (600, ipv4(17, LONG, 0x2000)), 'later': (600, ipv4(17, LONG, 0x20b9)),
    'last': (600, ipv4(17, LONG, 0x00b9)), 'beyond': (600, ipv4(17, LONG, 0x1fff)),
    'copied': (600, ipv4(17, LONG, options=H('0707040000000001820309940400000000000000'))),
    'malformed': (600, ipv4(17, LONG, options=H('9409000000000000'))), 'ipv6': (1280, ipv6(17, LONG)),
}
for name, (mtu, packet) in cuts.items():
    write('fragment', name, struct.pack('>HB', mtu, 0) + packet)


def syn(options):
    return TCP[:12] + bytes([(20 + len(options)) // 4 << 4, 2]) + TCP[14:] + options


segments = {
    'usual': H('020405b40402080a000000010000000001030307'), 'odd': H('01020405b4010101'),
    'twice': H('020405b401020423280101010101'[:24]), 'low': H('02040218'), 'none': H('01030307'),
    'cut': H('0101010101010204'), 'zero_length': H('0300020405b40000'), 'end': H('00000000020405b4'),
}
for name, options in segments.items():
    for number, packet in ((1, ipv4(6, syn(options))), (2, ipv6(6, syn(options)))):
        write('mss', f'{name}{4 if number == 1 else 6}', struct.pack('>HB', 1300, number) + packet)
write('mss', 'fragment4', struct.pack('>HB', 1300, 1) + ipv4(6, syn(segments['usual']), 0x2000))
write('mss', 'tiny4', struct.pack('>HB', 1300, 1) + ipv4(6, TCP[:16], 0x2000))

ENDPOINT, ATTACHMENT, COOKIE = (H('0108010231e129cdc0cd8633'), H('010802020000000000000000'),
                                H('010803013dc956ac'))


def geneve(options, ether_type=0x0800, flags=0, vni=0):
    return struct.pack('>BBHI', len(options) // 4, flags, ether_type, vni << 8) + options


headers = {
    'gateway': geneve(ENDPOINT + ATTACHMENT + COOKIE),
    'gateway_backwards': geneve(COOKIE + ATTACHMENT + ENDPOINT, 0x86dd, 0x40),
    'gateway_among_others': geneve(H('0132010100000001') + ENDPOINT + H('ffff0000') + COOKIE + ATTACHMENT),
    'missing': geneve(ENDPOINT + COOKIE), 'twice': geneve(ENDPOINT + ATTACHMENT + COOKIE + COOKIE),
    'short_cookie': geneve(ENDPOINT + ATTACHMENT + H('01080300')),
    'critical': geneve(H('ffff8000') + ENDPOINT + ATTACHMENT + COOKIE, 0x0800, 0x40),
    'control': geneve(ENDPOINT + ATTACHMENT + COOKIE, 0x0800, 0x80),
    'plain': geneve(b'', 0x6558, 0, 0x123456), 'sum': geneve(ENDPOINT + H('01080301')),
    'most': geneve(H('01320b1f') + b'\5' * 124 + H('01320c1e') + b'\6' * 120),
    'version': b'\x48' + geneve(ENDPOINT + ATTACHMENT + COOKIE)[1:],
}
for name, data in headers.items():
    write('geneve', name, H('0108') + data)

ETHERNET = H('020000000001020000000002')


def outer(payload, length=None):
    return ipv4(17, udp(60276, 6081, payload, length))


def with_sum(ip):
    segment = ip[20:]
    value = checksum(ip[12:20] + struct.pack('>HH', 17, len(segment)) + segment)
    return ip[:26] + struct.pack('>H', value) + ip[28:]


GATEWAY = headers['gateway'] + inner['tcp4']
frames = {
    'gateway': (0, 0, ETHERNET + H('0800') + with_sum(outer(GATEWAY))),
    'inner6': (0, 0, ETHERNET + H('0800') + outer(headers['gateway_backwards'] + inner['chain6'])),
    'vlan': (0, 0, ETHERNET + H('88a8000181000064' + '0800') + outer(GATEWAY)),
    'inner_ethernet': (0, 0, ETHERNET + H('0800') + outer(
        headers['plain'] + ETHERNET + H('81000064' + '0800') + inner['udp4'])),
    'inner_arp': (1, 0, outer(headers['plain'] + ETHERNET + H('08060001080006040001'))),
    'raw': (1, 0, outer(GATEWAY)), 'cut': (1, 900, outer(GATEWAY, 988)[:100]),
    'cooked': (3, 0, H('00000001000602000000000100000800') + outer(GATEWAY)),
    'cooked2': (4, 0, H('0800000000000002000100060200000000010000') + outer(GATEWAY)),
    'outer6': (6, 0, ipv6(17, udp(60276, 6081, GATEWAY))),
    'outer6_chain': (6, 0, ipv6(0, EXTENSION(0, 17) + udp(60276, 6081, GATEWAY))),
    'zero_udp_length': (1, 0, outer(GATEWAY, 0)),
    'first_fragment': (1, 0, ipv4(17, udp(60276, 6081, GATEWAY, 2000), 0x2000)),
    'critical': (1, 0, outer(headers['critical'] + inner['echo4'])),
    'bad_sum': (1, 0, outer(headers['sum'] + inner['echo4'])),
    'dns': (1, 0, inner['udp4']), 'arp': (0, 0, ETHERNET + H('08060001080006040001')),
}
for name, (link, missing, data) in frames.items():
    write('frame', name, struct.pack('>BH', link, missing) + data)


def pcap(order, magic, records, link=1):
    out = struct.pack(order + 'IHHIIII', magic, 2, 4, 0, 0, 65535, link)
    for seconds, fraction, data, length in records:
        out += struct.pack(order + 'IIII', seconds, fraction, len(data), length) + data
    return out


def block(order, kind, body):
    body += b'\0' * (-len(body) % 4)
    return struct.pack(order + 'II', kind, len(body) + 12) + body + struct.pack(order + 'I', len(body) + 12)


def section(order):
    return block(order, 0x0a0d0d0a, struct.pack(order + 'IHHq', 0x1a2b3c4d, 1, 0, -1))


def interface(order, link, snap=0, options=b''):
    return block(order, 1, struct.pack(order + 'HHI', link, 0, snap) + options)


def enhanced(order, number, time, data, length):
    return block(order, 6, struct.pack(order + 'IIIII', number, time >> 32, time & 0xffffffff, len(data),
                                       length) + data)


RECORDS = [(1700000000, 123456, b'abcde', 1500), (1700000001, 0, b'', 0), (1, 2, b'12345678', 8)]
write('capture', 'micro', pcap('<', 0xa1b2c3d4, RECORDS))
write('capture', 'nano_big', pcap('>', 0xa1b23c4d, RECORDS, 113))
write('capture', 'cut', pcap('<', 0xa1b23c4d, RECORDS)[:-3])
for order, suffix in (('<', ''), ('>', '_big')):
    resolution = struct.pack(order + 'HHB3x', 9, 1, 9)
    offset = struct.pack(order + 'HHq', 14, 8, 1700000000)
    write('capture', 'pcapng' + suffix, section(order) + interface(order, 1) +
          enhanced(order, 0, 1700000000123456, b'abcde', 1500) + enhanced(order, 0, 7, b'1234', 4))
    write('capture', 'pcapng_options' + suffix, section(order) + interface(order, 113, 64, resolution + offset) +
          enhanced(order, 0, 5, b'abcde', 5) + block(order, 4, b'name') +
          block(order, 3, struct.pack(order + 'I', 4) + b'1234') +
          block(order, 2, struct.pack(order + 'HHIIII', 0, 9, 0, 77, 5, 60) + b'abcde'))
write('capture', 'pcapng_sections', section('<') + interface('<', 1) + enhanced('<', 0, 1, b'ab', 2) +
      section('>') + interface('>', 101) + enhanced('>', 0, 2, b'cd', 2))
