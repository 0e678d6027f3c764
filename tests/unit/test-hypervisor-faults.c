/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each call on libvirt fails in its turn, before or after it has done what it was asked for: what is told of it is
 * never better than what is, and the same asked again comes to its end. libvirt itself is replaced by one domain.
 */

#include <errno.h>
#include <libvirt/virterror.h>
#include <unistd.h>

#include "daemon/host/libvirt/hypervisor-call.h"
#include "tests/unit/test.h"

#define PATIENCE_USEC (800 * USEC_PER_MSEC) /* a call looks again until it is over */
#define WANTED_KIB 524288

/* ---- libvirt ----------------------------------------------------------------------------------------------- */

enum fault { FAULT_BEFORE, FAULT_AFTER, FAULT_MAX };

static struct {
        /* the domain */
        bool running, paused, attached, saved, emulated;
        bool overflow, keeps_disk; /* what is attached is an overflow disk; its guest does not let go of it */
        unsigned n_looks;          /* at its XML */
        unsigned requested_kib, vcpus;
        char dump[256]; /* file that it has been dumped to */
        /* the fault */
        enum fault fault;
        unsigned turn; /* calls until one fails; 0: none does */
        bool failed;
} stand_in;

static const char device[] =
        "<memory model='virtio-mem'><target><size unit='KiB'>1048576</size><node>1</node><block unit='KiB'>2048</block>"
        "<requested unit='KiB'>%u</requested></target><alias name='ua-db'/></memory>";
static const char disk[] =
        "<disk type='file' device='disk'><source file='/d.raw'/><target dev='vdb' bus='virtio'/>%s</disk>";

static bool fails(enum fault when) {
        if (when != stand_in.fault || stand_in.turn == 0 || --stand_in.turn > 0)
                return false;
        stand_in.failed = true;
        return true;
}

int __wrap_virGetLastErrorCode(void);
int __wrap_virGetLastErrorCode(void) {
        return VIR_ERR_RPC;
}

const char *__wrap_virGetLastErrorMessage(void);
const char *__wrap_virGetLastErrorMessage(void) {
        return "the connection was lost";
}

/* A function of libvirt's: what it does, and what it returns then and when it fails. */
#define STAND_IN(type, name, parameters, failure, success, effect) \
        type __wrap_##name parameters;                             \
        type __wrap_##name parameters {                            \
                if (fails(FAULT_BEFORE))                           \
                        return failure;                            \
                effect;                                            \
                if (fails(FAULT_AFTER))                            \
                        return failure;                            \
                return success;                                    \
        }
#define NOTHING ((void) 0)

static char *write_xml(unsigned flags) {
        char one[512], other[256] = "", *text = NULL;

        stand_in.n_looks++;
        snprintf(one, sizeof(one), device, flags & VIR_DOMAIN_XML_INACTIVE ? 0 : stand_in.requested_kib);
        if (flags & VIR_DOMAIN_XML_INACTIVE)
                snprintf(other, sizeof(other), disk, "");
        else if (stand_in.overflow)
                snprintf(other, sizeof(other), disk, "<alias name='ua--overflow-db'/>");
        else if (stand_in.attached)
                snprintf(other, sizeof(other), disk, "<alias name='virtio-disk1'/>");
        if (asprintf(
                    &text,
                    flags & VIR_DOMAIN_XML_INACTIVE
                            ? "<domain><name>vm-a</name><metadata><failover:disks xmlns:failover='urn:failover1:disks'>"
                              "%s</failover:disks></metadata><devices>%s</devices></domain>"
                    : stand_in.emulated ? "<domain type='qemu'><name>vm-a</name><devices>%s%s</devices></domain>"
                                        : "<domain type='kvm'><name>vm-a</name><devices>%s%s</devices></domain>",
                    other, one) < 0)
                return NULL;
        return text;
}

static int tell_state(int *state, int *reason) {
        *state = !stand_in.running ? VIR_DOMAIN_SHUTOFF : stand_in.paused ? VIR_DOMAIN_PAUSED : VIR_DOMAIN_RUNNING;
        *reason = 0;
        return 0;
}

static int create(void) {
        stand_in.running = true;
        return 0;
}

static int update(const char *xml) {
        const char *at = strstr(xml, "<requested unit=\"KiB\">");

        stand_in.requested_kib = at ? (unsigned) strtoul(at + 22, NULL, 10) : 0;
        return 0;
}

static int dump(const char *path) {
        FILE *f = fopen(path, "we");

        snprintf(stand_in.dump, sizeof(stand_in.dump), "%s", path);
        return f ? fclose(f) : -1;
}

#define DOMAIN ((virDomainPtr) &stand_in)
STAND_IN(virDomainPtr, virDomainLookupByName, (virConnectPtr c, const char *n), NULL, DOMAIN, NOTHING)
STAND_IN(char *, virDomainGetXMLDesc, (virDomainPtr d, unsigned f), NULL, write_xml(f), NOTHING)
STAND_IN(int, virDomainGetState, (virDomainPtr d, int *s, int *r, unsigned f), -1, tell_state(s, r), NOTHING)
STAND_IN(unsigned, virDomainGetID, (virDomainPtr d), -1U, stand_in.running ? 7 : -1U, NOTHING)
STAND_IN(int, virDomainSuspend, (virDomainPtr d), -1, 0, stand_in.paused = true)
STAND_IN(int, virDomainResume, (virDomainPtr d), -1, 0, stand_in.paused = false)
STAND_IN(int, virDomainHasManagedSaveImage, (virDomainPtr d, unsigned f), -1, stand_in.saved, NOTHING)
STAND_IN(int, virDomainCreate, (virDomainPtr d), -1, 0, create())
STAND_IN(int, virDomainIsActive, (virDomainPtr d), -1, stand_in.running, NOTHING)
STAND_IN(int, virDomainUpdateDeviceFlags, (virDomainPtr d, const char *x, unsigned f), -1, 0, update(x))
STAND_IN(int, virDomainGetVcpusFlags, (virDomainPtr d, unsigned f), -1, (int) stand_in.vcpus, NOTHING)
STAND_IN(int, virDomainSetVcpusFlags, (virDomainPtr d, unsigned n, unsigned f), -1, 0, stand_in.vcpus = n)
STAND_IN(int, virDomainAttachDeviceFlags, (virDomainPtr d, const char *x, unsigned f), -1, 0, stand_in.attached = true)
STAND_IN(int, virDomainDetachDeviceAlias, (virDomainPtr d, const char *a, unsigned f), -1, 0,
         stand_in.attached = stand_in.keeps_disk)
STAND_IN(int, virDomainIsPersistent, (virDomainPtr d), -1, 1, NOTHING)
STAND_IN(int, virDomainGetAutostart, (virDomainPtr d, int *a), -1, 0, *a = 1)
STAND_IN(int, virDomainMemoryStats, (virDomainPtr d, virDomainMemoryStatPtr s, unsigned n, unsigned f), -1, 1,
         (*s = (virDomainMemoryStatStruct) { .tag = VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE, .val = 1 }))
STAND_IN(int, virDomainCoreDumpWithFormat, (virDomainPtr d, const char *p, unsigned w, unsigned f), -1, 0, dump(p))
STAND_IN(int, virDomainSetMemoryStatsPeriod, (virDomainPtr d, int p, unsigned f), -1, 0, NOTHING)

int __wrap_virDomainFree(virDomainPtr domain);
int __wrap_virDomainFree(virDomainPtr domain) {
        return 0;
}

/* ---- the calls --------------------------------------------------------------------------------------------- */

static char evidence_dir[64];

static struct call *make_call(enum call_kind kind) {
        struct call *call = call_new(kind, "vm-a", PATIENCE_USEC);

        REQUIRE(call != NULL);
        snprintf(call->app_name, sizeof(call->app_name), "db");
        snprintf(call->target, sizeof(call->target), "vdb");
        snprintf(call->apps.names[0], sizeof(call->apps.names[0]), "db");
        REQUIRE((call->evidence_dir = strdup(evidence_dir)) != NULL);
        snprintf(call->failover_id, sizeof(call->failover_id), "orders-1");
        call->bytes = WANTED_KIB * KIB;
        call->count = 2;
        call->lane.deadline_usec = lane_now() + PATIENCE_USEC;
        return call;
}

/* What a good answer says. */
static bool is_true(const struct call *call) {
        switch (call->kind) {
        case CALL_FREEZE:
                return stand_in.paused;
        case CALL_START:
                return stand_in.running;
        case CALL_RESIZE:
                return stand_in.requested_kib == WANTED_KIB;
        case CALL_VCPUS:
                return stand_in.vcpus >= 2;
        case CALL_TAKE_VCPUS:
                return stand_in.vcpus <= 2;
        case CALL_ATTACH_DISK:
                return stand_in.attached;
        case CALL_DETACH_DISK:
                return !stand_in.attached;
        case CALL_STATE:
                return call->state == DOMAIN_RUNNING && call->facts.preflight.apps[0].requested_bytes == 0;
        case CALL_PREFLIGHT:
                return call->facts.preflight.defined && call->facts.preflight.persistent &&
                       call->facts.preflight.autostart;
        case CALL_BALLOON:
                return call->age_usec < USEC_INFINITY;
        case CALL_DUMP:
                return stand_in.dump[0] && access(stand_in.dump, F_OK) == 0;
        default:
                return true;
        }
}

static void begin(enum call_kind kind) {
        stand_in.running = kind != CALL_START;
        stand_in.paused = kind == CALL_DUMP;
        stand_in.saved = false;
        stand_in.attached = kind == CALL_DETACH_DISK;
        stand_in.requested_kib = 0;
        stand_in.dump[0] = 0;
        stand_in.vcpus = kind == CALL_TAKE_VCPUS ? 4 : 1;
        stand_in.failed = false;
}

/* Returns false once no call was left to fail. */
static bool try_with_fault(enum call_kind kind, enum fault fault, unsigned turn) {
        struct call *call = make_call(kind), *again = make_call(kind);
        int r;

        begin(kind);
        stand_in.fault = fault;
        stand_in.turn = turn;
        r = call->lane.run(&call->lane, NULL);
        stand_in.turn = 0;
        CHECK(r <= 0);
        CHECK(r < 0 ? call->lane.text[0] != 0 && stand_in.failed : is_true(call));
        if (r < 0) { /* it is asked again */
                CHECK(stand_in.dump[0] == 0 || access(stand_in.dump, F_OK) < 0); /* half of a dump is none */
                again->lane.deadline_usec = lane_now() + PATIENCE_USEC;
                r = again->lane.run(&again->lane, NULL);
                CHECK(r == 0 || (kind == CALL_START && r == -EBUSY)); /* it runs */
                CHECK(is_true(r == 0 ? again : call));
        }
        call_free(call);
        call_free(again);
        return stand_in.failed;
}

static void no_failing_call_is_told_as_done(void) {
        static const enum call_kind kinds[] = { CALL_FREEZE,      CALL_START,       CALL_RESIZE, CALL_VCPUS,
                                                CALL_TAKE_VCPUS,  CALL_ATTACH_DISK, CALL_DETACH_DISK, CALL_STATE,
                                                CALL_PREFLIGHT,   CALL_BALLOON,     CALL_STATS_PERIOD, CALL_DUMP };
        char command[128];

        strcpy(evidence_dir, "/tmp/test-faults-XXXXXX");
        REQUIRE(mkdtemp(evidence_dir) != NULL);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                for (enum fault fault = 0; fault < FAULT_MAX; fault++) {
                        unsigned turn = 1;

                        while (try_with_fault(kinds[i], fault, turn))
                                turn++;
                        CHECK(turn > 2);
                }
        snprintf(command, sizeof(command), "rm -rf %s", evidence_dir);
        CHECK(system(command) == 0);
}

static void a_guest_that_keeps_its_disk_is_not_told_as_having_let_go(void) {
        struct call *call = make_call(CALL_DETACH_DISK);

        begin(CALL_DETACH_DISK);
        stand_in.fault = FAULT_BEFORE;
        stand_in.turn = 4; /* the request itself is refused */
        CHECK(call->lane.run(&call->lane, NULL) < 0);
        CHECK(stand_in.attached && stand_in.failed);
        CHECK_TEXT(call->lane.text, "the connection was lost");
        call_free(call);
}

/* One look and one request: a failover's own calls for the domain come next. */
static void no_processor_is_taken_where_qemu_may_die_of_it(void) {
        struct call *call = make_call(CALL_TAKE_VCPUS);

        begin(CALL_TAKE_VCPUS);
        stand_in.emulated = true;
        CHECK(call->lane.run(&call->lane, NULL) == -EOPNOTSUPP);
        CHECK(stand_in.vcpus == 4);
        stand_in.emulated = false;
        call_free(call);
}

static void a_guest_that_keeps_its_overflow_disk_is_not_waited_for(void) {
        struct call *call = make_call(CALL_DETACH_OVERFLOW);

        begin(CALL_DETACH_DISK);
        stand_in.keeps_disk = stand_in.overflow = true;
        stand_in.n_looks = 0;
        CHECK(call->lane.run(&call->lane, NULL) == 0);
        CHECK(stand_in.n_looks == 1);
        stand_in.keeps_disk = stand_in.overflow = false;
        call_free(call);
}

TEST_MAIN("hypervisor-faults",
          TEST(no_processor_is_taken_where_qemu_may_die_of_it),
          TEST(a_guest_that_keeps_its_overflow_disk_is_not_waited_for),
          TEST(no_failing_call_is_told_as_done),
          TEST(a_guest_that_keeps_its_disk_is_not_told_as_having_let_go))
