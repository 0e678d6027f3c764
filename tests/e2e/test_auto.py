# SPDX-License-Identifier: LGPL-2.1-or-later
"""kind: auto. Whether an application is hot-standby is declared where it is started, in the environment of its unit or
of its command, and learned from the agent; then it fails over as any other."""
import os
import signal

import pytest

from expect import fault, rejoined
from testbed.guests import BUILD
from testbed.policy import policy
from testbed.stand import Stand
from testbed.wait import until

BOOT_SECONDS = 180      # systemd boots in 20 s under emulation; beside other load it takes far longer
DEBIAN_MIB = 384
COMMAND = 'command: [env, {variable}, /usr/bin/fill, run, db, "64"]'
DECLARED = COMMAND.format(variable="FAILOVER_KIND=hot-standby")
AUTO = """\
      - name: db
        kind: auto
        memory: 128MiB
        start:
          active: {{{active}}}
          standby: {{{standby}}}
        stop-timeout: 5s
"""


def on_debian(session, domain):
    if domain != "b":
        return ()
    disk = session.copy(f"{BUILD}/guest/debian.ext4", "img/debian.ext4")
    return f"--base={DEBIAN_MIB}", f"--disk=vda:{disk}", "--cmdline=ROOT_DISK=vda"


def learned(pair, kind):
    app = pair.application("db")
    assert app["declared"] == "auto"
    return app["kind"] == kind


@pytest.fixture
def stand(request):
    """Makes the pair of a test."""
    made = []

    def make(*arguments, **options):
        made.append(Stand(*arguments, **options))
        request.node.stand = made[0]
        return made[0]

    yield make
    for one in made:
        one.close()


def killed_and_moved(pair):
    sides_and_flow = fault(pair, pair.guests.kill, seconds=60)
    assert learned(pair, "hot-standby")
    return sides_and_flow


def test_kind_learned_from_a_unit_lets_it_fail_over_to_the_small_system(stand):
    text = policy(pool="1280MiB", applications=(AUTO.format(active="unit: auto.service", standby=DECLARED),))
    text = text.replace("{domain: a, base: 192MiB}", f"{{domain: b, base: {DEBIAN_MIB}MiB}}")
    text = text.replace("standby: {domain: b,", "standby: {domain: a,")
    pair = stand(text, "p", ("b", "a"), 192, [("db", 128)], domain_options=on_debian)
    until(lambda: pair.running_on("db") == ["b"], BOOT_SECONDS, "it runs on the full system")
    until(lambda: learned(pair, "hot-standby"), 10, "the agent has told what it is")
    pair.wait_armed(BOOT_SECONDS)
    assert pair.active == "b"
    assert pair.shell("b", "systemctl is-active auto.service").strip() == "active"
    killed_and_moved(pair)


def test_kind_learned_from_a_command_lets_it_fail_over_and_back(stand):
    pair = stand(policy(applications=(AUTO.format(active=DECLARED, standby=DECLARED),)), "p", ("a", "b"), 192,
                 [("db", 128)])
    until(lambda: learned(pair, "hot-standby"), 90, "the agent has told what it is")
    pair.wait_armed()
    rejoined(pair, *killed_and_moved(pair))
    killed_and_moved(pair)


def test_application_that_declares_nothing_is_plain_and_is_not_moved(stand):
    silent = COMMAND.format(variable="LANG=C")
    pair = stand(policy(applications=(AUTO.format(active=silent, standby=silent),)), "p", ("a", "b"), 192,
                 [("db", 128)])
    until(lambda: pair.running_on("db") == ["a"], 90, "it runs")
    assert learned(pair, "plain")
    assert pair.failoverd.table()["p:a:db"]["target"]["name"] == "monitor"
    pid = pair.guests.pid("a")
    os.kill(pid, signal.SIGKILL)
    until(lambda: pair.guests.pid("a") not in (None, pid), 60, "its VM is started anew")
    until(lambda: pair.running_on("db") == ["a"], 60, "it runs there again")
    assert pair.n_flows() == 0
