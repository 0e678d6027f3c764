# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd as `meson install` leaves it: a service of a real systemd, as a user of its own, beside the system's
libvirtd, whose QEMUs belong to another user."""
import json
import os
import re
import shutil

import pytest

from expect import counts, counts_further, life, moved, rejoined
from testbed.guests import BUILD
from testbed.policy import policy
from testbed.system import SystemStand, obstacle
from testbed.wait import until

UNIT = "failoverd.service"
ALERT = "failover-alert@.service"
EXPOSURE_MAX = 2.0
MESSAGE_ARMED = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3000"
MESSAGE_PHASE = "4fa70e4ff1d24e3c8dbfd0b2d1a8f0c1"

FILES = """
/usr/bin/failoverctl
/usr/include/failover-region.h
/usr/lib/systemd/catalog/failover-memserver.catalog
/usr/lib/systemd/catalog/failover-pager.catalog
/usr/lib/systemd/catalog/failoverd.catalog
/usr/lib/systemd/system/failover-arbitrator.service
/usr/lib/systemd/system/failover-drill@.service
/usr/lib/systemd/system/failover-drill@.timer
/usr/lib/systemd/system/failover-memserver.service
/usr/lib/systemd/system/failover-pager@.service
/usr/lib/systemd/system/failover-standby@.service
/usr/lib/systemd/system/failoverd-helper.service
/usr/lib/systemd/system/failoverd-helper.socket
/usr/lib/systemd/system/failoverd.service
/usr/lib/systemd/user/failoverd-libvirtd.service
/usr/lib/systemd/user/failoverd.service
/usr/lib/sysusers.d/failoverd.conf
/usr/lib/tmpfiles.d/failoverd.conf
/usr/libexec/failoverd/failoverd-helper
/usr/sbin/failover-agent
/usr/sbin/failover-arbitrator
/usr/sbin/failover-memserver
/usr/sbin/failover-standby
/usr/sbin/failoverd
/usr/share/bash-completion/completions/failoverctl
/usr/share/dbus-1/interfaces/org.failover1.xml
/usr/share/dbus-1/system.d/org.failover1.conf
/usr/share/failoverd/example-region.c
/usr/share/failoverd/failover-memserver.example.yaml
/usr/share/failoverd/guest/failover-agent.service
/usr/share/failoverd/policy.example-minimal.yaml
/usr/share/failoverd/policy.example.yaml
/usr/share/failoverd/policy.schema.json
/usr/share/man/man1/failover-pager-plugin.1
/usr/share/man/man1/failoverctl.1
/usr/share/man/man3/failover-region.3
/usr/share/man/man3/failover_region_atomic.3
/usr/share/man/man3/failover_region_check.3
/usr/share/man/man3/failover_region_close.3
/usr/share/man/man3/failover_region_data.3
/usr/share/man/man3/failover_region_error.3
/usr/share/man/man3/failover_region_flip.3
/usr/share/man/man3/failover_region_flush.3
/usr/share/man/man3/failover_region_get_statistics.3
/usr/share/man/man3/failover_region_open.3
/usr/share/man/man3/failover_region_prefetch.3
/usr/share/man/man3/failover_region_refresh.3
/usr/share/man/man3/failover_region_share.3
/usr/share/man/man3/failover_region_size.3
/usr/share/man/man3/failover_share_check.3
/usr/share/man/man3/failover_share_close.3
/usr/share/man/man3/failover_share_data.3
/usr/share/man/man3/failover_share_flip.3
/usr/share/man/man3/failover_share_size.3
/usr/share/man/man3/failover_share_uri.3
/usr/share/man/man5/failover-context.5
/usr/share/man/man5/failover-memserver.yaml.5
/usr/share/man/man5/failover-program.5
/usr/share/man/man5/failover-recording.5
/usr/share/man/man5/failoverd-policy.5
/usr/share/man/man5/org.failover1.5
/usr/share/man/man7/failover-agent-protocol.7
/usr/share/man/man7/failover-discovery.7
/usr/share/man/man7/failover-json.7
/usr/share/man/man7/failover-memserver-protocol.7
/usr/share/man/man7/failover-timeline.7
/usr/share/man/man8/failover-agent.8
/usr/share/man/man8/failover-arbitrator.8
/usr/share/man/man8/failover-memserver.8
/usr/share/man/man8/failover-standby.8
/usr/share/man/man8/failoverd-helper.8
/usr/share/man/man8/failoverd.8
/usr/share/polkit-1/actions/org.failover1.policy
/usr/share/polkit-1/rules.d/50-failoverd.rules
""".split()

ALERT_UNIT = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo told >> /run/alert-%i'
"""

# An administrator's own rule, as org.failover1(5) has it.
RULE = """\
polkit.addRule(function (action, subject) {
    if (action.id == "org.failover1.pause" && subject.user == "carol")
        return polkit.Result.YES;
});
"""


def system_policy(objective="5s", **settings):
    text = policy(pair={"on-event": "failover-alert@%i.service", "objective": objective}, **settings)
    return text.replace("qemu:///session", "qemu:///system")


@pytest.fixture(scope="module")
def system():
    why = obstacle()
    if why:
        pytest.skip(why)
    stand = SystemStand(system_policy(), "p", ("a", "b"), 192, [("db", 128), ("web", 64)])
    stand.session.container.put(f"/etc/systemd/system/{ALERT}", ALERT_UNIT)
    stand.session.container.systemctl("daemon-reload")
    for user in ("bob", "carol"):
        stand.session.run("useradd", user)
    yield stand
    stand.close()


@pytest.fixture
def service(system, request):
    """The service runs, its pair is armed."""
    request.node.stand = system
    system.failoverd.start()
    system.failoverd.ctl("resume", "p")
    system.wait_armed(120)
    return system


def container(stand):
    return stand.session.container


# ---- installed ----

def test_meson_install_brings_everything_in_place(system):
    config = dict(line.split("=", 1) for line in container(system).run("nbdkit", "--dump-config").stdout.splitlines())
    plugins = [f"{config['plugindir']}/failover-{name}-plugin.so" for name in ("memserver", "pager", "share")]
    lib = os.path.dirname(os.path.dirname(config["plugindir"]))
    library = [f"{lib}/libfailover-region.so{version}" for version in ("", ".0", ".0.1.0")]
    assert system.session.installed == sorted([*FILES, *plugins, *library, f"{lib}/pkgconfig/failover-region.pc"])


def test_pages_that_man_pages_refer_to_are_installed(system):
    pages = {re.sub(r".*/(.*)\.(\d)$", r"\1(\2)", path) for path in FILES if "/man/" in path}
    text = container(system).run("sh", "-c", "cat /usr/share/man/man*/fail*.[1-8] /usr/share/man/man5/org.failover1.5 "
                                             "/usr/lib/systemd/*/failover* /usr/lib/systemd/catalog/failoverd.catalog")
    ours = r"((?:failover[a-z-]*|org\.failover1))"
    named = {f"{name}({section})" for name, section in re.findall(rf"{ours} ?\(([1-8])\)", text.stdout)}
    named |= {f"{name}({section})" for name, section in re.findall(rf"\.Xr {ours} ([1-8])", text.stdout)}
    assert named and named <= pages


def test_systemd_finds_nothing_to_complain_about_in_the_units(system):
    units = [path for path in FILES if re.search(r"/(system|guest)/.*\.(service|socket|timer)$", path)]
    assert len(units) == 10
    done = container(system).run("systemd-analyze", "verify", "--man=no", *units, check=False)
    complaints = [line for line in done.stderr.splitlines() if "failover" in line]
    assert done.returncode == 0 and not complaints, done.stderr


def test_agent_bounds_units_while_memory_is_lost_and_gives_them_their_own_limits_back(system):
    """The agent's own test, against the systemd of the container."""
    program = shutil.copy(f"{BUILD}/tests/unit/test-agent-unit-bound", system.session.path("agent-unit-bound"))
    done = container(system).run(program, env={"AGENT_BINARY": "/usr/sbin/failover-agent"}, seconds=120, check=False)
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout + done.stderr


def test_walls_of_the_service_are_up(system):
    for unit in (UNIT, "failoverd-helper.service", "failover-drill@p.service", "failover-memserver.service",
                 "failover-arbitrator.service", "failover-pager@p.service"):
        said = container(system).run("systemd-analyze", "security", "--no-pager", unit).stdout
        exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", said).group(1))
        print(f"{unit}: exposure {exposure}")
        assert exposure <= EXPOSURE_MAX, said


def test_pager_is_a_service_of_its_own_that_keeps_pages_at_a_memory_server(system):
    """As failoverd starts it, with a configuration that nobody else can read."""
    inside = container(system)
    inside.run("sh", "-c", "cat > /etc/failover-memserver.yaml", input=(
        "memory: 64MiB\nlisten: [\"tcp:127.0.0.1:10809\"]\nunencrypted: yes\ncontrol: {users: [failover-pager]}\n"))
    inside.run("sh", "-c", "umask 077; mkdir -p /run/failoverd/pagers; cat > /run/failoverd/pagers/vm@app.conf", input=(
        "node=n\nowner=vm\nspace=app\nsize=16MiB\nmirror=no\ntls-required=no\n"
        "server=/run/failover-memserver/control.sock,nbd://127.0.0.1:10809/\n"))
    units = ("failover-memserver.service", "failover-pager@vm@app.service")
    try:
        for unit in units:
            done = inside.systemctl("start", unit, check=False)
            assert done.returncode == 0, inside.run("journalctl", "-n", "40", "--no-pager").stdout
        where = "/run/failover-pager/vm@app"
        status = json.loads(inside.run("cat", f"{where}/status").stdout)
        assert (status["state"], status["owner"], status["space"]) == ("serving", "vm", "app")
        said = inside.run("stat", "-c", "%U %G %a", where, f"{where}/nbd").stdout.split("\n")
        assert said[0] == "failover-pager libvirt-qemu 750" and said[1] == "failover-pager libvirt-qemu 770"
    finally:
        for unit in reversed(units):
            inside.systemctl("stop", unit, check=False)
        inside.run("rm", "-rf", "/run/failoverd/pagers", "/etc/failover-memserver.yaml")


# ---- started ----

def test_service_is_ready_and_arms_the_pair(service):
    assert container(service).show(UNIT, "SubState") == "running"
    assert container(service).show(UNIT, "Type") == "notify"
    until(lambda: "1 armed" in container(service).show(UNIT, "StatusText"), 10, "systemctl status tells of the pair")
    counts(service, service.active)


def test_failoverd_has_the_rights_that_its_unit_says_and_no_more(service):
    pid = service.failoverd.pid()
    status = dict(line.split(":", 1) for line in
                  service.session.run("cat", f"/proc/{pid}/status").stdout.splitlines())
    user, *groups = (service.session.run("id", option, *names).stdout.strip() for option, *names in (
        ("-u", "failoverd"), ("-g", "failoverd")))
    assert set(status["Uid"].split()) == {user} and user != "0"
    for name in ("libvirt", "libvirt-qemu"):
        groups.append(service.session.run("getent", "group", name).stdout.split(":")[2])
    assert set(status["Groups"].split()) == set(groups)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    owners = service.session.run("ps", "-o", "user:32=", "-C", "qemu-system-x86_64").stdout.split()
    assert set(owners) == {"libvirt-qemu"}, "QEMU belongs to another user, so the helper is needed"


def test_libvirtd_restarted_is_not_a_failure(service):
    before, flows = life(service), service.n_flows()
    container(service).systemctl("restart", "libvirtd.service")
    service.wait_armed(60)
    assert life(service) == before and service.n_flows() == flows
    assert container(service).show(UNIT, "NRestarts") == "0"


LIBVIRTD = ("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket")


def test_started_while_libvirtd_is_down_it_is_ready_and_says_that_it_does_not_know(service):
    before, flows = life(service), service.n_flows()
    service.failoverd.stop()
    container(service).systemctl("stop", *LIBVIRTD)
    try:
        service.failoverd.start()       # returns once it has told systemd that it is ready
        assert container(service).show(UNIT, "SubState") == "running"
        assert container(service).show("libvirtd.service", "ActiveState") == "inactive", "it was started for us"
        first = service.status()
        assert first["state"] == "unknown" and service.failoverd.json("status")["hypervisor"]["up"] is False
        assert any("libvirt does not answer" in reason for reason in first["reasons"]), first["reasons"]
        until(lambda: service.status()["state_age_ms"] > first["state_age_ms"], 10, "its age is told")
        assert service.failoverd.ctl("status", "p").returncode == 4, "nothing is protected"
    finally:
        container(service).systemctl("start", "libvirtd.socket", "libvirtd.service")
    service.wait_armed(60)
    assert life(service) == before and service.n_flows() == flows


# ---- who may ----

@pytest.mark.parametrize("words", [("status",), ("table",), ("history",), ("metrics",), ("status", "p", "--json")],
                         ids=" ".join)
def test_everybody_may_read(service, words):
    done = service.failoverd.ctl_as("bob", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("words, right", [
    (("switch", "p"), "switch"), (("return", "p"), "switch"), (("drill", "p", "--fault", "panic"), "drill"),
    (("pause", "p"), "pause"), (("resume", "p"), "pause"), (("adopt", "p", "--active", "a"), "adopt"),
    (("policy", "show"), "show-policy"),
    (("policy", "apply", "/usr/share/failoverd/policy.example.yaml", "--force"), "manage-policy")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value)
def test_only_who_has_the_right_may_change_something(service, words, right):
    before, flows = life(service), service.n_flows()
    done = service.failoverd.ctl_as("bob", *words)
    assert done.returncode == 1
    assert f"needs the right org.failover1.{right}: " in done.stderr and "Run it as root" in done.stderr, done.stderr
    assert service.status()["state"] == "armed"
    assert life(service) == before and service.n_flows() == flows


def test_administrator_gives_a_user_a_right_with_a_polkit_rule(service):
    container(service).put("/etc/polkit-1/rules.d/40-carol.rules", RULE)
    # polkitd reads its rules anew by itself, a moment later.
    until(lambda: service.failoverd.ctl_as("carol", "pause", "p", "--reason", "mine").returncode == 0, 10,
          "carol may pause the pair")
    uid = service.session.run("id", "-u", "carol").stdout.strip()
    assert any("mine" in reason for reason in service.status()["reasons"])
    assert any(f"uid {uid}" in event["text"] for event in service.failoverd.events("p") if event["kind"] == "paused")
    assert service.failoverd.ctl_as("carol", "switch", "p").returncode == 1
    assert service.failoverd.ctl_as("bob", "resume", "p").returncode == 1
    assert service.failoverd.ctl_as("carol", "resume", "p").returncode == 0


# ---- reloaded, stopped, started ----

def governed_mib(stand):
    return stand.failoverd.json("table")["governed_bytes"] >> 20


def test_reload_applies_the_changed_policy(service):
    before, pid = life(service), service.failoverd.pid()
    for pool_mib in (1280, 1024):
        service.failoverd.put_policy(system_policy(pool=f"{pool_mib}MiB"))
        container(service).systemctl("reload", UNIT)
        until(lambda: governed_mib(service) == pool_mib, 10, f"{pool_mib} MiB are governed")
    assert service.failoverd.pid() == pid
    assert service.wait_armed(30)
    assert life(service) == before


@pytest.mark.parametrize("way", ["reload", "SIGHUP"])
def test_reload_refuses_a_policy_with_mistakes_and_keeps_the_old_one(service, way):
    message = 'pairs[0].applications[1].kind: "plane" is not known; did you mean "plain"?'

    def told():
        return container(service).journal("-u", UNIT).count(message)

    before, pid, mib, told_before = life(service), service.failoverd.pid(), governed_mib(service), told()
    service.failoverd.put_policy(system_policy(pool="2GiB").replace("kind: plain", "kind: plane"))
    try:
        if way == "reload":
            assert container(service).systemctl("reload", UNIT, check=False).returncode != 0
        else:
            service.failoverd.signal(1)
        until(lambda: told() > told_before, 30, "the journal has the message")
    finally:
        service.failoverd.put_policy(system_policy())
    assert governed_mib(service) == mib
    assert service.failoverd.pid() == pid and container(service).show(UNIT, "SubState") == "running"
    assert service.status()["state"] == "armed" and life(service) == before


def test_policy_applied_by_root_is_in_force_and_in_its_file(service):
    before = life(service)
    for pool_mib in (1280, 1024):
        container(service).put("/root/new.yaml", system_policy(pool=f"{pool_mib}MiB"))
        service.failoverd.must("policy", "apply", "/root/new.yaml")
        until(lambda: governed_mib(service) == pool_mib, 10, f"{pool_mib} MiB are governed")
        assert f"{pool_mib}MiB" in service.session.run("cat", "/etc/failoverd/policy.yaml", user="failoverd").stdout
        stat = service.session.run("stat", "-c", "%U %a", "/etc/failoverd/policy.yaml").stdout.split()
        assert stat[0] == "failoverd" and stat[1] in ("600", "640")
    assert life(service) == before


def test_stopped_and_started_again_nobody_notices(service):
    before, flows = life(service), service.n_flows()
    active = before[0]
    counts(service, active)
    assert service.failoverd.stop() == 0
    assert container(service).show(UNIT, "ActiveState") == "inactive"
    counts_further(service, active)
    service.failoverd.start()
    service.wait_armed(60)
    assert life(service) == before and service.n_flows() == flows
    until(lambda: service.application("db")["healthy"], 10, "it learns that the application is healthy")


def test_failoverctl_says_what_to_do_while_the_service_is_stopped(service):
    service.failoverd.stop()
    done = service.failoverd.ctl("status")
    assert done.returncode == 3
    assert "systemctl status failoverd" in done.stderr + done.stdout
    assert container(service).show(UNIT, "ActiveState") == "inactive", "asking does not start it"


def test_watchdog_ends_a_failoverd_whose_loop_hangs_and_nobody_notices(service):
    before, flows, restarts = life(service), service.n_flows(), service.failoverd.restarts()
    service.failoverd.signal(19)    # SIGSTOP: a loop that does not come round
    until(lambda: service.failoverd.restarts() == restarts + 1, 30, "systemd starts it anew")
    until(lambda: service.failoverd.ctl("status").returncode in (0, 4), 10, "it is on the bus")
    service.wait_armed(60)
    assert "Watchdog timeout" in container(service).journal("-u", UNIT)
    assert life(service) == before and service.n_flows() == flows


# ---- failovers ----

@pytest.mark.parametrize("cause", ["panic", "QEMU process"])
def test_failover_with_a_qemu_of_another_user(service, cause):
    active, standby, before = service.active, service.standby, service.n_flows()
    pid = service.guests.pid(active)
    container(service).run("rm", "-f", "/run/alert-p")
    if cause == "panic":
        service.panic(active)
    else:
        service.guests.kill(active)
    flow = service.wait_failover(before)
    moved(service, flow, "os-failure", active, standby)
    assert cause in flow["cause"]
    if cause == "panic":
        assert f"kill {active}: pid {pid}: done" in container(service).journal("-u", "failoverd-helper.service")
    until(lambda: "told" in service.session.run("cat", "/run/alert-p", check=False).stdout, 10, "the alert unit ran")
    rejoined(service, active, standby, flow)


@pytest.mark.parametrize("phase", ["decided", "fenced", "granted", "plugged", "started"])
def test_restarted_in_mid_failover_it_completes_it_once(service, phase):
    active, standby, before = service.active, service.standby, service.n_flows()
    watch = service.failoverd.ctl_start("monitor", log="monitor.log")
    drill = None

    def seen(text):
        with open(service.session.path("monitor.log")) as f:
            return text in f.read()

    try:
        until(lambda: seen("p: armed"), 30, "the monitor watches")
        drill = service.failoverd.ctl_start("drill", "p", "--fault", "panic", log="drill.log")
        until(lambda: seen(f" {phase} +"), 30, f"the failover is {phase}")
        container(service).systemctl("restart", UNIT)
    finally:
        for process in filter(None, (watch, drill)):
            process.terminate()
            process.wait()
        os.remove(service.session.path("monitor.log"))
    flow = service.wait_failover(before, 60)
    moved(service, flow, "os-failure", active, standby)
    assert service.n_flows() == before + 1, "it was done once"
    rejoined(service, active, standby, flow)


def test_restarted_again_and_again_in_one_failover_it_completes_it_once(service):
    active, standby, before = service.active, service.standby, service.n_flows()
    service.panic(active)
    until(lambda: service.n_flows() > before or service.status()["flow"], 20, "the failover has begun")
    for _ in range(4):
        container(service).systemctl("restart", UNIT)
    flow = service.wait_failover(before, 60)
    moved(service, flow, "os-failure", active, standby)
    assert service.n_flows() == before + 1
    rejoined(service, active, standby, flow)


# ---- scheduled drills ----

DRILL = "failover-drill@p.service"      # what its timer starts
# It takes longer than the objective.
SLOW_CANARY = "      - name: db\n        canary: {command: [/bin/sh, -c, sleep 3], timeout: 60s}\n"


def drilled(stand, before):
    """The latest drill of the pair, once it is another one than that before (or None)."""
    def another():
        drill = stand.status()["last_drill"]
        return drill if drill and (not before or drill["time_ms"] != before["time_ms"]) else None

    return until(another, 10, "status tells of the drill")


def apply_policy(stand, text):
    container(stand).put("/root/new.yaml", text)
    stand.failoverd.must("policy", "apply", "/root/new.yaml")
    stand.wait_armed(60)


def test_scheduled_drill_rehearses_and_its_unit_fails_where_the_drill_misses(service):
    box, last, before = container(service), service.status()["last_drill"], life(service)
    try:
        # With unused memory for all of db's region.
        apply_policy(service, system_policy(pool="1152MiB", objective="60s"))
        done = box.systemctl("start", DRILL, seconds=120, check=False)
        assert done.returncode == 0, box.journal("-u", DRILL)
        assert box.show(DRILL, "Result") == "success"
        met = drilled(service, last)
        assert (met["level"], met["verdict"]) == ("rehearse", "met")
        assert "rehearsed 128 of 128 MiB" in box.journal("-u", DRILL)

        text = system_policy(pool="1152MiB", objective="2s")
        apply_policy(service, text.replace("      - name: db\n", SLOW_CANARY))
        until(lambda: service.status()["rehearsal"] is None, 60, "the memory is given back")
        assert box.systemctl("start", DRILL, seconds=120, check=False).returncode != 0
        assert (box.show(DRILL, "ActiveState"), box.show(DRILL, "ExecMainStatus")) == ("failed", "5")
        assert drilled(service, met)["verdict"] == "missed"
    finally:
        box.systemctl("reset-failed", DRILL, check=False)
        apply_policy(service, system_policy())
    assert life(service) == before, "a rehearsal leaves the active side alone"


# ---- the journal ----

def test_journal_has_message_ids_and_fields(service):
    def entries(*match):
        return [json.loads(line) for line in container(service).journal("-o", "json", "-u", UNIT, *match).splitlines()]

    armed = entries(f"MESSAGE_ID={MESSAGE_ARMED}")
    assert armed and all(entry["PAIR"] == "p" and entry["_COMM"] == "failoverd" for entry in armed)
    flow = service.failoverd.flows("p")[0]
    phases = {entry["PHASE"] for entry in entries(f"MESSAGE_ID={MESSAGE_PHASE}", f"FAILOVER_ID={flow['id']}")}
    assert {"decided", "fenced", "started"} <= phases
    assert any(entry.get("VM") in service.domains for entry in entries("PAIR=p"))


def test_journal_explains_what_happened_and_what_to_do(service):
    said = container(service).journal("-x", "-u", UNIT, f"MESSAGE_ID={MESSAGE_ARMED}", "-n", "1")
    assert "Subject: A pair is armed" in said
    assert "A failover of pair p is possible now" in said and "Nothing has to be done." in said


# ---- the memory server ----

MEMORY_SERVER = """\
memory: 64MiB
persist: /var/lib/failover-memserver
listen: [unix:/run/failover-memserver/nbd.sock]
control: {users: [failoverd]}
"""

OPEN_A_SPACE = """\
import json, socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/failover-memserver/control.sock")
request = {"version": 1, "id": 1, "call": "open", "node": "n", "owner": "o", "space": "s", "size_bytes": 1 << 24,
           "token": 1, "persist": True}
s.sendall(json.dumps(request).encode() + b"\\n")
print(json.loads(s.makefile().readline())["capability"])
"""


def test_a_memory_server_is_a_service_for_the_users_of_its_configuration(system):
    box, unit = container(system), "failover-memserver.service"
    box.put("/etc/failover-memserver.yaml", MEMORY_SERVER)
    box.systemctl("start", unit)
    assert box.show(unit, "SubState") == "running" and box.show(unit, "Type") == "notify"
    assert box.run("/usr/bin/python3", "-c", OPEN_A_SPACE, user="bob", check=False).returncode != 0
    capability = box.run("/usr/bin/python3", "-c", OPEN_A_SPACE, user="failoverd").stdout.strip()
    uri = f"nbd+unix:///{capability}?socket=/run/failover-memserver/nbd.sock"
    box.run("qemu-io", "-f", "raw", "-c", "write -P 7 0 8M", "-c", "read -P 7 0 8M", "-c", "flush", uri, user="bob")
    status = box.run("cat", f"/proc/{box.show(unit, 'MainPID')}/status").stdout
    assert re.search(r"CapBnd:\s*0+\n", status) and re.search(r"Seccomp:\s*2\n", status)
    box.systemctl("restart", unit)
    assert "brought back from disk" in box.journal("-u", unit) and capability not in box.journal("-u", unit)
    box.systemctl("stop", unit)
