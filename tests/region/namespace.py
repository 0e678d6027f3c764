# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine of its own as far as the network goes: run in a new network namespace, it has one address there, and passes
its packets on through a socket to its neighbour's.

  namespace.py ADDRESS DESCRIPTOR
"""
import contextlib
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def main(address, descriptor):
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tunnel, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
    for words in (f"address add {address}/24 dev wire", "link set wire up", "link set lo up"):
        subprocess.run(["ip", *words.split()], check=True)
    neighbour = socket.socket(fileno=int(descriptor))
    print("ready", flush=True)
    while True:
        for ready in select.select([tunnel, neighbour], [], [])[0]:
            with contextlib.suppress(OSError):    # a link that is down loses packets
                if ready == tunnel:
                    neighbour.send(os.read(tunnel, 65536))
                else:
                    os.write(tunnel, neighbour.recv(65536))


main(*sys.argv[1:])
