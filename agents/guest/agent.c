/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "agents/guest/announce.h"
#include "agents/guest/fault.h"
#include "agents/guest/log.h"
#include "agents/guest/memory.h"
#include "agents/guest/region.h"
#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"

#define LAST_WORDS_USEC (500 * USEC_PER_MSEC)

static void say_hello(struct agent *agent) {
        struct message hello = { .type = MESSAGE_HELLO, .version = PROTOCOL_VERSION };
        const struct units *units = agent->supervisor.units;

        snprintf(hello.text, sizeof(hello.text), "failover-agent %s", AGENT_VERSION);
        snprintf(hello.system, sizeof(hello.system), "%s", units ? units_system(units) : "no service manager");
        memcpy(hello.boot, agent->boot, sizeof(hello.boot));
        (void) memory_total(agent->supervisor.paths.proc_dir, &hello.bytes);
        supervisor_report(&agent->supervisor, &hello);
        link_send(agent->link, &hello, true);
}

/* The units that run, as far as somebody counts their memory. */
static size_t find_units(const struct supervisor *supervisor,
                         struct loss_share shares[static POLICY_APPLICATIONS_MAX]) {
        const struct paths *paths = &supervisor->paths;
        size_t n = 0;

        for (size_t i = 0; i < supervisor->n_apps; i++) {
                const struct supervised *app = supervisor->apps[i];
                const struct unit_status *status =
                        app->spec.run.unit ? units_status(supervisor->units, app->spec.run.unit) : NULL;
                struct loss_share share = { .unit = app->spec.run.unit };
                char text[32];

                if (!status || !status->control_group[0] ||
                    file_read(text, sizeof(text), "%s%s/memory.current", paths->cgroup_dir,
                              status->control_group) < 0 ||
                    text_number(text, "", &share.used_bytes) < 0)
                        continue;
                share.whole = app->node > 0 && loss_bytes(&supervisor->loss, paths->sys_dir, app->node) == 0;
                shares[n++] = share;
        }
        return n;
}

/* Also where the guest has more or less of it by now than when the host spoke. */
static void bound_applications(struct agent *agent) {
        struct supervisor *supervisor = &agent->supervisor;
        const struct paths *paths = &supervisor->paths;
        struct loss_share shares[POLICY_APPLICATIONS_MAX];
        size_t n = find_units(supervisor, shares);

        loss_bound(&supervisor->loss, paths->sys_dir, paths->proc_dir, paths->cgroup_dir, shares, n);
        if (supervisor->units)
                units_bound(supervisor->units, shares, n);
}

static void on_welcome(struct agent *agent, const struct message *message) {
        memcpy(agent->session, message->session, sizeof(agent->session));
        agent->host_seq = message->seq;
        link_begin_session(agent->link, agent->session);
        ask_interrupted(&agent->ask);
        loss_forget(&agent->supervisor.loss);
        say_hello(agent);
        for (size_t i = 0; i < agent->supervisor.n_apps; i++)
                supervised_repeat(agent->supervisor.apps[i]);
}

static void on_ping(struct agent *agent, const struct message *message) {
        struct message pong = { .type = MESSAGE_PONG, .nonce = message->nonce };

        pong.bytes = region_have(&agent->supervisor, -1);
        bound_applications(agent);
        supervisor_report(&agent->supervisor, &pong);
        link_send(agent->link, &pong, true);
}

static void on_fault(struct agent *agent, const struct message *message) {
        int r;

        /* A stand-in for the host is no virtual machine's host: what would be a drill there is damage here. */
        if (agent->transport->is_test && strcmp(message->text, "agent-stop") != 0)
                r = -EPERM;
        else if (strcmp(message->text, "panic") != 0 && strcmp(message->text, "hang") != 0 &&
                 strcmp(message->text, "agent-stop") != 0)
                r = -EINVAL;
        else {
                supervisor_answer(&agent->supervisor, "", message->id, 0, 0, "%s", message->text);
                link_flush(agent->link, LAST_WORDS_USEC);
                log_warning("drill: %s", message->text);
                r = fault_inject(agent->supervisor.paths.proc_dir, message->text);
                if (r < 0)
                        log_error("drill: %s: %s", message->text, strerror(-r));
                return;
        }
        supervisor_answer(&agent->supervisor, "", message->id, r, 0, "%s", strerror(-r));
}

/* A region in which no application runs: what was plugged there is set online where the kernel does not do so by
 * itself. The host asks again for what is not there yet. */
static void online_region(struct agent *agent, const struct message *message) {
        uint64_t bytes;

        (void) memory_online_blocks(agent->supervisor.paths.sys_dir, message->node);
        bytes = region_have(&agent->supervisor, message->node);
        if (bytes >= message->bytes)
                supervisor_answer(&agent->supervisor, message->app, message->id, 0, bytes, "%s", "");
        else
                supervisor_answer(&agent->supervisor, message->app, message->id, -EAGAIN, bytes, "not all is online");
}

/* Messages about one application. */
static void on_application(struct agent *agent, const struct message *message) {
        static void (*const handlers[MESSAGE_TYPE_MAX])(struct supervised *, const struct message *) = {
                [MESSAGE_ATTACH] = supervised_attach, [MESSAGE_DETACH] = supervised_detach,
                [MESSAGE_START] = supervised_start,   [MESSAGE_STOP] = supervised_stop,
                [MESSAGE_RESTART] = supervised_restart, [MESSAGE_GRANT] = supervised_grant,
                [MESSAGE_REFUSE] = supervised_refuse, [MESSAGE_CHECK] = supervised_check,
                [MESSAGE_FAULT] = supervised_kill,    [MESSAGE_TOUCH] = touch_begin,
                [MESSAGE_CANARY] = canary_begin,
        };
        struct supervised *app = supervisor_find(&agent->supervisor, message->app);

        if (message->type == MESSAGE_START || message->type == MESSAGE_RESTART) {
                loss_regain(&agent->supervisor.loss, message->app, UINT64_MAX);
                overflow_look_soon(&agent->overflow);
        } else if (message->type == MESSAGE_ATTACH)
                loss_regain(&agent->supervisor.loss, message->app, message->bytes);
        if (!handlers[message->type])
                return; /* one of our own kind */
        if (app)
                handlers[message->type](app, message);
        else if (message->type == MESSAGE_STOP) /* what was never here is not running */
                supervisor_answer(&agent->supervisor, message->app, message->id, 0, 0, "unknown here");
        else if (message->type == MESSAGE_ATTACH && message->node >= 0)
                online_region(agent, message);
        else if (message->type != MESSAGE_GRANT && message->type != MESSAGE_REFUSE)
                supervisor_answer(&agent->supervisor, message->app, message->id, -ENOENT, 0, "unknown here");
}

static void dispatch(struct agent *agent, struct message *message) {
        if (message->type == MESSAGE_CONFIGURE)
                supervisor_configure(&agent->supervisor, message);
        else if (message->type == MESSAGE_PING)
                on_ping(agent, message);
        else if (message->type == MESSAGE_OVERFLOW)
                overflow_let_go(&agent->overflow, message->text);
        else if (message->type == MESSAGE_ROOM)
                overflow_note_room(&agent->overflow, message->text, message->bytes);
        else if (message->type == MESSAGE_FAULT && strcmp(message->text, "app-kill") != 0)
                on_fault(agent, message);
        else if (message->type == MESSAGE_MANAGES) {
                loss_set(&agent->supervisor.loss, message);
                bound_applications(agent);
        } else if (message->type == MESSAGE_ANSWER)
                ask_answered(&agent->ask, message);
        else if (message->type == MESSAGE_REFUSE && message->id == 0)
                log_error("the host refuses this agent: %s", message->text);
        else
                on_application(agent, message);
}

static void on_line(void *userdata, const char *line, size_t length) {
        struct agent *agent = userdata;
        struct error error = ERROR_INIT;
        struct message message;
        bool same;
        int r;

        if (length == 0)
                return;
        r = codec_decode(line, length, &message, &error);
        if (r < 0) {
                log_warning("message of the host: %s, ignoring", error_text(&error));
                error_deinit(&error);
                return;
        }
        same = strcmp(message.session, agent->session) == 0;
        if (same && message.seq > agent->host_seq && message.type != MESSAGE_WELCOME) {
                agent->host_seq = message.seq;
                dispatch(agent, &message);
        } else if (!same && message.type == MESSAGE_WELCOME)
                on_welcome(agent, &message);
        message_deinit(&message);
}

static void announce(struct agent *agent, const char *text) {
        struct message message = { .type = MESSAGE_GOING };

        snprintf(message.text, sizeof(message.text), "%s", text);
        supervisor_send(&agent->supervisor, &message);
        log_notice("this guest begins an orderly %s", text);
}

/* SIGTERM ends the agent alone: its restart or update is no failure, and what it supervises runs on. An orderly
 * stop of the guest is learned from systemd, from --announce, or from init's SIGPWR and SIGUSR2. */
static void on_signal(void *userdata, uint32_t events) {
        struct agent *agent = userdata;
        struct signalfd_siginfo info;

        if (read(agent->signal_fd, &info, sizeof(info)) != (ssize_t) sizeof(info))
                return;
        if (info.ssi_signo == SIGCHLD)
                process_table_reap(&agent->supervisor.processes);
        else if (info.ssi_signo == SIGPWR || info.ssi_signo == SIGUSR2)
                announce(agent, "shutdown");
        else {
                link_flush(agent->link, LAST_WORDS_USEC);
                loop_quit(agent->loop);
        }
}

static void on_announcement(void *userdata, uint32_t events) {
        struct agent *agent = userdata;
        char text[32];

        if (announce_receive(agent->announce_fd, text, sizeof(text)) == 0)
                announce(agent, text);
}

static int init_signals(struct agent *agent) {
        static const int handled[] = { SIGTERM, SIGINT, SIGCHLD, SIGPWR, SIGUSR2 };
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(handled); i++)
                sigaddset(&set, handled[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        agent->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (agent->signal_fd < 0)
                return -errno;
        return loop_watch(agent->loop, &agent->signals, agent->signal_fd, EPOLLIN);
}

int agent_init(struct agent *agent, const struct agent_options *options) {
        const struct link_handler handler = { on_line, agent };
        int r;

        *agent = (struct agent) {
                .transport = &options->transport, .echo.fd = -1, .cpus.fd = -1, .signal_fd = -1, .announce_fd = -1,
                .signals = { -1, on_signal, agent }, .announcements = { -1, on_announcement, agent },
        };
        if (file_read(agent->boot, 37, "/proc/sys/kernel/random/boot_id") < 0)
                strcpy(agent->boot, "0");
        r = loop_new(&agent->loop);
        if (r < 0)
                return r;
        r = init_signals(agent);
        if (r < 0)
                return r;
        r = supervisor_init(&agent->supervisor, agent->loop, &options->paths);
        if (r < 0)
                return r;
        r = supervisor_adopt(&agent->supervisor);
        if (r < 0)
                return r;
        agent->announce_fd = announce_listen(options->paths.run_dir);
        r = agent->announce_fd < 0 ? agent->announce_fd
                                   : loop_watch(agent->loop, &agent->announcements, agent->announce_fd, EPOLLIN);
        if (r < 0)
                log_warning("%s: nobody can announce there that this guest goes down: %s, ignoring",
                            options->paths.run_dir, strerror(-r));
        r = ask_init(&agent->ask, agent->loop, options->paths.run_dir);
        if (r < 0)
                log_warning("%s: nobody can ask there for memory: %s, ignoring", options->paths.run_dir, strerror(-r));
        if (!options->echo_device || strcmp(options->echo_device, "none") != 0) {
                r = tty_echo_init(&agent->echo, agent->loop, options->echo_device);
                if (r == 0 && !options->transport.is_test)
                        r = tty_echo_hold(&agent->echo, options->paths.run_dir);
                if (r < 0)
                        log_notice("%s: it does not echo for the host, so a hang is told later: %s",
                                   options->echo_device ? options->echo_device : "the echo port", strerror(-r));
        }
        /* A stand-in for the host is no virtual machine's: processors and disks here are not its to switch. */
        if (!options->transport.is_test) {
                r = cpu_watch_init(&agent->cpus, agent->loop, options->paths.sys_dir);
                if (r < 0)
                        log_warning("processors that the host plugs are not set online, do it by hand: %s",
                                    strerror(-r));
                overflow_init(&agent->overflow, &agent->supervisor.processes, &agent->supervisor.paths);
        }
        r = link_new(agent->loop, &options->transport, &handler, &agent->link);
        agent->supervisor.link = agent->ask.link = agent->link;
        return r;
}

int agent_run(struct agent *agent) {
        return loop_run(agent->loop);
}

void agent_deinit(struct agent *agent) {
        if (!agent->loop)
                return;
        tty_echo_deinit(&agent->echo);
        cpu_watch_deinit(&agent->cpus);
        overflow_deinit(&agent->overflow);
        ask_deinit(&agent->ask);
        loop_unwatch(agent->loop, &agent->signals);
        loop_unwatch(agent->loop, &agent->announcements);
        closep(&agent->signal_fd);
        closep(&agent->announce_fd);
        supervisor_deinit(&agent->supervisor);
        agent->link = link_free(agent->link);
        agent->loop = loop_free(agent->loop);
}
