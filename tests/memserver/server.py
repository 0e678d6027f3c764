# SPDX-License-Identifier: LGPL-2.1-or-later
"""A memory server of the build, its control socket, and clients that others wrote."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import nbd
from testbed.wait import until

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("FAILOVER_BUILD") or os.path.join(SOURCE, "build")
PLUGIN = os.path.join(BUILD, "daemon/memserver/failover-memserver-plugin.so")
PROGRAM = os.path.join(BUILD, "daemon/memserver/failover-memserver")
PAGE = 4096
MIB = 1 << 20
SECONDS = 30    # for what takes no time on a machine of one's own


class Refused(Exception):
    def __init__(self, result, text):
        super().__init__(f"{os.strerror(-result)}: {text}")
        self.errno = -result
        self.text = text


class Control:
    """A conversation on a control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.number = 0

    def say(self, data):
        self.socket.sendall(data)

    def hear(self):
        """The next line, None where the server has hung up."""
        line = self.lines.readline()
        return json.loads(line) if line else None

    def send(self, call, **arguments):
        self.number += 1
        self.say(json.dumps({"version": 1, "id": self.number, "call": call, **arguments}).encode() + b"\n")
        return self.number

    def ask(self, call, **arguments):
        """The items of the answer."""
        number = self.send(call, **arguments)
        items = []
        while True:
            answer = self.hear()
            assert answer is not None, "the server hung up"
            assert answer.pop("id") == number
            if "result" in answer:
                if answer["result"] < 0:
                    raise Refused(answer["result"], answer["text"])
                return items
            items.extend(answer.values())

    def close(self):
        self.lines.close()
        self.socket.close()


def name(node="n1", owner="vm1", space="swap"):
    return {"node": node, "owner": owner, "space": space}


def listens(process, path):
    """A process's unix socket, which is there before it is listened on. A client would be told of in its log."""
    accepting = "00010000"    # __SO_ACCEPTCON
    try:
        with open(f"/proc/{process.pid}/net/unix") as f:
            return any(line.split()[3] == accepting for line in f if line.endswith(f" {path}\n"))
    except OSError:    # it has ended
        return False


def end(process, handles):
    """nbdkit ends when its clients have gone."""
    for handle in handles:
        with contextlib.suppress(nbd.Error):    # one that is over already
            handle.shutdown()
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """Serves on one unix socket, as nbdkit's own command line says."""

    def __init__(self, memory="64MiB", *parameters, nbdkit=(), prefix=()):
        self.dir = tempfile.mkdtemp(prefix="memserver-")
        self.socket = f"{self.dir}/nbd"
        self.control_path = f"{self.dir}/control"
        self.command = [*prefix, "nbdkit", "--foreground", "--unix", self.socket, *nbdkit, PLUGIN, f"memory={memory}",
                        f"control={self.control_path}", "lock=no", *parameters]
        self.process = self.control = None
        self.handles = []
        self.start()

    def path(self, relative):
        return os.path.join(self.dir, relative)

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)    # of one that was killed
        self.log_file = open(self.path("log"), "ab")
        self.process = subprocess.Popen(self.command, stdout=self.log_file, stderr=self.log_file, cwd=self.dir)
        until(lambda: self.reachable() or self.process.poll() is not None, SECONDS, self.log)
        assert self.process.poll() is None, self.log()
        self.control = Control(self.control_path)

    def reachable(self):
        try:
            Control(self.control_path).close()
        except OSError:
            return False
        return True

    def log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def ask(self, call, **arguments):
        return self.control.ask(call, **arguments)

    def open(self, size=16 * MIB, token=1, **arguments):
        """Opens a space and returns its capability."""
        return self.ask("open", size_bytes=size, token=token, **{**name(), **arguments})[0]

    def grant(self, token, **which):
        return self.ask("grant", token=token, **{**name(), **which})[0]

    def drop(self, token=1, **which):
        self.ask("drop", token=token, **{**name(), **which})

    def mirror(self, other, call="mirror", token=1, deadline=5.0, rate_bytes=1 << 30, uri=None, which=None, opened=None,
               **arguments):
        """Opens the space at another server and has it mirrored, or handed over, there."""
        which = name(**(which or {}))
        capability = other.ask("open", size_bytes=self.space(**which)["size_bytes"], token=token, role="mirror",
                               **which, **(opened or {}))[0]
        self.ask(call, uri=(uri or other.uri)(capability), deadline_usec=int(deadline * 10**6), rate_bytes=rate_bytes,
                 **which, **arguments)
        return capability

    def until_mirror(self, *states, call="mirror", seconds=SECONDS, **which):
        key = call.replace("-", "_")
        until(lambda: self.space(**which)[key] in states, seconds, lambda: repr(self.space(**which)))

    def promote(self, token, answered=None, **arguments):
        """`answered`: when the client had its last answer, by time.monotonic()."""
        if answered is not None:
            arguments["lost_usec"] = int((time.monotonic() - answered) * 1e6)
        return self.ask("promote", token=token, **{**name(), **arguments})[0]

    def events(self, after=0):
        """What has happened to spaces here, in order."""
        latest = self.load()["latest_event"]
        control, events = Control(self.control_path), []
        control.send("watch", after=after)
        while after < latest:
            events.append(control.hear()["event"])
            after = events[-1]["number"]
        control.close()
        return [event["kind"] for event in events]

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def space(self, **which):
        return self.ask("spaces", **{**name(), **which})[0]

    def load(self):
        return self.ask("load")[0]

    def uri(self, capability):
        return f"nbd+unix:///{capability}?socket={self.socket}"

    def connect(self, capability):
        """A connection of libnbd's."""
        handle = nbd.NBD()
        self.handles.append(handle)
        handle.connect_uri(self.uri(capability))
        return handle

    def break_spill(self):
        """Its spill file, which has no name any more, loses all that is in it."""
        folder = f"/proc/{self.process.pid}/fd"
        (fd,) = [fd for fd in os.listdir(folder) if os.readlink(f"{folder}/{fd}").endswith("/spill (deleted)")]
        os.truncate(f"{folder}/{fd}", 0)

    def kill(self):
        if self.control:
            self.control.close()
            self.control = None
        self.process.kill()
        self.process.wait()
        self.log_file.close()

    def close(self):
        if self.control:
            self.control.close()
        end(self.process, self.handles)
        self.log_file.close()
        shutil.rmtree(self.dir)


def run(*command, seconds=120, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds, **options).stdout


def page(number, version=0):
    """What a test puts into a page: nothing but this page holds it."""
    return (f"{number}:{version};".encode() * PAGE)[:PAGE]
