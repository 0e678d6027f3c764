/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy of those who try every fault of a kind: one pair with a hot-standby application, which has these further
 * resources, and a plain one. */
#define ORDERS_POLICY(resources) \
        "version: 1\n" \
        "pool: {memory: 4GiB, reserve: 256MiB, extent: 128MiB, monitor: 64MiB, overhead: 128MiB}\n" \
        "memory-servers: [{name: depot, control: /run/depot, uri: \"nbds://192.0.2.1/\", guests: " \
        "\"nbds://192.0.2.1/\"}]\n" \
        "pairs:\n" \
        "  - name: orders\n" \
        "    active: {domain: vm-a, base: 512MiB}\n" \
        "    standby: {domain: vm-b, base: 512MiB}\n" \
        "    flap: {failovers: 8, within: 1h}\n" \
        "    applications:\n" \
        "      - name: db\n" \
        "        kind: hot-standby\n" \
        "        memory: 512MiB\n" \
        "        start: {command: [/bin/db]}\n" \
        "        severity: [{signal: any, is: major}]\n" \
        "        resources: {" resources "}\n" \
        "        state: [{region: orders, size: 64MiB}]\n" \
        "      - {name: report, kind: plain, memory: 256MiB, start: {active: {command: [/bin/report]}}}\n"
