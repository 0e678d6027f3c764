# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory servers and a pager between them and a guest, run by the session's user as QEMU is."""
import json
import os
import signal

from .guests import BUILD
from .session import accepts
from .wait import until

DISK = """<disk type='network' device='disk'>
  <driver name='qemu' type='raw' discard='unmap'/>
  <source protocol='nbd'><host transport='unix' socket='{socket}'/></source>
  <target dev='{target}' bus='virtio'/><serial>failover-overflow</serial>
</disk>
"""


class MemoryServers:
    """`names` are servers of `memory` each; with ports, one for each, they are on those, without TLS."""

    def __init__(self, session, names, memory, ports=()):
        self.session = session
        self.servers = {}
        self.make_plugin("daemon/memserver/failover-memserver-plugin.so")
        self.pager_plugin = self.make_plugin("agents/pager/failover-pager-plugin.so")
        for i, name in enumerate(names):
            self.servers[name] = self.nbdkit(name, session.path("failover-memserver-plugin.so"), f"memory={memory}",
                                             f"control={self.control(name)}", "lock=no",
                                             *(["tls-required=no"] if ports else []),
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
    """The same with a pager, to which the first is the primary at first, attached by hand."""

    def __init__(self, session, names, memory, size, deadline="1s"):
        super().__init__(session, names, memory)
        pager = self.pager_plugin
        self.socket = session.path("pager.nbd")
        where = [f"server={self.control(name)},{self.uri(name)}" for name in names]
        self.pager = self.nbdkit("pager", pager, f"size={size}", "node=n1", "owner=a", "lock=no",
                                 f"deadline={deadline}", f"status={session.path('pager.json')}", *where)
        self.until(60, state="serving", primary=self.control(names[0]), mirror_state="complete")

    def status(self):
        try:
            with open(self.session.path("pager.json")) as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def until(self, seconds, **wanted):
        until(lambda: all(self.status().get(key) == value for key, value in wanted.items()), seconds,
              lambda: f"{wanted} in {self.status()}\n{self.log('pager')}")

    def attach(self, domain, target="vdz"):
        """To a guest that runs."""
        path = self.session.write("overflow.xml", DISK.format(socket=self.socket, target=target))
        self.session.virsh("attach-device", domain, path, "--live")

    def processes(self):
        return (self.pager, *super().processes())
