/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"

enum option_id {
        OPTION_HELP = 'h',
        OPTION_USER = 'u',
        OPTION_SYSTEM = 's',
        OPTION_JSON = 'j',
        OPTION_NO_COLOR = 'c',
        OPTION_VERSION = 'V',
        /* not for every verb; verbs name them by letter */
        OPTION_DRY_RUN = 'd',
        OPTION_FORCE = 'f',
        OPTION_FAULT = 'F',
        OPTION_LEVEL = 'L',
        OPTION_RETURN = 'r',
        OPTION_UNTIL = 'U',
        OPTION_REASON = 'R',
        OPTION_ACTIVE = 'A',
        OPTION_OUTPUT = 'o',
        OPTION_LIMIT = 'n',
        OPTION_DOMAINS = 'D',
        OPTION_FROM = 'b',
        OPTION_ALL = 'a',
        OPTION_SCENARIO = 'S',
        OPTION_RECORD = 'w',
        OPTION_SVG = 'g',
        OPTION_SINCE = 'N',
        OPTION_CSV = 'C',
        OPTION_WAIT = 'W',
        OPTION_CANCEL = 'k',
        OPTION_ON = 'H',
        OPTION_OUT = 'O',
        OPTION_IN = 'I',
        OPTION_SPOOL = 'P',
        OPTION_XML = 'X',
        OPTION_KEEP = 'K',
        OPTION_PERSIST = 'p',
        OPTION_SERVER = 'M',
        OPTION_POLICY = 'y',
        OPTION_KEY = 'Y',
};

static const struct option options[] = {
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { "user", no_argument, NULL, OPTION_USER },
        { "system", no_argument, NULL, OPTION_SYSTEM },
        { "json", no_argument, NULL, OPTION_JSON },
        { "no-color", no_argument, NULL, OPTION_NO_COLOR },
        { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
        { "force", no_argument, NULL, OPTION_FORCE },
        { "fault", required_argument, NULL, OPTION_FAULT },
        { "level", required_argument, NULL, OPTION_LEVEL },
        { "return", no_argument, NULL, OPTION_RETURN },
        { "until", required_argument, NULL, OPTION_UNTIL },
        { "reason", required_argument, NULL, OPTION_REASON },
        { "active", required_argument, NULL, OPTION_ACTIVE },
        { "output", required_argument, NULL, OPTION_OUTPUT },
        { "limit", required_argument, NULL, OPTION_LIMIT },
        { "domains", no_argument, NULL, OPTION_DOMAINS },
        { "from", required_argument, NULL, OPTION_FROM },
        { "all", no_argument, NULL, OPTION_ALL },
        { "scenario", required_argument, NULL, OPTION_SCENARIO },
        { "record", required_argument, NULL, OPTION_RECORD },
        { "svg", required_argument, NULL, OPTION_SVG },
        { "since", required_argument, NULL, OPTION_SINCE },
        { "csv", no_argument, NULL, OPTION_CSV },
        { "wait", no_argument, NULL, OPTION_WAIT },
        { "cancel", no_argument, NULL, OPTION_CANCEL },
        { "on", required_argument, NULL, OPTION_ON },
        { "out", required_argument, NULL, OPTION_OUT },
        { "in", required_argument, NULL, OPTION_IN },
        { "spool", required_argument, NULL, OPTION_SPOOL },
        { "xml", required_argument, NULL, OPTION_XML },
        { "keep", no_argument, NULL, OPTION_KEEP },
        { "persist", no_argument, NULL, OPTION_PERSIST },
        { "server", required_argument, NULL, OPTION_SERVER },
        { "policy", required_argument, NULL, OPTION_POLICY },
        { "key", required_argument, NULL, OPTION_KEY },
        { 0 },
};

#define CONTEXT_OPTIONS "dfHOIPXKpMyY"
#define PROGRAM_OPTIONS "dfpMyY"

static const struct verb verbs[] = {
        { "status", "[PAIR]", "how pairs stand, why one is not protected, what to do", 0, 1, "", verb_status },
        { "check", "[PAIR|VM]", "could it fail over right now, for each single failure?", 0, 1, "", verb_check },
        { "explain", "PAIR|VM|ID", "why it fails over, or does not; with an ID why it did", 1, 1, "", verb_explain },
        { "table", "", "who has which memory, and where it goes at a failover", 0, 0, "", verb_table },
        { "memory", "", "who manages and who uses which memory, drawn [--svg FILE]", 0, 4, "gdWk", verb_memory },
        { "memory", "assign REQUEST", "moves memory by hand: \"vm-a=-1GiB vm-b=+1GiB\" [--wait] [--dry-run] [--cancel]",
          0, 4, "gdWk", verb_memory },
        { "memory", "extend VM SIZE|RANGE", "the same for one VM; and memory release", 0, 4, "gdWk", verb_memory },
        { "history", "[PAIR|ID]", "failovers; with an ID its phases and reasons [--limit N]", 0, 1, "n", verb_history },
        { "monitor", "", "what happens, as it happens", 0, 0, "", verb_monitor },
        { "metrics", "", "OpenMetrics text", 0, 0, "", verb_metrics },
        { "switch", "PAIR", "planned move to the standby [--dry-run] [--force]", 1, 1, "df", verb_switch },
        { "return", "PAIR", "planned move back to the home side [--dry-run] [--force]", 1, 1, "df", verb_return },
        { "drill", "PAIR --fault KIND", "cause a fault, measure the recovery [--return]", 1, 1, "dFLr", verb_drill },
        { "drill", "PAIR --level LEVEL", "plan: do nothing; rehearse: without the active VM; full", 1, 1, "dFLr",
          verb_drill },
        { "pause", "[PAIR]", "do not fail over [--until T] [--reason TEXT]", 0, 1, "UR", verb_pause },
        { "resume", "[PAIR]", "end a pause, or let go on what is held", 0, 1, "", verb_resume },
        { "adopt", "PAIR --active DOMAIN", "after a lost store: say who owns the data", 1, 1, "A", verb_adopt },
        { "policy", "check FILE", "check, and show worst-case times [--domains]; needs no daemon", 1, 2, "dDf",
          verb_policy },
        { "policy", "xml FILE", "what the domains must have, as libvirt XML; needs no daemon", 1, 2, "dDf",
          verb_policy },
        { "policy", "show", "the policy in force", 1, 2, "dDf", verb_policy },
        { "policy", "apply FILE", "put a policy into force [--dry-run] [--force]", 1, 2, "dDf", verb_policy },
        { "simulate", "DIR|TIMELINE", "policy.yaml and a timeline of faults on virtual time [--record FILE]", 1, 1, "w",
          verb_simulate },
        { "replay", "FILE", "decides a recording again [--from T] [--until T] [--all] [--scenario DIR]", 1, 1, "bUaS",
          verb_replay },
        { "servers", "[CONTROL...]", "memory servers, their load and clients; needs no daemon", 0, CTL_ARGS_MAX, "",
          verb_servers },
        { "spaces", "[CONTROL...]", "spaces on memory servers, mirrors, bytes in and out [--since SPAN] [--csv]", 0,
          CTL_ARGS_MAX, "NC", verb_spaces },
        { "regions", "", "shared regions: who has the right to write them, what holders have; names of programs", 0, 3,
          "dfM", verb_regions },
        { "regions", "drop PAIR REGION", "what is left of one that is not in the policy any more [--dry-run] [--force]",
          0, 3, "dfM", verb_regions },
        { "context", "save VM NAME", "memory and processors to memory servers; the VM ends [--on URI] [--server S]...",
          1, 3, CONTEXT_OPTIONS, verb_context },
        { "context", "checkpoint VM NAME", "the same while the VM runs on; its disk files are frozen as they are", 1,
          3, CONTEXT_OPTIONS, verb_context },
        { "context", "resume NAME", "there or elsewhere, at the same point [--on URI] [--keep] [--dry-run] [--force]",
          1, 3, CONTEXT_OPTIONS, verb_context },
        { "context", "swap VM", "saves what runs as --out NAME; --in NAME goes on in its place", 1, 3,
          CONTEXT_OPTIONS, verb_context },
        { "context", "list", "contexts on memory servers; and context drop NAME, context xml NAME", 1, 3,
          CONTEXT_OPTIONS, verb_context },
        { "program", "put FILE NAME", "an executable's image to memory servers [--server S]... [--persist]", 1, INT_MAX,
          PROGRAM_OPTIONS, verb_program },
        { "program", "run NAME", "starts it from there; its pages come as it runs [--dry-run] [-- ARGUMENTS]", 1,
          INT_MAX, PROGRAM_OPTIONS, verb_program },
        { "program", "list", "programs on memory servers; and program drop NAME", 1, INT_MAX, PROGRAM_OPTIONS,
          verb_program },
        { "report", "", "a tar file for support, secrets left out [--output NAME]", 0, 0, "o", verb_report },
};

/* The verbs; those with that name, where one is given. */
static void print_verbs(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                char left[64];

                if (name && strcmp(verbs[i].name, name) != 0)
                        continue;
                snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].args);
                printf("  %-27s %s\n", left, verbs[i].help);
        }
}

static void help(void) {
        puts("failoverctl [OPTIONS] VERB ...    asks and directs failoverd\n");
        print_verbs(NULL);
        puts("\n"
             "  --user, --system   which failoverd: yours, or the system's (default)\n"
             "  --json             documents as in failover-json(7); not of pause, resume, adopt and report\n"
             "  --no-color         no colours (also with NO_COLOR set, or not on a terminal)\n"
             "  --help, --version  with a VERB: its options; failoverctl(1) has all of it");
}

static const char *option_name(int letter) {
        for (size_t i = 0; options[i].name; i++)
                if (options[i].val == letter)
                        return options[i].name;
        return "?";
}

static void help_verb(const struct verb *verb) {
        print_verbs(verb->name);
        fputs("\n  options: ", stdout);
        for (const char *letter = verb->options; *letter; letter++)
                printf("--%s%s", option_name(*letter), letter[1] ? " " : ", and ");
        puts("those of every verb (failoverctl --help)\n"
             "  failoverctl(1) says what each does");
}

/* Several rows may have the same name; they share everything but the help. */
static const struct verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

static bool takes(const struct verb *verb, int letter) {
        return !strchr("dfFLrURAonDbaSwgNCWkHOIPXKpMyY", letter) || strchr(verb->options, letter);
}

static int parse_limit(struct ctl *ctl, const char *text) {
        char *end;
        unsigned long value = strtoul(text, &end, 10);

        if (*end || end == text || value == 0 || value > 1000)
                return ctl_fail(CTL_USAGE, "--limit takes a number from 1 to 1000, not \"%s\"", text);
        ctl->limit = (unsigned) value;
        return CTL_OK;
}

/* Those of context and program alone. */
static int take_context_option(struct ctl *ctl, int letter, const char *value) {
        switch (letter) {
        case OPTION_ON:
                ctl->on = value;
                return CTL_OK;
        case OPTION_OUT:
                ctl->out = value;
                return CTL_OK;
        case OPTION_IN:
                ctl->in = value;
                return CTL_OK;
        case OPTION_SPOOL:
                ctl->spool = value;
                return CTL_OK;
        case OPTION_XML:
                ctl->xml = value;
                return CTL_OK;
        case OPTION_POLICY:
                ctl->policy = value;
                return CTL_OK;
        case OPTION_KEY:
                ctl->key = value;
                return CTL_OK;
        case OPTION_KEEP:
                ctl->keep = true;
                return CTL_OK;
        case OPTION_PERSIST:
                ctl->persist = true;
                return CTL_OK;
        case OPTION_SERVER:
                if (ctl->n_servers == CTL_SERVERS_MAX)
                        return ctl_fail(CTL_USAGE, "%d memory servers are the most", CTL_SERVERS_MAX);
                ctl->servers[ctl->n_servers++] = value;
                return CTL_OK;
        default: /* getopt has told */
                fputs("`failoverctl --help` lists them.\n", stderr);
                return CTL_USAGE;
        }
}

static int take_option(struct ctl *ctl, int letter, const char *value) {
        switch (letter) {
        case OPTION_USER:
        case OPTION_SYSTEM:
                ctl->user = letter == OPTION_USER;
                return CTL_OK;
        case OPTION_JSON:
                ctl->json = true;
                return CTL_OK;
        case OPTION_NO_COLOR:
                ctl->color = false;
                return CTL_OK;
        case OPTION_DRY_RUN:
                ctl->dry_run = true;
                return CTL_OK;
        case OPTION_FORCE:
                ctl->force = true;
                return CTL_OK;
        case OPTION_DOMAINS:
                ctl->domains = true;
                return CTL_OK;
        case OPTION_FAULT:
                ctl->fault = value;
                return CTL_OK;
        case OPTION_LEVEL:
                ctl->level = value;
                return CTL_OK;
        case OPTION_RETURN:
                ctl->go_back = true;
                return CTL_OK;
        case OPTION_UNTIL:
                ctl->until = value;
                return CTL_OK;
        case OPTION_REASON:
                ctl->reason = value;
                return CTL_OK;
        case OPTION_ACTIVE:
                ctl->active = value;
                return CTL_OK;
        case OPTION_OUTPUT:
                ctl->output = value;
                return CTL_OK;
        case OPTION_FROM:
                ctl->from = value;
                return CTL_OK;
        case OPTION_ALL:
                ctl->all = true;
                return CTL_OK;
        case OPTION_SCENARIO:
                ctl->scenario = value;
                return CTL_OK;
        case OPTION_RECORD:
                ctl->record = value;
                return CTL_OK;
        case OPTION_SVG:
                ctl->svg = value;
                return CTL_OK;
        case OPTION_SINCE:
                ctl->since = value;
                return CTL_OK;
        case OPTION_CSV:
                ctl->csv = true;
                return CTL_OK;
        case OPTION_WAIT:
                ctl->wait = true;
                return CTL_OK;
        case OPTION_CANCEL:
                ctl->cancel = true;
                return CTL_OK;
        case OPTION_LIMIT:
                return parse_limit(ctl, value);
        default:
                return take_context_option(ctl, letter, value);
        }
}

/* Reads the command line. CTL_OK with `*ret_verb` NULL: it was --help or --version, and is done. */
static int parse(struct ctl *ctl, int argc, char **argv, const struct verb **ret_verb) {
        char given[32] = "";
        int letter, n_given = 0, r;
        bool asked = false;

        while ((letter = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (letter == OPTION_VERSION) {
                        puts("failoverctl " PROJECT_VERSION);
                        *ret_verb = NULL;
                        return CTL_OK;
                }
                if (letter == OPTION_HELP) {
                        asked = true;
                        continue;
                }
                r = take_option(ctl, letter, optarg);
                if (r != CTL_OK)
                        return r;
                if (n_given + 1 < (int) sizeof(given))
                        given[n_given++] = (char) letter;
        }
        *ret_verb = optind < argc ? find_verb(argv[optind]) : NULL;
        if (optind < argc && !*ret_verb)
                return ctl_fail(CTL_USAGE, "no verb \"%s\"; `failoverctl --help` lists them", argv[optind]);
        if (asked) {
                if (*ret_verb)
                        help_verb(*ret_verb);
                else
                        help();
                *ret_verb = NULL;
                return CTL_OK;
        }
        if (optind == argc)
                return ctl_fail(CTL_USAGE, "what shall it do? `failoverctl --help` lists the verbs");
        ctl->verb = argv[optind++];
        for (int i = 0; i < n_given; i++)
                if (!takes(*ret_verb, given[i]))
                        return ctl_fail(CTL_USAGE, "%s does not take --%s; `failoverctl %s --help` lists its options",
                                        ctl->verb, option_name(given[i]), ctl->verb);
        if (argc - optind < (*ret_verb)->min_args || argc - optind > (*ret_verb)->max_args)
                return ctl_fail(CTL_USAGE, "usage: failoverctl %s %s; `failoverctl %s --help` lists its forms",
                                ctl->verb, (*ret_verb)->args, ctl->verb);
        ctl->rest = argv + optind;
        ctl->n_args = argc - optind;
        for (int i = 0; i < ctl->n_args && i < CTL_ARGS_MAX; i++)
                ctl->args[i] = argv[optind + i];
        return CTL_OK;
}

int main(int argc, char **argv) {
        const struct verb *verb = NULL;
        const char *no_color = getenv("NO_COLOR");
        struct ctl ctl = { 0 };
        int r;

        ctl.progress = isatty(STDOUT_FILENO);
        ctl.color = ctl.progress && !(no_color && *no_color);
        r = parse(&ctl, argc, argv, &verb);
        if (r == CTL_OK && verb)
                r = verb->run(&ctl);
        ctl_disconnect(&ctl);
        if (fflush(stdout) != 0 && r == CTL_OK)
                r = CTL_FAILED;
        return r;
}
