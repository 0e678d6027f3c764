# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory servers with clients that others wrote, without guests: nothing of the machine is shared."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

from pager import Pager    # noqa: E402
from server import Server    # noqa: E402


@pytest.fixture
def servers(request):
    """Starts servers, and ends them with the test."""
    started = []

    def start(*parameters, **options):
        started.append(Server(*parameters, **options))
        return started[-1]

    request.node.servers = started
    yield start
    for one in started:
        one.close()


@pytest.fixture
def server(servers):
    return servers()


@pytest.fixture
def pagers(servers):
    """The same with pagers, which end before their servers."""
    started = []

    def start(*parameters, **options):
        started.append(Pager(*parameters, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for one in getattr(item, "servers", []):
            if os.path.isdir(one.dir):
                report.sections.append((f"server {one.dir}", one.log()[-4000:]))
