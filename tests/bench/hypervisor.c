/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The stand-in hypervisor: the part of libvirt's interface that failoverd uses, preloaded in front of libvirt, with
 * hundreds of domains that run nothing. Their processes and agents are those of guests.c. libvirt's event loop stays
 * the real one.
 *
 * STAND_IN_DIR/hypervisor takes datagrams: "crash NAME" (its kernel panics), "gone NAME" (its process has ended).
 * To STAND_IN_DIR/guests it sends "suspend NAME" when failoverd calls for that, and "create NAME".
 */

#include <libvirt/libvirt.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/stand-in.h"

#define DOMAINS_MAX 2048
#define CREATE_ROUNDS_MAX 500
#define EVENTS_MAX 64 /* more than libvirt has */

struct _virConnect {
        int unused;
};

struct _virDomain {
        char name[STAND_IN_NAME_LEN];
};

struct domain {
        char name[STAND_IN_NAME_LEN];
        int state, reason;
        unsigned long long requested_kib;
};

/* One for the process: it stands in for a library. */
static struct {
        pthread_mutex_t lock;
        struct domain domains[DOMAINS_MAX];
        size_t n_domains;
        int fd; /* 0: not yet */
        virConnectPtr connection;
        virConnectDomainEventGenericCallback callbacks[EVENTS_MAX];
        void *userdata[EVENTS_MAX];
} stand_in = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Every name that is asked for exists, and runs. Called with the lock held. */
static struct domain *find(const char *name) {
        for (size_t i = 0; i < stand_in.n_domains; i++)
                if (strcmp(stand_in.domains[i].name, name) == 0)
                        return &stand_in.domains[i];
        if (stand_in.n_domains == DOMAINS_MAX)
                abort();
        stand_in.domains[stand_in.n_domains] = (struct domain) {
                .state = VIR_DOMAIN_RUNNING, .reason = VIR_DOMAIN_RUNNING_BOOTED,
        };
        snprintf(stand_in.domains[stand_in.n_domains].name, STAND_IN_NAME_LEN, "%s", name);
        return &stand_in.domains[stand_in.n_domains++];
}

static void set_state(const char *name, int state, int reason) {
        struct domain *domain;

        pthread_mutex_lock(&stand_in.lock);
        domain = find(name);
        domain->state = state;
        domain->reason = reason;
        if (state == VIR_DOMAIN_SHUTOFF)
                domain->requested_kib = 0;
        pthread_mutex_unlock(&stand_in.lock);
}

static void tell(const char *who, const char *what, const char *name) {
        struct sockaddr_un address = stand_in_address(getenv("STAND_IN_DIR"), who);
        char text[STAND_IN_NAME_LEN + 64];
        int n = snprintf(text, sizeof(text), "%s %s", what, name);

        (void) sendto(stand_in.fd, text, (size_t) n, MSG_DONTWAIT, (struct sockaddr *) &address, sizeof(address));
}

/* ---- events ---- */

static void lifecycle(const char *name, int event, int detail) {
        virConnectDomainEventCallback callback = (virConnectDomainEventCallback) (void (*)(void))
                stand_in.callbacks[VIR_DOMAIN_EVENT_ID_LIFECYCLE];
        struct _virDomain domain = { "" };

        snprintf(domain.name, sizeof(domain.name), "%s", name);
        if (callback)
                (void) callback(stand_in.connection, &domain, event, detail,
                                stand_in.userdata[VIR_DOMAIN_EVENT_ID_LIFECYCLE]);
}

static void device_size(const char *name, unsigned long long size_kib) {
        virConnectDomainEventMemoryDeviceSizeChangeCallback callback =
                (virConnectDomainEventMemoryDeviceSizeChangeCallback) (void (*)(void))
                        stand_in.callbacks[VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE];
        char app[STAND_IN_NAME_LEN], alias[STAND_IN_NAME_LEN + 4];
        struct _virDomain domain = { "" };

        snprintf(domain.name, sizeof(domain.name), "%s", name);
        stand_in_app(name, app);
        snprintf(alias, sizeof(alias), "ua-%s", app);
        if (callback)
                callback(stand_in.connection, &domain, alias, size_kib,
                         stand_in.userdata[VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE]);
}

static void on_datagram(int watch, int fd, int events, void *userdata) {
        char text[256], verb[32], name[STAND_IN_NAME_LEN];
        unsigned long long number = 0;
        ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

        if (n <= 0)
                return;
        text[n] = '\0';
        if (sscanf(text, "%31s %63s %llu", verb, name, &number) < 2)
                return;
        if (strcmp(verb, "crash") == 0) {
                set_state(name, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED);
                lifecycle(name, VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED);
        } else if (strcmp(verb, "gone") == 0) {
                set_state(name, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED);
                lifecycle(name, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
        } else if (strcmp(verb, "size") == 0)
                device_size(name, number);
        else if (strcmp(verb, "started") == 0)
                lifecycle(name, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
}

int virConnectDomainEventRegisterAny(virConnectPtr connection, virDomainPtr domain, int event,
                                     virConnectDomainEventGenericCallback callback, void *userdata,
                                     virFreeCallback free_it) {
        struct sockaddr_un address = stand_in_address(getenv("STAND_IN_DIR"), "hypervisor");

        if (event < 0 || event >= EVENTS_MAX)
                return -1;
        stand_in.callbacks[event] = callback;
        stand_in.userdata[event] = userdata;
        stand_in.connection = connection;
        if (stand_in.fd == 0) {
                stand_in.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
                (void) unlink(address.sun_path);
                if (bind(stand_in.fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                        return -1;
                virEventAddHandle(stand_in.fd, VIR_EVENT_HANDLE_READABLE, on_datagram, NULL, NULL);
        }
        return event;
}

int virConnectDomainEventDeregisterAny(virConnectPtr connection, int id) {
        if (id >= 0 && id < EVENTS_MAX)
                stand_in.callbacks[id] = NULL;
        return 0;
}

/* ---- connections ---- */

virConnectPtr virConnectOpenAuth(const char *uri, virConnectAuthPtr auth, unsigned int flags) {
        return calloc(1, sizeof(struct _virConnect));
}

int virConnectClose(virConnectPtr connection) {
        free(connection);
        return 0;
}

int virConnectIsAlive(virConnectPtr connection) {
        return 1;
}

int virConnectSetKeepAlive(virConnectPtr connection, int interval, unsigned int count) {
        return 0;
}

int virConnectRegisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback, void *userdata,
                                    virFreeCallback free_it) {
        return 0;
}

int virConnectUnregisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback) {
        return 0;
}

/* ---- domains ---- */

virDomainPtr virDomainLookupByName(virConnectPtr connection, const char *name) {
        virDomainPtr domain = calloc(1, sizeof(*domain));

        if (domain)
                snprintf(domain->name, sizeof(domain->name), "%s", name);
        return domain;
}

int virDomainFree(virDomainPtr domain) {
        free(domain);
        return 0;
}

const char *virDomainGetName(virDomainPtr domain) {
        return domain->name;
}

unsigned int virDomainGetID(virDomainPtr domain) {
        return 1;
}

int virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned int flags) {
        pthread_mutex_lock(&stand_in.lock);
        *state = find(domain->name)->state;
        if (reason)
                *reason = find(domain->name)->reason;
        pthread_mutex_unlock(&stand_in.lock);
        return 0;
}

int virDomainIsActive(virDomainPtr domain) {
        int state;

        (void) virDomainGetState(domain, &state, NULL, 0);
        return state != VIR_DOMAIN_SHUTOFF;
}

int virDomainIsPersistent(virDomainPtr domain) {
        return 1;
}

int virDomainGetAutostart(virDomainPtr domain, int *autostart) {
        *autostart = 0;
        return 0;
}

int virDomainHasManagedSaveImage(virDomainPtr domain, unsigned int flags) {
        return 0;
}

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned int flags) {
        bool live = !(flags & VIR_DOMAIN_XML_INACTIVE);
        unsigned long long requested_kib;
        char current[96] = "", app[STAND_IN_NAME_LEN], *xml = NULL;

        pthread_mutex_lock(&stand_in.lock);
        requested_kib = live ? find(domain->name)->requested_kib : 0;
        pthread_mutex_unlock(&stand_in.lock);
        stand_in_app(domain->name, app);
        if (live)
                snprintf(current, sizeof(current), "<current unit='KiB'>%llu</current>", requested_kib);
        if (asprintf(&xml, "<domain type='qemu'><name>%s</name><memory unit='KiB'>%d</memory><vcpu>1</vcpu>"
                     "<cpu><numa><cell id='0' cpus='0' memory='%d' unit='KiB'/>"
                     "<cell id='1' memory='4096' unit='KiB'/></numa></cpu>"
                     "<on_reboot>destroy</on_reboot><on_crash>preserve</on_crash><devices>"
                     "<memory model='virtio-mem'><target><size unit='KiB'>%d</size><node>1</node>"
                     "<block unit='KiB'>2048</block>"
                     "<requested unit='KiB'>%llu</requested>%s</target><alias name='ua-%s'/></memory>"
                     "<channel type='unix'><source mode='bind' path='%s/%s.agent'/>"
                     "<target type='virtio' name='org.failover1.agent.0'/></channel>"
                     "<panic model='isa'/><memballoon model='virtio'><stats period='1'/></memballoon>"
                     "</devices></domain>",
                     domain->name, STAND_IN_BASE_KIB + STAND_IN_REGION_KIB, STAND_IN_BASE_KIB - 4096,
                     STAND_IN_REGION_KIB,
                     requested_kib, current, app, getenv("STAND_IN_DIR"), domain->name) < 0)
                return NULL;
        return xml;
}

int virDomainSuspend(virDomainPtr domain) {
        int state;

        tell("guests", "suspend", domain->name);
        (void) virDomainGetState(domain, &state, NULL, 0);
        if (state != VIR_DOMAIN_RUNNING)
                return -1;
        set_state(domain->name, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        return 0;
}

int virDomainResume(virDomainPtr domain) {
        set_state(domain->name, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
        return 0;
}

/* Returns when guests.c has written the pid file of its new process. */
int virDomainCreate(virDomainPtr domain) {
        char path[256];

        stand_in_pid_path(getenv("STAND_IN_DIR"), domain->name, path);
        tell("guests", "create", domain->name);
        for (int i = 0; i < CREATE_ROUNDS_MAX && access(path, F_OK) != 0; i++)
                poll(NULL, 0, 2);
        if (access(path, F_OK) != 0)
                return -1;
        set_state(domain->name, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
        tell("hypervisor", "started", domain->name);
        return 0;
}

int virDomainUpdateDeviceFlags(virDomainPtr domain, const char *xml, unsigned int flags) {
        const char *requested = strstr(xml, "<requested unit=");
        char text[STAND_IN_NAME_LEN + 32];
        unsigned long long kib;

        requested = requested ? strchr(requested, '>') : NULL;
        if (!requested)
                return -1;
        kib = strtoull(requested + 1, NULL, 10);
        pthread_mutex_lock(&stand_in.lock);
        find(domain->name)->requested_kib = kib;
        pthread_mutex_unlock(&stand_in.lock);
        snprintf(text, sizeof(text), "%s %llu", domain->name, kib);
        tell("hypervisor", "size", text);
        return 0;
}

int virDomainMemoryStats(virDomainPtr domain, virDomainMemoryStatPtr stats, unsigned int n_stats, unsigned int flags) {
        stats[0].tag = VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE;
        stats[0].val = (unsigned long long) time(NULL);
        return 1;
}

int virDomainSetMemoryStatsPeriod(virDomainPtr domain, int period, unsigned int flags) {
        return 0;
}
