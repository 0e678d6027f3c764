# SPDX-License-Identifier: LGPL-2.1-or-later
"""An operator saves or migrates the active VM: nothing is done until it is back, and then it goes on where it was."""
import pytest

from expect import counts, counts_further, said
from testbed.other_host import OtherHost
from testbed.policy import policy
from testbed.stand import Stand
from testbed.wait import stays, until

LEFT_ALONE_SECONDS = 4

# Without a health check: a guest that comes back to a busy host is slow at first, and that is not looked at here.
DB = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start: {command: [/usr/bin/fill, run, db, "32"]}
        stop-timeout: 2s
"""


@pytest.fixture(scope="module")
def stand():
    with Stand(policy(applications=(DB,)), "p", ("a", "b"), 192, [("db", 128)]) as stand:
        yield stand


class Left:
    """An armed pair whose active VM is to leave and come back."""

    def __init__(self, pair):
        self.pair = pair
        self.vm, self._flows = pair.active, pair.n_flows()
        self.count = pair.count(self.vm, "db")
        self._life = self._system(), pair.app_pid(self.vm, "db")

    def _system(self):
        return self.pair.shell(self.vm, "cat /proc/sys/kernel/random/boot_id")

    def leaves_all_alone(self, how):
        """It is away, and nothing is done about it."""
        until(lambda: said(self.pair, "ignored", f"ended by an operator ({how})", self.vm), 30, "it is said")
        stays(lambda: self.pair.guests.state(self.vm) == "shut off", LEFT_ALONE_SECONDS, "it is left alone")
        assert self.pair.active == self.vm and self.pair.n_flows() == self._flows
        assert self.pair.running_on("db") == [], "it was started elsewhere"

    def is_back(self):
        """As if nothing had been."""
        self.pair.wait_armed()
        assert self.pair.active == self.vm and self.pair.n_flows() == self._flows
        assert (self._system(), self.pair.app_pid(self.vm, "db")) == self._life, "it was started anew"
        counts_further(self.pair, self.vm)


@pytest.fixture
def left(pair):
    counts(pair, pair.active)
    return Left(pair)


def test_saved_vm_is_left_alone_and_goes_on_where_it_is_restored(left):
    virsh, file = left.pair.session.virsh, left.pair.session.path("active.saved")
    virsh("save", left.vm, file, seconds=120)
    left.leaves_all_alone("saved")
    virsh("restore", file, seconds=120)
    left.is_back()


def test_vm_with_a_managed_save_is_left_alone_and_goes_on_when_it_is_started(left):
    virsh = left.pair.session.virsh
    virsh("managedsave", left.vm, seconds=120)
    left.leaves_all_alone("saved")
    virsh("start", left.vm, seconds=120)
    left.is_back()


def test_vm_that_was_migrated_is_left_alone_and_goes_on_when_it_is_back(left):
    with OtherHost(left.pair.session) as other:
        other.take(left.vm)
        left.leaves_all_alone("migrated")
        assert any("migrated to another host" in reason for reason in left.pair.status()["reasons"])
        assert int(other.run(left.vm, "cat /run/db.count").split()[0]) > left.count, "it runs on there"
        other.give_back(left.vm)
        left.is_back()
