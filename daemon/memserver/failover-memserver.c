/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Starts a memory server: reads its configuration, opens its sockets and becomes nbdkit with the plugin. What nbdkit
 * brings, such as TLS, vsock and systemd's sockets, is so one line of configuration.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/config.h"
#include "daemon/memserver/listen.h"

#define DEFAULT_CONFIG "/etc/failover-memserver.yaml"
#define ARGUMENTS_MAX 64

DEFINE_CLEANUP(struct memserver_config *, memserver_config_free)

struct options {
        const char *config, *nbdkit, *plugin;
        bool check;
};

/* nbdkit's command line. What is added stays until exec. */
struct arguments {
        char *words[ARGUMENTS_MAX + 1];
        size_t n;
        bool failed;
};

static void add(struct arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct arguments *a, const char *format, ...) {
        va_list ap;
        char *word = NULL;

        va_start(ap, format);
        if (a->n == ARGUMENTS_MAX || vasprintf(&word, format, ap) < 0)
                a->failed = true;
        else
                a->words[a->n++] = word;
        va_end(ap);
}

static void build_arguments(const struct options *options, const struct memserver_config *config, struct arguments *a) {
        add(a, "%s", options->nbdkit);
        add(a, "--foreground");
        add(a, "--threads=%u", config->threads);
        if (config->tls_psk || config->tls_certificates)
                add(a, "--tls=on");
        if (config->tls_psk)
                add(a, "--tls-psk=%s", config->tls_psk);
        if (config->tls_certificates) {
                add(a, "--tls-certificates=%s", config->tls_certificates);
                add(a, "--tls-verify-peer");
        }
        add(a, "%s", options->plugin);
        if (config->tls_psk)
                add(a, "peer-psk=%s", config->tls_psk);
        if (config->tls_certificates)
                add(a, "peer-certificates=%s", config->tls_certificates);
        add(a, "memory=%" PRIu64 "B", config->memory_bytes);
        if (config->spill_file) {
                add(a, "spill=%s", config->spill_file);
                add(a, "spill-size=%" PRIu64 "B", config->spill_bytes);
        }
        if (config->persist_directory)
                add(a, "persist=%s", config->persist_directory);
        if (config->client_quota_bytes > 0)
                add(a, "client-quota=%" PRIu64 "B", config->client_quota_bytes);
        add(a, "control=%s", config->control_socket);
        for (size_t i = 0; i < config->control_users.n_words; i++)
                add(a, "control-user=%s", config->control_users.words[i]);
        if (config->discovery_listen)
                add(a, "discovery=%s", config->discovery_listen);
        if (config->discovery_arbitrator)
                add(a, "arbitrator=%s", config->discovery_arbitrator);
        if (config->discovery_key)
                add(a, "discovery-key=%s", config->discovery_key);
        add(a, "discovery-silent=%s", config->discovery_silent ? "yes" : "no");
        add(a, "tls-required=%s", config->unencrypted ? "no" : "yes");
        add(a, "lock=%s", config->lock ? "yes" : "no");
}

/* The next descriptor in the row that begins at SD_LISTEN_FDS_START. */
static int place(int fd, int *n_fds) {
        int wanted = SD_LISTEN_FDS_START + *n_fds;

        if (fd != wanted && dup2(fd, wanted) < 0)
                return -errno;
        if (fd != wanted)
                (void) close(fd);
        (*n_fds)++;
        return 0;
}

/* Opens what the configuration says, behind what systemd has given. */
static int open_sockets(const struct memserver_config *config, int *n_fds, struct error *error) {
        for (size_t i = 0; i < config->listen.n_words; i++) {
                struct listen_address address;
                int fd, r;

                r = listen_parse(config->listen.words[i], &address, error);
                if (r == 0)
                        r = listen_open(&address, &fd, error);
                if (r < 0) {
                        error_prefix(error, "listen: %s", config->listen.words[i]);
                        return r;
                }
                r = place(fd, n_fds);
                if (r < 0)
                        return error_set(error, r, "listen: %s", strerror(-r));
        }
        if (*n_fds == 0)
                return error_set(error, -EINVAL, "nothing to listen on: write listen:, or use a systemd socket");
        return 0;
}

static int announce_sockets(int n_fds) {
        char pid[32], n[32];

        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n_fds; fd++)
                if (fcntl(fd, F_SETFD, 0) < 0) /* sd_listen_fds() would have them end here */
                        return -errno;

        snprintf(pid, sizeof(pid), "%d", (int) getpid());
        snprintf(n, sizeof(n), "%d", n_fds);
        if (setenv("LISTEN_PID", pid, 1) < 0 || setenv("LISTEN_FDS", n, 1) < 0 || unsetenv("LISTEN_FDNAMES") < 0)
                return -errno;
        return 0;
}

static int run(const struct options *options, const struct memserver_config *config) {
        struct arguments arguments = { 0 };
        struct error error = ERROR_INIT;
        int n_fds = sd_listen_fds(0), r;

        if (n_fds < 0)
                n_fds = 0;
        build_arguments(options, config, &arguments);
        r = open_sockets(config, &n_fds, &error);
        if (r == 0 && arguments.failed)
                r = error_set(&error, -E2BIG, "too many arguments, or out of memory");
        if (r == 0)
                r = announce_sockets(n_fds);
        if (r == 0) {
                (void) execvp(options->nbdkit, arguments.words);
                r = error_set(&error, -errno, "%s: %s", options->nbdkit, strerror(errno));
        }
        fprintf(stderr, "failover-memserver: %s\n", error.code ? error_text(&error) : strerror(-r));
        error_deinit(&error);
        return EXIT_FAILURE;
}

static void print_help(void) {
        printf("failover-memserver [--config=FILE] [--check]\n"
               "Keeps the memory pages of clients whose own memory does not suffice.\n\n"
               "  --config=FILE  instead of " DEFAULT_CONFIG "\n"
               "  --check        say what is wrong with the configuration, and end\n"
               "  --nbdkit=FILE, --plugin=FILE  instead of those installed\n"
               "  --help, --version\n");
}

static int parse_options(int argc, char **argv, struct options *options) {
        static const struct option longs[] = {
                { "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 'k' },
                { "nbdkit", required_argument, NULL, 'n' }, { "plugin", required_argument, NULL, 'p' },
                { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'V' },
                { 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
                switch (c) {
                case 'c':
                        options->config = optarg;
                        break;
                case 'k':
                        options->check = true;
                        break;
                case 'n':
                        options->nbdkit = optarg;
                        break;
                case 'p':
                        options->plugin = optarg;
                        break;
                case 'h':
                        print_help();
                        exit(EXIT_SUCCESS);
                case 'V':
                        printf("failover-memserver " PROJECT_VERSION "\n");
                        exit(EXIT_SUCCESS);
                default:
                        return -EINVAL;
                }
        if (optind == argc)
                return 0;
        fprintf(stderr, "failover-memserver: unexpected argument \"%s\"\n", argv[optind]);
        return -EINVAL;
}

int main(int argc, char **argv) {
        _cleanup_(memserver_config_freep) struct memserver_config *config = NULL;
        struct options options = { .config = DEFAULT_CONFIG, .nbdkit = NBDKIT, .plugin = PLUGIN };
        struct diagnostics d = { 0 };
        int r;

        if (parse_options(argc, argv, &options) < 0)
                return 2;
        r = memserver_config_load(options.config, &config, &d);
        (void) diagnostics_print(&d, stderr);
        diagnostics_deinit(&d);
        if (r < 0 || options.check)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        return run(&options, config);
}
