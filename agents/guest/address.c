/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "daemon/base/cleanup.h"

int ip_address_parse(const char *cidr, struct ip_address *ret) {
        struct ip_address address = { 0 };
        char host[64];
        unsigned prefix;
        int at = 0;

        if (sscanf(cidr, "%63[^/]/%3u%n", host, &prefix, &at) != 2 || cidr[at] != 0 || strchr(cidr, '+'))
                return -EINVAL;
        address.family = strchr(host, ':') ? AF_INET6 : AF_INET;
        if (inet_pton(address.family, host, address.bytes) != 1)
                return -EINVAL;
        if (prefix > (address.family == AF_INET6 ? 128 : 32))
                return -EINVAL;
        address.prefix = prefix;
        *ret = address;
        return 0;
}

static size_t length_of(const struct ip_address *address) {
        return address->family == AF_INET6 ? 16 : 4;
}

struct request {
        struct nlmsghdr header;
        struct ifaddrmsg address;
        char attributes[64];
};

static void add_attribute(struct request *request, unsigned short type, const void *data, size_t length) {
        void *at = (char *) request + NLMSG_ALIGN(request->header.nlmsg_len);
        struct rtattr *attribute = at;

        attribute->rta_type = type;
        attribute->rta_len = (unsigned short) RTA_LENGTH(length);
        memcpy(RTA_DATA(attribute), data, length);
        request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + (unsigned) RTA_ALIGN(attribute->rta_len);
}

/* Sends one request and waits for the kernel's answer, which rtnetlink gives before send(2) returns. */
static int change(unsigned short type, unsigned short flags, const struct ip_address *address, unsigned index) {
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        struct request request = {
                .header = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)), .nlmsg_type = type,
                            .nlmsg_flags = (unsigned short) (NLM_F_REQUEST | NLM_F_ACK | flags) },
                .address = { .ifa_family = (unsigned char) address->family,
                             .ifa_prefixlen = (unsigned char) address->prefix, .ifa_index = index,
                             /* the other side is fenced: no time to look for a duplicate */
                             .ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0 },
        };
        struct { struct nlmsghdr header; struct nlmsgerr error; char rest[256]; } answer;
        ssize_t n;

        if (fd < 0)
                return -errno;
        add_attribute(&request, IFA_LOCAL, address->bytes, length_of(address));
        add_attribute(&request, IFA_ADDRESS, address->bytes, length_of(address));
        if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
                return -errno;
        n = recv(fd, &answer, sizeof(answer), 0);
        if (n < 0)
                return -errno;
        if ((size_t) n < sizeof(answer.header) + sizeof(int) || answer.header.nlmsg_type != NLMSG_ERROR)
                return -EBADMSG;
        return answer.error.error;
}

/* `absent` is said where there is no such link, `idle` by the kernel where nothing is to be done. */
static int change_on(const char *cidr, const char *link, unsigned short type, unsigned short flags, int absent,
                     int idle) {
        struct ip_address address;
        unsigned index;
        int r;

        r = ip_address_parse(cidr, &address);
        if (r < 0)
                return r;
        index = if_nametoindex(link);
        if (index == 0)
                return absent;
        r = change(type, flags, &address, index);
        return r == idle ? 0 : r;
}

int address_add(const char *cidr, const char *link) {
        return change_on(cidr, link, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, -ENODEV, -EEXIST);
}

int address_remove(const char *cidr, const char *link) {
        return change_on(cidr, link, RTM_DELADDR, 0, 0, -EADDRNOTAVAIL);
}

/* Fills in the link's hardware address. Returns 0 for a link without neighbours (loopback, no ARP), else 1. */
static int hardware_address(const char *link, unsigned char ret[ETH_ALEN]) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq request = { 0 };

        if (fd < 0)
                return -errno;
        if (strlen(link) >= sizeof(request.ifr_name))
                return -ENODEV;
        strcpy(request.ifr_name, link);
        if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
                return -errno;
        if (request.ifr_flags & (IFF_LOOPBACK | IFF_NOARP | IFF_POINTOPOINT))
                return 0;
        if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
                return -errno;
        memcpy(ret, request.ifr_hwaddr.sa_data, ETH_ALEN);
        return 1;
}

static int announce_arp(const struct ip_address *address, const unsigned char hardware[ETH_ALEN], unsigned index) {
        _cleanup_close_ int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));
        struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP),
                                  .sll_ifindex = (int) index, .sll_halen = ETH_ALEN };
        struct ether_arp arp = {
                .arp_hrd = htons(ARPHRD_ETHER), .arp_pro = htons(ETH_P_IP), .arp_hln = ETH_ALEN, .arp_pln = 4,
                .arp_op = htons(ARPOP_REQUEST),
        };

        if (fd < 0)
                return -errno;
        memset(to.sll_addr, 0xff, ETH_ALEN);
        memcpy(arp.arp_sha, hardware, ETH_ALEN);
        memcpy(arp.arp_spa, address->bytes, 4);
        memcpy(arp.arp_tpa, address->bytes, 4);
        return sendto(fd, &arp, sizeof(arp), 0, (struct sockaddr *) &to, sizeof(to)) < 0 ? -errno : 0;
}

static int announce_neighbour(const struct ip_address *address, const unsigned char hardware[ETH_ALEN],
                              unsigned index) {
        _cleanup_close_ int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
        struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_scope_id = index };
        struct {
                struct nd_neighbor_advert advert;
                struct nd_opt_hdr option;
                unsigned char hardware[ETH_ALEN];
        } packet = {
                .advert.nd_na_type = ND_NEIGHBOR_ADVERT,
                .advert.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE,
                .option = { .nd_opt_type = ND_OPT_TARGET_LINKADDR, .nd_opt_len = 1 },
        };
        int hops = 255, interface = (int) index;

        if (fd < 0)
                return -errno;
        memcpy(&packet.advert.nd_na_target, address->bytes, 16);
        memcpy(packet.hardware, hardware, ETH_ALEN);
        inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops)) < 0 ||
            setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof(interface)) < 0)
                return -errno;
        return sendto(fd, &packet, sizeof(packet), 0, (struct sockaddr *) &to, sizeof(to)) < 0 ? -errno : 0;
}

int address_announce(const char *cidr, const char *link) {
        unsigned char hardware[ETH_ALEN];
        struct ip_address address;
        int r;

        r = ip_address_parse(cidr, &address);
        if (r < 0)
                return r;
        r = hardware_address(link, hardware);
        if (r <= 0)
                return r;
        return address.family == AF_INET6 ? announce_neighbour(&address, hardware, if_nametoindex(link))
                                          : announce_arp(&address, hardware, if_nametoindex(link));
}
