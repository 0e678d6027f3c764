# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory servers with clients that others wrote, without guests: nothing of the machine is shared."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

from discovery import Arbitrator, Network    # noqa: E402
from pager import Pager    # noqa: E402
from server import Server    # noqa: E402


def starter(kind, started):
    """Starts some, and ends them with the test."""
    def start(*parameters, **options):
        started.append(kind(*parameters, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def servers(request):
    request.node.servers = []
    yield from starter(Server, request.node.servers)


@pytest.fixture
def server(servers):
    return servers()


@pytest.fixture
def pagers(servers):
    """They end before their servers."""
    yield from starter(Pager, [])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for one in getattr(item, "servers", []):
            if os.path.isdir(one.dir):
                report.sections.append((f"server {one.dir}", one.log()[-4000:]))


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def arbitrator(network):
    arbitrator = Arbitrator(network)
    yield arbitrator
    arbitrator.close()
