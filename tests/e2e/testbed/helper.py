# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd-helper, as root, for the QEMUs of a session."""
import os
import subprocess

from .guests import BUILD
from .session import USER_OF_ROOT
from .wait import until


class Helper:
    def __init__(self, session):
        self.socket = session.path("helper.sock")
        with open(session.path("helper.log"), "ab") as log:
            self.process = subprocess.Popen(
                [f"{BUILD}/daemon/helper/failoverd-helper", f"--user={USER_OF_ROOT}", f"--socket={self.socket}",
                 f"--run-dir={session.path('libvirt/qemu/run')}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        until(lambda: os.path.exists(self.socket), 10, "the helper listens")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
