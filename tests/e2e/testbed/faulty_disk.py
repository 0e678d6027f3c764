# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that fails when it is told to."""
import contextlib
import os

from .session import accepts
from .wait import until

MIB = 16


class FaultyDisk:
    """An NBD server of a session: while `writes` or `reads` fail, the host has no room left, or an I/O error."""

    ERRORS = {"writes": ("pwrite", "ENOSPC"), "reads": ("pread", "EIO")}

    def __init__(self, session, name):
        self._session = session
        self._name = name
        self.socket = session.path(f"s/{name}.nbd")
        errors = []
        for what, (request, error) in self.ERRORS.items():
            errors += [f"error-{request}={error}", f"error-{request}-rate=100%",
                       f"error-{request}-file={self._trigger(what)}"]
        session.spawn("nbdkit", "--foreground", "--unix", self.socket, "--filter=error", "memory", f"{MIB}M", *errors,
                      log=f"{name}.nbd.log")
        until(lambda: accepts(self.socket), 10, f"the server of {name} listens")

    def _trigger(self, what):
        return self._session.path(f"{self._name}.{what}")

    @contextlib.contextmanager
    def failing(self, what):
        self._session.write(f"{self._name}.{what}", "")
        try:
            yield
        finally:
            os.remove(self._trigger(what))
