# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a bench is run, so that it ends clean: also when it, or what runs it, is asked to end or killed."""
import os
import signal
import sys

from testbed.guests import BUILD

REAPER = os.path.join(BUILD, "tests/e2e/reaper")


def under_reaper():
    with open(f"/proc/{os.getppid()}/comm") as f:
        return f.read().strip() == "reaper"


def run(main):
    """Ends the program with what main() returns. SIGTERM unwinds it, so that what it began is closed; and whatever is
    still there of it then is ended by a reaper, under which the program begins anew where it is not."""
    if not under_reaper():
        os.execv(REAPER, [REAPER, sys.executable, *sys.argv])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
