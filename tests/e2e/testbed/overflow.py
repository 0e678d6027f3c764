# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory servers and a pager between them and a guest, run by the session's user as QEMU is."""
import contextlib
import json
import os
import signal
import socket

from .guests import BUILD
from .session import accepts
from .wait import until

DISK = """<disk type='network' device='disk'>
  <driver name='qemu' type='raw' discard='unmap'/>
  <source protocol='nbd'><host transport='unix' socket='{socket}'/></source>
  <target dev='{target}' bus='virtio'/><serial>failover-overflow</serial>
</disk>
"""


def free_addresses(n):
    """For datagrams."""
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(n)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return ["{}:{}".format(*one.getsockname()) for one in free]


class MemoryServers:
    """`names` are servers of `memory` each; with ports, one for each, they are on those, without TLS."""

    def __init__(self, session, names, memory, ports=(), parameters=()):
        self.session = session
        self.servers = {}
        self.make_plugin("daemon/memserver/failover-memserver-plugin.so")
        self.pager_plugin = self.make_plugin("agents/pager/failover-pager-plugin.so")
        for i, name in enumerate(names):
            self.servers[name] = self.nbdkit(name, session.path("failover-memserver-plugin.so"), f"memory={memory}",
                                             f"control={self.control(name)}", "lock=no",
                                             *(["tls-required=no"] if ports else []),
                                             *(parameters[i] if parameters else []),
                                             port=ports[i] if ports else None)
        for name in names:
            until(lambda: accepts(self.control(name)), 30, lambda: self.log(name))

    def uri(self, name):
        return f"nbd+unix:///?socket={self.session.path(name)}.nbd"

    def policy(self):
        """They, for a policy."""
        return "memory-servers:\n" + "".join(
            f'  - {{name: {name}, control: {self.control(name)}, uri: "{self.uri(name)}"}}\n' for name in self.servers)

    def make_plugin(self, path):
        return self.session.copy(os.path.join(BUILD, path), os.path.basename(path))

    def nbdkit(self, name, *arguments, port=None):
        where = ["--ipaddr", "127.0.0.1", "--port", str(port)] if port else ["--unix", self.session.path(f"{name}.nbd")]
        return self.session.spawn("nbdkit", "--foreground", *where, *arguments, log=f"{name}.log")

    def control(self, name):
        return self.session.path(f"{name}.control")

    def log(self, name):
        with open(self.session.path(f"{name}.log"), errors="replace") as f:
            return f.read()

    def signal(self, name, number):
        self.servers[name].send_signal(number)

    def processes(self):
        return self.servers.values()

    def close(self):
        """They end with the session's directory; those that stand still have to go on for that."""
        for process in self.processes():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


class Overflow(MemoryServers):
    """The same with an arbitrator, and with pagers that are attached by hand."""

    def __init__(self, session, names, memory):
        self.pagers = {}
        at_servers, self.balanced = self.start_arbitrator(session, len(names))
        super().__init__(session, names, memory, parameters=at_servers)

    def start_pager(self, vm, node, size, servers, *options):
        """With the options `balanced`, the pages are moved to wherever most room is, as the arbitrator says; else the
        first server is the primary at first."""
        where = [f"server={self.control(name)},{self.uri(name)}" for name in servers]
        self.pagers[vm] = self.nbdkit(f"pager-{vm}", self.pager_plugin, f"size={size}", f"node={node}", f"owner={vm}",
                                      "lock=no", "deadline=2s", f"status={self.session.path(f'{vm}.json')}", *options,
                                      *where)
        self.until(60, vm, state="serving", mirror_state="complete")

    def start_arbitrator(self, session, n_servers):
        """What each server, and a pager, is started with."""
        program = session.copy(os.path.join(BUILD, "daemon/failover-arbitrator"), "failover-arbitrator")
        key = session.write("discovery.key", "0123456789abcdef0123456789abcdef")
        os.chmod(key, 0o600)
        where, *listen = free_addresses(1 + n_servers)
        self.arbitrator = session.spawn(program, f"--listen={where}", f"--key={key}", log="arbitrator.log")
        return ([(f"discovery={address}", f"arbitrator={where}", f"discovery-key={key}") for address in listen],
                ("return=asked", "decided=arbitrator", f"discovery={where}", f"discovery-key={key}"))

    def ask(self, name, call, **arguments):
        """The first line of a server's answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(30)
            control.connect(self.control(name))
            control.sendall(json.dumps({"version": 1, "id": 1, "call": call, **arguments}).encode() + b"\n")
            return json.loads(control.makefile().readline())

    def status(self, vm="a"):
        try:
            with open(self.session.path(f"{vm}.json")) as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def until(self, seconds, vm="a", **wanted):
        until(lambda: all(self.status(vm).get(key) == value for key, value in wanted.items()), seconds,
              lambda: f"{wanted} in {self.status(vm)}\n{self.log(f'pager-{vm}')}")

    def attach(self, domain, target="vdz"):
        """To a guest that runs."""
        disk = DISK.format(socket=self.session.path(f"pager-{domain}.nbd"), target=target)
        path = self.session.write(f"overflow-{domain}.xml", disk)
        self.session.virsh("attach-device", domain, path, "--live")

    def processes(self):
        return (*self.pagers.values(), *super().processes(), self.arbitrator)
