/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "agents/guest/address.h"
#include "tests/unit/test.h"

static int has_address(const char *link, const char *wanted) {
        struct ifaddrs *all;
        int found = 0;

        REQUIRE(getifaddrs(&all) == 0);
        for (struct ifaddrs *i = all; i; i = i->ifa_next) {
                char text[64] = "";

                if (!i->ifa_addr || strcmp(i->ifa_name, link) != 0)
                        continue;
                if (i->ifa_addr->sa_family == AF_INET)
                        inet_ntop(AF_INET, &((struct sockaddr_in *) (void *) i->ifa_addr)->sin_addr, text,
                                  sizeof(text));
                else if (i->ifa_addr->sa_family == AF_INET6)
                        inet_ntop(AF_INET6, &((struct sockaddr_in6 *) (void *) i->ifa_addr)->sin6_addr, text,
                                  sizeof(text));
                found |= strcmp(text, wanted) == 0;
        }
        freeifaddrs(all);
        return found;
}

static void addresses_are_read_strictly(void) {
        static const char *const bad[] = {
                "", "192.0.2.1", "192.0.2.1/", "192.0.2.1/33", "192.0.2.1/-1", "192.0.2.1/+1", "192.0.2.1/24x",
                "192.0.2/24", "/24",
                "2001:db8::1/129", "2001:db8::g/64", "host/24", "192.0.2.1/024000", "1.2.3.4/24/24",
        };
        struct ip_address address = { .prefix = 99 };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                CHECK(ip_address_parse(bad[i], &address) == -EINVAL);
        CHECK(address.prefix == 99);
        CHECK(ip_address_parse("192.0.2.10/24", &address) == 0 && address.family == AF_INET && address.prefix == 24);
        CHECK(address.bytes[0] == 192 && address.bytes[3] == 10);
        CHECK(ip_address_parse("2001:db8::10/64", &address) == 0 && address.family == AF_INET6 && address.prefix == 64);
        CHECK(address.bytes[0] == 0x20 && address.bytes[15] == 0x10);
}

static void a_missing_link_can_be_added_to_by_nobody_and_holds_nothing(void) {
        CHECK(address_add("192.0.2.10/24", "nosuchlink0") == -ENODEV);
        CHECK(address_remove("192.0.2.10/24", "nosuchlink0") == 0);
        CHECK(address_announce("192.0.2.10/24", "nosuchlink0") < 0);
        CHECK(address_add("192.0.2.10", "lo") == -EINVAL);
}

/* In a network namespace of its own, so that nothing of this machine changes. */
static void addresses_come_and_go_and_may_be_asked_for_twice(void) {
        static const char *const plain[] = { "192.0.2.10", "2001:db8::10" };
        char cidr[64];

        if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
                printf("skipped: no network namespace may be made here: %s ", strerror(errno));
                return;
        }
        for (int i = 0; i < 2; i++) {
                snprintf(cidr, sizeof(cidr), "%s/%d", plain[i], i == 0 ? 24 : 64);
                CHECK(!has_address("lo", plain[i]));
                CHECK(address_add(cidr, "lo") == 0);
                CHECK(has_address("lo", plain[i]));
                CHECK(address_add(cidr, "lo") == 0);
                CHECK(address_announce(cidr, "lo") == 0);
                CHECK(address_remove(cidr, "lo") == 0);
                CHECK(!has_address("lo", plain[i]));
                CHECK(address_remove(cidr, "lo") == 0);
        }
}

TEST_MAIN("agent-address",
          TEST(addresses_are_read_strictly),
          TEST(a_missing_link_can_be_added_to_by_nobody_and_holds_nothing),
          TEST(addresses_come_and_go_and_may_be_asked_for_twice))
