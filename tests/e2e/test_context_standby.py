# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VM without a second one goes on from its last checkpoint when it is lost, or is held where that is no good."""
import glob
import json
import os
import random
import signal
import time

import pytest

from test_context import COUNT, MIB, open_space, servers    # noqa: F401
from testbed.failoverd import Failoverd
from testbed.guests import BUILD, Guests
from testbed.session import Session
from testbed.wait import until

GUEST_MIB = 160
DISK_MIB = 16
PATIENCE = 120    # seconds, of an emulated guest beside other load
POLICY = """
hypervisor: qemu:///session
pool: {{memory: 1GiB}}
memory-servers:
{servers}
pairs: []
vms:
  - domain: alone
    memory: 160MiB
    standby: context
    checkpoint: {{every: {every}}}
    servers: [one, two]
    flap: {{failovers: 5, within: 1h}}
"""


class Alone:
    def __init__(self, servers, every, disk=None):
        self.session = Session()
        self.guests = self.failoverd = None
        try:
            self.session.start_bus()
            self.session.start_libvirtd()
            self.guests = Guests(self.session)
            options = [f"--disk=vda:{self.session.make_disk(disk, DISK_MIB)}"] if disk else []
            self.guests.define("alone", GUEST_MIB, [], *options)
            self.failoverd = Failoverd(self.session)
            self.standby = self.session.copy(f"{BUILD}/daemon/failover-standby", "bin/failover-standby")
            lines = [f"  - {{name: {name}, control: {server.control_path}, "
                     f"uri: 'nbd+unix:///?socket={server.socket}'}}"
                     for name, server in zip(("one", "two"), servers)]
            self.boot()
            self.failoverd.start(POLICY.format(servers="\n".join(lines), every=every),
                                 options=("--standby", self.standby))
        except BaseException:
            self.close()
            raise

    def boot(self):
        self.session.virsh("start", "alone")
        self.guests["alone"].run(COUNT.format(0), 90)
        until(lambda: self.number() > 0, 30, "it counts")

    def number(self):
        """The file is empty for a moment each time."""
        return int(until(lambda: self.guests["alone"].run("cat /run/n 2>/dev/null", 60).strip(), 60, "it has a number"))

    def counts(self):
        before = self.number()
        return until(lambda: self.number() > before, 30, "it counts")

    def status(self):
        return self.failoverd.json("status")["vms"][0]

    def wait(self, what, wanted):
        seen = {}

        def there():
            seen.update(self.status())
            return wanted(seen)

        until(there, PATIENCE, lambda: f"{what}: {seen}")
        return seen

    def wait_checkpoint(self):
        """One that was begun after this; returns a number that was counted before it."""
        number, since = self.number(), time.monotonic()
        self.wait("a checkpoint is taken", lambda s: s["state"] == "armed" and s["checkpoint_age_ms"] is not None and
                  s["checkpoint_age_ms"] / 1000 < time.monotonic() - since - 1)
        return number

    def failed_over(self, n):
        status = self.wait("it goes on", lambda s: s["failovers"] == n)
        print(f"failover {n}: took {status['last_failover']['took_ms']} ms, lost {status['last_failover']['lost_ms']}")
        return status

    def says(self, verb, *wanted, code=0):
        seen = []

        def there():
            seen[:] = [self.failoverd.ctl(verb, "alone")]
            return seen[0].returncode == code and all(text in seen[0].stdout for text in wanted)

        until(there, PATIENCE, lambda: f"failoverctl {verb} says {wanted}: {seen}")

    def told(self, *wanted):
        """The kinds of the VM's events, the latest first; none where they do not have all that are wanted."""
        kinds = [event["kind"] for event in self.failoverd.json("history", "alone")["events"]]
        return kinds if set(wanted) <= set(kinds) else []

    def document(self):
        """What the standby keeps. A slot of 0 is left out there."""
        with open(self.session.path("runtime/standbys/alone/standby.json")) as f:
            return {"slot": 0, **json.load(f)}

    def signal_standby(self, number):
        for pid in self.session.processes():
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(self.standby.encode()):
                    os.kill(pid, number)

    def log(self):
        text = ""
        for path in glob.glob(self.session.path("runtime/standbys/alone/log")):
            with open(path, errors="replace") as f:
                text += f.read()
        return text

    def close(self):
        if self.failoverd:
            self.failoverd.close()
        if self.guests:
            self.guests.close()
        self.session.close()


@pytest.fixture
def alone(servers, request):    # noqa: F811
    stand = request.node.stand = Alone(servers, *getattr(request, "param", ("5s",)))
    yield stand
    print(stand.log())
    stand.close()
    for server in servers:
        for space in server.ask("spaces"):
            server.drop(token=space["token"], **{key: space[key] for key in ("node", "owner", "space")})


def refused_with_a_disk_elsewhere(alone):
    alone.guests.define("writes", GUEST_MIB, [], f"--nbd-disk=vda:{alone.session.path('img/nbd')}")
    with open(alone.session.path("policy.yaml")) as f:
        text = f.read().replace("domain: alone", "domain: writes")
    path = alone.session.write("writes.yaml", text)
    for command in (("check", "--domains"), ("apply",)):
        done = alone.failoverd.ctl("policy", *command, path)
        assert done.returncode == 1 and 'vms[0].standby: VM "writes" can write to vda' in done.stderr, done


def test_a_lost_vm_goes_on_from_its_last_checkpoint_and_is_armed_again(alone):
    guest = alone.guests["alone"]
    refused_with_a_disk_elsewhere(alone)
    number = alone.wait_checkpoint()
    said = alone.failoverd.ctl("status").stdout
    assert "alone: armed" in said and "would be lost" in said, said
    alone.says("check", "alone: limited", "kept     at 2", code=6)    # its guest has no watchdog
    os.kill(alone.guests.pid("alone"), signal.SIGKILL)
    alone.failed_over(1)
    assert alone.number() >= number and alone.counts()

    # What stands by may itself be gone for a while: neither end takes its word from memory.
    number = alone.wait_checkpoint()
    alone.failoverd.kill()
    alone.signal_standby(signal.SIGKILL)
    guest.send("echo c > /proc/sysrq-trigger")
    until(lambda: alone.guests.state("alone") == "crashed", PATIENCE, "its system crashes")
    alone.failoverd.start(options=("--standby", alone.standby))
    alone.failed_over(2)
    assert alone.number() >= number and alone.counts()

    # Somebody's own end of it is no failure.
    alone.wait_checkpoint()
    alone.session.virsh("destroy", "alone")
    alone.wait("it is left alone", lambda s: s["state"] == "off")
    assert alone.guests.state("alone") == "shut off"

    # All of that is told once, though failoverd was killed at the second time.
    told = until(lambda: alone.told("cleared"), PATIENCE, "it is in the history")
    assert [told.count(kind) for kind in ("decided", "started", "cleared")] == [2, 2, 1], told
    alone.says("explain", "alone: off", "was ended by somebody")


@pytest.mark.parametrize("alone", [("1d",)], indirect=True)    # one, and no other
def test_a_damaged_checkpoint_is_refused_and_the_vm_held(alone, servers):    # noqa: F811
    alone.wait("it has a checkpoint", lambda s: s["state"] == "armed")
    handle = open_space(servers[0], f"alone.standby-{'ab'[alone.document()['slot']]}")
    place = 4096 + random.Random(5).randrange(20 * MIB)
    handle.pwrite(bytes([handle.pread(1, place)[0] ^ 1]), place)
    handle.shutdown()
    os.kill(alone.guests.pid("alone"), signal.SIGKILL)
    status = alone.wait("it is held", lambda s: s["state"] == "held")
    assert "it is damaged" in status["problem"], status
    assert alone.guests.state("alone") == "shut off"
    done = alone.failoverd.ctl("status")
    assert done.returncode == 4 and "held" in done.stdout
    until(lambda: alone.told("decided", "held"), PATIENCE, "that is in the history")
    alone.boot()
    alone.wait("it is armed with a new one", lambda s: s["state"] == "armed")


# What it notes in its memory is on its disk too: line by line, and one block of other data with its sum.
LOG = ("rm -f /run/stop /run/stopped; touch /run/log; ( (n=$(wc -l < /run/log); while [ ! -e /run/stop ]; do "
       "u=$(cat /proc/sys/kernel/random/uuid); echo $u >> /run/log; "
       "echo $u | dd of=/dev/vda bs=37 seek=$n conv=fsync 2>/dev/null; n=$((n+1)); usleep 50000; done; "
       "touch /run/stopped) > /dev/null 2>&1 & ); true")
BLOCK = "bs=64k {}=32 count=64"
FILL = (f"dd if=/dev/urandom of=/dev/vda {BLOCK.format('seek')} conv=fsync 2>/dev/null; "
        f"dd if=/dev/vda {BLOCK.format('skip')} 2>/dev/null | md5sum > /run/sum")
COMPARE = ("echo 3 > /proc/sys/vm/drop_caches; n=$(wc -c < /run/log); head -c $n /dev/vda | cmp - /run/log && "
           "echo lines=$(wc -l < /run/log) later=$(tail -c +$((n+1)) /dev/vda | head -c 65536 | tr -d '\\0' | wc -c); "
           f"dd if=/dev/vda {BLOCK.format('skip')} 2>/dev/null | md5sum | cmp - /run/sum && echo sum=same")


def goes_with_its_memory(guest):
    """What the guest has on its disk is what it remembers to have written, no less and no more."""
    guest.run("touch /run/stop", 60)
    until(lambda: "yes" in guest.run("[ -e /run/stopped ] && echo yes", 60), 60, "it writes no more")
    said = guest.run(COMPARE, 60)
    assert "lines=" in said and "lines=0 " not in said and " later=0" in said and "sum=same" in said, said
    guest.run(LOG, 60)


def merges(alone):
    """It is on file that a merge is about to be begun; it takes at least 100 ms to see its end."""
    try:
        with open(alone.session.path("runtime/standbys/alone/disks.json")) as f:
            return '"merging"' in f.read()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("alone", [("5s", "img/d.raw")], indirect=True)
def test_the_disk_of_a_vm_that_is_lost_in_the_midst_of_a_merge_goes_with_its_memory(alone):
    guest = alone.guests["alone"]
    guest.run(LOG, 60)
    for turn in range(2):
        guest.run(FILL, 60)
        alone.wait_checkpoint()
        guest.run(FILL, 60)    # now into an overlay, which is merged once a further checkpoint needs no more than one
        until(lambda: merges(alone), PATIENCE, "a merge is begun")
        os.kill(alone.guests.pid("alone"), signal.SIGKILL)
        alone.failed_over(turn + 1)
        goes_with_its_memory(guest)
    files = [name for name in os.listdir(alone.session.path("img")) if name.startswith("d.raw")]
    assert "d.raw" in files and 2 <= len(files) <= 8, files    # and not one for each checkpoint there was
