/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/detector.h"

#include <assert.h>

#include "policy/worst-case.h"

/* How often every second path is asked while a guest is suspected, and while it is well (to know that the path
 * works before it is needed). */
#define PROBE_SUSPECTED_USEC (100 * USEC_PER_MSEC)
#define WAKES_A_BEAT 20 /* for all pairs together: how late a beat may be, as a part of the time between two */
#define PROBE_IDLE_USEC (10 * USEC_PER_SEC)
/* The answer to one probe may have come and wait to be read, where failoverd was away for a moment: then the next is
 * asked after it has been read. */
#define PROBES_LEAST 2
#define ECHO_LOST_USEC (2 * PROBE_IDLE_USEC + USEC_PER_SEC)

/* Balloon statistics tell whole seconds and are renewed once a second, so a healthy guest's look up to two
 * seconds old. Three are silence. */
#define BALLOON_STALE_USEC WORST_CASE_BALLOON_USEC

/* A guest that gets little of a processor has more to do with it than to answer, in caches that others have filled:
 * where its QEMU waited for most of the silence, so many times as much of it is needed beside that. */
#define STARVED_FACTOR 4

/* Silence so long counts on a path too that was silent from the first question on. */
#define LONG_SILENCE_USEC (10 * USEC_PER_SEC)

void detector_init(struct detector *detector, const struct pair_policy *policy) {
        *detector = (struct detector) {
                .beat_usec = policy->beat_usec,
                .confirm_usec = policy->confirm_usec,
                .beats_missed = policy->beats_missed,
        };
}

void detector_start(struct detector *detector, usec_t now_usec) {
        detector->watching = true;
        detector->last_pong_usec = now_usec;
        detector->suspected_usec = 0;
        detector->next_beat_usec = now_usec;
        detector->next_probe_usec = now_usec;
        detector->verdict = VERDICT_ALIVE;
}

void detector_stop(struct detector *detector) {
        detector->watching = false;
        detector->suspected_usec = 0;
        detector->verdict = VERDICT_UNKNOWN;
        for (int path = 0; path < SECOND_PATH_MAX; path++) {
                detector->path_known[path] = false;
                detector->last_path_usec[path] = detector->told_usec[path] = 0;
        }
}

void detector_pong(struct detector *detector, usec_t now_usec, uint64_t nonce) {
        usec_t age;

        /* A guest under load may answer late: the answer shows that it lived when it was asked. */
        if (nonce > detector->nonce || detector->nonce - nonce > 1000)
                return;
        age = (detector->nonce - nonce) * detector->beat_usec;
        if (now_usec > age && now_usec - age > detector->last_pong_usec)
                detector->last_pong_usec = now_usec - age;
}

void detector_path(struct detector *detector, usec_t now_usec, enum second_path path, usec_t age_usec) {
        usec_t seen;

        assert(path >= 0 && path < SECOND_PATH_MAX);
        if (age_usec > now_usec)
                return; /* never heard, or no answer to the question: no evidence either way */
        seen = now_usec - age_usec;
        detector->told_usec[path] = now_usec;
        if (path == PATH_ECHO || age_usec < BALLOON_STALE_USEC)
                detector->path_known[path] = true;
        if (seen > detector->last_path_usec[path]) {
                detector->last_path_usec[path] = seen;
                detector->waited_usec = 0;
                detector->asked = 0;
        }
}

void detector_waited(struct detector *detector, usec_t waited_usec) {
        if (detector->suspected_usec == 0)
                return;
        if (detector->waited_begun)
                detector->waited_usec += waited_usec;
        detector->waited_begun = true; /* what the first look tells is of before */
}

static usec_t later(usec_t a, usec_t b) {
        return a > b ? a : b;
}

static usec_t sooner(usec_t a, usec_t b) {
        return a < b ? a : b;
}

/* How long a path must be silent to count: a balloon's time is coarse, so it gets its slack. */
static usec_t path_limit(const struct detector *detector, enum second_path path) {
        return path == PATH_BALLOON ? later(BALLOON_STALE_USEC, detector->confirm_usec) : detector->confirm_usec;
}

/* An echo that was lost while the agent still answered (somebody closed the terminal) tells nothing about a guest. */
static bool echo_works(const struct detector *detector, usec_t suspected_usec) {
        return detector->path_known[PATH_ECHO] &&
               detector->last_path_usec[PATH_ECHO] + ECHO_LOST_USEC >= suspected_usec;
}

/* The kernel's own ways to answer. An echo is asked several times within the confirm span, so the balloon's coarse
 * seconds would only delay what it already shows; a balloon that is heard after the echo went silent (somebody closed
 * the terminal) still speaks for the guest. */
static void weigh_path(const struct detector *detector, usec_t now, usec_t void_usec, struct detector_evidence *ret) {
        usec_t suspected = detector->suspected_usec ? detector->suspected_usec : now, since;

        ret->path = echo_works(detector, suspected) ? PATH_ECHO : PATH_BALLOON;
        ret->path_known = detector->path_known[ret->path];
        ret->path_limit_usec = path_limit(detector, ret->path);
        since = later(detector->last_path_usec[ret->path], void_usec);
        /* Not heard on the suspicion: what is known of it may just be old. */
        ret->path_unheard = ret->path == PATH_BALLOON && detector->told_usec[ret->path] <= suspected;
        if (ret->path == PATH_ECHO) {
                since = later(since, suspected);
                ret->path_unheard = detector->suspected_usec && detector->asked < PROBES_LEAST;
        }
        ret->balloon_speaks = ret->path == PATH_ECHO && detector->last_path_usec[PATH_BALLOON] > since &&
                              now - detector->last_path_usec[PATH_BALLOON] < path_limit(detector, PATH_BALLOON);
        ret->path_silent_usec = now > since ? now - since : 0;
        ret->waited_usec = sooner(detector->waited_usec, ret->path_silent_usec);
        ret->starved = ret->waited_usec > ret->path_silent_usec / 2;
        if (ret->starved)
                ret->path_limit_usec *= STARVED_FACTOR;
        ret->path_silent_usec -= ret->waited_usec;
}

void detector_weigh(const struct detector *detector, usec_t now_usec, usec_t void_usec, struct detector_evidence *ret) {
        usec_t heard = later(detector->last_pong_usec, void_usec);

        *ret = (struct detector_evidence) {
                .silent_usec = now_usec > heard ? now_usec - heard : 0,
                .limit_usec = detector->beat_usec * detector->beats_missed,
                .voided = void_usec > detector->last_pong_usec,
        };
        weigh_path(detector, now_usec, void_usec, ret);
}

/* True when the quickest path that has worked since boot is silent long enough. A guest without any known path cannot
 * be called hung. */
static bool path_silent(const struct detector_evidence *evidence) {
        return evidence->path_known && !evidence->path_unheard && !evidence->balloon_speaks &&
               evidence->path_silent_usec >= evidence->path_limit_usec;
}

/* No path has worked since we look, but one tells when it last did: long ago. */
static bool long_silent(const struct detector *detector, usec_t now, usec_t void_usec) {
        usec_t heard = 0, told = 0;

        for (enum second_path path = 0; path < SECOND_PATH_MAX; path++) {
                heard = later(heard, detector->last_path_usec[path]);
                told = later(told, detector->told_usec[path]);
        }
        return heard > 0 && told > detector->suspected_usec &&
               now - later(later(heard, void_usec), detector->suspected_usec) >=
                       LONG_SILENCE_USEC + detector->waited_usec;
}

static bool path_heard(const struct detector *detector, usec_t now) {
        for (enum second_path path = 0; path < SECOND_PATH_MAX; path++)
                if (detector->last_path_usec[path] > 0 &&
                    now - detector->last_path_usec[path] < path_limit(detector, path))
                        return true;
        return false;
}

static enum verdict judge(struct detector *detector, usec_t now, usec_t void_usec,
                          const struct detector_evidence *evidence) {
        if (evidence->silent_usec < evidence->limit_usec) {
                detector->suspected_usec = detector->waited_usec = detector->asked = 0;
                detector->waited_begun = false;
                return VERDICT_ALIVE;
        }
        if (detector->suspected_usec == 0) {
                detector->suspected_usec = now;
                detector->next_probe_usec = now;
        }
        if (path_silent(evidence) || long_silent(detector, now, void_usec))
                return VERDICT_HUNG;
        if (now - detector->suspected_usec >= detector->confirm_usec && path_heard(detector, now))
                return VERDICT_SILENT;
        return detector->verdict == VERDICT_SILENT ? VERDICT_SILENT : VERDICT_SUSPECTED;
}

/* When silence has lasted, if nothing is heard until then: it is noticed at that instant, not at the next beat or
 * probe. A kernel that has answered on the suspicion is given until the next probe. */
static usec_t silence_lasts(const struct detector *detector, usec_t now, const struct detector_evidence *evidence) {
        if (detector->verdict == VERDICT_ALIVE)
                return now + evidence->limit_usec - evidence->silent_usec;
        if (detector->verdict == VERDICT_SUSPECTED && evidence->path_known &&
            evidence->path_silent_usec < evidence->path_limit_usec)
                return now + evidence->path_limit_usec - evidence->path_silent_usec;
        return USEC_INFINITY;
}

enum verdict detector_look(struct detector *detector, usec_t now_usec, usec_t void_usec,
                           struct detector_wants *ret) {
        struct detector_evidence evidence;
        usec_t probe_every, in_time_usec;

        *ret = (struct detector_wants) { .wake_usec = USEC_INFINITY, .latest_usec = USEC_INFINITY };
        if (!detector->watching)
                return detector->verdict = VERDICT_UNKNOWN;

        detector_weigh(detector, now_usec, void_usec, &evidence);
        detector->verdict = judge(detector, now_usec, void_usec, &evidence);
        probe_every = detector->verdict == VERDICT_ALIVE ? PROBE_IDLE_USEC
                      : detector->verdict == VERDICT_SILENT ? detector->confirm_usec / 2
                      : now_usec - detector->suspected_usec > LONG_SILENCE_USEC ? USEC_PER_SEC
                                                            : PROBE_SUSPECTED_USEC;
        if (now_usec >= detector->next_beat_usec) {
                ret->ping = true;
                detector->nonce++;
                detector->next_beat_usec = now_usec + detector->beat_usec;
        }
        if (now_usec >= detector->next_probe_usec) {
                ret->probe = true;
                detector->asked += detector->suspected_usec > 0;
                detector->next_probe_usec = now_usec + probe_every;
        }
        in_time_usec = sooner(detector->next_probe_usec, silence_lasts(detector, now_usec, &evidence));
        ret->wake_usec = sooner(detector->next_beat_usec, in_time_usec);
        ret->latest_usec = sooner(detector->next_beat_usec + detector->beat_usec / WAKES_A_BEAT, in_time_usec);
        return detector->verdict;
}

bool detector_can_tell(const struct detector *detector, usec_t now_usec) {
        return echo_works(detector, now_usec) || detector->path_known[PATH_BALLOON] ||
               detector->last_path_usec[PATH_ECHO] > 0 || detector->last_path_usec[PATH_BALLOON] > 0;
}

usec_t detector_silence(const struct detector *detector, usec_t now_usec) {
        usec_t last = detector->last_pong_usec;

        for (int path = 0; path < SECOND_PATH_MAX; path++)
                last = later(last, detector->last_path_usec[path]);
        return last == 0 ? USEC_INFINITY : now_usec - last;
}
