# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parts of a failover, read from what `failoverd --debug` tells (daemon/manager/trace.c)."""
import re

LINE = re.compile(r"^(\d+\.\d{6}) +(event|action) (.*)$")


class Trace:
    """Lines that failoverd has logged since mark(), as (seconds of CLOCK_BOOTTIME, "event ..." or "action ...")."""

    def __init__(self, path):
        self._path = path
        self._offset = 0

    def mark(self):
        with open(self._path, "rb") as f:
            self._offset = f.seek(0, 2)

    def lines(self):
        with open(self._path, "rb") as f:
            f.seek(self._offset)
            found = (LINE.match(line) for line in f.read().decode(errors="replace").splitlines())
        return [(float(m[1]), f"{m[2]} {m[3]}") for m in found if m]


def _first(lines, pattern, after=0.0):
    wanted = re.compile(pattern)
    return next((when for when, text in lines if when >= after and wanted.match(text)), None)


def os_failure_parts(lines, failed, standby, fault=None):
    """Seconds of each part of one OS failure; `failed` and `standby` are sides, `fault` is the instant of its cause
    where no drill of the guest's tells it. A part that did not happen is left out: a QEMU that is gone is not frozen;
    the kill counts where a disk waits for it.

    After a QEMU that ended, the first action waits for libvirt to say why: it may have been an operator. Freezing and
    plugging go side by side."""
    at, of = rf"\d+/{failed} ", rf"\d+/{standby} "
    fault = fault or _first(lines, rf"action send .*{at}.* fault id=")
    event = _first(lines, rf"event (domain {at}(crashed|shut off)|process {at}up=0)", fault)
    asked = {"freeze": rf"action freeze .*{at}", "plug": rf"action resize .*{of}",
             "start": rf"action send .*{of}.* start id=", "kill": rf"action kill .*{at}",
             "attach-disk": rf"action attach-disk .*{of}"}
    begun = {part: _first(lines, pattern, event) for part, pattern in asked.items()}
    ends = {"freeze": _first(lines, rf"event done {at}freeze .*result=0", begun["freeze"] or event),
            "plug": _first(lines, rf"event message {of}result .*bytes=[1-9]", begun["plug"]),
            "start": _first(lines, rf"event message {of}result ", begun["start"])}
    if begun["attach-disk"]:
        ends["kill"] = _first(lines, rf"event process {at}up=0", begun["kill"])
        ends["attach-disk"] = _first(lines, rf"event done {of}attach-disk .*result=0", begun["attach-disk"])
    parts = {"fault-to-event": event - fault,
             "event-to-first-action": min(when for when in begun.values() if when) - event}
    parts.update({part: end - begun[part] for part, end in ends.items() if begun[part] and end})
    parts["memory-to-start"] = begun["start"] - ends["plug"]
    return parts
