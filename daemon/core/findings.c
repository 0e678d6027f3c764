/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct list {
        struct finding *findings;
        size_t n;
};

enum weight {
        ADVICE,
        UNFIT,  /* keeps the pair from being armed */
        BLOCKS, /* as UNFIT, and a failover to there would come to a stop */
};

/* Splits "TEXT|MEND" after formatting, so that each finding is one readable line below. */
static void __attribute__((format(printf, 3, 4))) add(struct list *list, enum weight weight, const char *format, ...) {
        char line[2 * FINDING_LEN];
        struct finding *finding;
        char *bar;
        va_list ap;

        if (list->n == FINDINGS_MAX)
                return;
        va_start(ap, format);
        vsnprintf(line, sizeof(line), format, ap);
        va_end(ap);
        finding = &list->findings[list->n++];
        finding->advice = weight == ADVICE;
        finding->blocks = weight == BLOCKS;
        bar = strchr(line, '|');
        if (bar)
                *bar = 0;
        snprintf(finding->text, sizeof(finding->text), "%.*s", FINDING_LEN - 1, line);
        snprintf(finding->mend, sizeof(finding->mend), "%.*s", FINDING_LEN - 1, bar ? bar + 1 : "");
}

static void check_domain(struct list *list, const struct member *member, const struct preflight *found) {
        char have[UNITS_TEXT_MAX], want[UNITS_TEXT_MAX];
        const char *domain = member->domain;

        if (!found->persistent)
                add(list, UNFIT,
                    "the domain is transient|make it persistent: virsh dumpxml %s > %s.xml; virsh define %s.xml",
                    domain, domain, domain);
        if (found->autostart)
                add(list, UNFIT, "libvirt starts it by itself at boot|virsh autostart --disable %s", domain);
        if (!found->channel)
                add(list, UNFIT,
                    "it has no agent channel org.failover1.agent.0|add the channel that `failoverctl policy check "
                    "--domains` prints, with virsh edit %s, and start the domain anew", domain);
        if (!found->requested_zero)
                add(list, UNFIT,
                    "its persistent XML asks for virtio-mem memory at boot|set <requested> to 0 in each memory "
                    "device with virsh edit %s", domain);
        if (found->base_bytes != member->base_bytes)
                add(list, UNFIT,
                    "it boots with %s, the policy says base: %s|make them equal: virsh edit %s, or the policy",
                    size_format(have, found->base_bytes), size_format(want, member->base_bytes), domain);
}

/* Overflow is a disk too; an application's goes where the application runs. */
static void check_plugs(struct list *list, const struct pair_policy *policy, const struct member *member,
                        const struct preflight *found) {
        const char *domain = member->domain;
        unsigned disks = member->overflow.n_servers > 0, vcpus = 0;

        for (size_t i = 0; i < policy->n_applications; i++) {
                disks += (unsigned) policy->applications[i].n_disks;
                disks += policy->applications[i].overflow.n_servers > 0;
                vcpus += policy->applications[i].vcpus;
        }
        if (found->free_ports < disks)
                add(list, BLOCKS, "%u disks may be plugged, %u PCIe root ports are free|add %u "
                    "<controller type='pci' model='pcie-root-port'/> with virsh edit %s",
                    disks, found->free_ports, disks - found->free_ports, domain);
        if (vcpus > 0 && found->vcpus_max < found->vcpus + vcpus)
                add(list, BLOCKS,
                    "%u processors may be plugged, the domain's maximum leaves %u|raise it: virsh setvcpus "
                    "%s %u --maximum --config",
                    vcpus, found->vcpus_max - found->vcpus, domain, found->vcpus + vcpus);
}

static bool disk_list_has(const struct disk_list *list, const char *target) {
        for (unsigned i = 0; i < list->n; i++)
                if (strcmp(list->targets[i], target) == 0)
                        return true;
        return false;
}

/* A disk that moves is in no domain at its boot: both would open it, and QEMU's lock starts only one of them. */
static void check_disks(struct list *list, const struct pair_policy *pair, enum side side,
                        const struct preflight *found) {
        const char *domain = pair->members[side].domain;

        for (size_t i = 0; i < pair->n_applications; i++) {
                const struct application *app = &pair->applications[i];

                for (size_t k = 0; k < app->n_disks && (app->kind != APPLICATION_PLAIN || side == SIDE_A); k++)
                        if (disk_list_has(&found->disks_at_boot, app->disks[k]))
                                add(list, BLOCKS,
                                    "disk %s of %s is attached whenever the domain starts|move its <disk> from "
                                    "<devices> into <metadata>, as `failoverctl policy check --domains` prints, with "
                                    "virsh edit %s",
                                    app->disks[k], app->name, domain);
                        else if (!disk_list_has(&found->disks_kept, app->disks[k]))
                                add(list, BLOCKS, "disk %s of %s is not defined|add its <disk> to <metadata>, as "
                                    "`failoverctl policy check --domains` prints, with virsh edit %s", app->disks[k],
                                    app->name, domain);
        }
}

static void check_regions(struct list *list, const struct policy *policy, const struct pair_policy *pair,
                          const char *domain, const struct preflight *found) {
        char have[UNITS_TEXT_MAX], want[UNITS_TEXT_MAX];

        for (size_t i = 0; i < pair->n_applications; i++) {
                const struct application *app = &pair->applications[i];

                if (app->memory_bytes == 0)
                        continue;
                if (!found->apps[i].present)
                        add(list, BLOCKS, "no virtio-mem device has the alias ua-%s|add the device that `failoverctl "
                            "policy check --domains` prints, with virsh edit %s", app->name, domain);
                else if (found->apps[i].size_bytes < app->memory_bytes)
                        add(list, BLOCKS, "device ua-%s holds at most %s, the application needs %s|raise its <size> "
                            "with virsh edit %s", app->name, size_format(have, found->apps[i].size_bytes),
                            size_format(want, app->memory_bytes), domain);
                else if (found->apps[i].size_bytes % GUEST_BLOCK_BYTES != 0)
                        add(list, BLOCKS,
                            "device ua-%s holds %s, no multiple of the 128MiB blocks that a guest plugs|raise "
                            "its <size> with virsh edit %s",
                            app->name, size_format(have, found->apps[i].size_bytes), domain);
                else if (found->apps[i].block_bytes > 0 && policy->extent_bytes % found->apps[i].block_bytes != 0)
                        add(list, BLOCKS, "device ua-%s has blocks of %s, the policy's extent is %s|set the extent to "
                            "a multiple of the block, or <block> with virsh edit %s", app->name,
                            size_format(have, found->apps[i].block_bytes), size_format(want, policy->extent_bytes),
                            domain);
        }
}

/* A hugetlb page has no place in the swap: the kernel leaves it where it is. */
static void check_huge_pages(struct list *list, const struct pair_policy *pair, const char *domain,
                             const struct preflight *found) {
        for (size_t i = 0; i < pair->n_applications; i++)
                if (pair->handover == HANDOVER_LAZY && found->apps[i].present && found->apps[i].huge_pages)
                        add(list, ADVICE,
                            "device ua-%s is backed by huge pages, which cannot be paged out: its lazy handover is "
                            "done as eager|take its node out of <memoryBacking><hugepages> with virsh edit %s, or set "
                            "handover: eager", pair->applications[i].name, domain);
}

static void check_advice(struct list *list, const char *domain, const struct preflight *found) {
        if (!found->panic_device)
                add(list, ADVICE,
                    "no panic device: a kernel panic is seen as a hang only, later|add <panic model='isa'/> "
                    "with virsh edit %s",
                    domain);
        if (!found->crash_preserved)
                add(list, ADVICE, "a crash restarts it before failoverd can fence it|set <on_crash>preserve</on_crash> "
                    "with virsh edit %s", domain);
        if (!found->balloon_stats)
                add(list, ADVICE, "no balloon statistics: one way less to hear from the guest's kernel|add <memballoon "
                    "model='virtio'><stats period='1'/></memballoon> with virsh edit %s", domain);
        if (!found->console_log)
                add(list, ADVICE,
                    "its console goes to no file: what it says before it dies is not kept|add <log file='...' "
                    "append='on'/> to its first serial port with virsh edit %s",
                    domain);
        if (!found->echo_port)
                add(list, ADVICE,
                    "no echo port: a hang is decided later than it could be|add <serial type='unix'><alias "
                    "name='ua-echo'/></serial> with virsh edit %s",
                    domain);
}

size_t findings_list(const struct policy *policy, const struct pair_policy *pair, enum side side,
                     const struct preflight *found, struct finding ret[static FINDINGS_MAX]) {
        const struct member *member = &pair->members[side];
        struct list list = { .findings = ret };

        if (found->text[0])
                add(&list, UNFIT, "it could not be looked at: %s|virsh dumpxml %s", found->text, member->domain);
        else if (!found->defined)
                add(&list, UNFIT,
                    "libvirt knows no such domain|define it (failoverctl policy xml prints what it needs), or "
                    "correct the name in the policy");
        else {
                check_domain(&list, member, found);
                check_plugs(&list, pair, member, found);
                check_regions(&list, policy, pair, member->domain, found);
                check_disks(&list, pair, side, found);
                check_huge_pages(&list, pair, member->domain, found);
                check_advice(&list, member->domain, found);
        }
        return list.n;
}
