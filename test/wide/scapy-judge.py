"""Scapy as a judge: builds GENEVE packets of many shapes, and reads what the gateway sent.

build CAPTURE: writes frames; prints for each its shape, what scapy reads in it, and for what reason
               it has to be refused (None: it is faultless).
read CAPTURE:  prints for each frame what scapy reads in it.
"""

import json
import logging
import struct
import sys

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, ICMPv6EchoRequest
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw, raw
from scapy.utils import PcapReader, wrpcap

ENDPOINT = bytes.fromhex("0123456789abcdef")
COOKIE = bytes.fromhex("3dc956ac")


def option(kind, data, cls=0x0108, length=None, reserved=0):
    length = len(data) // 4 if length is None else length
    return GeneveOptions(classid=cls, type=kind, length=length, reserved=reserved, data=data)


def standard():
    return [option(1, ENDPOINT), option(2, bytes(8)), option(3, COOKIE)]


def header(options, words=None, **fields):
    words = sum(len(raw(o)) for o in options) // 4 if words is None else words
    return GENEVE(**{"proto": 0x0800, **fields}, optionlen=words, options=options)


def frame(geneve, inner, **udp):
    """Lengths and checksums are scapy's; dst, ttl and others are arbitrary."""
    ports = {"sport": 40000, "dport": 6081, **udp}
    return Ether(src="02:00:00:00:00:05", dst="02:00:00:00:00:06") / IP(
        src="192.0.2.1", dst="192.0.2.2", ttl=9
    ) / UDP(**ports) / geneve / inner


def inner4(**ip):
    return IP(src="203.0.113.9", dst="10.0.2.10", **ip) / TCP(sport=40001, dport=443) / b"hello"


def inner6():
    return IPv6(src="2001:db8::9", dst="2001:db8::10") / UDP(sport=40001, dport=53) / b"question"


def cut(packet, size):
    """The datagram ends after `size` bytes of UDP payload; outer lengths and checksums agree."""
    payload = raw(raw_geneve(packet))[:size]
    outer = Ether(src="02:00:00:00:00:05", dst="02:00:00:00:00:06") / IP(
        src="192.0.2.1", dst="192.0.2.2", ttl=9
    )
    return outer / UDP(sport=40000, dport=6081) / Raw(payload)


def raw_geneve(packet):
    return raw(packet)[42:]


def faultless():
    extra = [
        option(0x42, b"abcdefgh", 0x0103),
        option(0x7F, b"", 0xFFFF),
        option(5, bytes(range(124)), 0x0167),
    ]
    full = [option(i, bytes([i]) * 60, 0xFF01) for i in range(1, 4)] + [option(9, bytes(20), 0xFF01)]
    yield "the three options", frame(header(standard()), inner4())
    yield "inner IPv6", frame(header(standard(), proto=0x86DD), inner6())
    yield "inner ICMP", frame(header(standard()), IP(dst="10.0.2.10") / ICMP(id=7) / b"ping")
    yield "inner ICMPv6", frame(
        header(standard(), proto=0x86DD), IPv6(dst="2001:db8::10") / ICMPv6EchoRequest(id=7)
    )
    ether = Ether(src="02:00:00:00:01:01", dst="02:00:00:00:01:02")
    yield "inner Ethernet", frame(header(standard(), proto=0x6558), ether / inner4())
    yield "inner Ethernet, IPv6", frame(header(standard(), proto=0x6558), ether / inner6())
    yield "inner VLAN", frame(header(standard(), proto=0x6558), ether / Dot1Q(vlan=100) / inner4())
    yield "inner IP options", frame(header(standard()), inner4(options=[b"\x94\x04\x00\x00"]))
    yield "inner first fragment", frame(header(standard()), inner4(flags="MF", id=77))
    yield "inner later fragment", frame(
        header(standard()), IP(dst="10.0.2.10", src="203.0.113.9", proto=6, frag=20) / Raw(bytes(40))
    )
    yield "options in order 3, 2, 1", frame(header(standard()[::-1]), inner4())
    yield "other options before", frame(header(extra + standard()), inner4())
    yield "other options behind", frame(header(standard() + extra), inner4())
    yield "no options", frame(header([]), inner4())
    yield "252 bytes of options", frame(header(full + [option(2, b"\1" * 28, 0xFF01)]), inner4())
    yield "C bit without critical option", frame(header(standard(), critical=1), inner4())
    yield "every VNI bit", frame(header(standard(), vni=0xFFFFFF), inner4())
    yield "a VNI", frame(header(standard(), vni=0x123456), inner4())
    yield "reserved bits", frame(
        header(
            [option(1, ENDPOINT, reserved=7)] + standard()[1:], reserved=0x3F, reserved2=0xFF, vni=5
        ),
        inner4(),
    )
    yield "no checksum", frame(header(standard()), inner4(), chksum=0)
    yield "lowest source port", frame(header(standard()), inner4(), sport=1)


def faulty():
    good = frame(header(standard()), inner4())
    for version in (1, 2, 3):
        reason = "geneve_bad_version"
        yield f"version {version}", frame(header(standard(), version=version), inner4()), reason
    yield "O bit", frame(header(standard(), oam=1), inner4()), "geneve_control"
    critical = standard() + [option(0x80 | 9, b"\0\0\0\1", 0x0103)]
    reason = "geneve_critical_option"
    yield "unknown critical option", frame(header(critical, critical=1), inner4()), reason
    yield "the same without the C bit", frame(header(critical), inner4()), reason
    reason = "geneve_bad_options"
    long = standard()[:2] + [option(3, COOKIE, length=9)]
    yield "an option that leads out", frame(header(long, words=8), inner4()), reason
    yield "options one word short", frame(header(standard(), words=7), inner4()), reason
    reason = "outer_bad_checksum"
    right = struct.unpack("!H", raw(good)[40:42])[0]
    yield "bad checksum", frame(header(standard()), inner4(), chksum=right ^ 0x0100), reason
    for size in (0, 1, 7, 8, 9, 39):
        yield f"cut after {size} bytes", cut(good, size), "geneve_truncated"
    for size in (40, 41, 59):
        yield f"cut after {size} bytes", cut(good, size), "inner_truncated"


def options_of(geneve):
    """Scapy 2.5 may take the options behind the first for its payload, so they are walked."""
    rest, found = b"".join(raw(o) for o in geneve.options), []
    while rest:
        one = GeneveOptions(rest)
        found.append({"class": one.classid, "type": one.type, "data": bytes(one.data).hex()})
        rest = raw(one.payload)
    return found


def inner_of(geneve):
    """Addresses and ports; length as the IP header says it."""
    packet = geneve.getlayer(IP) or geneve.getlayer(IPv6)
    if packet is None:
        return None
    ports = packet.getlayer(TCP) or packet.getlayer(UDP)
    later = packet.version == 4 and packet.frag > 0
    return {
        "version": packet.version,
        "source": packet.src,
        "destination": packet.dst,
        "sourcePort": ports.sport if ports and not later else None,
        "destinationPort": ports.dport if ports and not later else None,
        "length": packet.len if packet.version == 4 else packet.plen + 40,
    }


def ethernet_of(geneve):
    ether = geneve.getlayer(Ether)
    if ether is None:
        return None
    vlan = [ether[Dot1Q].vlan] if Dot1Q in ether else []
    return {"source": ether.src, "destination": ether.dst, "vlan": vlan}


def checksum_of(packet):
    """Scapy computes it anew; that of a packet read is kept apart."""
    if packet[UDP].chksum == 0:
        return "zero"
    again = packet.copy()
    del again[UDP].chksum
    return "ok" if again.__class__(raw(again))[UDP].chksum == packet[UDP].chksum else "bad"


def outer_of(packet):
    ip = packet.getlayer(IP)
    return {
        "source": ip.src,
        "destination": ip.dst,
        "sourcePort": ip[UDP].sport,
        "destinationPort": ip[UDP].dport,
        "ttl": ip.ttl,
        "checksum": checksum_of(ip),
    }


def describe(packet):
    geneve = packet[GENEVE]
    return {
        "outer": outer_of(packet),
        "geneve": {
            "version": geneve.version,
            "oam": bool(geneve.oam),
            "critical": bool(geneve.critical),
            "protocolType": geneve.proto,
            "vni": geneve.vni,
            "options": options_of(geneve),
        },
        "inner": inner_of(geneve),
        "ethernet": ethernet_of(geneve),
    }


def build(path):
    shapes = [(name, packet, None) for name, packet in faultless()] + list(faulty())
    frames = [Ether(raw(packet)) for _, packet, _ in shapes]
    wrpcap(path, frames)
    told = []
    for (name, _, reason), packet in zip(shapes, frames):
        # Scapy has no opinion about what it cannot take apart.
        said = describe(packet) if reason is None else {"outer": outer_of(packet)}
        told.append({"name": name, "reason": reason, **said})
    return told


def read(path):
    return [describe(packet) for packet in PcapReader(path)]


print(json.dumps({"build": build, "read": read}[sys.argv[1]](sys.argv[2])))
