/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/program.h"

#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

#define LOOK_MSEC 100 /* between two looks for a server that has it */

/* ---- put ---- */

static int open_executable(const char *path, uint64_t *ret_bytes, struct error *error) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        char magic[SELFMAG];
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(error, -errno, "%s: %s", path, strerror(errno));
        if (!S_ISREG(st.st_mode) || pread(fd, magic, sizeof(magic), 0) != sizeof(magic) ||
            memcmp(magic, ELFMAG, sizeof(magic)) != 0)
                return error_set(error, -ENOEXEC, "%s is no executable (ELF) file; of a script, put its interpreter",
                                 path);
        if ((uint64_t) st.st_size > PROGRAM_IMAGE_MAX)
                return error_set(error, -EFBIG, "%s is larger than 4 GiB", path);
        *ret_bytes = (uint64_t) st.st_size;
        return steal_fd(&fd);
}

/* Whoever is billed for it: this user. */
static void space_name(const struct program_job *job, const char *name, struct space_name *ret) {
        const struct passwd *user = getpwuid(geteuid());
        char owner[NAME_LEN];

        if (user && space_word_is_valid(user->pw_name) && strlen(user->pw_name) < sizeof(owner))
                strcpy(owner, user->pw_name);
        else
                snprintf(owner, sizeof(owner), "uid-%u", (unsigned) geteuid());
        context_space_name(job->servers, owner, name, ret);
}

static int put_into(const struct program_job *job, struct context_place *place, int fd, const struct context_key *key,
                    struct program_head *head, struct error *error) {
        int r = program_image_put(&place->io, fd, head, &job->progress, error);

        if (r == 0)
                r = context_place_check(place, error);
        if (r == 0)
                r = program_image_commit(&place->io, head, key, error);
        return r < 0 ? r : context_place_finish(place, head->put_usec, error);
}

int program_put(const struct program_job *job, const char *path, const char *name, struct program_head *ret,
                struct error *error) {
        struct program_head head = { .put_usec = clock_usec(CLOCK_REALTIME) };
        _cleanup_close_ int fd = -1;
        struct context_place place;
        struct context_key key;
        struct space_name space;
        int r = context_name_check(job->servers, name, error);

        if (r < 0)
                return r;
        fd = open_executable(path, &head.image_bytes, error);
        r = fd < 0 ? fd : context_check_free(job->servers, name, error);
        if (r == 0)
                r = context_key_load(job->key, &key, error);
        if (r < 0)
                return r;
        snprintf(head.name, sizeof(head.name), "%s", name);
        space_name(job, name, &space);
        r = context_place_new(job->servers, &space, program_space_bytes(head.image_bytes), job->persistent, &place,
                              error);
        if (r == 0) {
                r = put_into(job, &place, fd, &key, &head, error);
                if (r < 0)
                        (void) context_place_drop(&place, NULL);
                context_place_close(&place);
        }
        explicit_bzero(&key, sizeof(key));
        if (r == 0)
                *ret = head;
        else
                error_prefix(error, "program %s", name);
        return r;
}

/* ---- where it is ---- */

/* When the image there was put; 0 for what has no head that is whole. */
static uint64_t put_at(const struct context_place *place) {
        unsigned char page[PAGE_BYTES];
        struct program_head head;

        if (place->io.size_bytes < PAGE_BYTES || place->io.read(place->io.userdata, page, sizeof(page), 0) < 0 ||
            program_head_decode(page, &head, NULL) < 0)
                return 0;
        return head.put_usec;
}

/* What to read: of several whole copies that of the newest image, since one that was not reached when a program was
 * dropped has an older one; once it is being read, the same image. Of equals the server's own. */
static uint64_t rank(const struct program_source *source, const struct context_place *place) {
        const uint64_t read_usec = source->image.head.put_usec, put_usec = put_at(place);

        return read_usec == 0 ? put_usec : put_usec == read_usec;
}

/* At its server, or where a whole copy is, which remains what it is: an image is never written again, and each block
 * has a sum, so that any of it will do. */
static int look(struct program_source *source, const struct context_entry *entry, struct error *error) {
        const struct context_servers *servers = source->job->servers;
        const int primary = context_entry_primary(entry);
        struct context_place best = { 0 };
        uint64_t best_rank = 0;

        error_set(error, -ENOTCONN, "its memory server does not answer, and no other one has a whole copy");
        for (size_t i = 0; i < servers->n; i++) {
                const bool own = (int) i == primary;
                struct context_place place;
                uint64_t r;

                if ((!own && !context_entry_has_copy(entry, i)) ||
                    context_place_look_at_copy(servers, entry, i, &place, own ? error : NULL) < 0)
                        continue;
                r = rank(source, &place);
                if (best.peer && (r < best_rank || (r == best_rank && !own))) {
                        context_place_close(&place);
                        continue;
                }
                context_place_close(&best);
                best = place;
                best_rank = r;
        }
        if (!best.peer)
                return -ENOTCONN;
        if (error)
                error_deinit(error);
        source->place = best;
        source->name = entry->name;
        source->primary = best.primary;
        return 0;
}

static const struct context_entry *entry_of(const struct program_source *source, const struct context_list *list) {
        for (size_t i = 0; i < list->n; i++)
                if (space_name_equal(&list->entries[i].name, &source->name))
                        return &list->entries[i];
        return NULL;
}

/* The same space, at whatever server has it now. -ENOENT where all answer, and none does. */
static int look_again(struct program_source *source, struct error *error) {
        const struct context_servers *servers = source->job->servers;
        const struct context_entry *entry;
        size_t before = source->primary;
        struct context_list list;
        int r = context_list(servers, &list, error);

        if (r < 0)
                return r;
        entry = entry_of(source, &list);
        r = error_set(error, -ENOENT, "no memory server has it any more");
        for (size_t i = 0; i < servers->n; i++)
                if (!list.answered[i])
                        r = error_set(error, -ENOTCONN, "%s", error_text(&list.why[i]));
        if (entry)
                r = look(source, entry, error);
        context_list_deinit(&list);
        if (r == 0 && source->primary != before && source->moved)
                source->moved(source->userdata, servers->at[source->primary].control);
        return r;
}

static int trust(const struct program_job *job, const char *name, const struct program_head *head,
                 struct error *error) {
        struct context_key key;
        int r;

        if (strcmp(head->name, name) != 0)
                return error_set(error, -EBADMSG, "it says that it is program %s", head->name);
        if (job->force)
                return 0;
        r = context_key_load(job->key, &key, error);
        if (r < 0)
                return r;
        if (!program_head_is_vouched_for(head, &key))
                r = error_set(error, -EPERM, "it was not put there with the key in %s: somebody else may have made "
                              "it. Bring the key here, or vouch for it yourself by --force", job->key);
        explicit_bzero(&key, sizeof(key));
        return r;
}

static int find(const struct program_job *job, const char *name, struct program_source *source, struct error *error) {
        const struct context_entry *entry;
        struct context_list list;
        int r = context_find(job->servers, name, &list, &entry, error);

        if (r < 0)
                return r;
        if (context_entry_unfinished(entry))
                r = error_set(error, -ENODATA, "program %s %s", name, context_entry_connections(entry) > 0
                              ? "is still being put there" : "was never finished: putting it there was cut off; "
                              "drop it");
        else
                r = look(source, entry, error);
        context_list_deinit(&list);
        return r;
}

int program_source_open(const struct program_job *job, const char *name, struct program_source *ret,
                        struct error *error) {
        struct program_source source = { .job = job };
        int r = context_name_check(job->servers, name, error);

        if (r == 0)
                r = find(job, name, &source, error);
        if (r < 0)
                return r;
        r = program_image_open(&source.place.io, &source.image, error);
        if (r == 0)
                r = trust(job, name, &source.image.head, error);
        if (r < 0) {
                error_prefix(error, "program %s", name);
                program_source_deinit(&source);
        } else
                *ret = source;
        return r;
}

/* ---- reading ---- */

/* Whether its server answers, and these blocks are not there as they were put. */
static bool is_damaged(int r) {
        return r == -EBADMSG || r == -EIO;
}

/* Whether it is worth while to look for another server. */
static bool may_be_elsewhere(int r) {
        return r < 0 && !is_damaged(r) && r != -ENOMEM && r != -ECANCELED;
}

static int read_copy(struct program_source *source, const struct context_entry *entry, size_t server, void *buffer,
                     uint64_t length, uint64_t offset) {
        struct context_place place;
        int r = context_place_look_at_copy(source->job->servers, entry, server, &place, NULL);

        if (r < 0)
                return r;
        r = program_image_read(&source->image, &place.io, buffer, length, offset, NULL);
        context_place_close(&place);
        return r;
}

/* Blocks that are damaged where the program is read are maybe whole at another server, which stays what it is. What was
 * said of them remains where no server has them. */
static int read_copies(struct program_source *source, int before, void *buffer, uint64_t length, uint64_t offset,
                       struct error *error) {
        const struct context_servers *servers = source->job->servers;
        const struct context_entry *entry;
        struct context_list list;
        int r = before;

        if (context_list(servers, &list, NULL) < 0)
                return before;
        entry = entry_of(source, &list);
        for (size_t i = 0; i < servers->n && entry && r < 0; i++)
                if (i != source->primary && entry->at[i].there &&
                    read_copy(source, entry, i, buffer, length, offset) == 0)
                        r = 0;
        context_list_deinit(&list);
        if (r == 0 && error)
                error_deinit(error);
        return r;
}

int program_source_read(struct program_source *source, void *buffer, uint64_t length, uint64_t offset,
                        struct error *error) {
        const usec_t until = clock_usec(CLOCK_BOOTTIME) + PROGRAM_PATIENCE_USEC;
        int r = source->place.peer ? program_image_read(&source->image, &source->place.io, buffer, length, offset,
                                                        error)
                                   : -ENOTCONN;

        while (may_be_elsewhere(r)) {
                context_place_close(&source->place);
                r = look_again(source, error);
                if (r == 0)
                        r = program_image_read(&source->image, &source->place.io, buffer, length, offset, error);
                if (r == -ENOENT || (r < 0 && clock_usec(CLOCK_BOOTTIME) >= until)) {
                        error_prefix(error, "its memory server is lost, and there is no copy");
                        return -EIO;
                }
                if (may_be_elsewhere(r))
                        (void) poll(NULL, 0, LOOK_MSEC);
        }
        return is_damaged(r) ? read_copies(source, r, buffer, length, offset, error) : r;
}

int program_source_verify(struct program_source *source, struct error *error) {
        int r = program_image_verify(&source->image, &source->place.io, &source->job->progress, error);

        if (r < 0)
                error_prefix(error, "program %s at %s", source->image.head.name,
                             source->job->servers->at[source->primary].control);
        return r;
}

void program_source_deinit(struct program_source *source) {
        context_place_close(&source->place);
        program_image_deinit(&source->image);
}
