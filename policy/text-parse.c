/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "policy/check.h"
#include "policy/reader.h"

DEFINE_CLEANUP(struct policy *, policy_free)
DEFINE_CLEANUP(struct node *, node_free)

/* Gives side B what side A got, for a block that does not tell the sides apart. What B has already, under a mistyped
 * key, it keeps. */
static int mirror_side(struct application *application, const struct key *key) {
        const struct application_side *a = &application->sides[SIDE_A];
        struct application_side *b = &application->sides[SIDE_B];

        if (strcmp(key->name, "stop") == 0)
                return b->stop.n_words > 0 ? 0 : command_copy(&a->stop, &b->stop);
        if (strcmp(key->name, "health") == 0)
                return b->health.n_words > 0 ? 0 : command_copy(&a->health, &b->health);
        if (strcmp(key->name, "canary") == 0)
                return b->canary.n_words > 0 ? 0 : command_copy(&a->canary, &b->canary);
        if (b->unit || b->start.n_words > 0)
                return 0;
        if (a->unit) {
                b->unit = strdup(a->unit);
                if (!b->unit)
                        return -ENOMEM;
        }
        return command_copy(&a->start, &b->start);
}

static void check_one_way(struct reader *r, const struct node *node, const char *what) {
        if (node->kind == NODE_MAPPING && node_get(node, "unit") && node_get(node, "command"))
                reader_report(r, node, "%s has both a unit and a command; keep one of them", what);
}

/* Reads start, stop, health or canary: for both sides alike, or for each under "active" and "standby". */
void read_run(struct reader *r, const struct node *node, const struct key *key, void *object) {
        const struct node *active, *standby, *flat;

        read_keys(r, node, key->children, object);
        if (node->kind != NODE_MAPPING)
                return;
        active = node_get(node, "active");
        standby = node_get(node, "standby");
        flat = node_get(node, "command");
        if (!flat)
                flat = node_get(node, "unit");

        check_one_way(r, node, key->name);
        if (active)
                check_one_way(r, active, "this side");
        if (standby)
                check_one_way(r, standby, "this side");
        if ((active || standby) && flat)
                reader_report(r, node, "\"%s\" stands beside \"%s\"; write it for both sides at once or for each side, "
                              "not both", flat->key, active ? "active" : "standby");
        else if (!active && !standby && mirror_side(object, key) < 0)
                r->error = -ENOMEM;
}

/* Reads the value of a cause into a code: its word for every one is -1. */
static bool read_code(struct reader *r, const struct node *node, const struct cause_key *cause, int *ret) {
        _cleanup_free_ char *text = read_text(r, node, NAME_LEN, cause->every);
        char quoted[QUOTE_LEN];
        const char *name;
        int code;

        if (!text)
                return false;
        if (strcmp(text, cause->every) == 0) {
                *ret = -1;
                return true;
        }
        code = text[strspn(text, "0123456789")] == 0 && strlen(text) < 6 ? atoi(text) : -1;
        if (cause->cause == FAILURE_SIGNAL && code < 0) {
                name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
                code = signal_from_text(name);
        }
        if (code >= (cause->cause == FAILURE_SIGNAL) && code <= cause->code_max) {
                *ret = code;
                return true;
        }
        text_quote(text, strlen(text), quoted);
        if (cause->code_max < 0)
                reader_report(r, node, "\"%s\" is not possible here; write %s", quoted, cause->every);
        else if (cause->cause == FAILURE_SIGNAL)
                reader_report(r, node, "\"%s\" is no signal; write a name such as SEGV, a number from 1 to %d, or %s",
                              quoted, cause->code_max, cause->every);
        else
                reader_report(r, node, "\"%s\" is no exit status; write a number from 0 to %d, or %s", quoted,
                              cause->code_max, cause->every);
        return false;
}

static const char *rule_word(int i, const void *words) {
        return i < FAILURE_CAUSE_MAX ? failure_cause_to_string((enum failure_cause) i) :
               i == FAILURE_CAUSE_MAX ? "is" : NULL;
}

static const char *severity_word(int i, const void *words) {
        return severity_to_string((enum severity) i);
}

static bool read_severity(struct reader *r, const struct node *node, enum severity *ret) {
        _cleanup_free_ char *text = read_text(r, node, NAME_LEN, "minor, hard, major or critical");
        char quoted[QUOTE_LEN];
        const char *near;
        enum severity severity;

        if (!text)
                return false;
        severity = severity_from_string(text);
        if ((int) severity >= 0) {
                *ret = severity;
                return true;
        }
        near = nearest_word(text, severity_word, NULL);
        text_quote(text, strlen(text), quoted);
        if (near)
                reader_report(r, node, "\"%s\" is not known; did you mean \"%s\"?", quoted, near);
        else
                reader_report(r, node, "\"%s\" is not known; write minor, hard, major or critical", quoted);
        return false;
}

/* Reads one rule, such as {exit: 3, is: major}: exactly one cause, and what it is. */
static bool read_rule(struct reader *r, const struct node *node, struct severity_rule *ret) {
        const struct node *is = NULL, *cause_node = NULL;
        const char *near;
        enum failure_cause cause = FAILURE_CAUSE_INVALID, c;
        bool good = true;

        if (!expect_kind(r, node, NODE_MAPPING, "a rule such as {exit: 3, is: major}"))
                return false;
        for (const struct node *child = node->first; child; child = child->next) {
                c = failure_cause_from_string(child->key);
                if (strcmp(child->key, "is") == 0) {
                        is = child;
                } else if ((int) c < 0) {
                        near = nearest_word(child->key, rule_word, NULL);
                        if (near)
                                reader_report_key(r, child, "unknown key; did you mean \"%s\"?", near);
                        else
                                reader_report_key(r, child,
                                                  "unknown key; a rule has one of exit, signal, check, memory "
                                                  "and start, and \"is\"");
                        good = false;
                } else if (cause_node) {
                        reader_report_key(r, child, "a rule has one cause, and this is the second; write two rules");
                        good = false;
                } else {
                        cause_node = child;
                        cause = c;
                }
        }
        if (good && (!is || !cause_node))
                reader_report(r, node, "has no %s; a rule is written as {exit: 3, is: major}",
                              is ? "exit, signal, check, memory or start" : "\"is\"");
        if (!good || !is || !cause_node)
                return false;
        ret->cause = cause;
        good = read_code(r, cause_node, &cause_keys[cause], &ret->code);
        return read_severity(r, is, &ret->severity) && good;
}

static bool list_fits(struct reader *r, const struct node *node, size_t min, size_t max, const char *example) {
        if (!expect_kind(r, node, NODE_SEQUENCE, example))
                return false;
        if (node->n_children >= min && node->n_children <= max)
                return true;
        if (node->n_children < min)
                reader_report(r, node, "is empty; write %s", example);
        else
                reader_report(r, node, "has %zu entries; at most %zu are possible", node->n_children, max);
        return false;
}

/* Reads the severity rules of an application. A rule behind one that matches all it could match is pointed out. */
void read_rules(struct reader *r, const struct node *node, void *object) {
        struct application *application = object;

        if (!list_fits(r, node, 0, POLICY_RULES_MAX, "a list of rules such as [{exit: 3, is: major}]"))
                return;
        for (const struct node *child = node->first; child; child = child->next) {
                struct severity_rule rule;

                if (!read_rule(r, child, &rule))
                        continue;
                for (size_t i = 0; i < application->n_rules; i++) {
                        const struct severity_rule *before = &application->rules[i];

                        if (before->cause == rule.cause && (before->code == -1 || before->code == rule.code)) {
                                reader_warn(r, child, "is never reached: an earlier rule matches all that it does; "
                                            "move it up or leave it out");
                                break;
                        }
                }
                application->rules[application->n_rules++] = rule;
        }
}

/* Reads the target names of disks. */
void read_disks(struct reader *r, const struct node *node, void *object) {
        struct application *application = object;
        char quoted[QUOTE_LEN];

        if (!list_fits(r, node, 0, POLICY_RESOURCES_MAX, "a list of disks such as [vdb]"))
                return;
        for (const struct node *child = node->first; child; child = child->next) {
                _cleanup_free_ char *text = read_text(r, child, 16, "a disk's target name such as vdb");
                size_t n = 0;

                if (!text)
                        continue;
                while (text[n] && (islower((unsigned char) text[n]) || (n > 0 && isdigit((unsigned char) text[n]))))
                        n++;
                if (text[n]) {
                        reader_report(r, child, "\"%s\" is no disk's target name; write it as in the domain's XML, for "
                                      "instance vdb", text_quote(text, strlen(text), quoted));
                        continue;
                }
                application->disks[application->n_disks++] = steal_ptr(text);
        }
}

/* Reads a list of names. One that is no name stays empty in its place, so that places are the text's. */
void read_names(struct reader *r, const struct node *node, const struct key *key, void *object) {
        char (*names)[NAME_LEN] = (void *) ((char *) object + key->offset);
        size_t *n = (void *) ((char *) object + key->count_offset);

        if (!list_fits(r, node, key->min, key->max, "a list of names such as [one, two]"))
                return;
        for (const struct node *child = node->first; child; child = child->next)
                (void) read_name(r, child, names[(*n)++]);
}

/* Reads the memory servers. Their indices are the text's. */
void read_servers(struct reader *r, const struct node *list, const struct key *key, void *object) {
        struct policy *policy = object;

        if (!list_fits(r, list, key->min, key->max, "a list of memory servers") || list->n_children == 0)
                return;
        policy->servers = calloc(list->n_children, sizeof(*policy->servers));
        if (!policy->servers) {
                r->error = -ENOMEM;
                return;
        }
        for (const struct node *child = list->first; child; child = child->next)
                read_keys(r, child, key->children, &policy->servers[policy->n_servers++]);
}

/* Reads the VMs that stand alone. Their indices are the text's. */
void read_vms(struct reader *r, const struct node *list, const struct key *key, void *object) {
        struct policy *policy = object;

        if (!list_fits(r, list, key->min, key->max, "a list of VMs") || list->n_children == 0)
                return;
        policy->vms = calloc(list->n_children, sizeof(*policy->vms));
        if (!policy->vms) {
                r->error = -ENOMEM;
                return;
        }
        for (const struct node *child = list->first; child; child = child->next) {
                struct vm_policy *vm = &policy->vms[policy->n_vms++];

                vm_policy_init(vm);
                read_keys(r, child, key->children, vm);
        }
}

/* Reads the addresses of an application. Their meaning is checked later, with their places. */
void read_addresses(struct reader *r, const struct node *list, const struct key *key, void *object) {
        struct application *application = object;

        if (!list_fits(r, list, 0, key->max, "a list such as [{address: 192.0.2.10/24, link: eth0}]"))
                return;
        for (const struct node *child = list->first; child; child = child->next)
                read_keys(r, child, key->children, &application->addresses[application->n_addresses++]);
}

/* Reads the regions of an application's state. */
void read_regions(struct reader *r, const struct node *list, const struct key *key, void *object) {
        struct application *application = object;

        if (!list_fits(r, list, key->min, key->max, "a list such as [{region: orders, size: 256MiB, kind: 3}]"))
                return;
        for (const struct node *child = list->first; child; child = child->next) {
                struct state_region *region = &application->regions[application->n_regions++];

                region->kind = REGION_KIND_RESIDENT;
                read_keys(r, child, key->children, region);
        }
}

/* A region for which no holder is named is held by the only memory server there is. */
static void name_holders(struct policy *policy) {
        if (policy->n_servers != 1)
                return;
        for (size_t i = 0; i < policy->n_pairs; i++)
                for (size_t j = 0; j < policy->pairs[i].n_applications; j++) {
                        struct application *a = &policy->pairs[i].applications[j];

                        for (size_t k = 0; k < a->n_regions; k++)
                                if (!*a->regions[k].holder)
                                        strcpy(a->regions[k].holder, policy->servers[0].name);
                }
}

/* Reads the applications of a pair. Their indices are the text's, so that a finding's path fits both. */
void read_applications(struct reader *r, const struct node *list, const struct key *key, void *object) {
        struct pair_policy *pair = object;

        if (!list_fits(r, list, key->min, key->max, "a list of applications"))
                return;
        pair->applications = calloc(list->n_children, sizeof(*pair->applications));
        if (!pair->applications) {
                r->error = -ENOMEM;
                return;
        }
        for (const struct node *child = list->first; child; child = child->next) {
                struct application *application = &pair->applications[pair->n_applications++];

                application_init(application);
                read_keys(r, child, key->children, application);
        }
}

/* Reads the pairs. Their indices are the text's. */
void read_pairs(struct reader *r, const struct node *list, const struct key *key, void *object) {
        struct policy *policy = object;

        if (!list_fits(r, list, key->min, key->max, "a list of pairs") || list->n_children == 0)
                return;
        policy->pairs = calloc(list->n_children, sizeof(*policy->pairs));
        if (!policy->pairs) {
                r->error = -ENOMEM;
                return;
        }
        for (const struct node *child = list->first; child; child = child->next) {
                struct pair_policy *pair = &policy->pairs[policy->n_pairs++];

                pair_policy_init(pair);
                read_keys(r, child, key->children, pair);
                for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                        if (pair->members[side].memory_bytes == 0)
                                pair->members[side].memory_bytes = pair->members[side].base_bytes;
        }
}

static int parse(const char *text, size_t n, const char *name, bool in_force, struct policy **ret,
                 struct diagnostics *d) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        _cleanup_(node_freep) struct node *root = NULL;
        struct reader reader = { .d = d, .in_force = in_force };
        int r;

        r = diagnostics_set_name(d, name);
        if (r < 0)
                return r;
        r = node_parse(text, n, d, &root);
        if (r < 0) {
                diagnostics_sort(d);
                return r;
        }
        policy = policy_new();
        if (!policy)
                return -ENOMEM;
        read_keys(&reader, root, policy_keys, policy);
        name_holders(policy);
        if (reader.error >= 0)
                reader.error = policy_check(policy, root, in_force, d);
        diagnostics_sort(d);
        if (reader.error < 0)
                return reader.error;
        if (d->n_errors > 0)
                return -EINVAL;
        *ret = steal_ptr(policy);
        return 0;
}

/* Reads a policy from `n` bytes of text, which `name` stands for in messages. On success the caller owns `*ret`,
 * and `d` holds warnings at most. -EINVAL with every finding in `d`, in the order of the text; -E2BIG for a text
 * past 1 MiB, also in `d`; -ENOMEM. `d` is the caller's, empty, and released by it in any case. */
int policy_parse(const char *text, size_t n, const char *name, struct policy **ret, struct diagnostics *d) {
        return parse(text, n, name, false, ret, d);
}

int policy_parse_in_force(const char *text, size_t n, const char *name, struct policy **ret, struct diagnostics *d) {
        return parse(text, n, name, true, ret, d);
}

int policy_add_error(const char *text, size_t n, const char *path, struct diagnostics *d, const char *message) {
        _cleanup_(node_freep) struct node *root = NULL;
        const struct node *node;
        int r = node_parse(text, n, d, &root);

        if (r < 0)
                return r;
        node = node_locate(root, path);
        return diagnostics_add(d, node ? node->line : 0, node ? node->column : 0, false, path, "%s", message);
}

static int read_file(const char *path, char **ret, size_t *ret_n) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        size_t n = 0;
        ssize_t got;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        text = malloc(NODE_TEXT_MAX + 1);
        if (!text)
                return -ENOMEM;
        do {
                got = read(fd, text + n, NODE_TEXT_MAX + 1 - n);
                if (got < 0 && errno != EINTR)
                        return -errno;
                n += got > 0 ? (size_t) got : 0;
        } while (got != 0 && n <= NODE_TEXT_MAX);
        *ret = steal_ptr(text);
        *ret_n = n;
        return 0;
}

int text_load(const char *path, char **ret, size_t *ret_n, struct diagnostics *d) {
        int r;

        r = read_file(path, ret, ret_n);
        if (r < 0) {
                if (diagnostics_set_name(d, path) < 0)
                        return -ENOMEM;
                diagnostics_add(d, 0, 0, false, "", "cannot be read: %s",
                                r == -EINVAL ? "not a regular file" : strerror(-r));
        }
        return r;
}

/* Reads a policy from a regular file; otherwise as policy_parse(). A file that cannot be read is a finding too,
 * and its negative errno is returned. */
int policy_load(const char *path, struct policy **ret, struct diagnostics *d) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        int r;

        r = text_load(path, &text, &n, d);
        return r < 0 ? r : policy_parse(text, n, path, ret, d);
}
