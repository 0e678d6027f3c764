# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy that most tests begin with, and variants of it."""

TEMPLATE = """\
version: 1
hypervisor: qemu:///session
pool: {{memory: {pool}, reserve: {reserve}, extent: 32MiB, monitor: 64MiB, overhead: 128MiB}}
pairs:
  - name: p
    active: {{domain: a, base: 192MiB}}
    standby: {{domain: b, base: 192MiB}}
    flap: {{failovers: 16, within: {flap_within}}}
{pair}    applications:
{applications}"""

# A hot-standby application: killed outright it has a major failure, any other is minor, and one restart in place
# is allowed within 15 s.
DB = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start: {command: [/usr/bin/fill, run, db, "96"]}
        health: {command: [/usr/bin/fill, check, db], interval: 500ms, timeout: 500ms, failures: 3}
        stop-timeout: 2s
        restart: {budget: 1, within: 15s, expected: 500ms}
        severity:
          - {signal: KILL, is: major}
"""

# A plain application that runs where the pair is at home.
WEB = """\
      - name: web
        kind: plain
        memory: 64MiB
        start:
          active: {command: [/usr/bin/fill, run, web, "32"]}
        health: {command: [/usr/bin/fill, check, web], interval: 500ms, timeout: 500ms, failures: 3}
        stop-timeout: 2s
        restart: {budget: 1, within: 15s, expected: 500ms}
"""

# One that counts on a disk that it takes along.
COUNTER = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start: {command: [/usr/bin/count-on-disk, vdb, db]}
        stop-timeout: 2s
        restart: {budget: 10, within: 15s, expected: 500ms}
        severity:
          - {signal: KILL, is: major}
        resources:
          disks: [vdb]
"""


def policy(pool="1GiB", reserve="32MiB", flap_within="1min", pair="", applications=(DB, WEB)):
    """`pair` is more keys of the pair, as {key: text}, or ready text."""
    if isinstance(pair, dict):
        pair = "".join(f"    {key}: {value}\n" for key, value in pair.items())
    return TEMPLATE.format(pool=pool, reserve=reserve, flap_within=flap_within, pair=pair,
                           applications="".join(applications))
