# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second host for libvirt, to migrate to: a libvirtd with directories and a host's name of its own."""
from .console import Console
from .session import accepts
from .wait import until


class OtherHost:
    DIR = "h"   # below the session's; short, for the paths of sockets

    def __init__(self, session):
        self._session = session
        self._dir = session.make_dir(self.DIR)
        session.make_dir(f"{self.DIR}/c/libvirt")
        session.write(f"{self.DIR}/c/libvirt/qemu.conf", 'stdio_handler = "file"\n')
        session.write(f"{self.DIR}/c/libvirt/libvirtd.conf", 'host_uuid = "00000000-0000-4000-8000-000000000002"\n')
        self._env = {"XDG_RUNTIME_DIR": self._dir, "XDG_CONFIG_HOME": f"{self._dir}/c",
                     "XDG_CACHE_HOME": f"{self._dir}/cache", "XDG_DATA_HOME": f"{self._dir}/data"}
        self._libvirtd = session.spawn("libvirtd", log=f"{self.DIR}/libvirtd.log", env=self._env)
        self._uri, self._home_uri = (f"qemu+unix:///session?socket={at}/libvirt/libvirt-sock"
                                     for at in (self._dir, session.dir))
        until(lambda: accepts(f"{self._dir}/libvirt/libvirt-sock"), 30, "the other host's libvirtd listens")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._libvirtd.kill()
        self._libvirtd.wait()

    def _virsh(self, uri, *arguments):
        return self._session.run("virsh", "-q", "-c", uri, *arguments, seconds=120)

    def _migrate(self, name, source, target, xml):
        self._virsh(source, "migrate", "--live", name, target, "--xml", self._session.write("migrate.xml", xml),
                    "--migrateuri", f"unix://{self._dir}/migrate")

    def take(self, name):
        """A domain of this host goes there, with sockets of its own, and stays defined here."""
        xml = self._virsh(self._home_uri, "dumpxml", "--migratable", name).stdout
        self._migrate(name, self._home_uri, self._uri, xml.replace(self._session.path("s/"), f"{self._dir}/"))

    def give_back(self, name):
        xml = self._virsh(self._uri, "dumpxml", "--migratable", name).stdout
        self._migrate(name, self._uri, self._home_uri, xml.replace(f"'{self._dir}/{name}.",
                                                                   f"'{self._session.path('s')}/{name}."))

    def run(self, name, command):
        """Runs a command line in a domain that is there."""
        console = Console(f"{self._dir}/{name}.console")
        try:
            return console.run(command)
        finally:
            console.close()
