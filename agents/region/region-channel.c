/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/region-channel.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

int region_channel_init(struct region_channel *channel, const struct region_source *source, const char *suffix,
                        unsigned n_connections) {
        *channel = (struct region_channel) { .suffix = suffix, .n_connections = n_connections };
        return region_source_copy(source, &channel->source);
}

void region_channel_drop(struct region_channel *channel) {
        if (channel->channel)
                channel->channel = channel_free(channel->channel);
}

void region_channel_deinit(struct region_channel *channel) {
        region_channel_drop(channel);
        region_source_deinit(&channel->source);
}

bool region_channel_is_up(struct region_channel *channel) {
        return channel->channel && !channel_broken(channel->channel);
}

static int connect_there(struct region_channel *channel, usec_t timeout_usec, struct error *error) {
        const struct region_source *source = &channel->source;
        _cleanup_free_ char *uri = region_uri_beside(source->uri, channel->suffix);
        struct channel_options options = {
                .peer = { .uri = uri, .deadline_usec = source->deadline_usec, .connect_usec = timeout_usec,
                          .psk_file = source->psk_file, .certificates = source->certificates,
                          .tls_required = source->psk_file || source->certificates },
                .n_connections = channel->n_connections,
                .bandwidth_bytes = source->bandwidth_bytes,
        };
        int r;

        if (!uri)
                return error_set(error, -ENOMEM, "out of memory");
        r = channel_new(&options, &channel->channel, error);
        explicit_bzero(uri, strlen(uri));
        return r;
}

int region_channel_make(struct region_channel *channel, usec_t timeout_usec, struct error *error) {
        usec_t until = clock_usec(CLOCK_BOOTTIME) + timeout_usec, now;
        int r;

        if (region_channel_is_up(channel))
                return 0;
        region_channel_drop(channel);
        r = region_source_resolve(&channel->source, timeout_usec, error);
        now = clock_usec(CLOCK_BOOTTIME);
        if (r == 0)
                r = connect_there(channel, until > now ? until - now : 1, error);
        if (r < 0) {
                region_source_doubt(&channel->source);
                return r;
        }
        if (channel->source.size_bytes > channel_size(channel->channel)) {
                region_channel_drop(channel);
                return error_set(error, -ERANGE, "the other end has less than the region's %llu bytes",
                                 (unsigned long long) channel->source.size_bytes);
        }
        channel->n_made++;
        return 0;
}
