/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/standby-readiness.h"

static const char *const standby_fault_table[STANDBY_FAULT_MAX] = {
        [STANDBY_QEMU_GONE] = "qemu-gone",
        [STANDBY_PANIC] = "panic",
        [STANDBY_HANG] = "guest-hang",
};
DEFINE_ENUM_TABLE(standby_fault, standby_fault_table)

static struct standby_case uncovered(const char *why, const char *mend) {
        return (struct standby_case) { READINESS_UNCOVERED, why, mend };
}

/* What holds for whatever is heard of. */
static struct standby_case any_failure(const struct standby_report *report) {
        const char *problem = report->problem && *report->problem ? report->problem : NULL;

        if (!report->fresh)
                return uncovered("its standby does not tell how it is", "journalctl -u failover-standby@DOMAIN");
        switch (report->state) {
        case STANDBY_ARMED:
        case STANDBY_DEGRADED:
                break;
        case STANDBY_OFF:
                return (struct standby_case) { READINESS_NONE, NULL, NULL };
        case STANDBY_HELD:
                return uncovered(problem ? problem : "it is held", "see to it, and start the VM");
        case STANDBY_FAILOVER:
                return uncovered("it is lost, and is to go on from its checkpoint", NULL);
        case STANDBY_UNARMED:
                return uncovered(problem ? problem : "there is no checkpoint of it so far", NULL);
        default:
                return uncovered(problem ? problem : "it is not known how the VM is", NULL);
        }
        if (report->failovers_left == 0)
                return uncovered("it has failed over as often as the policy lets it",
                                 "find out why it fails; vms[].flap in the policy is the limit");
        if (report->state == STANDBY_DEGRADED)
                return (struct standby_case) { READINESS_LIMITED, problem ? problem : "its checkpoint is not what it "
                                               "should be", "see whether its memory servers run" };
        return (struct standby_case) { READINESS_COVERED, NULL, NULL };
}

static bool goes_on(const struct standby_case *one) {
        return one->level == READINESS_COVERED || one->level == READINESS_LIMITED;
}

void standby_readiness(const struct standby_report *report, struct standby_readiness *ret) {
        const struct standby_case any = any_failure(report);

        *ret = (struct standby_readiness) { .level = any.level, .cases = { any, any, any } };
        if (!goes_on(&any))
                return;
        if (!report->hears_panic) {
                ret->cases[STANDBY_PANIC] =
                        uncovered("nobody would hear that the guest's system has crashed",
                                  "give the VM a panic device, and on_crash preserve");
                ret->level = READINESS_UNCOVERED;
        }
        if (!report->hears_hang) {
                ret->cases[STANDBY_HANG] =
                        uncovered("nobody would hear that the guest hangs",
                                  "give the VM a watchdog device with action pause, which the guest feeds");
                if (ret->level == READINESS_COVERED)
                        ret->level = READINESS_LIMITED;
        }
}
