/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "tests/unit/hypervisor-bench.h"

static void connecting_is_told_and_watched_domains_inspected(void) {
        static struct host_test t;

        host_test_init(&t);
        CHECK(!hypervisor_up(t.hypervisor));
        watch(&t, 0, "test");
        watch(&t, 1, "nobody");
        CHECK(wait_for(&t, EVENT_HYPERVISOR)->up);
        CHECK(hypervisor_up(t.hypervisor));
        for (bool running = false, undefined = false; !running || !undefined;) {
                const struct event *event = wait_for(&t, EVENT_DOMAIN);

                running |= event->pair == 0 && event->domain == DOMAIN_RUNNING;
                undefined |= event->pair == 1 && event->domain == DOMAIN_UNDEFINED;
        }
        /* libvirt says so, and no process is there */
        CHECK(!wait_for(&t, EVENT_PROCESS)->up);
        CHECK(hypervisor_pid(t.hypervisor, 0, SIDE_A) == 0);
        host_test_deinit(&t);
}

static void a_domain_is_started_and_frozen(void) {
        static struct host_test t;
        virDomainPtr domain;

        host_test_init(&t);
        define_domain(&t, "vm-a", "", "");
        watch(&t, 0, "vm-a");
        wait_for_domain(&t, DOMAIN_SHUTOFF, REASON_UNKNOWN);
        CHECK(hypervisor_channel(t.hypervisor, 0, SIDE_A) == NULL);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_BOOTED);
        CHECK_TEXT(t.channel, "/run/guests/vm-a.agent");
        CHECK(act_on(&t, ACTION_FREEZE, "") == 0);
        wait_for_domain(&t, DOMAIN_PAUSED, REASON_USER);
        CHECK(act_on(&t, ACTION_FREEZE, "") == 0); /* as it was */

        domain = control_domain(&t, "vm-a");
        CHECK(virDomainDestroy(domain) == 0);
        wait_for_domain(&t, DOMAIN_SHUTOFF, REASON_DESTROYED);
        CHECK(hypervisor_channel(t.hypervisor, 0, SIDE_A) == NULL);
        CHECK(act_on(&t, ACTION_FREEZE, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_RESIZE, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_VCPUS, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_DETACH_DISK, "vdb") == -ESRCH);
        CHECK(virDomainUndefine(domain) == 0);
        wait_for_domain(&t, DOMAIN_UNDEFINED, REASON_UNKNOWN);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == -ENOENT);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void a_domain_that_would_not_come_up_empty_is_not_started(void) {
        static struct host_test t;
        virDomainPtr domain;

        host_test_init(&t);
        define_domain(&t, "vm-a", "<requested unit='KiB'>0", "<requested unit='KiB'>2048");
        watch(&t, 0, "vm-a");
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == -EINVAL);
        define_domain(&t, "vm-a", "", "");
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        domain = control_domain(&t, "vm-a");
        REQUIRE(virDomainManagedSave(domain, 0) == 0);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == -EBUSY);
        CHECK(strstr(t.events[t.looked_at[EVENT_DONE] - 1].text, "managed-save") != NULL);
        REQUIRE(virDomainManagedSaveRemove(domain, 0) == 0);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        virDomainDestroy(domain);
        virDomainUndefine(domain);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void preflight_tells_what_the_persistent_xml_says(void) {
        static struct host_test t;
        virDomainPtr domain;

        host_test_init(&t);
        define_domain(&t, "vm-a", "<on_crash>preserve", "<on_crash>destroy");
        watch(&t, 0, "vm-a");
        CHECK(act_on(&t, ACTION_PREFLIGHT, "") == 0);
        CHECK(count_events(&t, EVENT_PREFLIGHT) == 1);
        CHECK(t.preflight.defined && t.preflight.persistent && !t.preflight.autostart);
        CHECK(t.preflight.channel && !t.preflight.crash_preserved && t.preflight.requested_zero);
        CHECK(!t.preflight.apps[0].present && t.preflight.apps[1].present && t.preflight.apps[2].present);
        CHECK(t.preflight.apps[1].size_bytes == GIB);
        CHECK_TEXT(t.preflight.text, "");

        domain = control_domain(&t, "vm-a");
        REQUIRE(virDomainSetAutostart(domain, 1) == 0);
        CHECK(act_on(&t, ACTION_PREFLIGHT, "") == 0);
        CHECK(t.preflight.autostart);
        virDomainUndefine(domain);
        virDomainFree(domain);
        CHECK(act_on(&t, ACTION_PREFLIGHT, "") == 0);
        CHECK(!t.preflight.defined && !t.preflight.channel);
        host_test_deinit(&t);
}

static void what_cannot_be_done_is_answered_too(void) {
        static struct host_test t;

        host_test_init(&t);
        CHECK(act_on(&t, ACTION_FREEZE, "") == -ENOENT);
        act(&t, (struct action){ .kind = ACTION_PROBE, .pair = 0, .side = SIDE_B });
        watch(&t, 0, "test");
        CHECK(act_on(&t, ACTION_KILL, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_STOP_PROCESS, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_PERSIST, "") == -EOPNOTSUPP);
        CHECK(act_on(&t, ACTION_RESIZE, "") == -ENOENT);
        CHECK(act_on(&t, ACTION_ATTACH_DISK, "vdz") == -ENOENT);
        CHECK(act_on(&t, ACTION_DETACH_DISK, "vdz") == 0); /* it is not there */
        CHECK(act_on(&t, ACTION_INSPECT, "") == 0);
        CHECK(hypervisor_watch(t.hypervisor, -1, SIDE_A, "test", NULL, 0) == -EINVAL);
        CHECK(hypervisor_watch(t.hypervisor, POLICY_PAIRS_MAX, SIDE_A, "test", NULL, 0) == -EINVAL);
        host_test_deinit(&t);
}

static void a_dump_that_cannot_be_written_leaves_no_file(void) {
        static struct host_test t;
        char path[256];

        host_test_init(&t);
        watch(&t, 0, "test");
        CHECK(act_on(&t, ACTION_DUMP, "../web-1") == -EINVAL);
        CHECK(access(t.evidence_dir, F_OK) < 0);
        CHECK(act_on(&t, ACTION_DUMP, "web-1") == -ESRCH); /* it does not stand still */
        CHECK(act_on(&t, ACTION_FREEZE, "") == 0);
        CHECK(act_on(&t, ACTION_DUMP, "web-1") == -EIO); /* the test driver knows no dump of the memory alone */
        snprintf(path, sizeof(path), "%s/web-1/core-a", t.evidence_dir);
        CHECK(access(path, F_OK) < 0 && errno == ENOENT);
        snprintf(path, sizeof(path), "%s/web-1", t.evidence_dir);
        CHECK(rmdir(path) == 0);
        CHECK(rmdir(t.evidence_dir) == 0);
        host_test_deinit(&t);
}

static void one_guest_at_a_time_is_dumped(void) {
        static struct host_test t;
        struct action action = { .kind = ACTION_DUMP, .pair = 0, .side = SIDE_A, .deadline_usec = WAIT_USEC };
        uint64_t first, second;
        int results[2] = { 0 };

        host_test_init(&t);
        watch(&t, 0, "test");
        strcpy(action.text, ".."); /* ends without touching the disk */
        first = act(&t, action);
        second = act(&t, action);
        for (int i = 0; i < 2; i++) {
                const struct event *event = wait_for(&t, EVENT_DONE);

                CHECK(event->action_id == first || event->action_id == second);
                results[event->action_id == second] = event->result;
        }
        CHECK(results[0] == -EINVAL && results[1] == -EBUSY);
        CHECK(act_on(&t, ACTION_DUMP, "..") == -EINVAL); /* when it has ended the next one may begin */
        host_test_deinit(&t);
}

static void a_forgotten_domain_is_told_no_more(void) {
        static struct host_test t;
        virDomainPtr domain;
        unsigned n;

        host_test_init(&t);
        define_domain(&t, "vm-a", "", "");
        watch(&t, 0, "test");
        watch(&t, 1, "vm-a");
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_UNKNOWN);
        hypervisor_forget(t.hypervisor, 0, SIDE_A);
        hypervisor_forget(t.hypervisor, 0, SIDE_A);
        domain = control_domain(&t, "test");
        CHECK(virDomainSuspend(domain) == 0);
        CHECK(virDomainResume(domain) == 0);
        virDomainFree(domain);
        /* an event of the other one's comes after those that are not to come */
        n = t.n_events;
        domain = control_domain(&t, "vm-a");
        CHECK(virDomainCreate(domain) == 0);
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_BOOTED);
        for (; n < t.n_events; n++)
                CHECK(t.events[n].pair != 0);
        virDomainDestroy(domain);
        virDomainUndefine(domain);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void its_process_is_found_killed_and_seen_to_be_gone(void) {
        static struct host_test t;
        char qemu[128], pid_file[160], name[NAME_LEN], argument[NAME_LEN + 32], byte;
        const struct event *event;
        int in[2], ready[2];
        FILE *f;
        pid_t pid;

        host_test_init(&t);
        snprintf(name, sizeof(name), "test-%d", (int) getpid());
        snprintf(qemu, sizeof(qemu), "%s/qemu-system-x86_64", t.run_dir);
        snprintf(pid_file, sizeof(pid_file), "%s/%s.pid", t.run_dir, name);
        snprintf(argument, sizeof(argument), "guest=%s,debug-threads=on", name);
        REQUIRE(symlink("/bin/sh", qemu) == 0);
        REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(ready[1], STDOUT_FILENO);
                execl(qemu, "qemu-system-x86_64", "-c", "echo; read line", "-name", argument, NULL);
                _exit(127);
        }
        REQUIRE(read(ready[0], &byte, 1) == 1);
        f = fopen(pid_file, "we");
        REQUIRE(f && fprintf(f, "%d", (int) pid) > 0 && fclose(f) == 0);

        watch(&t, 0, name);
        event = wait_for(&t, EVENT_PROCESS);
        CHECK(event->up && event->pid == pid);
        CHECK(hypervisor_pid(t.hypervisor, 0, SIDE_A) == pid);
        CHECK(act_on(&t, ACTION_STOP_PROCESS, "") == 0);
        CHECK(waitpid(pid, NULL, WUNTRACED) == pid);
        CHECK(act_on(&t, ACTION_KILL, "") == 0);
        event = wait_for(&t, EVENT_PROCESS);
        CHECK(!event->up && event->pid == pid);
        CHECK(hypervisor_pid(t.hypervisor, 0, SIDE_A) == 0);
        CHECK(act_on(&t, ACTION_KILL, "") == -ESRCH);
        CHECK(waitpid(pid, NULL, 0) == pid);
        unlink(qemu);
        unlink(pid_file);
        for (size_t i = 0; i < 2; i++) {
                close(in[i]);
                close(ready[i]);
        }
        host_test_deinit(&t);
}

static void the_balloon_answers_a_probe(void) {
        static struct host_test t;
        const struct event *event;

        host_test_init(&t);
        define_domain(&t, "vm-a", "", "");
        watch(&t, 0, "vm-a");
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_BOOTED);
        /* What tells of the start may come after it was seen: for that moment no domain is known to run. */
        for (usec_t end = lane_now() + WAIT_USEC; count_events(&t, EVENT_SECOND_PATH) == 0;) {
                REQUIRE(lane_now() < end);
                act(&t, (struct action){ .kind = ACTION_PROBE, .pair = 0, .side = SIDE_A });
                REQUIRE(sd_event_run(t.loop, end - lane_now()) >= 0);
        }
        event = wait_for(&t, EVENT_SECOND_PATH);
        CHECK(event->path == PATH_BALLOON);
        CHECK(count_events(&t, EVENT_SECOND_PATH) == 1);
        virDomainPtr domain = control_domain(&t, "vm-a");
        virDomainDestroy(domain);
        virDomainUndefine(domain);
        virDomainFree(domain);
        host_test_deinit(&t);
}

TEST_MAIN("hypervisor",
          TEST(connecting_is_told_and_watched_domains_inspected),
          TEST(a_domain_is_started_and_frozen),
          TEST(a_domain_that_would_not_come_up_empty_is_not_started),
          TEST(preflight_tells_what_the_persistent_xml_says),
          TEST(what_cannot_be_done_is_answered_too),
          TEST(a_dump_that_cannot_be_written_leaves_no_file),
          TEST(one_guest_at_a_time_is_dumped),
          TEST(a_forgotten_domain_is_told_no_more),
          TEST(its_process_is_found_killed_and_seen_to_be_gone),
          TEST(the_balloon_answers_a_probe))
