"""An appliance that reads AF_PACKET: returns GENEVE datagrams whose outer UDP checksum is right, or 0.

python3 raw-reader.py <device> <port> <datagrams>: says when it listens, and in the end what it saw.
"""
import json
import socket
import struct
import sys

device, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def folded(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


reader = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
reader.bind((device, 0))
reader.settimeout(20)
seen = {"right": 0, "none": 0, "wrong": 0}
print("listening", flush=True)
while sum(seen.values()) < count:
    try:
        frame, address = reader.recvfrom(65536)
    except socket.timeout:
        break
    reader.settimeout(3)
    if address[2] == socket.PACKET_OUTGOING:
        continue
    ip = frame[14:]
    header = (ip[0] & 15) * 4
    length = struct.unpack("!H", ip[2:4])[0]
    udp = ip[header:length]
    if ip[9] != 17 or struct.unpack("!H", udp[2:4])[0] != port:
        continue
    pseudo = ip[12:20] + struct.pack("!BBH", 0, 17, len(udp))
    if udp[6:8] == b"\0\0":
        seen["none"] += 1
    elif folded(pseudo + udp) == 0xFFFF:
        seen["right"] += 1
    else:
        seen["wrong"] += 1
        continue
    # The sums of both headers stay as they are where addresses change places.
    back = frame[6:12] + frame[:6] + frame[12:14] + ip[:12] + ip[16:20] + ip[12:16] + ip[20:length]
    reader.send(back)
print(json.dumps(seen), flush=True)
