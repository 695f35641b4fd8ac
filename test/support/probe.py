"""Sockets with options that Node does not have.

count PORT:               a UDP server that answers each datagram with its length.
pmtu HOST PORT SIZE [SECONDS]:
                          path MTU discovery over UDP with "do not fragment": sends SIZE bytes, and what
                          the kernel then says would fit; tells how each was taken.
again HOST PORT SIZE:     sends SIZE bytes until they are answered, fragmented as the kernel likes.
hops HOST PORT MOST:      the route to a closed UDP port, hop by hop (as traceroute shows it).
"""

import json
import selectors
import socket
import struct
import sys

IP_MTU_DISCOVER, IP_MTU, IP_RECVERR = 10, 14, 11
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 23, 24, 25
WANT, DO = 1, 2
PATIENCE_SECONDS = 60
# Of what may have been lost on purpose.
AGAIN_SECONDS = 4


def levels(host):
    """Family, protocol level, and the options for: MTU discovery, the MTU, errors, hop limit; headers."""
    if ":" in host:
        options = (IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, socket.IPV6_UNICAST_HOPS)
        return (socket.AF_INET6, socket.IPPROTO_IPV6, *options, 48)
    options = (IP_MTU_DISCOVER, IP_MTU, IP_RECVERR, socket.IP_TTL)
    return (socket.AF_INET, socket.IPPROTO_IP, *options, 28)


def count(port):
    waiting = selectors.DefaultSelector()
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        server = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, port))
        waiting.register(server, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            data, client = key.fileobj.recvfrom(65535)
            key.fileobj.sendto(str(len(data)).encode(), client)


def answered(client, size):
    """What the server says that it received; or the name of the error."""
    try:
        client.send(b"x" * size)
        return int(client.recv(100))
    except OSError as error:
        return "timeout" if isinstance(error, TimeoutError) else error.strerror


def connected(host, port, discovery):
    family, level, discover, *_ = levels(host)
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.setsockopt(level, discover, discovery)
    client.connect((host, port))
    return client


def pmtu(host, port, size, patience=PATIENCE_SECONDS):
    client = connected(host, port, DO)
    _, level, _, mtu, _, _, headers = levels(host)
    before = client.getsockopt(level, mtu)
    client.settimeout(patience)
    first = answered(client, size)
    after = client.getsockopt(level, mtu)
    again = answered(client, size)
    fits = answered(client, after - headers)
    print(json.dumps({"before": before, "first": first, "after": after, "again": again, "fits": fits}))


def again(host, port, size):
    client = connected(host, port, WANT)
    client.settimeout(AGAIN_SECONDS)
    told = []
    while not told or told[-1] != size:
        if len(told) * AGAIN_SECONDS >= PATIENCE_SECONDS:
            break
        told.append(answered(client, size))
    print(json.dumps(told))


def hops(host, port, most):
    family, level, _, _, errors, limit, _ = levels(host)
    route = []
    for ttl in range(1, most + 1):
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.setsockopt(level, errors, 1)
        client.setsockopt(level, limit, ttl)
        client.settimeout(PATIENCE_SECONDS)
        client.connect((host, port))
        client.send(b"x" * 30)
        waiting = selectors.DefaultSelector()
        waiting.register(client, selectors.EVENT_READ)
        if not waiting.select(PATIENCE_SECONDS):
            route.append(None)
            continue
        _, control, _, _ = client.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
        route.append(offender(next(data for _, kind, data in control if kind == errors)))
    print(json.dumps(route))


def offender(error):
    """struct sock_extended_err, and the address of who sent the ICMP error."""
    _, _, kind, code, _, _, _ = struct.unpack_from("=IBBBBII", error)
    family, packed = struct.unpack_from("=H", error, 16)[0], error[20:24]
    if family == socket.AF_INET6:
        packed = error[24:40]
    return {"type": kind, "code": code, "from": socket.inet_ntop(family, packed)}


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    roles = {"count": count, "pmtu": pmtu, "again": again, "hops": hops}
    roles[role](*(int(one) if one.isdigit() else one for one in rest))
