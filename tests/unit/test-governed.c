/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What may be done by hand to a VM that failoverd governs, by what it says, and where it is silent. */

#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/ctl/governed.h"
#include "tests/unit/test.h"

/* A pair whose application is with VM b. */
static int judge(const char *paused, const char *process_b, const char *fence_b, const struct governed_ask *ask) {
        struct json_object *root;
        char text[1024];
        int r;

        snprintf(text, sizeof(text), "{\"hypervisor\":{\"uri\":\"qemu:///system\"},\"pairs\":[{\"name\":\"web\","
                 "\"state\":\"armed\",\"flow\":null,\"paused\":%s,\"members\":["
                 "{\"side\":\"a\",\"domain\":\"vm-a\",\"process\":{\"alive\":true},\"fence\":{\"state\":\"none\"}},"
                 "{\"side\":\"b\",\"domain\":\"vm-b\",\"process\":{\"alive\":%s},\"fence\":{\"state\":\"%s\"}}],"
                 "\"applications\":[{\"name\":\"shop\",\"owner\":\"b\"}]}]}", paused, process_b, fence_b);
        root = json_tokener_parse(text);
        REQUIRE(root != NULL);
        r = governed_judge(root, ask, NULL);
        json_object_put(root);
        return r;
}

static void a_vm_does_not_go_on_while_the_other_one_has_the_applications(void) {
        struct governed_ask ask = { .uri = "qemu:///system", .vm = "vm-a", .starts = true };

        CHECK(judge("{}", "true", "none", &ask) == -EPERM);
        CHECK(judge("{}", "null", "none", &ask) == -EPERM); /* not known */
        CHECK(judge("{}", "false", "none", &ask) == 1);
        CHECK(judge("{}", "true", "gone", &ask) == 1);
        ask.force = true;
        CHECK(judge("{}", "true", "none", &ask) == 1 && judge("null", "true", "none", &ask) == -EPERM);
        ask = (struct governed_ask) { .uri = "qemu:///system", .vm = "vm-b", .starts = true };
        CHECK(judge("{}", "true", "none", &ask) == 1);
        ask = (struct governed_ask) { .uri = "qemu:///system", .vm = "vm-a" };
        CHECK(judge("{}", "true", "none", &ask) == 1 && judge("null", "true", "none", &ask) == -EPERM);
        ask.uri = "qemu:///session";
        CHECK(judge("null", "true", "none", &ask) == 0);
}

static void a_vm_that_stands_alone_is_its_standbys(void) {
        struct json_object *root = json_tokener_parse("{\"hypervisor\":{\"uri\":\"qemu:///system\"},\"pairs\":[],"
                                                      "\"vms\":[{\"domain\":\"vm-a\",\"state\":\"armed\"}]}");
        struct governed_ask ask = { .uri = "qemu:///system", .vm = "vm-a", .starts = true };

        REQUIRE(root != NULL);
        CHECK(governed_judge(root, &ask, NULL) == -EPERM);
        ask.force = true;
        CHECK(governed_judge(root, &ask, NULL) == 1);
        ask = (struct governed_ask) { .uri = "qemu:///system", .vm = "vm-b" };
        CHECK(governed_judge(root, &ask, NULL) == 1);
        json_object_put(root);
}

static void where_failoverd_is_silent_its_policy_speaks(void) {
        static const char text[] = 
                "version: 1\n"
                "pool: {memory: 2112MiB, extent: 128MiB, monitor: 64MiB, overhead: 128MiB}\n"
                "pairs:\n"
                "  - name: web\n"
                "    active: {domain: vm-a, base: 512MiB}\n"
                "    standby: {domain: vm-b, base: 512MiB}\n"
                "    applications:\n"
                "      - {name: shop, kind: hot-standby, memory: 512MiB, start: {command: [/bin/shop]}}\n"
                "memory-servers:\n"
                "  - {name: one, control: /run/one.sock, uri: \"nbds://192.0.2.1/\"}\n"
                "vms:\n"
                "  - {domain: alone, memory: 128MiB, standby: context, servers: [one]}\n";
        char path[] = "/tmp/test-governed-XXXXXX";
        struct governed_ask ask = { .uri = "qemu:///system", .vm = "vm-a", .policy = path };
        int fd = mkstemp(path);

        REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text));
        CHECK(governed_judge_silent(&ask, NULL) == -EPERM);
        ask.vm = "alone";
        CHECK(governed_judge_silent(&ask, NULL) == -EPERM);
        ask.vm = "another";
        CHECK(governed_judge_silent(&ask, NULL) == 0);
        ask = (struct governed_ask) { .uri = "qemu:///session", .vm = "vm-a", .policy = path };
        CHECK(governed_judge_silent(&ask, NULL) == 0);
        ask = (struct governed_ask) { .uri = "qemu:///system", .vm = "vm-a", .policy = path, .force = true };
        CHECK(governed_judge_silent(&ask, NULL) == 0);
        ask.force = false;
        REQUIRE(ftruncate(fd, 5) == 0); /* it says nothing */
        CHECK(governed_judge_silent(&ask, NULL) == -EPERM);
        close(fd);
        REQUIRE(unlink(path) == 0);
        CHECK(governed_judge_silent(&ask, NULL) == 0); /* no failoverd was ever set up here */
}

TEST_MAIN("governed",
          TEST(a_vm_does_not_go_on_while_the_other_one_has_the_applications),
          TEST(a_vm_that_stands_alone_is_its_standbys),
          TEST(where_failoverd_is_silent_its_policy_speaks))
