/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/ctl.h"

#include <errno.h>
#include <stdarg.h>

#define NAME "org.failover1"
#define PATH "/org/failover1"
#define MANAGER "org.failover1.Manager"

int ctl_fail(int code, const char *format, ...) {
        va_list ap;

        fflush(stdout);
        fputs("failoverctl: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        return code;
}

/* Names the unit, the reason and the next step. */
static int no_daemon(const struct ctl *ctl, const char *reason) {
        const char *option = ctl->user ? " --user" : "";

        return ctl_fail(CTL_NO_DAEMON,
                        "failoverd (unit failoverd.service%s) does not answer: %s\n"
                        "  next:    systemctl%s status failoverd\n"
                        "           journalctl%s -u failoverd -n 50\n"
                        "  guests and applications run on without it; without it there is no failover\n"
                        "  without failoverd these work: policy check, policy xml, simulate, replay, servers, spaces, "
                        "context, program, report, --help",
                        ctl->user ? " of your user manager" : "", reason, option, option);
}

int ctl_connect(struct ctl *ctl) {
        char reason[160];
        int r;

        if (ctl->bus)
                return CTL_OK;
        r = ctl->user ? sd_bus_open_user(&ctl->bus) : sd_bus_open_system(&ctl->bus);
        if (r >= 0)
                return CTL_OK;
        ctl->bus = NULL;
        snprintf(reason, sizeof(reason), "the %s bus cannot be reached (%s)", ctl->user ? "session" : "system",
                 r == -ENOMEDIUM ? "no address; is XDG_RUNTIME_DIR set?" : strerror(-r));
        return no_daemon(ctl, reason);
}

void ctl_disconnect(struct ctl *ctl) {
        ctl->bus = sd_bus_flush_close_unref(ctl->bus);
}

int ctl_pair_path(const char *pair, char **ret) {
        return sd_bus_path_encode(PATH "/pair", pair, ret);
}

int ctl_new_call(struct ctl *ctl, sd_bus_message **ret, const char *path, const char *interface, const char *method,
                 bool change) {
        int r = sd_bus_message_new_method_call(ctl->bus, ret, NAME, path, interface, method);

        if (r >= 0) /* looking must not start what an administrator has stopped */
                r = sd_bus_message_set_auto_start(*ret, false);
        if (r >= 0 && change)
                r = sd_bus_message_set_allow_interactive_authorization(*ret, true);
        return r;
}

static bool is_absent(const sd_bus_error *error) {
        return sd_bus_error_has_names(error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                                      SD_BUS_ERROR_DISCONNECTED, "org.freedesktop.systemd1.NoSuchUnit");
}

int ctl_call_failed(struct ctl *ctl, const sd_bus_error *error, int r) {
        if (sd_bus_error_is_set(error) && is_absent(error))
                return no_daemon(ctl, ctl->user ? "it is not on the session bus" : "it is not on the system bus");
        if (sd_bus_error_has_names(error, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT) || r == -ETIMEDOUT)
                return no_daemon(ctl, "it is on the bus but has not answered in 5 s");
        if (r == -ENOTCONN || r == -ECONNRESET)
                return no_daemon(ctl, "the connection to the bus has ended");
        if (sd_bus_error_has_names(error, SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_METHOD) && ctl->n_args > 0)
                return ctl_fail(CTL_FAILED, "no pair is called \"%s\"; `failoverctl status` lists them", ctl->args[0]);
        if (sd_bus_error_is_set(error))
                return ctl_fail(CTL_FAILED, "%s", error->message && *error->message ? error->message : error->name);
        return ctl_fail(CTL_FAILED, "%s", strerror(-r));
}

static int call(struct ctl *ctl, const char *method, bool change, char **ret, const char *types, va_list ap) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *text;
        char *copy;
        int r;

        r = ctl_connect(ctl);
        if (r != CTL_OK)
                return r;
        r = ctl_new_call(ctl, &message, PATH, MANAGER, method, change);
        if (r >= 0 && types && *types)
                r = sd_bus_message_appendv(message, types, ap);
        if (r >= 0)
                r = sd_bus_call(ctl->bus, message, change ? USEC_INFINITY : CTL_READ_TIMEOUT_USEC, &error, &reply);
        if (r < 0)
                return ctl_call_failed(ctl, &error, r);
        if (!ret)
                return CTL_OK;
        r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return ctl_call_failed(ctl, &error, r);
        copy = strdup(text);
        if (!copy)
                return ctl_fail(CTL_FAILED, "out of memory");
        *ret = copy;
        return CTL_OK;
}

int ctl_read(struct ctl *ctl, const char *method, char **ret, const char *types, ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = call(ctl, method, false, ret, types, ap);
        va_end(ap);
        return r;
}

int ctl_change(struct ctl *ctl, const char *method, char **ret, const char *types, ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = call(ctl, method, true, ret, types, ap);
        va_end(ap);
        return r;
}

int ctl_read_json(struct ctl *ctl, const char *method, struct json_object **ret, const char *types, ...) {
        _cleanup_free_ char *text = NULL;
        struct json_object *object;
        va_list ap;
        int r;

        va_start(ap, types);
        r = call(ctl, method, false, &text, types, ap);
        va_end(ap);
        if (r != CTL_OK)
                return r;
        object = json_tokener_parse(text);
        if (!object || get_number(object, "version") != 1) {
                json_object_put(object);
                return ctl_fail(CTL_FAILED,
                                "failoverd has answered with a document that this failoverctl does not know; "
                                "are both of the same version?");
        }
        *ret = object;
        return CTL_OK;
}

int ctl_print_json(struct json_object *object) {
        int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;

        puts(json_object_to_json_string_ext(object, flags));
        return CTL_OK;
}

int ctl_print_text(const struct ctl *ctl, const char *kind, const char *text) {
        _cleanup_json_ struct json_object *root = NULL;

        if (!ctl->json) {
                fputs(text, stdout);
                return CTL_OK;
        }
        root = json_object_new_object();
        if (!root || json_object_object_add(root, "version", json_object_new_int(1)) < 0 ||
            json_object_object_add(root, "kind", json_object_new_string(kind)) < 0 ||
            json_object_object_add(root, "text", json_object_new_string(text)) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return ctl_print_json(root);
}

int ctl_read_file(const char *path, size_t max, char **ret) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        _cleanup_free_ char *text = NULL;
        size_t n = 0, room = 64 * KIB;

        if (!f)
                return ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
        for (size_t got = 1; got > 0 && n <= max; n += got) {
                char *grown = text && n < room ? text : realloc(text, (room = n < room ? room : room * 2) + 1);

                if (!grown)
                        return ctl_fail(CTL_FAILED, "out of memory");
                text = grown;
                got = fread(text + n, 1, room - n, f);
        }
        if (ferror(f))
                return ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
        if (n > max)
                return ctl_fail(CTL_FAILED, "%s: longer than %zu MiB", path, (size_t) (max / MIB));
        if (memchr(text, 0, n))
                return ctl_fail(CTL_FAILED, "%s: it holds a NUL byte", path);
        text[n] = 0;
        *ret = steal_ptr(text);
        return CTL_OK;
}
