/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libvirt's answer to the end or the start of a VM is lost, or says less than what is: a context is given up only where
 * its VM is known to be there, and a VM only where its context is. libvirt itself is replaced by one domain.
 */

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/context-overlay.h"
#include "daemon/pages/context.h"
#include "tests/unit/test.h"

#define UUID "4f3f2898-69e3-5a0d-820a-c4e87987dbce"
#define DOMAIN ((virDomainPtr) &libvirt)
#define CONNECTION ((virConnectPtr) &libvirt)

/* ---- libvirt, and what drops a context ---- */

static struct {
        bool running, paused;
        bool unreachable;            /* by a new connection */
        bool broken;                 /* the connection that there was */
        bool destroy_fails, destroys; /* what it says, and what it does */
        bool restore_fails, restores;
        unsigned n_destroys, n_restores, n_drops, n_suspends, n_snapshots;
        const char *xml; /* of the domain now */
        struct context_saving *watched; /* its head's state is looked at when something is restored */
        enum context_state seen;
} libvirt;

virConnectPtr __wrap_virConnectOpen(const char *uri);
int __wrap_virConnectClose(virConnectPtr connection);
int __wrap_virConnectIsAlive(virConnectPtr connection);
int __wrap_virGetLastErrorCode(void);
const char *__wrap_virGetLastErrorMessage(void);
virDomainPtr __wrap_virDomainLookupByUUIDString(virConnectPtr connection, const char *uuid);
virDomainPtr __wrap_virDomainLookupByName(virConnectPtr connection, const char *name);
int __wrap_virDomainIsActive(virDomainPtr domain);
int __wrap_virDomainDestroy(virDomainPtr domain);
int __wrap_virDomainResume(virDomainPtr domain);
int __wrap_virDomainRestoreFlags(virConnectPtr connection, const char *path, const char *xml, unsigned flags);
int __wrap_virDomainSuspend(virDomainPtr domain);
char *__wrap_virDomainGetXMLDesc(virDomainPtr domain, unsigned flags);
virDomainSnapshotPtr __wrap_virDomainSnapshotCreateXML(virDomainPtr domain, const char *xml, unsigned flags);
int __wrap_virDomainFree(virDomainPtr domain);
int __wrap_context_place_drop(struct context_place *place, struct error *error);
int __wrap_context_saving_permit(const struct context_job *job, const char *vm, const char *name, virConnectPtr *ret,
                                 struct error *error);
int __wrap_context_saving_prepare(const struct context_job *job, virConnectPtr connection, const char *vm,
                                  const char *name, struct context_saving *saving, struct error *error);
int __real_context_saving_run(const struct context_job *job, struct context_saving *saving, struct error *error);
int __wrap_context_saving_run(const struct context_job *job, struct context_saving *saving, struct error *error);
int __wrap_context_resuming_prepare(const struct context_job *job, virConnectPtr connection, const char *name,
                                    const struct context_vm *instead, struct context_resuming *resuming,
                                    struct error *error);
int __wrap_context_resuming_fetch(const struct context_job *job, virConnectPtr connection,
                                  struct context_resuming *resuming, struct error *error);

virConnectPtr __wrap_virConnectOpen(const char *uri) {
        return libvirt.unreachable ? NULL : CONNECTION;
}

int __wrap_virConnectClose(virConnectPtr connection) {
        return 0;
}

int __wrap_virConnectIsAlive(virConnectPtr connection) {
        return !libvirt.broken;
}

int __wrap_virGetLastErrorCode(void) {
        return libvirt.unreachable || libvirt.running ? VIR_ERR_INTERNAL_ERROR : VIR_ERR_NO_DOMAIN;
}

const char *__wrap_virGetLastErrorMessage(void) {
        return "end of file";
}

virDomainPtr __wrap_virDomainLookupByUUIDString(virConnectPtr connection, const char *uuid) {
        return libvirt.running ? DOMAIN : NULL;
}

virDomainPtr __wrap_virDomainLookupByName(virConnectPtr connection, const char *name) {
        return libvirt.running ? DOMAIN : NULL;
}

int __wrap_virDomainIsActive(virDomainPtr domain) {
        return libvirt.running;
}

int __wrap_virDomainDestroy(virDomainPtr domain) {
        libvirt.n_destroys++;
        libvirt.running = libvirt.running && !libvirt.destroys;
        return libvirt.destroy_fails ? -1 : 0;
}

int __wrap_virDomainResume(virDomainPtr domain) {
        if (!libvirt.running || libvirt.unreachable)
                return -1;
        libvirt.paused = false;
        return 0;
}

int __wrap_virDomainRestoreFlags(virConnectPtr connection, const char *path, const char *xml, unsigned flags) {
        unsigned char page[PAGE_BYTES];
        struct context_head head;

        libvirt.n_restores++;
        libvirt.running = libvirt.running || libvirt.restores;
        if (libvirt.watched) {
                const struct context_io *io = &libvirt.watched->place.io;

                REQUIRE(io->read(io->userdata, page, sizeof(page), 0) == 0);
                REQUIRE(context_head_decode(page, &head, NULL) == 0);
                libvirt.seen = head.state;
        }
        return libvirt.restore_fails ? -1 : 0;
}

int __wrap_virDomainSuspend(virDomainPtr domain) {
        libvirt.n_suspends++;
        libvirt.paused = true;
        return 0;
}

char *__wrap_virDomainGetXMLDesc(virDomainPtr domain, unsigned flags) {
        return strdup(libvirt.xml);
}

virDomainSnapshotPtr __wrap_virDomainSnapshotCreateXML(virDomainPtr domain, const char *xml, unsigned flags) {
        libvirt.n_snapshots++;
        return NULL;
}

int __wrap_virDomainFree(virDomainPtr domain) {
        return 0;
}

int __wrap_context_place_drop(struct context_place *place, struct error *error) {
        libvirt.n_drops++;
        return 0;
}

/* ---- one context in memory ---- */

struct memory {
        unsigned char *bytes;
        uint64_t size;
};

static int memory_read(void *userdata, void *buffer, uint64_t length, uint64_t offset) {
        struct memory *memory = userdata;

        memcpy(buffer, memory->bytes + offset, length);
        return 0;
}

static int memory_write(void *userdata, const void *buffer, uint64_t length, uint64_t offset) {
        struct memory *memory = userdata;

        memcpy(memory->bytes + offset, buffer, length);
        return 0;
}

static int memory_refuse(void *userdata, const void *buffer, uint64_t length, uint64_t offset) {
        return -EPERM;
}

static int memory_flush(void *userdata) {
        return 0;
}

static int permit(void *userdata, const char *vm, enum context_act act, struct error *error) {
        return userdata ? error_set(error, -EPERM, "not now") : 0;
}

static struct memory memory;
static const struct context_servers servers = { .n = 1, .cancel_fd = -1 };
static struct context_job job = { .servers = &servers, .uri = "qemu:///system", .permit = permit };

/* A whole context in the space, claimed as after a save. */
static struct context_manifest *commit(struct context_io *io, struct context_head *head, const char *xml) {
        struct context_manifest *manifest = calloc(1, sizeof(*manifest));
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        REQUIRE(manifest && fd >= 0);
        *manifest = (struct context_manifest) { .version = CONTEXT_VERSION, .name = "night", .vm = "a", .host = "h",
                                                .uuid = UUID, .uri = strdup("qemu:///system"), .xml = strdup(xml) };
        REQUIRE(manifest->uri && manifest->xml);
        REQUIRE(context_disks_look(xml, &manifest->disks, &manifest->n_disks, NULL) == 0);
        REQUIRE(context_overlays_name(manifest->disks, manifest->n_disks, "night", NULL) == 0);
        memory.size = context_space_bytes(MIB);
        free(memory.bytes);
        memory.bytes = calloc(1, memory.size);
        REQUIRE(memory.bytes != NULL);
        *io = (struct context_io) { memory_read, memory_write, memory_flush, &memory, memory.size };
        REQUIRE(context_image_write(io, fd, manifest, NULL, NULL) == 0);
        REQUIRE(context_commit(io, manifest, NULL, "saved it here", head, NULL) == 0);
        close(fd);
        return manifest;
}

static void saving_init(struct context_saving *saving) {
        *saving = CONTEXT_SAVING_INIT;
        saving->manifest = commit(&saving->place.io, &saving->head, "<domain><name>a</name><devices/></domain>");
        saving->vm = (struct context_vm) { .connection = CONNECTION, .domain = DOMAIN, .name = "a", .uuid = UUID,
                                           .xml = strdup(saving->manifest->xml), .suspended = true };
        saving->opened = saving->whole = true;
        libvirt = (typeof(libvirt)) { .running = true, .paused = true };
        job.userdata = NULL;
}

static enum context_state state_now(void) {
        struct context_head head;

        REQUIRE(context_head_decode(memory.bytes, &head, NULL) == 0);
        return head.state;
}

/* ---- its save ---- */

static void disks_and_permission_are_looked_at_again_when_the_vm_is_paused(void) {
        struct context_saving saving;

        saving_init(&saving); /* the pause of its pair has ended meanwhile */
        saving.vm.suspended = saving.whole = libvirt.paused = false;
        job.userdata = &saving;
        CHECK(__real_context_saving_run(&job, &saving, NULL) == -EPERM && libvirt.n_suspends == 0);
        context_saving_deinit(&saving);

        saving_init(&saving); /* a disk has come */
        saving.vm.suspended = saving.whole = libvirt.paused = false;
        libvirt.xml = "<domain><devices><disk type='network'><source protocol='nbd' name='x'/><target dev='vdb'/>"
                      "</disk></devices></domain>";
        CHECK(__real_context_saving_run(&job, &saving, NULL) == -EPERM);
        CHECK(libvirt.n_suspends == 1 && libvirt.n_snapshots == 0 && !libvirt.paused && libvirt.n_drops == 1);
        context_saving_deinit(&saving);
}

/* ---- the end of a VM ---- */

static void an_end_whose_answer_is_lost_is_looked_at_again(void) {
        struct context_saving saving;
        struct error error = ERROR_INIT;

        saving_init(&saving);
        libvirt.destroy_fails = libvirt.destroys = true;
        CHECK(context_saving_end(&job, &saving, &error) == 0);
        CHECK(libvirt.n_drops == 0 && state_now() == CONTEXT_SAVED);
        context_saving_deinit(&saving);
        error_deinit(&error);
}

static void where_nobody_knows_whether_it_ended_its_context_is_kept(void) {
        struct context_saving saving;

        for (int destroys = 0; destroys < 2; destroys++) {
                struct error error = ERROR_INIT;

                saving_init(&saving);
                libvirt.destroy_fails = libvirt.unreachable = true;
                libvirt.destroys = destroys;
                CHECK(context_saving_end(&job, &saving, &error) == -EIO);
                CHECK(libvirt.n_drops == 0 && state_now() == CONTEXT_CLAIMED);
                CHECK(strstr(error_text(&error), "context night is kept") != NULL);
                context_saving_deinit(&saving);
                error_deinit(&error);
        }
}

static void a_vm_that_may_end_in_a_moment_goes_on_and_its_context_is_kept(void) {
        struct context_saving saving;

        saving_init(&saving);
        libvirt.destroy_fails = true;
        CHECK(context_saving_end(&job, &saving, NULL) == -EIO);
        CHECK(!libvirt.paused && libvirt.n_drops == 0 && state_now() == CONTEXT_CLAIMED);
        context_saving_deinit(&saving);
}

static void a_vm_is_not_ended_where_its_context_is_not_there_any_more(void) {
        struct context_saving saving;

        saving_init(&saving);
        memset(memory.bytes, 0, PAGE_BYTES); /* as at a server that came back without it */
        CHECK(context_saving_end(&job, &saving, NULL) == -ENODATA);
        CHECK(libvirt.n_destroys == 0 && libvirt.running && !libvirt.paused);
        context_saving_deinit(&saving);
}

static void a_refused_end_drops_the_context_unless_the_vm_has_failed_meanwhile(void) {
        struct context_saving saving;

        for (int runs = 0; runs < 2; runs++) {
                saving_init(&saving);
                saving.vm.suspended = runs; /* or by its user */
                libvirt.running = runs;
                job.userdata = &saving;
                CHECK(context_saving_end(&job, &saving, NULL) == -EPERM);
                CHECK(libvirt.n_destroys == 0 && libvirt.n_drops == (unsigned) runs);
                context_saving_deinit(&saving);
        }
        job.userdata = NULL;
}

/* ---- the start of one ---- */

static char directory[] = "/tmp/test-context-answers-XXXXXX";
static char overlay[128];

/* A checkpoint of a VM with one disk, and an overlay of a VM that was lost. */
static void resuming_init(struct context_resuming *resuming) {
        char path[64], xml[512];

        snprintf(path, sizeof(path), "%s/disk", directory);
        snprintf(overlay, sizeof(overlay), "%s.night", path);
        snprintf(xml, sizeof(xml), "<domain type='kvm'><name>a</name><devices><disk type='file' device='disk'>"
                 "<driver name='qemu' type='raw'/><source file='%s'/><target dev='vda' bus='virtio'/></disk></devices>"
                 "</domain>", path);
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        REQUIRE(truncate(path, MIB) == 0);
        close(open(overlay, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
        *resuming = CONTEXT_RESUMING_INIT;
        resuming->manifest = commit(&resuming->place.io, &resuming->head, xml);
        libvirt = (typeof(libvirt)) { .restore_fails = true };
}

static off_t overlay_size(void) {
        struct stat st;

        return stat(overlay, &st) == 0 ? st.st_size : -1;
}

static void remove_directory(void) {
        char command[128];

        snprintf(command, sizeof(command), "rm -r %s", directory);
        CHECK(system(command) == 0);
}

static void a_start_whose_answer_is_lost_keeps_claim_and_disks(void) {
        struct context_resuming resuming;
        struct error error = ERROR_INIT;

        REQUIRE(mkdtemp(directory) != NULL);
        resuming_init(&resuming);
        libvirt.restores = true; /* an error, but it runs */
        CHECK(context_resuming_start(&job, CONNECTION, &resuming, &error) == -EIO);
        CHECK(state_now() == CONTEXT_CLAIMED && overlay_size() > 0 && libvirt.n_drops == 0);
        CHECK(strstr(error_text(&error), "is not known") != NULL);
        context_resuming_deinit(&resuming);
        error_deinit(&error);

        resuming_init(&resuming);
        libvirt.broken = true; /* not yet there, and perhaps in a moment */
        CHECK(context_resuming_start(&job, CONNECTION, &resuming, NULL) == -EIO);
        CHECK(state_now() == CONTEXT_CLAIMED && overlay_size() > 0);
        context_resuming_deinit(&resuming);

        resuming_init(&resuming); /* the pause of its pair has ended while it was fetched */
        job.userdata = &resuming;
        CHECK(context_resuming_start(&job, CONNECTION, &resuming, NULL) == -EPERM);
        CHECK(state_now() == CONTEXT_CLAIMED && libvirt.n_restores == 0); /* as before */
        job.userdata = NULL;
        context_resuming_deinit(&resuming);

        resuming_init(&resuming); /* it was refused */
        CHECK(context_resuming_start(&job, CONNECTION, &resuming, NULL) == -EIO);
        CHECK(state_now() == CONTEXT_SAVED && overlay_size() == 0);
        context_resuming_deinit(&resuming);
        remove_directory();
}

static void a_context_of_a_strange_key_or_in_anothers_place_is_refused(void) {
        struct context_resuming resuming;
        struct context_key key;
        struct error error = ERROR_INIT;
        char path[64];

        strcpy(strrchr(directory, '-'), "-XXXXXX");
        REQUIRE(mkdtemp(directory) != NULL);
        snprintf(path, sizeof(path), "%s/context.key", directory);
        job.key = path;
        resuming_init(&resuming);
        strcpy(resuming.place.name.owner, "a");
        CHECK(context_resuming_trust(&job, "night", &resuming, &error) == -EPERM && !resuming.vouched);
        CHECK(strstr(error_text(&error), "--force") != NULL);
        job.force = true;
        CHECK(context_resuming_trust(&job, "night", &resuming, NULL) == 0 && !resuming.vouched);
        CHECK(context_resuming_trust(&job, "day", &resuming, NULL) == -EBADMSG);
        strcpy(resuming.place.name.owner, "b");
        CHECK(context_resuming_trust(&job, "night", &resuming, NULL) == -EBADMSG);
        strcpy(resuming.place.name.owner, UUID);
        job.force = false;
        REQUIRE(context_key_load(path, &key, NULL) == 0 &&
                context_key_seal(&key, resuming.head.manifest_sum, resuming.head.seal) == 0);
        CHECK(context_resuming_trust(&job, "night", &resuming, NULL) == 0 && resuming.vouched);
        context_resuming_deinit(&resuming);
        error_deinit(&error);
        job.key = NULL;
        remove_directory();
}

/* ---- a swap ---- */

int __wrap_context_saving_permit(const struct context_job *asked, const char *vm, const char *name, virConnectPtr *ret,
                                 struct error *error) {
        *ret = CONNECTION;
        return 0;
}

int __wrap_context_saving_prepare(const struct context_job *asked, virConnectPtr connection, const char *vm,
                                  const char *name, struct context_saving *saving, struct error *error) {
        saving_init(saving);
        libvirt.watched = saving;
        libvirt.destroys = libvirt.restore_fails = true;
        return 0;
}

int __wrap_context_saving_run(const struct context_job *asked, struct context_saving *saving, struct error *error) {
        return 0;
}

int __wrap_context_resuming_prepare(const struct context_job *asked, virConnectPtr connection, const char *name,
                                    const struct context_vm *instead, struct context_resuming *resuming,
                                    struct error *error) {
        *resuming = CONTEXT_RESUMING_INIT;
        resuming->manifest = calloc(1, sizeof(*resuming->manifest));
        REQUIRE(resuming->manifest != NULL);
        strcpy(resuming->manifest->name, "day");
        resuming->place.io = libvirt.watched->place.io;
        resuming->place.io.write = memory_refuse;
        return 0;
}

int __wrap_context_resuming_fetch(const struct context_job *asked, virConnectPtr connection,
                                  struct context_resuming *resuming, struct error *error) {
        return 0;
}

static void a_vm_that_is_taken_back_is_claimed_while_it_starts(void) {
        struct context_manifest *out, *in;

        CHECK(context_swap(&job, "a", "night", "day", &out, &in, NULL) < 0);
        CHECK(libvirt.n_destroys == 1 && libvirt.n_restores == 1 && libvirt.seen == CONTEXT_CLAIMED);
        CHECK(state_now() == CONTEXT_SAVED && libvirt.n_drops == 0); /* neither started */
        free(memory.bytes);
        memory.bytes = NULL;
}

TEST_MAIN("context-answers",
          TEST(disks_and_permission_are_looked_at_again_when_the_vm_is_paused),
          TEST(an_end_whose_answer_is_lost_is_looked_at_again),
          TEST(where_nobody_knows_whether_it_ended_its_context_is_kept),
          TEST(a_vm_that_may_end_in_a_moment_goes_on_and_its_context_is_kept),
          TEST(a_vm_is_not_ended_where_its_context_is_not_there_any_more),
          TEST(a_refused_end_drops_the_context_unless_the_vm_has_failed_meanwhile),
          TEST(a_start_whose_answer_is_lost_keeps_claim_and_disks),
          TEST(a_context_of_a_strange_key_or_in_anothers_place_is_refused),
          TEST(a_vm_that_is_taken_back_is_claimed_while_it_starts))
