/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The language of faults (failover-timeline(7)). One line each, `#` begins a comment:
 *
 *   TIME WHAT ARGUMENTS     at that time: "10s", "12500ms"; "+500ms" after the line before
 *   show from TIME          print nothing before (a header)
 *   seed NUMBER             latencies and losses vary, the same for the same number (a header)
 *   TIME end                the run ends; without it 60 s after the last line
 *
 * VM is a domain's name, APP an application's ("APP" or "PAIR/APP"), SWITCH is on or off.
 *
 *   panic VM | hang VM | unhang VM            the guest's kernel
 *   reboot|shutdown VM announced|unannounced  the guest stops by itself
 *   reset VM                                  the guest is reset in the same QEMU
 *   qemu-kill VM | qemu-stop VM | qemu-cont VM  signals to QEMU
 *   watchdog VM | io-error VM [reported] | memory-failure VM SIZE [APP]
 *   suspend|resume|destroy|save|migrate|start VM  an operator at virsh
 *   resume-suspended VM                       the same, only of what an operator suspended
 *   fail APP signal N|exit N|check N|memory [hard]  where it runs
 *   agent-kill VM | agent-stop VM | agent-cont VM
 *   cut VM DURATION | lag VM DURATION | lose VM PERCENT  the agent's link
 *   repeat VM PERCENT                         of what the agent says it says twice, at once or seconds later
 *   lie VM PERCENT                            of what the agent says is not so
 *   lie VM started|running|stopped|failed|memory|foreign|token|ids [APP]  now
 *   out-of-memory VM                          its kernel kills the largest application, or panics where there is none
 *   start-fails|stop-sticks|check-fails|disk-sticks VM APP SWITCH
 *   canary-fails|canary-hangs VM APP SWITCH   in a rehearsal
 *   touch-fails VM SWITCH                     in a rehearsal: the memory cannot be used
 *   agent-old VM SWITCH                       its agent, from its next hello on, speaks a protocol without rehearsals,
 *                                             and does not tell what it can spare of a region
 *   start-takes VM APP DURATION
 *   guest-asks VM CHANGE                      somebody in it asks for memory of its VM: +1GiB, -512MiB
 *   reclaim SWITCH                            can memory be taken back from VMs by force? (not at first)
 *   pool-limit SWITCH                         does the kernel hold what VMs have in memory to the pool? (not at first)
 *   swap SIZE                                 the host's swap takes so much of what VMs have; at first 64GiB
 *   page-out-fails VM SWITCH | touch VM APP SIZE  the old user of a region uses it from its beginning on again
 *   others VM APP SIZE                        what else runs there uses so much of the region, as it were its own
 *   touches VM APP SIZE                       so much of its region an application uses; 0 is all
 *   host tells-signals SWITCH                 as Linux since 6.15: how a process has ended
 *   dump-takes VM DURATION                    a core dump of it
 *   plug VM PERCENT | plug-takes VM DURATION  of what it is given, for each GiB
 *   unplug VM PERCENT                         of what it is asked to give up
 *   boot-takes VM DURATION                    its next boots, until its kernel answers
 *   boot-fails VM SWITCH | domain-start-fails VM SWITCH | kill-sticks VM SWITCH
 *   echo VM SWITCH | balloon VM SWITCH        second paths
 *   preflight VM autostart|channel|requested|device|huge-pages|kvm SWITCH   on: it is so
 *   libvirt down|hang DURATION | libvirt twice SWITCH | domain-hang VM DURATION
 *   libvirt fails N [done]                    the Nth call from then on; done: it has had its effect
 *   calls-fail VM PERCENT                     of libvirt's calls on it, some after they had their effect
 *   starve VM DURATION                        its QEMU waits for a processor
 *   crowd VM DURATION                         it gets a quarter of one: the guest is slow, and checks time out
 *   holder down|slow DURATION | holder refuses SWITCH | holder loses   the memory server of all shared regions
 *   mirror down DURATION                      the one that mirrors those that have a mirror
 *   store stall|fail DURATION | store lost    found at failoverd's next start
 *   store tear                                the next write to disk damages all that is there
 *   host stall DURATION | host pressure PERCENT | host power-loss DURATION
 *   host clock-forward|clock-back DURATION    its wall clock is set
 *   kill failoverd [DURATION]                 started again after that, default 1 s
 *   kill failoverd after N actions
 *   operator switch|return PAIR [dry-run|force] | operator drill PAIR FAULT [dry-run]
 *   operator rehearse PAIR
 *   operator pause PAIR|all [DURATION] | operator resume PAIR|all | operator adopt PAIR VM
 *   operator assign ITEM... | operator assign-cancel
 *   rights space SIZE EXTENT | rights show    one space of memory, its extents' managers and users (N), and no more
 *   rights assign RANGE VM | rights release VM RANGE user-keeps|stronger-keeps
 *   rights touch VM RANGE                     the access decision
 *   rights take-back RANGE | rights paged-out VM RANGE | rights reported-free VM RANGE
 *   rights fence VM | rights leave VM
 *   apply FILE                                another policy
 *   explain PAIR                              what `failoverctl explain` says of it
 *   check PAIR                                what `failoverctl check` says of it
 *   try PAIR NUMBER                           where the pair is at rest: that one of the failures of which check
 *                                             speaks is caused, and what was said of it must come true
 *   calm                                      faults end that failoverd cannot know of before they strike
 *   heal                                      every fault ends, operators start and resume what they stopped
 */

#include <stddef.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"

#define LINE_WORDS_MAX 8
#define LINE_LENGTH_MAX 256
#define LINES_MAX 10000

struct line {
        usec_t at_usec; /* since the beginning */
        unsigned number; /* in the text */
        unsigned n_words;
        char text[LINE_LENGTH_MAX]; /* as written, without the time */
        char buffer[LINE_LENGTH_MAX];
        const char *words[LINE_WORDS_MAX]; /* into the buffer */
};

struct timeline {
        struct line **lines; /* by time; owned */
        size_t n_lines, n_allocated;
        usec_t show_from_usec, end_usec;
        uint64_t seed;
};

/* Returns 0, -EINVAL with the line's number and the reason in `error`, or -ENOMEM. */
int timeline_parse(const char *text, struct timeline *ret, struct error *error);
void timeline_deinit(struct timeline *timeline);
