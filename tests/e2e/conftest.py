# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands for the tests on real guests, and what a failed test leaves to read."""
import os

import pytest

from testbed.policy import policy
from testbed.stand import Lock, Stand
from testbed.wait import until


def pytest_sessionstart(session):
    # libvirt waits for seconds on each QEMU that nobody reaps, and a broken run would leave guests behind.
    with open(f"/proc/{os.getppid()}/comm") as f:
        parent = f.read().strip()
    if parent != "reaper":
        pytest.exit("run me under the reaper: BUILD/tests/e2e/reaper /usr/bin/python3 -m pytest tests/e2e", 2)


@pytest.fixture(scope="session", autouse=True)
def machine():
    """This machine, for one set of guests at a time."""
    lock = Lock()
    yield
    lock.release()


class Keeper:
    """Keeps one pair for many tests, since booting it takes seconds, and makes a new one where a test has left it
    in a state that it does not come back from by itself."""

    def __init__(self):
        self.stand = None

    def armed(self, **settings):
        if self.stand:
            try:
                self.stand.failoverd.ctl("resume", self.stand.pair_name)
                self.stand.wait_armed(60)
            except Exception:
                self.drop()
        if not self.stand:
            self.stand = Stand(policy(**settings), "p", ("a", "b"), 192, [("db", 128), ("web", 64)],
                               domain_options=("--console-log",))
            self.stand.wait_armed()
        return self.stand

    def drop(self):
        if self.stand:
            self.stand.close()
            self.stand = None


@pytest.fixture(scope="module")
def keeper():
    keeper = Keeper()
    yield keeper
    keeper.drop()


@pytest.fixture
def stand(keeper):
    """A pair `p` of guests a and b: hot-standby application db (128 MiB), plain application web (64 MiB). A file whose
    tests need another one has a `stand` of its own."""
    return keeper.armed()


@pytest.fixture
def pair(stand, request):
    """The same, armed. What else has to hold before each test of a file, its own `pair` adds to this one."""
    request.node.stand = stand
    stand.wait_armed()
    return stand


@pytest.fixture
def home(pair):
    """The same with a as the active side, so that the plain application runs too."""
    # A plain application that has ended with its system begins anew with the return to its side.
    ended = pair.application("web")["ended"]
    for verb, wanted in (("switch", pair.active == "a" and ended), ("return", pair.active != "a" or ended)):
        if wanted:
            pair.failoverd.must(verb, "p")
            pair.wait_armed()
    until(lambda: pair.running_on("web") == ["a"], 60, "the plain application runs on a")
    return pair


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    stand = getattr(item, "stand", None)
    if not report.failed or stand is None or stand.failoverd is None:
        return
    report.sections.append(("failoverd", stand.journal() if hasattr(stand, "journal") else stand.failoverd.log(80)))
    try:
        report.sections.append(("status", stand.failoverd.ctl("status", "p", seconds=10).stdout))
        report.sections.append(("history", stand.failoverd.ctl("history", "p", seconds=10).stdout))
    except Exception as error:
        report.sections.append(("status", str(error)))
    for name, console in (stand.guests.consoles or {}).items():
        report.sections.append((f"console of {name}", console.text[-3000:]))
