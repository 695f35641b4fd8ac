#!/usr/bin/env python3
"""Writes the seeds of the segment and coalesce fuzz targets: super-packets of both protocols and IP
versions, with and without options; and flows that send in turn, something odd between them. Run it from
anywhere; it overwrites corpus/segment/ and corpus/coalesce/."""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / 'corpus'
H = bytes.fromhex
TIMESTAMPS = H('0101080a0000000100000009')
PAD = lambda following, words: bytes([following, words - 1, 1, words * 8 - 4]) + bytes(words * 8 - 4)


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def tcp(payload, flags=0x10, options=b''):
    return struct.pack('>HHIIBBHHH', 40000, 5001, 0xfffffff0, 77, (5 + len(options) // 4) << 4, flags, 8192,
                       0, 0) + options + payload


def udp(payload):
    return struct.pack('>HHHH', 40000, 443, 8 + len(payload), 0) + payload


def ipv4(protocol, transport, options=b'', fragment=0x4000):
    words = 5 + len(options) // 4
    return struct.pack('>BBHHHBBH', 0x40 | words, 0, words * 4 + len(transport), 0xfffe, fragment, 64, protocol,
                       0) + H('0a0000010a000002') + options + transport


def ipv6(protocol, transport, extensions=b''):
    return struct.pack('>IHBB', 0x60012345, len(extensions) + len(transport), protocol, 64) + \
        H('fd00000000000000000000000000000a') + H('fd00000000000000000000000000000b') + extensions + transport


DATA = bytes(range(251))
segment = {
    'tcp4': (100, ipv4(6, tcp(DATA, 0x18))), 'tcp4_options': (90, ipv4(6, tcp(DATA, 0xd9, TIMESTAMPS))),
    'udp4': (64, ipv4(17, udp(DATA))), 'udp4_options': (33, ipv4(17, udp(DATA[:77]), H('94040000'))),
    'tcp6': (125, ipv6(6, tcp(DATA, 0x11, TIMESTAMPS))), 'udp6': (17, ipv6(17, udp(DATA[:90]))),
    'tcp6_hop_by_hop': (80, ipv6(0, tcp(DATA), PAD(6, 1))),
    'udp6_destination': (80, ipv6(60, udp(DATA), PAD(60, 2) + PAD(17, 1))),
    'tcp6_routing': (80, ipv6(43, tcp(DATA), H('0602040000000000') + bytes(16))),
    'tcp6_atomic': (80, ipv6(44, tcp(DATA), H('0600000000000007'))),
    'one': (2000, ipv4(6, tcp(DATA))), 'bytes': (1, ipv4(17, udp(DATA[:9]))), 'none': (0, ipv4(17, udp(DATA))),
    'fragment': (50, ipv4(17, udp(DATA), fragment=0x2000)), 'icmp': (50, ipv4(1, DATA)),
    'empty': (50, ipv4(6, tcp(b''))),
}
for name, (size, packet) in segment.items():
    write('segment', name, struct.pack('>BH', 1, size) + packet)


def record(flow, odd=0, value=0, payload=60):
    return struct.pack('>BHB', odd << 4 | flow, value, payload)


coalesce = {
    'one_flow': [record(0)] * 6, 'udp': [record(2)] * 6, 'tcp6': [record(3)] * 6, 'udp6': [record(11)] * 6,
    'short_last': [record(0)] * 3 + [record(0, payload=9)] + [record(0)] * 2,
    'push': [record(6)] * 2 + [record(6, 2)] + [record(6)] * 2, 'turns': [record(k % 4) for k in range(16)],
    'too_many': [record(k % 9) for k in range(27)], 'acknowledgment': [record(0), record(0, payload=0), record(0)],
    'congestion': [record(0, 1, 0x90)] + [record(0)] * 3 + [record(0, 1, 0x90)] + [record(0)],
    'fragment': [record(0)] * 2 + [record(0, 7, 0x2000)] + [record(0)] * 2,
    'header_length': [record(0, 14, 0x000a, 0)],  # 60 bytes of header in a packet of 40
    'other_version': [record(0, 14, 0x0020, 0)],
    'extension': [record(3)] * 2 + [record(3, 10, 44)] + [record(3)] * 2,
    'options': [record(0)] * 2 + [record(0, 9, 1)] + [record(0)] * 2,
    'same_options': [record(0, 8, 0x0103)] * 4, 'no_udp_sum': [record(2)] + [record(2, 13, 0x1a01)] + [record(2)],
    'wrong_sum': [record(1)] * 2 + [record(1, 13, 0x4001)] + [record(1)] * 2,
    'changed_byte': [record(1)] * 2 + [record(1, 14, 0x2201)] + [record(1)] * 2,
    'cut': [record(0)] * 2 + [record(0, 15, 50)] + [record(0)], 'padded': [record(0), record(0, 15, 104), record(0)],
    'long': [record(0, 11, 30000), record(0, 4, 0x8000 + 30000)] * 2 + [record(4, 11, 12000)] * 6,
}
for name, records in coalesce.items():
    write('coalesce', name, b'\1' + b''.join(records))
write('coalesce', 'without_udp', b'\0' + record(2) * 3 + record(0) * 2)
