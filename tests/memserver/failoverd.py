# SPDX-License-Identifier: LGPL-2.1-or-later
"""A failoverd on a bus of its own, above libvirt's test driver: no guests, and nothing of the machine is shared."""
import json
import os
import subprocess

from server import BUILD, SECONDS, end
from testbed.wait import until

POLICY = """version: 1
hypervisor: test:///default
pool: {{memory: 4GiB, extent: 128MiB}}
memory-servers:
  - {{name: depot, control: {control}, uri: "nbds://192.0.2.1/", guests: "nbds://192.0.2.1/"}}
pairs:
  - name: shop
    active: {{domain: vm-a, base: 512MiB}}
    standby: {{domain: vm-b, base: 512MiB}}
    applications:
      - name: db
        kind: hot-standby
        memory: 512MiB
        start: {{command: [/bin/db]}}
        severity: [{{signal: any, is: major}}]
        state: [{{region: ledger, size: 1MiB, kind: 3, write-back: 200ms}}]
"""


class Failoverd:
    def __init__(self, directory, control):
        self.dir = directory
        bus = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
        self.processes = [bus]
        self.environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().strip()}
        with open(f"{directory}/policy.yaml", "w") as f:
            f.write(POLICY.format(control=control))
        command = [f"{BUILD}/daemon/failoverd", "--user", "--policy", f"{directory}/policy.yaml", "--state-dir",
                   f"{directory}/state", "--runtime-dir", f"{directory}/run"]
        with open(f"{directory}/log", "wb") as log:
            self.processes.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        until(lambda: self.ctl("status").returncode not in (1, 3), SECONDS, self.log)

    def log(self):
        with open(f"{self.dir}/log", errors="replace") as f:
            return f.read()

    def ctl(self, *arguments):
        return subprocess.run([f"{BUILD}/daemon/ctl/failoverctl", "--user", *arguments], env=self.environment,
                              capture_output=True, text=True, timeout=SECONDS)

    def regions(self):
        done = self.ctl("regions", "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    @property
    def names(self):
        """Where its name server listens."""
        return f"{self.dir}/run/names.sock"

    def close(self):
        for process in reversed(self.processes):
            end(process, [])
