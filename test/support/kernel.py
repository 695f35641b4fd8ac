"""Gives packets to the kernel through a TUN device of this network namespace, one after the other.

send DEVICE CAPTURE: those of a raw IP capture, as if they came in by the device.
"""

import fcntl
import os
import struct
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


if __name__ == "__main__":
    send(*sys.argv[2:])
