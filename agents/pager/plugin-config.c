/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/pager/channel.h"
#include "agents/pager/plugin.h"
#include "daemon/base/cleanup.h"
#include "daemon/memserver/plugin-value.h"

/* A server takes half of the deadline, for the mirror's, from 20 ms to 10 minutes. */
#define TIME_MIN_USEC (40 * USEC_PER_MSEC)
#define DEADLINE_MAX_USEC (600 * USEC_PER_SEC)
#define PATIENCE_MAX_USEC (3600 * USEC_PER_SEC)
#define PARAMETER_LEN 1024 /* one line of a file of them */

struct spread_options plugin_options = {
        .pager = {
                .mirror = true,
                .deadline_usec = USEC_PER_SEC,
                .patience_usec = 30 * USEC_PER_SEC,
                .n_connections = 4,
                .fill_rate_bytes = 64 * MIB,
                .tls_required = true,
                .tell = plugin_tell,
        },
        .returned = RETURN_ASKED,
        .decided = DECIDED_ARBITRATOR,
        .warn = plugin_warn,
};
bool plugin_lock = true;
char *plugin_alive_path;

static char *psk_file, *certificates, *status_path, *discovery_key; /* owned; the options borrow them */

const char plugin_config_help[] =
        "size=SIZE              (required) of the disk\n"
        "server=CONTROL,URI     (required) control socket of a memory server, and its NBD URI without an export\n"
        "                       name; the first is the primary at first, others its mirrors; up to 6\n"
        "node=NAME              (required) node, VM or process, and name of the space\n"
        "owner=NAME             (required)\n"
        "space=NAME             (default: swap)\n"
        "mirror=yes|no          each page at two servers (default: yes, where there are two)\n"
        "save=fixed|per-save    all pages at one server, or each at one that is chosen anew (default: fixed)\n"
        "return=asked|remembered  pages may move between servers, and are found again (default: asked)\n"
        "resume=yes|no          no new space, where nothing of an earlier pager's is found (default: no)\n"
        "keep=yes|no            leave the space behind at the end (default: no)\n"
        "decided=arbitrator|broadcast  who knows how much room servers have (default: arbitrator)\n"
        "discovery=ADDR:PORT    of the arbitrator, or to broadcast to (UDP); without it each server is asked\n"
        "discovery-key=FILE     that servers, clients and arbitrator share\n"
        "deadline=TIME          for a server's answer (default: 1s)\n"
        "patience=TIME          how long requests wait before pages are given up (default: 30s)\n"
        "connections=N          to the primary (default: 4)\n"
        "bandwidth=SIZE         a second, at most\n"
        "fill-rate=SIZE         a second, of a new mirror (default: 64MiB)\n"
        "psk=FILE               TLS keys\n"
        "certificates=DIR       TLS certificates\n"
        "tls-required=yes|no    no server without TLS, other than on unix sockets (default: yes)\n"
        "status=FILE            where to say how it is\n"
        "alive=FILE             locked for as long as the pager lives; one pager a file\n"
        "lock=yes|no            keep the pager in memory (default: yes)\n"
        "parameters=FILE        more of these, KEY=VALUE, one a line";

static int read_time(const char *key, const char *value, usec_t most_usec, usec_t *ret) {
        char least[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
        usec_t time;

        if (duration_parse(value, &time) < 0)
                return plugin_value_refuse(key, value, "not a time, which is a number and its unit, such as 500ms");
        if (time >= TIME_MIN_USEC && time <= most_usec) {
                *ret = time;
                return 0;
        }
        nbdkit_error("%s=%s: it is at least %s and at most %s", key, value, duration_format(least, TIME_MIN_USEC),
                     duration_format(most, most_usec));
        return -1;
}

static int read_name(const char *key, const char *value, char ret[static NAME_LEN]) {
        if (!space_word_is_valid(value) || strlen(value) >= NAME_LEN)
                return plugin_value_refuse(key, value, "a name is of letters, digits and _.:@+-, begins with a letter "
                                           "or digit and has at most 63");
        strcpy(ret, value);
        return 0;
}

static int read_server(const char *key, const char *value) {
        struct pager_server *server = &plugin_options.pager.servers[plugin_options.pager.n_servers];
        const char *comma = strchr(value, ',');

        if (plugin_options.pager.n_servers == PAGE_HOLDERS_MAX)
                return plugin_value_refuse(key, value, "6 servers are the most");
        if (*value != '/' || !comma || !strstr(comma + 1, "://"))
                return plugin_value_refuse(key, value, "not the path of a control socket, a comma and an NBD URI");
        for (size_t i = 0; i < plugin_options.pager.n_servers; i++)
                if (strncmp(plugin_options.pager.servers[i].control, value, (size_t) (comma - value)) == 0 &&
                    plugin_options.pager.servers[i].control[comma - value] == 0)
                        return plugin_value_refuse(key, value, "that server is named twice");
        server->control = strndup(value, (size_t) (comma - value));
        server->uri = strdup(comma + 1);
        plugin_options.pager.n_servers++;
        if (server->control && server->uri)
                return 0;
        return plugin_value_refuse(key, value, strerror(ENOMEM));
}

static int read_connections(const char *key, const char *value) {
        unsigned n;

        if (nbdkit_parse_unsigned(key, value, &n) < 0)
                return -1;
        if (n < 1 || n > CHANNEL_CONNECTIONS_MAX)
                return plugin_value_refuse(key, value, "1 to 16 connections");
        plugin_options.pager.n_connections = n;
        return 0;
}

static int read_save(const char *key, const char *value) {
        enum placement_save save = placement_save_from_string(value);

        if (save == PLACEMENT_SAVE_INVALID)
                return plugin_value_refuse(key, value, "fixed or per-save");
        plugin_options.save = save;
        return 0;
}

static int read_return(const char *key, const char *value) {
        enum placement_return returned = placement_return_from_string(value);

        if (returned == PLACEMENT_RETURN_INVALID)
                return plugin_value_refuse(key, value, "remembered or asked");
        plugin_options.returned = returned;
        return 0;
}

static int read_decided(const char *key, const char *value) {
        enum placement_decider decided = placement_decider_from_string(value);

        if (decided == PLACEMENT_DECIDER_INVALID)
                return plugin_value_refuse(key, value, "broadcast or arbitrator");
        plugin_options.decided = decided;
        return 0;
}

static int read_text(const char *value, const char **ret) {
        free((char *) *ret);
        *ret = strdup(value);
        return *ret ? 0 : -1;
}

/* A file of parameters, so that they stand on no command line; it names no further one. */
static int read_parameters(const char *key, const char *value) {
        _cleanup_fclose_ FILE *file = fopen(value, "re");
        char line[PARAMETER_LEN], *text;
        static bool reading;
        int r = 0;

        if (!file || reading)
                return plugin_value_refuse(key, value,
                                           reading ? "a file of parameters names no other" : strerror(errno));
        reading = true;
        while (r == 0 && fgets(line, sizeof(line), file)) {
                size_t n = strcspn(line, "\n");

                text = strchr(line, '=');
                if (line[n] != '\n' || !text) {
                        r = plugin_value_refuse(key, value, "has a line that is no KEY=VALUE, or too long");
                        break;
                }
                line[n] = 0;
                *text++ = 0;
                r = plugin_config(line, text);
        }
        if (r == 0 && ferror(file))
                r = plugin_value_refuse(key, value, "cannot be read");
        reading = false;
        return r;
}

int plugin_config(const char *key, const char *value) {
        struct pager_options *options = &plugin_options.pager;

        if (strcmp(key, "size") == 0)
                return plugin_value_size(key, value, &options->size_bytes);
        if (strcmp(key, "server") == 0)
                return read_server(key, value);
        if (strcmp(key, "node") == 0)
                return read_name(key, value, options->name.node);
        if (strcmp(key, "owner") == 0)
                return read_name(key, value, options->name.owner);
        if (strcmp(key, "space") == 0)
                return read_name(key, value, options->name.space);
        if (strcmp(key, "mirror") == 0)
                return plugin_value_bool(value, &options->mirror);
        if (strcmp(key, "save") == 0)
                return read_save(key, value);
        if (strcmp(key, "return") == 0)
                return read_return(key, value);
        if (strcmp(key, "resume") == 0)
                return plugin_value_bool(value, &options->resume);
        if (strcmp(key, "keep") == 0)
                return plugin_value_bool(value, &options->keep);
        if (strcmp(key, "decided") == 0)
                return read_decided(key, value);
        if (strcmp(key, "discovery") == 0)
                return read_text(value, &plugin_options.discovery);
        if (strcmp(key, "discovery-key") == 0)
                return plugin_value_path(value, &discovery_key);
        if (strcmp(key, "deadline") == 0)
                return read_time(key, value, DEADLINE_MAX_USEC, &options->deadline_usec);
        if (strcmp(key, "patience") == 0)
                return read_time(key, value, PATIENCE_MAX_USEC, &options->patience_usec);
        if (strcmp(key, "connections") == 0)
                return read_connections(key, value);
        if (strcmp(key, "bandwidth") == 0)
                return plugin_value_size(key, value, &options->bandwidth_bytes);
        if (strcmp(key, "fill-rate") == 0)
                return plugin_value_size(key, value, &options->fill_rate_bytes);
        if (strcmp(key, "psk") == 0)
                return plugin_value_path(value, &psk_file);
        if (strcmp(key, "certificates") == 0)
                return plugin_value_path(value, &certificates);
        if (strcmp(key, "tls-required") == 0)
                return plugin_value_bool(value, &options->tls_required);
        if (strcmp(key, "status") == 0)
                return plugin_value_path(value, &status_path);
        if (strcmp(key, "alive") == 0)
                return plugin_value_path(value, &plugin_alive_path);
        if (strcmp(key, "parameters") == 0)
                return read_parameters(key, value);
        if (strcmp(key, "lock") == 0)
                return plugin_value_bool(value, &plugin_lock);
        nbdkit_error("unknown parameter %s", key);
        return -1;
}

int plugin_config_complete(void) {
        struct pager_options *options = &plugin_options.pager;

        if (options->size_bytes == 0 || options->size_bytes % PAGE_BYTES != 0) {
                nbdkit_error("size= is missing, or no multiple of 4096 bytes");
                return -1;
        }
        if (options->n_servers == 0) {
                nbdkit_error("server= is missing: CONTROL,URI of a memory server");
                return -1;
        }
        if (!*options->name.node || !*options->name.owner) {
                nbdkit_error("node= and owner= name whose space it is, and are missing");
                return -1;
        }
        if (!*options->name.space)
                memcpy(options->name.space, "swap", sizeof("swap"));
        options->psk_file = psk_file;
        options->certificates = certificates;
        options->status_path = status_path;
        plugin_options.discovery_key = discovery_key;
        if ((plugin_options.discovery == NULL) != (plugin_options.discovery_key == NULL)) {
                nbdkit_error("discovery= and discovery-key= go together");
                return -1;
        }
        if (options->resume && plugin_options.returned != RETURN_ASKED) {
                nbdkit_error("resume=yes goes with return=asked");
                return -1;
        }
        /* An older copy of a page may be left at another server: which grant served last tells them apart. */
        if (plugin_options.save == SAVE_PER_SAVE && plugin_options.returned == RETURN_ASKED && options->n_servers > 1 &&
            !options->status_path) {
                nbdkit_error("save=per-save with return=asked goes with status=, a file by which the next pager knows "
                             "the latest copy of a page");
                return -1;
        }
        options->mirror = options->mirror && options->n_servers > 1;
        return 0;
}

void plugin_config_free(void) {
        for (size_t i = 0; i < plugin_options.pager.n_servers; i++) {
                free((char *) plugin_options.pager.servers[i].control);
                free((char *) plugin_options.pager.servers[i].uri);
        }
        free((char *) plugin_options.discovery);
        free(discovery_key);
        free(psk_file);
        free(certificates);
        free(status_path);
        free(plugin_alive_path);
}
