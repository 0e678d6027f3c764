/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/utf8.h"
#include "daemon/bus/bus-internal.h"

#define ERROR(name) "org.failover1.Error." name

const char *bus_error_name(int error, const char *member) {
        bool policy = strcmp(member, "ApplyPolicy") == 0 || strcmp(member, "Reload") == 0;

        switch (-error) {
        case ENOENT:
                return strcmp(member, "GetHistory") == 0 ? ERROR("NoSuchFailover") : ERROR("NoSuchPair");
        case EINVAL:
                return policy ? ERROR("InvalidPolicy") : ERROR("InvalidArgument");
        case EBUSY:
        case EAGAIN:
        case EALREADY:
        case EINPROGRESS:
                return ERROR("Busy");
        case EPERM:
        case EACCES:
        case ECANCELED:
        case EOPNOTSUPP:
        case ENOSPC:
        case EHOSTDOWN:
                return ERROR("Refused");
        case ENODATA:
                return ERROR("NoPolicy");
        case ETIMEDOUT:
        case ETIME:
                return ERROR("TimedOut");
        case ESHUTDOWN:
                return ERROR("Stopping");
        case ENOMEM:
                return SD_BUS_ERROR_NO_MEMORY;
        default:
                return ERROR("Failed");
        }
}

int bus_reply_error(sd_bus_message *message, int error, const char *text) {
        _cleanup_free_ char *whole = strdup(text && *text ? text : strerror(-error));

        if (whole)
                utf8_mend(whole);
        return sd_bus_reply_method_errorf(message, bus_error_name(error, sd_bus_message_get_member(message)), "%s",
                                          whole ? whole : strerror(-error));
}

int bus_append_text(sd_bus_message *reply, const char *text) {
        _cleanup_free_ char *whole = strdup(text ? text : "");

        if (!whole)
                return -ENOMEM;
        utf8_mend(whole);
        return sd_bus_message_append(reply, "s", whole);
}

int bus_check_name(const char *name, const char *what, sd_bus_error *ret_error) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        size_t length = strnlen(name, NAME_LEN);

        if (length == 0)
                return sd_bus_error_setf(ret_error, ERROR("InvalidArgument"), "The name of the %s is empty.", what);
        if (length == NAME_LEN)
                return sd_bus_error_setf(ret_error, ERROR("InvalidArgument"),
                                         "The name of the %s is too long: %d characters are the most.", what,
                                         NAME_LEN - 1);
        if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != length ||
            !strchr(letters, name[0]))
                return sd_bus_error_setf(ret_error, ERROR("InvalidArgument"),
                                         "The name of the %s may hold letters, digits, '_', '.' and '-' only.", what);
        return 0;
}

int bus_check_text(const char *text, size_t max, const char *what, sd_bus_error *ret_error) {
        if (strnlen(text, max + 1) > max)
                return sd_bus_error_setf(ret_error, ERROR("InvalidArgument"),
                                         "The %s is too long: %zu bytes are the most.", what, max);
        return 0;
}

int bus_find_pair(struct bus *bus, const char *name, sd_bus_error *ret_error) {
        int slot, r;

        r = bus_check_name(name, "pair", ret_error);
        if (r < 0)
                return r;
        slot = engine_find_pair(bus->interface->engine, name);
        if (slot < 0)
                return sd_bus_error_setf(ret_error, ERROR("NoSuchPair"),
                                         "No pair is called \"%s\"; `failoverctl status` lists them.", name);
        return slot;
}
