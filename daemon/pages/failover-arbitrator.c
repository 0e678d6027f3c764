/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The arbitrator as a program: one socket, one loop, nothing kept. */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "daemon/base/clock.h"
#include "daemon/pages/arbitrator.h"
#include "daemon/pages/discovery-socket.h"

struct options {
        const char *listen, *key;
};

static void tell(void *userdata, enum guard_refusal refusal, const char *from) {
        fprintf(stderr, "<4>a datagram from %s is refused: %s; such ones are told once an hour\n", from,
                guard_refusal_to_string(refusal));
}

static void print_help(void) {
        printf("failover-arbitrator --listen=ADDRESS:PORT --key=FILE\n"
               "Knows all memory servers and their clients, and says which server the next pages go to.\n\n"
               "  --listen=ADDRESS:PORT  where servers announce themselves and clients ask, over UDP\n"
               "  --key=FILE             the key that all of them share\n"
               "  --help, --version\n");
}

static int parse_options(int argc, char **argv, struct options *options) {
        static const struct option longs[] = {
                { "listen", required_argument, NULL, 'l' }, { "key", required_argument, NULL, 'k' },
                { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'V' },
                { 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
                switch (c) {
                case 'l':
                        options->listen = optarg;
                        break;
                case 'k':
                        options->key = optarg;
                        break;
                case 'h':
                        print_help();
                        exit(EXIT_SUCCESS);
                case 'V':
                        printf("failover-arbitrator " PROJECT_VERSION "\n");
                        exit(EXIT_SUCCESS);
                default:
                        return -EINVAL;
                }
        if (optind == argc && options->listen && options->key)
                return 0;
        fprintf(stderr, "failover-arbitrator: --listen and --key are needed, and nothing else\n");
        return -EINVAL;
}

static void hear(struct arbitrator *arbitrator, struct discovery_socket *socket,
                 const struct discovery_message *message, const struct discovery_address *from) {
        usec_t now = clock_usec(CLOCK_BOOTTIME);
        struct discovery_message answer;
        static bool told;

        if (message->kind == DISCOVERY_ASK) {
                arbitrator_answer(arbitrator, message, now, &answer);
                discovery_send(socket, &answer, from);
        } else if (message->kind == DISCOVERY_ANNOUNCE && arbitrator_hear(arbitrator, message, now) < 0 && !told) {
                told = true;
                fprintf(stderr, "<4>more than %d memory servers: the further ones are not known\n",
                        DISCOVERY_ENTRIES_MAX);
        }
}

int main(int argc, char **argv) {
        struct options options = { 0 };
        struct error error = ERROR_INIT;
        struct discovery_address address, from;
        struct discovery_message message;
        struct discovery_socket *socket = calloc(1, sizeof(*socket));
        struct arbitrator *arbitrator = calloc(1, sizeof(*arbitrator));
        struct pollfd polls = { .events = POLLIN };
        int r;

        if (!socket || !arbitrator || parse_options(argc, argv, &options) < 0)
                return 2;
        r = discovery_address_parse(options.listen, &address, &error);
        if (r == 0)
                r = discovery_key_load(options.key, &socket->key, &error);
        if (r == 0)
                r = discovery_socket_open(&address, true, socket, &error);
        if (r < 0) {
                fprintf(stderr, "failover-arbitrator: %s\n", error_text(&error));
                error_deinit(&error);
                return EXIT_FAILURE;
        }
        socket->tell = tell;
        polls.fd = socket->fd;
        (void) sd_notify(0, "READY=1");
        for (;;) {
                if (poll(&polls, 1, -1) < 0 && errno != EINTR) {
                        fprintf(stderr, "failover-arbitrator: nothing can be waited for: %s\n", strerror(errno));
                        return EXIT_FAILURE;
                }
                while (discovery_receive(socket, &message, &from))
                        hear(arbitrator, socket, &message, &from);
        }
}
