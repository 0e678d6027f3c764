# SPDX-License-Identifier: LGPL-2.1-or-later
"""A network between guests: a switch whose cables are pairs of UDP ports of 127.0.0.1, one datagram a frame."""
import ipaddress
import selectors
import socket
import threading
import time

MAC = bytes.fromhex("02000000f0f0")     # the test's own, on this network
BROADCAST = b"\xff" * 6
ARP, IPV6 = 0x0806, 0x86DD
NEXT_ICMPV6, NEIGHBOUR_ADVERTISEMENT = 58, 136


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Frame:
    def __init__(self, domain, data):
        self.when = time.monotonic()
        self.domain = domain
        self.type = int.from_bytes(data[12:14], "big")
        self.body = data[14:]

    def announces(self, address):
        """A gratuitous ARP, or an unsolicited neighbour advertisement, of that address."""
        wanted = ipaddress.ip_address(address).packed
        if self.type == ARP and len(wanted) == 4:
            return self.body[14:18] == wanted and self.body[24:28] == wanted
        return (self.type == IPV6 and self.body[6] == NEXT_ICMPV6 and self.body[40] == NEIGHBOUR_ADVERTISEMENT
                and self.body[48:64] == wanted and self.body[24:40] == ipaddress.ip_address("ff02::1").packed)

    def answers(self, address):
        """An ARP reply to us: this one has the address."""
        return (self.type == ARP and self.body[6:8] == b"\0\2" and self.body[18:24] == MAC
                and self.body[14:18] == ipaddress.ip_address(address).packed)


class Network:
    def __init__(self):
        self.frames = []
        self._ports = {}        # domain: its socket here, its port there
        self._selector = selectors.DefaultSelector()
        self._closed = False
        self._thread = threading.Thread(target=self._switch, daemon=True)
        self._thread.start()

    def options(self, domain):
        """Plugs a domain in. Returns options of domain-xml."""
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.bind(("127.0.0.1", 0))
        self._ports[domain] = end, free_port()
        self._selector.register(end, selectors.EVENT_READ, domain)
        return [f"--net={self._ports[domain][1]}:{end.getsockname()[1]}"]

    def _send(self, data, but=None):
        for domain, (end, port) in list(self._ports.items()):
            if domain != but:
                try:
                    end.sendto(data, ("127.0.0.1", port))
                except OSError:
                    pass        # that guest does not run

    def _switch(self):
        while not self._closed:
            for key, _ in self._selector.select(0.2):
                try:
                    data = key.fileobj.recv(65536)
                except OSError:
                    continue    # what was sent to a guest that does not run comes back as an error
                self.frames.append(Frame(key.data, data))
                self._send(data, key.data)

    def announcements(self, address, since=0.0):
        return [frame for frame in self.frames if frame.when >= since and frame.announces(address)]

    def owners(self, address, seconds=1.0):
        """Domains that answer to an IPv4 address; asks for it until there is one, and a little longer."""
        began = time.monotonic()
        question = (BROADCAST + MAC + ARP.to_bytes(2, "big") + bytes.fromhex("0001080006040001") + MAC
                    + ipaddress.ip_address("192.0.2.1").packed + bytes(6) + ipaddress.ip_address(address).packed)
        while time.monotonic() < began + seconds:
            self._send(question)
            time.sleep(0.1)
        return {frame.domain for frame in self.frames if frame.when >= began and frame.answers(address)}

    def close(self):
        self._closed = True
        self._thread.join()
        for end, _ in self._ports.values():
            end.close()
        self._selector.close()
