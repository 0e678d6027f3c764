# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for something to happen, with a deadline."""
import time

POLL_SECONDS = 0.05


class NotInTime(AssertionError):
    """What was waited for did not happen."""


def until(happened, seconds, what):
    """Asks `happened` until it returns something true, which is returned. `what` is text, or a function that
    makes it, for the message of NotInTime."""
    deadline = time.monotonic() + seconds
    while True:
        result = happened()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise NotInTime(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(POLL_SECONDS)


def stays(holds, seconds, what):
    """Checks that `holds` is true, and stays so for so long: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert holds(), what() if callable(what) else what
        time.sleep(POLL_SECONDS)
