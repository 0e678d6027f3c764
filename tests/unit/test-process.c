/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "daemon/core/event.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/memory/resident.h"
#include "daemon/host/process.h"
#include "tests/unit/place.h"

/* A process that looks like a domain's QEMU; ends when `stdin_fd` is closed. */
struct qemu {
        pid_t pid;
        int stdin_fd;
};

static void write_pid_file(const struct place *place, pid_t pid) {
        char file[NAME_LEN + 8], text[32];

        snprintf(file, sizeof(file), "%s.pid", place->name);
        snprintf(text, sizeof(text), "%d\n", (int) pid);
        write_file(place, file, text);
}

static struct qemu qemu_start(const struct place *place, const char *guest) {
        char argument[NAME_LEN + 32], byte;
        struct qemu qemu;
        int in[2], ready[2];

        snprintf(argument, sizeof(argument), "guest=%s,debug-threads=on", guest);
        REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
        qemu.pid = fork();
        REQUIRE(qemu.pid >= 0);
        if (qemu.pid == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(ready[1], STDOUT_FILENO);
                execl(place->qemu, "qemu-system-x86_64", "-c", "echo; read line", "-name", argument, "-S", NULL);
                _exit(127);
        }
        close(in[0]);
        close(ready[1]);
        REQUIRE(read(ready[0], &byte, 1) == 1); /* it is past exec */
        close(ready[0]);
        qemu.stdin_fd = in[1];
        return qemu;
}

static void qemu_end(struct qemu *qemu) {
        close(qemu->stdin_fd);
        REQUIRE(waitpid(qemu->pid, NULL, 0) == qemu->pid);
}

/* process_find(), again while some other QEMU of this machine is just starting or ending. */
static int find(const struct place *place, int *pid, int *fd) {
        usec_t end = now_usec() + WAIT_USEC;
        int r;

        do
                r = process_find(place->dir, place->name, pid, fd);
        while (r == -EAGAIN && now_usec() < end && poll(NULL, 0, 10) == 0);
        return r;
}

static void the_process_in_the_pid_file_is_found(void) {
        _cleanup_close_ int fd = -1;
        struct place place;
        struct qemu qemu;
        int pid = 0;

        place_init(&place);
        qemu = qemu_start(&place, place.name);
        write_pid_file(&place, qemu.pid);
        REQUIRE(find(&place, &pid, &fd) == 0);
        CHECK(pid == qemu.pid);
        CHECK(!process_ended(fd));
        CHECK(process_signal(fd, SIGKILL) == 0);
        qemu_end(&qemu);
        CHECK(process_ended(fd));
        CHECK(process_signal(fd, SIGKILL) == -ESRCH);
        place_deinit(&place);
}

static void only_the_exact_name_is_taken(void) {
        struct place place;
        char longer[NAME_LEN + 4];
        struct qemu qemu;
        int pid, fd;

        place_init(&place);
        snprintf(longer, sizeof(longer), "%sb", place.name);
        qemu = qemu_start(&place, longer);
        write_pid_file(&place, qemu.pid);
        CHECK(find(&place, &pid, &fd) == -ESRCH);
        qemu_end(&qemu);
        place_deinit(&place);
}

static void a_number_used_anew_is_not_taken(void) {
        struct place place;
        int pid, fd;

        place_init(&place);
        write_pid_file(&place, getpid());
        CHECK(find(&place, &pid, &fd) == -ESRCH);
        place_deinit(&place);
}

static void absence_is_proven_against_all_processes(void) {
        struct place place;
        struct qemu qemu;
        int pid, fd;

        place_init(&place);
        CHECK(find(&place, &pid, &fd) == -ESRCH);
        qemu = qemu_start(&place, place.name);
        CHECK(find(&place, &pid, &fd) == -EEXIST);
        /* dead, and not collected by its parent yet */
        REQUIRE(kill(qemu.pid, SIGKILL) == 0);
        REQUIRE(waitid(P_PID, (id_t) qemu.pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT) == 0);
        write_pid_file(&place, qemu.pid);
        CHECK(find(&place, &pid, &fd) == -ESRCH);
        qemu_end(&qemu);
        place_deinit(&place);
}

static void names_that_are_paths_are_refused(void) {
        static const char *const bad[] = { "", ".", "../vm", "a/b", ".vm", "vm a", "vm\n", "-vm" };
        char longest[NAME_LEN + 1];
        int pid, fd;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                CHECK(process_find("/run", bad[i], &pid, &fd) == -EINVAL);
        memset(longest, 'a', NAME_LEN);
        longest[NAME_LEN] = '\0';
        CHECK(process_find("/run", longest, &pid, &fd) == -EINVAL);
}

static void a_stopped_process_is_seen_to_be_stopped(void) {
        struct process_stat stat;
        struct place place;
        struct qemu qemu;

        place_init(&place);
        qemu = qemu_start(&place, place.name);
        REQUIRE(kill(qemu.pid, SIGSTOP) == 0);
        REQUIRE(waitpid(qemu.pid, NULL, WUNTRACED) == qemu.pid);
        REQUIRE(process_read_stat(qemu.pid, &stat) == 0);
        CHECK(stat.state == 'T');
        REQUIRE(kill(qemu.pid, SIGKILL) == 0);
        qemu_end(&qemu);
        CHECK(process_read_stat(qemu.pid, &stat) == -ESRCH);
        REQUIRE(process_read_stat(getpid(), &stat) == 0);
        CHECK(stat.state == 'R');
        place_deinit(&place);
}

static void pid_files_are_looked_for_by_uri(void) {
        char dir[PATH_MAX], small[8];

        setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
        CHECK(process_run_dir("qemu:///system", dir, sizeof(dir)) == 0);
        CHECK_TEXT(dir, "/run/libvirt/qemu");
        CHECK(process_run_dir("qemu+unix:///session?socket=/s", dir, sizeof(dir)) == 0);
        CHECK_TEXT(dir, geteuid() == 0 ? "/run/libvirt/qemu" : "/run/user/1/libvirt/qemu/run");
        CHECK(process_run_dir("qemu:///system", small, sizeof(small)) == -ENAMETOOLONG);
        unsetenv("XDG_RUNTIME_DIR");
        CHECK(process_run_dir("qemu:///session", dir, sizeof(dir)) == (geteuid() == 0 ? 0 : -ENOENT));
}

/* A QEMU whose process is watched, and what is told of its end. */
struct watched {
        struct place place;
        struct qemu qemu;
        sd_event *loop;
        struct process *process;
        int pidfd;
        unsigned n_gone;
        int how;
};

static void note_gone(struct process *process, int how, void *userdata) {
        struct watched *w = userdata;

        w->n_gone++;
        w->how = how;
}

static void watched_init(struct watched *w) {
        int pid;

        *w = (struct watched) { 0 };
        place_init(&w->place);
        REQUIRE(sd_event_new(&w->loop) >= 0);
        w->qemu = qemu_start(&w->place, w->place.name);
        write_pid_file(&w->place, w->qemu.pid);
        REQUIRE(find(&w->place, &pid, &w->pidfd) == 0);
        REQUIRE(process_new(w->loop, pid, w->pidfd, process_end_is_told(), note_gone, w, &w->process) == 0);
}

static void watched_deinit(struct watched *w) {
        process_free(w->process);
        sd_event_unref(w->loop);
        place_deinit(&w->place);
}

static void the_end_of_a_process_is_told_once(void) {
        struct watched w;

        watched_init(&w);
        CHECK(process_pid(w.process) == w.qemu.pid && process_pidfd(w.process) == w.pidfd);
        REQUIRE(sd_event_run(w.loop, 0) >= 0);
        CHECK(w.n_gone == 0);
        qemu_end(&w.qemu);
        CHECK(run_until(w.loop, &w.n_gone, 1));
        REQUIRE(sd_event_run(w.loop, 0) >= 0);
        CHECK(w.n_gone == 1);
        watched_deinit(&w);
}

static bool kernel_tells_signals(void) {
        unsigned major = 0, minor = 0;
        struct utsname system;

        REQUIRE(uname(&system) == 0 && sscanf(system.release, "%u.%u", &major, &minor) == 2);
        return major > 6 || (major == 6 && minor >= 15);
}

/* Ends a process by that signal, or has it end by itself (0); returns what is told. */
static int told_of(int signal_number) {
        struct watched w;

        watched_init(&w);
        REQUIRE(signal_number ? kill(w.qemu.pid, signal_number) == 0 : write(w.qemu.stdin_fd, "end\n", 4) == 4);
        CHECK(run_until(w.loop, &w.n_gone, 1));
        CHECK(w.how == (kernel_tells_signals() ? PROCESS_END_TO_BE_TOLD : 0)); /* its parent has not taken notice */
        qemu_end(&w.qemu);
        while (sd_event_run(w.loop, 0) > 0)
                ;
        watched_deinit(&w);
        return w.how;
}

static void how_a_process_ended_is_told_where_the_kernel_knows(void) {
        bool tells = kernel_tells_signals();

        CHECK(process_end_is_told() == tells);
        CHECK(told_of(SIGKILL) == (tells ? SIGKILL : 0));
        CHECK(told_of(SIGTERM) == (tells ? PROCESS_ENDED_AS_ASKED : 0));
        CHECK(told_of(0) == (tells ? PROCESS_ENDED_AS_ASKED : 0));
}

static void process_that_ended_by_itself_with_an_error_was_not_asked_to(void) {
        struct watched w;

        watched_init(&w);
        qemu_end(&w.qemu); /* the end of its input is an error to it */
        CHECK(run_until(w.loop, &w.n_gone, 1));
        while (sd_event_run(w.loop, 0) > 0)
                ;
        CHECK(w.how == 0);
        watched_deinit(&w);
}

static pid_t helper_start(const struct place *place, const char *user, int listen_fd) {
        char program[PATH_MAX], user_option[128], dir_option[128], pid_text[32];
        pid_t pid;

        snprintf(program, sizeof(program), "%s/daemon/helper/failoverd-helper", getenv("TEST_BUILD_DIR"));
        snprintf(user_option, sizeof(user_option), "--user=%s", user);
        snprintf(dir_option, sizeof(dir_option), "--run-dir=%s", place->dir);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                snprintf(pid_text, sizeof(pid_text), "%d", (int) getpid());
                setenv("LISTEN_PID", pid_text, 1);
                setenv("LISTEN_FDS", "1", 1);
                if (listen_fd == 3)
                        fcntl(3, F_SETFD, 0);
                else
                        dup2(listen_fd, 3);
                execl(program, program, user_option, dir_option, NULL);
                _exit(127);
        }
        return pid;
}

static void helper_end(pid_t pid) {
        int status;

        REQUIRE(kill(pid, SIGTERM) == 0);
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static const char *own_user(void) {
        const struct passwd *user = getpwuid(geteuid());

        REQUIRE(user != NULL);
        return user->pw_name;
}

static void the_helper_opens_and_signals_the_domain_s_process(void) {
        _cleanup_close_ int fd = -1, listen_fd = -1;
        struct place place;
        struct qemu qemu;
        char path[108];
        struct helper_request senseless = { .op = HELPER_SHARE, .share = { .min_bytes = 2, .low_bytes = 1 } };
        pid_t helper;
        int pid = 0, status;

        place_init(&place);
        listen_fd = listen_unix(&place, SOCK_SEQPACKET, path);
        helper = helper_start(&place, own_user(), listen_fd);
        qemu = qemu_start(&place, place.name);
        write_pid_file(&place, qemu.pid);
        REQUIRE(helper_call(path, HELPER_OPEN, place.name, WAIT_USEC, &pid, &fd) == 0);
        CHECK(pid == qemu.pid && !process_ended(fd));
        snprintf(senseless.domain, sizeof(senseless.domain), "%s", place.name);
        CHECK(helper_ask(path, &senseless, WAIT_USEC, NULL, NULL) == -ERANGE);
        CHECK(helper_call(path, HELPER_STOP, place.name, WAIT_USEC, NULL, NULL) == 0);
        CHECK(waitpid(qemu.pid, &status, WUNTRACED) == qemu.pid && WIFSTOPPED(status));
        CHECK(helper_call(path, HELPER_CONT, place.name, WAIT_USEC, NULL, NULL) == 0);
        CHECK(waitpid(qemu.pid, &status, WCONTINUED) == qemu.pid && WIFCONTINUED(status));
        CHECK(helper_call(path, HELPER_KILL, place.name, WAIT_USEC, NULL, NULL) == 0);
        CHECK(waitpid(qemu.pid, &status, 0) == qemu.pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        CHECK(process_ended(fd));
        close(qemu.stdin_fd);
        helper_end(helper);
        place_deinit(&place);
}

static void the_helper_refuses_other_users_processes_and_nonsense(void) {
        struct helper_request request = { .magic = HELPER_MAGIC, .op = HELPER_KILL };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int listen_fd = -1, client = -1;
        struct helper_reply reply;
        struct place place;
        char path[108];
        pid_t helper;

        place_init(&place);
        listen_fd = listen_unix(&place, SOCK_SEQPACKET, path);
        helper = helper_start(&place, own_user(), listen_fd);
        write_pid_file(&place, getpid()); /* or it is told that another QEMU is just ending */
        CHECK(helper_call(path, HELPER_KILL, place.name, WAIT_USEC, NULL, NULL) < 0);
        CHECK(helper_call(path, HELPER_KILL, "../vm", WAIT_USEC, NULL, NULL) == -EINVAL);
        CHECK(helper_call(path, HELPER_OP_MAX, place.name, WAIT_USEC, NULL, NULL) == -EPROTO);

        memset(request.domain, 'a', sizeof(request.domain)); /* without its end */
        strcpy(address.sun_path, path);
        client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        REQUIRE(client >= 0 && connect(client, (struct sockaddr *) &address, sizeof(address)) == 0);
        REQUIRE(send(client, &request, sizeof(request), MSG_NOSIGNAL) == (ssize_t) sizeof(request));
        CHECK(recv(client, &reply, sizeof(reply), 0) == (ssize_t) sizeof(reply) && reply.result == -EPROTO);
        helper_end(helper);

        helper = helper_start(&place, geteuid() == 0 ? "nobody" : "root", listen_fd);
        for (unsigned i = 0; i < 50; i++) /* whoever is quicker */
                CHECK(helper_call(path, HELPER_OPEN, place.name, WAIT_USEC, NULL, NULL) == -EACCES);
        helper_end(helper);
        place_deinit(&place);
        CHECK(helper_call(path, HELPER_KILL, place.name, WAIT_USEC, NULL, NULL) == -ENOTCONN);
}

/* A real QEMU, halted, with the memory of two regions: one all resident, one not touched. */
static pid_t real_qemu_start(const struct place *place) {
        char name[NAME_LEN + 16];
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid > 0)
                return pid;
        snprintf(name, sizeof(name), "guest=%s", place->name);
        execlp("qemu-system-x86_64", "qemu-system-x86_64", "-name", name, "-S", "-machine", "none", "-nodefaults",
               "-display", "none", "-object",
               "{\"qom-type\":\"memory-backend-ram\",\"id\":\"memua-db\",\"prealloc\":true,\"size\":67108864}",
               "-object",
               "{\"qom-type\":\"memory-backend-ram\",\"id\":\"memua-web\",\"size\":201326592}", NULL);
        _exit(127);
}

static void regions_of_another_users_qemu_are_sampled_through_the_helper(void) {
        static const struct app_names apps = { { "db", "none", "web" } };
        _cleanup_close_ int listen_fd = -1;
        usec_t end = now_usec() + WAIT_USEC;
        struct resident_parts parts = { 0 };
        struct drand48_data random;
        struct place place;
        pid_t helper, qemu;
        char path[108];
        int r;

        if (system("command -v qemu-system-x86_64 > /dev/null") != 0) {
                printf("skipped: no qemu-system-x86_64 here ");
                return;
        }
        srand48_r(1, &random);
        place_init(&place);
        listen_fd = listen_unix(&place, SOCK_SEQPACKET, path);
        helper = helper_start(&place, own_user(), listen_fd);
        qemu = real_qemu_start(&place);
        write_pid_file(&place, qemu);
        do /* until it has made its memory */
                r = resident_sample_regions(path, place.name, &apps, &random, &parts);
        while ((r < 0 || parts.apps[0].bytes < 64 * MIB || !parts.apps[2].known) && now_usec() < end &&
               poll(NULL, 0, 10) == 0);
        CHECK(r == 0 && parts.apps[0].known && parts.apps[0].bytes == 64 * MIB && parts.apps[0].error_bytes == 0);
        CHECK(parts.apps[2].known && parts.apps[2].bytes <= parts.apps[2].error_bytes && parts.apps[2].error_bytes > 0);
        CHECK(!parts.apps[1].known && !parts.system.known && !parts.overhead.known);
        REQUIRE(kill(qemu, SIGKILL) == 0 && waitpid(qemu, NULL, 0) == qemu);
        CHECK(resident_sample_regions(path, place.name, &apps, &random, &parts) < 0);
        helper_end(helper);
        CHECK(resident_sample_regions("/nonexistent", place.name, &apps, &random, &parts) == -ENOTCONN);
        place_deinit(&place);
}

TEST_MAIN("process",
          TEST(the_process_in_the_pid_file_is_found),
          TEST(only_the_exact_name_is_taken),
          TEST(a_number_used_anew_is_not_taken),
          TEST(absence_is_proven_against_all_processes),
          TEST(names_that_are_paths_are_refused),
          TEST(a_stopped_process_is_seen_to_be_stopped),
          TEST(pid_files_are_looked_for_by_uri),
          TEST(the_end_of_a_process_is_told_once),
          TEST(how_a_process_ended_is_told_where_the_kernel_knows),
          TEST(process_that_ended_by_itself_with_an_error_was_not_asked_to),
          TEST(the_helper_opens_and_signals_the_domain_s_process),
          TEST(regions_of_another_users_qemu_are_sampled_through_the_helper),
          TEST(the_helper_refuses_other_users_processes_and_nonsense))
