# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shared regions between programs and servers, without guests: nothing of the machine is shared."""
import os
import sys
import tempfile

import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "memserver")]

from region import Client, Names, Nbdkit    # noqa: E402
from server import Server    # noqa: E402


def starter(kind):
    started = []

    def start(*parameters, **options):
        started.append(kind(*parameters, **options))
        return started[-1]

    yield start
    for one in reversed(started):
        one.close()


@pytest.fixture(autouse=True)
def runtime_dir(monkeypatch):
    """Programs that are killed leave the directories of what they shared."""
    with tempfile.TemporaryDirectory(prefix="region-") as path:
        os.chmod(path, 0o1777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield path


@pytest.fixture
def nbdkit():
    yield from starter(Nbdkit)


@pytest.fixture
def servers():
    yield from starter(Server)


@pytest.fixture
def names():
    yield from starter(Names)


@pytest.fixture
def clients(nbdkit, servers, names):
    """They end before their servers."""
    yield from starter(Client)
