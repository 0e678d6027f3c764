/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An application whose state is in a shared region: it counts, and writes the number back to the region's holder every
 * 200 ms, as an epoch. It speaks NBD itself, so that the small guest needs no library.
 *
 *   count-in-region NAME
 *
 * /run/NAME.from holds the number that was found, /run/NAME.count the present one, /run/NAME.safe the one that the
 * holder has acknowledged, and /run/NAME.pid the process id.
 */

#include <arpa/inet.h>
#include <endian.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/guest/say.h"

#define COUNT_USEC 50000
#define COUNTS_AN_EPOCH 4
#define PAGE_BYTES 4096
#define TRIES 100 /* of 100 ms, until the network is there */

enum { NBD_READ, NBD_WRITE, NBD_FLUSH = 3 };

static void fail(const char *what) {
        fprintf(stderr, "count-in-region: %s\n", what);
        exit(3);
}

static void put(int fd, const void *bytes, size_t n) {
        if (send(fd, bytes, n, MSG_NOSIGNAL) != (ssize_t) n)
                fail("the holder does not take it");
}

static void get(int fd, void *bytes, size_t n) {
        if (n > 0 && recv(fd, bytes, n, MSG_WAITALL) != (ssize_t) n)
                fail("the holder has hung up");
}

/* The URI in the list that the agent has handed down. */
static void find_uri(char *host, char *port, char *capability) {
        const char *number = getenv("FAILOVER_REGIONS_FD"), *at;
        char text[8192] = "", uri[1024] = "";
        size_t n = 0;

        if (!number || read(atoi(number), text, sizeof(text) - 1) <= 0)
                fail("no list of regions was handed down");
        at = strstr(text, "\"uri\":\"");
        if (!at)
                fail("the list has no URI");
        for (at += 7; *at && *at != '"' && n < sizeof(uri) - 1; at++)
                if (*at != '\\')
                        uri[n++] = *at;
        if (sscanf(uri, "nbd://%63[^:]:%15[0-9]/%127s", host, port, capability) != 3)
                fail("the URI is not as expected");
}

static int reach(const char *host, const char *port) {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *found;

        if (system("ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 2> /dev/null") < 0 ||
            getaddrinfo(host, port, &hints, &found) != 0)
                fail("no such address");
        for (int i = 0; i < TRIES; i++) {
                int fd = socket(found->ai_family, SOCK_STREAM, 0);

                if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0)
                        return fd;
                close(fd);
                usleep(100000);
        }
        fail("the holder cannot be reached");
        return -1;
}

/* Opens the export for epochs. */
static void greet(int fd, const char *capability) {
        char export[160], hello[18], reply[20];
        struct {
                uint64_t magic;
                uint32_t option, length, name_length;
        } __attribute__((packed)) go;
        uint32_t flags = htobe32(3), type, length;
        size_t n = (size_t) snprintf(export, sizeof(export), "%s.epoch", capability);

        get(fd, hello, sizeof(hello));
        put(fd, &flags, sizeof(flags));
        go.magic = htobe64(0x49484156454F5054);
        go.option = htobe32(7);
        go.length = htobe32((uint32_t) n + 6);
        go.name_length = htobe32((uint32_t) n);
        put(fd, &go, sizeof(go));
        put(fd, export, n);
        put(fd, "\0", 2);
        do {
                char data[1024];

                get(fd, reply, sizeof(reply));
                memcpy(&type, reply + 12, sizeof(type));
                memcpy(&length, reply + 16, sizeof(length));
                if (be32toh(length) > sizeof(data))
                        fail("the holder says too much");
                get(fd, data, be32toh(length));
                if (be32toh(type) & 0x80000000)
                        fail("the holder refuses the region");
        } while (be32toh(type) != 1);
}

static void ask(int fd, uint16_t kind, void *page) {
        struct {
                uint32_t magic;
                uint16_t flags, kind;
                uint64_t handle, offset;
                uint32_t length;
        } __attribute__((packed)) request = { .magic = htobe32(0x25609513), .kind = htobe16(kind),
                                              .length = htobe32(kind == NBD_FLUSH ? 0 : PAGE_BYTES) };
        uint32_t reply[4];

        put(fd, &request, sizeof(request));
        if (kind == NBD_WRITE)
                put(fd, page, PAGE_BYTES);
        get(fd, reply, sizeof(reply));
        if (reply[1] != 0)
                fail("the holder refuses it");
        if (kind == NBD_READ)
                get(fd, page, PAGE_BYTES);
}

int main(int argc, char **argv) {
        char host[64], port[16], capability[128], page[PAGE_BYTES];
        unsigned long long number;
        const char *name;
        int fd;

        if (argc != 2)
                return 2;
        name = argv[1];
        find_uri(host, port, capability);
        fd = reach(host, port);
        greet(fd, capability);
        ask(fd, NBD_READ, page);
        page[sizeof(page) - 1] = 0;
        number = strtoull(page, NULL, 10);
        say(name, "from", number);
        say(name, "pid", (unsigned long long) getpid());
        for (int i = 1;; i++) {
                say(name, "count", ++number);
                if (i % COUNTS_AN_EPOCH == 0) {
                        memset(page, 0, sizeof(page));
                        snprintf(page, sizeof(page), "%llu", number);
                        ask(fd, NBD_WRITE, page);
                        ask(fd, NBD_FLUSH, page);
                        say(name, "safe", number);
                }
                usleep(COUNT_USEC);
        }
}
