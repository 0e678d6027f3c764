# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pager of the build between a client and memory servers."""
import json
import os
import shutil
import subprocess
import tempfile

import nbd
from server import BUILD, SECONDS, end, listens
from testbed.wait import until

PLUGIN = os.path.join(BUILD, "agents/pager/failover-pager-plugin.so")


class Pager:
    """Serves the space swap of vm1 on node n1 on a unix socket. What it says of itself is in its status file."""

    def __init__(self, servers, size="16MiB", node="n1", owner="vm1", deadline="10s", patience="30s", fill_rate="1GiB",
                 parameters=(), start=True, prefix=(), to="nbd+unix://"):
        self.dir = tempfile.mkdtemp(prefix="pager-")
        self.socket = f"{self.dir}/nbd"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.command = [*prefix, "nbdkit", "--foreground", "--unix", self.socket, PLUGIN, f"size={size}",
                        f"node={node}", f"owner={owner}", f"deadline={deadline}", f"patience={patience}",
                        f"fill-rate={fill_rate}", f"status={self.dir}/status", "lock=no", *parameters,
                        *(f"server={one.control_path},{to}/?socket={one.socket}" for one in servers)]
        self.handles = []
        self.log_file = open(f"{self.dir}/log", "ab")
        self.process = subprocess.Popen(self.command, stdout=self.log_file, stderr=self.log_file)
        if start:
            until(lambda: listens(self.process, self.socket) or self.process.poll() is not None, SECONDS, self.log)
            assert self.process.poll() is None, self.log()

    def log(self):
        with open(f"{self.dir}/log", errors="replace") as f:
            return f.read()

    def events(self):
        return [line.split(": ", 1)[1].split(",")[0] for line in self.log().splitlines() if line.startswith("n1/")]

    def status(self):
        try:
            with open(f"{self.dir}/status") as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def until(self, seconds=SECONDS, **wanted):
        until(lambda: all(self.status().get(key) == value for key, value in wanted.items()), seconds,
              lambda: f"{wanted} in {self.status()}\n{self.log()}")

    def until_mirrored(self, primary, mirror, seconds=2 * SECONDS):
        self.until(seconds, state="serving", primary=primary.control_path, mirror=mirror.control_path,
                   mirror_state="complete")

    def connect(self, _capability=None):
        handle = nbd.NBD()
        self.handles.append(handle)
        handle.connect_uri(self.uri)
        return handle

    def close(self):
        end(self.process, self.handles)
        self.log_file.close()
        shutil.rmtree(self.dir)
