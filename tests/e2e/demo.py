#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`: one pair of real guests through an application failure and a kernel panic.

Two guests boot above a libvirtd of this user's own. failoverd gives the shop's region to the active one and arms
the pair. The shop is killed: its memory moves to the standby and it starts there, while the report beside it
runs on. Then that guest's kernel panics, and the shop moves back. Nothing is left running.
"""
import signal
import sys
import time

from testbed.guests import domain_type
from testbed.stand import Lock, Stand
from testbed.wait import NotInTime, until

PAIR = "shop"
DOMAINS = ("shop-a", "shop-b")
REGION_MIB = 512

POLICY = """\
version: 1
hypervisor: qemu:///session
pool: {memory: 1536MiB, reserve: 64MiB, extent: 64MiB, monitor: 64MiB, overhead: 192MiB}
pairs:
  - name: shop
    active: {domain: shop-a, base: 192MiB}
    standby: {domain: shop-b, base: 192MiB}
    applications:
      - name: shop
        kind: hot-standby
        memory: 512MiB
        start: {command: [/usr/bin/fill, run, shop, "480"]}
        health: {command: [/usr/bin/fill, check, shop], interval: 500ms, timeout: 500ms}
        severity:
          - {signal: any, is: major}
      - name: report
        kind: plain
        memory: 64MiB
        start:
          active: {command: [/usr/bin/fill, run, report, "32"]}
        health: {command: [/usr/bin/fill, check, report], interval: 500ms, timeout: 500ms}
"""

began = time.monotonic()
COLOUR = sys.stdout.isatty()


def styled(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def say(text):
    print(f"\n{styled('2', f'[{time.monotonic() - began:5.1f} s]')} {styled('1', text)}", flush=True)


def show(stand, *arguments):
    """What an operator would type, and what comes of it."""
    print(styled("36", f"$ failoverctl {' '.join(arguments)}"))
    done = stand.failoverd.ctl(*arguments)
    print(done.stdout + done.stderr, end="", flush=True)
    return done.returncode


def healthy(stand, where):
    """The shop runs in that guest and has passed its health check."""
    def there():
        return stand.running_on("shop") == [where] and stand.application("shop")["healthy"]

    until(there, 60, f"the shop is healthy on {where}")


def drill(stand, fault, to):
    """Causes a fault, follows the failover, and returns it as history tells it."""
    before = stand.n_flows()
    code = show(stand, "drill", PAIR, "--fault", fault)
    flow = stand.wait_failover(before, 60)
    if not flow["ok"] or flow["to"]["domain"] != to:
        raise NotInTime(f"the drill {fault} did not move the shop to {to}: {flow['text'] or flow['error']}")
    healthy(stand, to)
    if code not in (0, 5):      # 5: done, and slower than the objective
        raise NotInTime(f"failoverctl drill ended with {code}")
    say("The timeline, and where the memory is now")
    show(stand, "history", flow["id"])
    show(stand, "table")
    return flow


def rearm(stand):
    say("The failed side becomes the new standby ...")
    stand.wait_armed()
    show(stand, "status", PAIR)


def finished(stand, flow_id):
    """A failover with all its phases."""
    def rejoined():
        flow = stand.failoverd.json("history", flow_id)["flows"][0]
        return flow if any(p["phase"] == "rejoined" for p in flow["phases"]) else None

    return until(rejoined, 30, f"history tells that {flow_id} has rejoined")


def result(stand, what, flow_id):
    flow = finished(stand, flow_id)
    since = {phase["phase"]: phase["since_start_usec"] / 1e6 for phase in flow["phases"]}
    print(f"  {what:<22} recovery {flow['recovery_usec'] / 1e6:6.3f} s   healthy after {since['healthy']:6.3f} s   "
          f"armed again after {since['rejoined']:6.3f} s")


def run():
    say(f"Booting two guests ({'KVM' if domain_type() == 'kvm' else 'emulated: no KVM here'}) and arming the pair")
    with Stand(POLICY, PAIR, DOMAINS, 192, [("shop", REGION_MIB), ("report", 64)], consoles=False) as stand:
        print(f"Everything is in {stand.session.dir} until the end.", flush=True)
        stand.wait_armed()
        healthy(stand, "shop-a")
        show(stand, "status", PAIR)
        say("The table before")
        show(stand, "table")

        say("Fault 1: the shop is killed on shop-a; the report beside it must not notice")
        first = drill(stand, "app-kill", "shop-b")
        if stand.running_on("report") != ["shop-a"]:
            raise NotInTime("the report on shop-a did not run on")
        print("  report has run on, on shop-a.")
        rearm(stand)

        say("Fault 2: the kernel of shop-b panics")
        second = drill(stand, "panic", "shop-a")
        rearm(stand)

        say("Measured, from the fault to the shop started on the other side")
        result(stand, "application killed", first["id"])
        result(stand, "kernel panic", second["id"])
    say("Done; nothing is left running.")


def main():
    global began
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)    # also where a script's shell has it ignored
    lock = None
    try:
        lock = Lock()
        began = time.monotonic()    # without the wait for another run
        run()
    except KeyboardInterrupt:
        say("Interrupted; everything is stopped.")
        return 130
    except (NotInTime, RuntimeError) as error:
        say(styled("31", f"The demo has failed: {error}"))
        return 1
    finally:
        if lock:
            lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
