# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the demo, the tests on real guests and the benchmarks stand on.

Everything runs as an ordinary user in one private directory: a session libvirtd, a session bus, failoverd and
the guests. Run under `reaper` (reaper.c), so that nothing is left behind however the program ends.
"""
