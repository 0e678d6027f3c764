/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Addresses that move with an application, over rtnetlink. All need CAP_NET_ADMIN. */

#include <stdint.h>

struct ip_address {
        int family; /* AF_INET or AF_INET6 */
        unsigned prefix;
        unsigned char bytes[16];
};

/* "192.0.2.10/24" or "2001:db8::10/64"; the prefix must be there. -EINVAL otherwise. */
int ip_address_parse(const char *cidr, struct ip_address *ret);

/* Gives the link that address; fine when it has it. -ENODEV without such a link. */
int address_add(const char *cidr, const char *link);
/* Takes it away; fine when it is not there, or when there is no such link. */
int address_remove(const char *cidr, const char *link);
/* Tells the neighbours: gratuitous ARP (RFC 5227) or unsolicited neighbour advertisement (RFC 4861, 7.2.6).
 * 0 also where the link has no neighbours. */
int address_announce(const char *cidr, const char *link);
