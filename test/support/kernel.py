"""Gives packets to the kernel through a TUN device of this network namespace, one after the other.

send DEVICE CAPTURE:          those of a raw IP capture, as if they came in by the device.
conntrack DEVICE CAPTURE...:  the same, and tells the mark of each packet's connection, capture by capture:
                              what nftables logged to group 1 while the kernel had the packet, null for
                              nothing. Connections are forgotten between captures.
"""

import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


def packets(path):
    """The records of a little-endian pcap file."""
    with open(path, "rb") as capture:
        data = capture.read()
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


def open_device(name):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return device


def give(device, packet):
    """Returns when the kernel has gone its way with it; False where it refused to look at it."""
    try:
        os.write(device, packet)
        return True
    except OSError:
        return False


def send(name, path):
    device = open_device(name)
    refused = sum(not give(device, packet) for packet in packets(path))
    print(refused)


NETLINK_NETFILTER = 12
NFNL_SUBSYS_ULOG = 4
NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG = 0, 1
NFULA_MARK = 2
NFULA_CFG_CMD, NFULA_CFG_MODE, NFULA_CFG_QTHRESH = 1, 2, 5
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 1, 4, 2
GROUP = 1


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def configure(log, kind, data):
    body = struct.pack("=BBH", 0, 0, socket.htons(GROUP)) + attribute(kind, data)
    kinds = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG
    log.send(struct.pack("=IHHII", 16 + len(body), kinds, NLM_F_REQUEST | NLM_F_ACK, 0, 0) + body)
    answer = log.recv(4096)
    _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", answer)
    if kind != NLMSG_ERROR or error != 0:
        raise OSError(-error, "nfnetlink_log")


def open_log():
    """Each packet is told at once, without its bytes."""
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    log.bind((0, 0))
    configure(log, NFULA_CFG_CMD, struct.pack("=B", 1))
    configure(log, NFULA_CFG_MODE, struct.pack(">IBB", 0, 1, 0))
    configure(log, NFULA_CFG_QTHRESH, struct.pack(">I", 1))
    log.setblocking(False)
    return log


def marks(log):
    """Those of the packets that were logged since the last call; 0 without one."""
    found = []
    while True:
        try:
            data = log.recv(65536)
        except BlockingIOError:
            return found
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET:
                found.append(mark(data[at + 20 : at + length]))
            at += length + -length % 4


def mark(attributes):
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind & 0x3FFF == NFULA_MARK:
            return struct.unpack_from(">I", attributes, at + 4)[0]
        at += max(4, length + -length % 4)
    return 0


def join(groups, packet, interface):
    """A packet to a group is taken by those who have joined it."""
    four = packet[0] >> 4 == 4
    at, size = (16, 4) if four else (24, 16)
    if len(packet) < at + size:
        return
    group = packet[at : at + size]
    if group in groups or not ipaddress.ip_address(group).is_multicast:
        return
    family = socket.AF_INET if four else socket.AF_INET6
    groups[group] = socket.socket(family, socket.SOCK_DGRAM)
    if four:
        request = group + bytes(4) + struct.pack("=i", interface)
        groups[group].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    else:
        request = group + struct.pack("=i", interface)
        groups[group].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)


def conntrack(name, *paths):
    device, log, groups = open_device(name), open_log(), {}
    interface = socket.if_nametoindex(name)
    told = []
    for path in paths:
        subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
        of_packets = []
        for packet in packets(path):
            if packet:
                join(groups, packet, interface)
            marks(log)
            given = give(device, packet)
            found = marks(log) if given else []
            of_packets.append(found[-1] if found else None)
        told.append(of_packets)
    print(json.dumps(told))


if __name__ == "__main__":
    {"send": send, "conntrack": conntrack}[sys.argv[1]](*sys.argv[2:])
