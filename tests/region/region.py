# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that use libfailover-region, and servers that others wrote."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading

from server import BUILD, MIB, PAGE, SECONDS    # noqa: F401
from testbed.wait import until

CLIENT = os.path.join(BUILD, "tests/region/region-client")
SHARE_PLUGIN = os.path.join(BUILD, "agents/region/failover-share-plugin.so")
WRITE, LAZY, UNLOCKED = 1, 2, 4


def region_list(*regions):
    """What a program inherits."""
    fd = os.memfd_create("regions")
    os.write(fd, json.dumps({"failover-regions": 1, "regions": regions}).encode())
    return fd


class Failed(Exception):
    def __init__(self, what, text):
        super().__init__(f"{what}: {text}")
        self.what, self.text = what, text


class Client:
    """A program that does what it is told (client.c)."""

    def __init__(self, *around, fds=(), **environment):
        self.process = subprocess.Popen(
            [*around, CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, pass_fds=fds,
            env={**os.environ, "FAILOVER_SHARE_PLUGIN": SHARE_PLUGIN, **environment})

    def send(self, command, *arguments, **options):
        words = [command, *map(str, arguments), *(f"{key}={value}" for key, value in options.items())]
        self.process.stdin.write(" ".join(words) + "\n")

    def hear(self):
        alarm = threading.Timer(4 * SECONDS, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        assert line, f"the program has ended: {self.process.wait()}"
        word, _, rest = line.strip().partition(" ")
        if word == "error":
            what, _, text = rest.partition(" ")
            raise Failed(int(what) if what.isdigit() else what, text)
        return rest

    def ask(self, command, *arguments, **options):
        self.send(command, *arguments, **options)
        return self.hear()

    def open(self, name="orders", **options):
        return self.ask("open", name, **options)

    def open_when_free(self, name="orders", **options):
        """Its other end may not have noticed yet that who had it has gone."""
        def opened():
            try:
                return [self.open(name, **options)]
            except Failed:
                return []

        return until(opened, SECONDS, f"{name} is free")[0]

    def number(self, command, *arguments):
        return int(self.ask(command, *arguments))

    def get(self, offset):
        return self.number("get", offset)

    def statistics(self):
        return {key: int(value) for key, value in (word.split("=") for word in self.ask("statistics").split())}

    def fails(self, *arguments, **options):
        """What a command that has to fail failed with, and its text."""
        try:
            said = self.ask(*arguments, **options)
        except Failed as failed:
            return failed.what, failed.text
        raise AssertionError(f"{arguments}: {said}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()


class Nbdkit:
    """nbdkit with a plugin of its own."""

    def __init__(self, *arguments):
        self.dir = tempfile.TemporaryDirectory(prefix="region-")
        self.socket = f"{self.dir.name}/nbd"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.arguments = arguments
        self.start()

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        self.process = subprocess.Popen(["nbdkit", "--foreground", "--unix", self.socket, *self.arguments],
                                        stderr=subprocess.DEVNULL)
        until(self.listens, SECONDS, "nbdkit listens")

    def listens(self):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            return probe.connect_ex(self.socket) == 0

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.dir.cleanup()


class Names:
    """A name server that knows what it is told, in place of failoverd's."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="names-")
        self.path = f"{self.dir.name}/names"
        self.known, self.asked, self.connections = {}, [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def answer(self, request):
        assert request["failover-names"] == 1
        if "register" in request:
            self.known[request["register"]["name"]] = request["register"]
            return {"registered": {"name": request["register"]["name"]}}
        name = request["resolve"]["name"]
        self.asked.append(name)
        if name not in self.known:
            return {"refused": "nobody has that name"}
        return {"found": {key: self.known[name][key] for key in ("name", "uri", "size")}}

    def serve(self, connection):
        registered = None
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                registered = request.get("register", {}).get("name", registered)
                connection.sendall(json.dumps(self.answer(request)).encode() + b"\n")
        self.known.pop(registered, None)    # the lease ends with the connection

    def close(self):
        self.listener.close()
        self.dir.cleanup()
