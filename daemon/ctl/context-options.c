/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/context-options.h"

#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "daemon/base/clock.h"
#include "daemon/ctl/governed.h"
#include "policy/text.h"

#define DEFAULT_CONTROL "/run/failover-memserver/control.sock"
#define DEFAULT_URI "nbd+unix:///?socket=/run/failover-memserver/nbd.sock"
#define SHOW_USEC (USEC_PER_SEC / 5)

static int cancel_fd = -1; /* becomes readable with the first Ctrl-C */
static volatile sig_atomic_t cancelled;

static void on_signal(int number) {
        static const char text[] = "\nfailoverctl: giving it up; once more ends failoverctl at once\n";
        const uint64_t one = 1;
        int saved = errno;

        cancelled = 1;
        (void) !write(cancel_fd, &one, sizeof(one));
        (void) !write(STDERR_FILENO, text, sizeof(text) - 1);
        errno = saved;
}

/* What is ignored stays so (nohup(1)). */
static void set_signals(const struct sigaction *action) {
        static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
        struct sigaction before;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
                        (void) sigaction(numbers[i], action, NULL);
}

static void take_signals(void) {
        const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | (int) SA_RESETHAND };

        cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        set_signals(&action);
}

void context_command_end_at_once(void) {
        const struct sigaction action = { .sa_handler = SIG_DFL };

        set_signals(&action);
}

/* A line that is written over, for whoever looks on. */
static int tell(void *userdata, enum context_phase phase, uint64_t done_bytes, uint64_t total_bytes) {
        struct context_command *command = userdata;
        usec_t now = clock_usec(CLOCK_BOOTTIME);

        if (isatty(STDERR_FILENO) && (now - command->told_usec >= SHOW_USEC || command->shown_phase != (int) phase)) {
                fprintf(stderr, "\r\033[K%s", context_phase_to_string(phase));
                if (total_bytes > 0)
                        fprintf(stderr, ": %llu of %llu MiB", (unsigned long long) (done_bytes / MIB),
                                (unsigned long long) (total_bytes / MIB));
                command->told_usec = now;
                command->shown_phase = (int) phase;
        }
        return cancelled;
}

void context_command_done(struct context_command *command) {
        if (command->shown_phase >= 0)
                fputs("\r\033[K", stderr);
        command->shown_phase = -1;
}

static int permit(void *userdata, const char *vm, enum context_act act, struct error *error) {
        const struct context_command *command = userdata;
        const struct governed_ask ask = {
                .uri = command->job.uri,
                .vm = vm,
                .policy = command->policy_path,
                .starts = act == CONTEXT_STARTS,
                .force = command->job.force,
        };

        return governed_permit(&ask, error);
}

/* CONTROL,URI as for the pager. */
static int take_words(struct context_command *command, const char *text) {
        struct context_server *server = &command->servers.at[command->servers.n];
        char *word = strdup(text), *comma = word ? strchr(word, ',') : NULL;

        if (!word)
                return ctl_fail(CTL_FAILED, "out of memory");
        command->words[command->servers.n++] = word;
        if (!comma || !strstr(comma + 1, "://"))
                return ctl_fail(CTL_USAGE, "--server takes the name of a memory server of the policy, or the path of "
                                           "its control socket, a comma and its NBD URI, not \"%s\"", text);
        *comma = 0;
        *server = (struct context_server) { .control = word, .uri = comma + 1, .tls_required = true };
        return CTL_OK;
}

static int load_policy(struct context_command *command, const char *path) {
        struct diagnostics d = { 0 };
        int r;

        if (command->policy)
                return CTL_OK;
        r = policy_load(path, &command->policy, &d);
        if (r < 0)
                diagnostics_print(&d, stderr);
        diagnostics_deinit(&d);
        return r < 0 ? ctl_fail(CTL_FAILED, "%s, where memory servers have names, cannot be read", path) : CTL_OK;
}

static int take_name(struct context_command *command, const char *path, const char *name) {
        int r = load_policy(command, path), i;

        if (r != CTL_OK)
                return r;
        i = policy_find_server(command->policy, name);
        if (i < 0)
                return ctl_fail(CTL_USAGE, "%s names no memory server \"%s\"", path, name);
        (void) context_servers_add(&command->servers, &command->policy->servers[i]); /* as many as --server */
        return CTL_OK;
}

static int take_servers(struct context_command *command, const struct ctl *ctl) {
        const char *path = ctl->policy ? ctl->policy : CTL_POLICY_PATH;

        if (ctl->n_servers == 0)
                command->servers.at[command->servers.n++] =
                        (struct context_server) { .control = DEFAULT_CONTROL, .uri = DEFAULT_URI };
        for (int i = 0; i < ctl->n_servers; i++) {
                int r = *ctl->servers[i] == '/' ? take_words(command, ctl->servers[i])
                                                : take_name(command, path, ctl->servers[i]);
                if (r != CTL_OK)
                        return r;
        }
        return CTL_OK;
}

static int take_paths(struct context_command *command, const struct ctl *ctl) {
        int r = context_spool_default(&command->spool, &command->key);

        if (r < 0)
                return r == -ENOENT ? ctl_fail(CTL_USAGE, "neither XDG_CACHE_HOME nor HOME is set, where the key is to "
                                                          "be")
                                    : ctl_fail(CTL_FAILED, "out of memory");
        r = CTL_OK;
        if (ctl->spool) { /* the key stays where it is */
                free(command->spool);
                command->spool = realpath(ctl->spool, NULL);
                if (!command->spool)
                        return ctl_fail(CTL_FAILED, "%s: %s", ctl->spool, strerror(errno));
        }
        if (r == CTL_OK && ctl->key) {
                free(command->key);
                command->key = strdup(ctl->key);
                if (!command->key)
                        return ctl_fail(CTL_FAILED, "out of memory");
        }
        if (r == CTL_OK && ctl->xml)
                r = ctl_read_file(ctl->xml, CONTEXT_XML_MAX, &command->xml);
        return r;
}

int context_command_init(struct context_command *command, const struct ctl *ctl) {
        int r;

        *command = (struct context_command) { .servers.cancel_fd = -1, .shown_phase = -1 };
        r = take_servers(command, ctl);
        if (r == CTL_OK)
                r = take_paths(command, ctl);
        if (r != CTL_OK)
                return r;
        take_signals();
        command->servers.cancel_fd = cancel_fd;
        command->policy_path = ctl->policy ? ctl->policy : CTL_POLICY_PATH;
        command->job = (struct context_job) {
                .servers = &command->servers,
                .uri = ctl->on ? ctl->on : ctl->user ? "qemu:///session" : "qemu:///system",
                .spool = command->spool,
                .key = command->key,
                .xml = command->xml,
                .persistent = ctl->persist,
                .keep = ctl->keep,
                .force = ctl->force,
                .dry_run = ctl->dry_run,
                .progress = { tell, command },
                .permit = permit,
                .userdata = command,
        };
        return CTL_OK;
}

void context_command_deinit(struct context_command *command) {
        context_command_done(command);
        for (size_t i = 0; i < CONTEXT_SERVERS_MAX; i++)
                free(command->words[i]);
        if (command->policy)
                policy_free(command->policy);
        free(command->spool);
        free(command->key);
        free(command->xml);
}
