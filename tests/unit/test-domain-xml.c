/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "tests/unit/test.h"

static const struct app_names apps = { .names = { "db", "", "web" } };

/* One of the texts that libvirt 9.0 wrote (tests/unit/domain-xml/). */
static char *load(const char *name) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[512], *text = calloc(1, 65536);

        snprintf(path, sizeof(path), "%s/tests/unit/domain-xml/%s", getenv("TEST_SOURCE_DIR"), name);
        f = fopen(path, "re");
        REQUIRE(f && text && fread(text, 1, 65535, f) > 0);
        return text;
}

/* The text with one piece of it, which has to be there, replaced. */
static char *with(const char *text, const char *piece, const char *other) {
        const char *at = strstr(text, piece);
        char *changed = NULL;

        REQUIRE(at != NULL);
        REQUIRE(asprintf(&changed, "%.*s%s%s", (int) (at - text), text, other, at + strlen(piece)) > 0);
        return changed;
}

static struct domain_facts parse(const char *text) {
        struct domain_facts facts;

        REQUIRE(domain_xml_parse(text, &apps, &facts, NULL) == 0);
        return facts;
}

static struct domain_facts parse_with(const char *text, const char *piece, const char *other) {
        _cleanup_free_ char *changed = with(text, piece, other);

        return parse(changed);
}

static void a_running_domain_tells_where_it_is_reached_and_what_is_plugged(void) {
        _cleanup_free_ char *text = load("live.xml");
        struct domain_facts f = parse(text);

        CHECK_TEXT(f.channel_path, "/run/guests/vm-a.agent");
        CHECK_TEXT(f.echo_path, "/run/guests/vm-a.echo");
        CHECK(f.balloon);
        CHECK(f.plugged[0].known && f.plugged[0].bytes == 128 * MIB);
        CHECK(!f.plugged[1].known);
        CHECK(f.plugged[2].known && f.plugged[2].bytes == 0);
        CHECK(f.preflight.apps[0].requested_bytes == 256 * MIB);
        CHECK(!f.preflight.requested_zero);
}

static void a_fit_domain_has_no_findings(void) {
        _cleanup_free_ char *text = load("persistent.xml");
        struct domain_facts f = parse(text);

        CHECK(f.preflight.channel && f.preflight.panic_device && f.preflight.crash_preserved);
        CHECK(f.preflight.balloon_stats && f.preflight.echo_port && f.preflight.requested_zero);
        CHECK(f.preflight.base_bytes == 200 * MIB);
        CHECK(f.preflight.vcpus == 1 && f.preflight.vcpus_max == 1);
        CHECK(f.preflight.free_ports == 4);
        CHECK(f.preflight.apps[0].present && f.preflight.apps[0].node == 1);
        CHECK(f.preflight.apps[0].size_bytes == GIB && f.preflight.apps[0].block_bytes == 2 * MIB);
        CHECK(!f.preflight.apps[1].present);
        CHECK(f.preflight.apps[2].present && f.preflight.apps[2].node == 2);
        CHECK(!f.plugged[0].known);
}

static void each_lack_is_found(void) {
        _cleanup_free_ char *text = load("persistent.xml");

        CHECK(!parse_with(text, CHANNEL_NAME, "org.other.0").preflight.channel);
        CHECK(!parse_with(text, "mode='bind' path='/run/guests/vm-a.agent'",
                          "mode='connect' path='/run/guests/vm-a.agent'").preflight.channel);
        CHECK(!parse_with(text, "<panic model='isa'/>", "").preflight.panic_device);
        CHECK(!parse_with(text, "<on_crash>preserve", "<on_crash>destroy").preflight.crash_preserved);
        CHECK(!parse_with(text, "<stats period='1'/>", "").preflight.balloon_stats);
        CHECK(parse_with(text, "<stats period='1'/>", "").balloon);
        CHECK(!parse_with(text, "<memballoon model='virtio'>", "<memballoon model='none'>").balloon);
        CHECK(!parse_with(text, "<requested unit='KiB'>0", "<requested unit='KiB'>2048").preflight.requested_zero);
        CHECK(!parse_with(text, "ua-db", "ua-other").preflight.apps[0].present);
        CHECK(!parse_with(text, "<alias name='ua-db'/>", "").preflight.apps[0].present);
        CHECK(parse_with(text, "bus='0x04'", "bus='0x05'").preflight.free_ports == 4);
        CHECK(parse_with(text, "bus='0x04'", "bus='0x00'").preflight.free_ports == 5);
}

static void huge_pages_are_found_where_they_back_a_device(void) {
        static const struct {
                const char *pages; /* in <memoryBacking><hugepages> */
                bool db, web;      /* on nodes 1 and 2 */
        } cases[] = {
                { "", true, true },
                { "<page size='2048' unit='KiB'/>", true, true },
                { "<page size='4' unit='KiB'/>", false, false },
                { "<page size='2048' unit='KiB' nodeset='0'/>", false, false },
                { "<page size='1' unit='G' nodeset='0,2-3'/>", false, true },
                { "<page size='2048' unit='KiB'/><page size='4' unit='KiB' nodeset='1'/>", false, true },
                { "<page size='2048' unit='KiB' nodeset='-1x'/>", false, false },
        };
        _cleanup_free_ char *text = load("persistent.xml");

        CHECK(!parse(text).preflight.apps[0].huge_pages);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char backing[256];
                struct domain_facts f;

                snprintf(backing, sizeof(backing), "<memoryBacking><hugepages>%s</hugepages></memoryBacking><on_crash>",
                         cases[i].pages);
                f = parse_with(text, "<on_crash>", backing);
                CHECK(f.preflight.apps[0].huge_pages == cases[i].db && f.preflight.apps[2].huge_pages == cases[i].web);
        }
        CHECK(parse_with(text, "<memory model='virtio-mem'>",
                         "<memory model='virtio-mem'><source><pagesize unit='KiB'>2048</pagesize></source>")
                      .preflight.apps[0].huge_pages);
}

static void a_channel_without_a_path_is_left_to_libvirt(void) {
        _cleanup_free_ char *text = load("persistent.xml");
        struct domain_facts f = parse_with(text, "<source mode='bind' path='/run/guests/vm-a.agent'/>", "");

        CHECK(f.preflight.channel);
        CHECK_TEXT(f.channel_path, "");
}

static void a_path_that_fits_no_socket_is_no_path(void) {
        _cleanup_free_ char *text = load("live.xml");
        char path[200];

        memset(path, 'x', sizeof(path) - 1);
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        CHECK_TEXT(parse_with(text, "/run/guests/vm-a.agent", path).channel_path, "");
}

static void the_console_is_not_the_echo_port(void) {
        _cleanup_free_ char *text = load("live.xml"), *single = NULL, *named = NULL;
        const char *virtio = "<console type='unix'><source mode='bind' path='/run/hvc'/>"
                             "<target type='virtio' port='1'/></console><panic";
        struct domain_facts f;

        single = with(text, "type='isa-serial' port='1'", "type='isa-serial' port='0'");
        f = parse(single);
        CHECK(!f.preflight.echo_port);
        CHECK_TEXT(f.echo_path, "");
        CHECK_TEXT(parse_with(single, "<panic", virtio).echo_path, "/run/hvc");

        named = with(text, "<alias name='serial0'/>", "<alias name='ua-echo'/>");
        CHECK_TEXT(parse(named).echo_path, "/run/guests/vm-a.console");
}

static void what_the_console_says_is_found(void) {
        _cleanup_free_ char *text = load("live.xml");
        struct domain_facts f = parse(text);

        CHECK(!f.preflight.console_log);
        f = parse_with(text, "<target type='isa-serial' port='0'>",
                       "<log file='/var/log/vm-a.log' append='on'/><target type='isa-serial' port='0'>");
        CHECK(f.preflight.console_log);
        CHECK_TEXT(f.console_path, "/var/log/vm-a.log");
        f = parse("<domain><memory unit='MiB'>64</memory><devices><serial type='file'><source "
                  "path='/tmp/serial'/></serial>"
                  "<console type='pty'><log file='/tmp/console'/></console></devices></domain>");
        CHECK_TEXT(f.console_path, "/tmp/serial");
}

static void a_domain_without_numa_counts_its_memory_less_the_devices(void) {
        struct domain_facts f = parse("<domain type='kvm'><memory unit='MiB'>1024</memory>"
                                      "<vcpu current='2'>4</vcpu><devices>"
                                      "<memory model='dimm'><target><size unit='MiB'>256</size></target></memory>"
                                      "</devices></domain>");

        CHECK(f.preflight.base_bytes == 768 * MIB);
        CHECK(f.preflight.vcpus == 2 && f.preflight.vcpus_max == 4 && f.preflight.kvm);
        CHECK(!f.preflight.channel && !f.preflight.echo_port && !f.balloon);
}

static void a_resize_changes_the_requested_size_and_nothing_else(void) {
        _cleanup_free_ char *text = load("live.xml"), *device = NULL, *expected = NULL;
        char *begin, *end;

        REQUIRE(domain_xml_resize(text, "web", 384 * MIB, &device, NULL) == 0);
        begin = strstr(text, "<node>2</node>");
        while (strncmp(begin, "<memory", 7) != 0)
                begin--;
        end = strstr(begin, "</memory>") + strlen("</memory>");
        *end = '\0';
        expected = with(begin, "<requested unit='KiB'>0<", "<requested unit='KiB'>393216<");
        for (char *c = expected; *c; c++)
                if (*c == '\'')
                        *c = '"';
        CHECK_TEXT(device, expected);
}

static void a_resize_that_does_not_fit_the_device_is_refused(void) {
        _cleanup_free_ char *text = load("live.xml");
        char *device = NULL;

        CHECK(domain_xml_resize(text, "web", 514 * MIB, &device, NULL) == -ERANGE);
        CHECK(domain_xml_resize(text, "web", 3 * MIB, &device, NULL) == -ERANGE);
        CHECK(domain_xml_resize(text, "web", UINT64_MAX, &device, NULL) == -ERANGE);
        CHECK(domain_xml_resize(text, "mail", 2 * MIB, &device, NULL) == -ENOENT);
        CHECK(device == NULL);
        CHECK(domain_xml_resize(text, "web", 512 * MIB, &device, NULL) == 0);
        free(device);
}

static void a_disk_is_taken_without_what_belongs_to_one_domain(void) {
        const char *disk = "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/d.raw'/>"
                           "<target dev='vdb' bus='virtio'/><alias name='virtio-disk1'/>"
                           "<address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/></disk>";
        const char *expected = "<disk type=\"file\" device=\"disk\"><driver name=\"qemu\" type=\"raw\"/>"
                               "<source file=\"/d.raw\"/><target dev=\"vdb\" bus=\"virtio\"/></disk>";
        _cleanup_free_ char *in_devices = NULL, *in_metadata = NULL, *got = NULL, *attached = NULL;
        struct domain_facts f;
        char *none = NULL;

        REQUIRE(asprintf(&in_devices, "<domain><devices>%s</devices></domain>", disk) > 0);
        REQUIRE(asprintf(&in_metadata,
                         "<domain><metadata><x:disks xmlns:x='urn:another'/>"
                         "<x:disks xmlns:x='" DISKS_NAMESPACE "'>%s</x:disks></metadata><devices/></domain>",
                         disk) > 0);
        REQUIRE(domain_xml_disk(in_metadata, "vdb", &got, NULL) == 0);
        CHECK_TEXT(got, expected);

        REQUIRE(domain_xml_parse(in_metadata, &apps, &f, NULL) == 0);
        CHECK(f.preflight.disks_at_boot.n == 0 && f.preflight.disks_kept.n == 1);
        CHECK_TEXT(f.preflight.disks_kept.targets[0], "vdb");
        REQUIRE(domain_xml_parse(in_devices, &apps, &f, NULL) == 0);
        CHECK(f.preflight.disks_at_boot.n == 1 && f.preflight.disks_kept.n == 0);
        CHECK_TEXT(f.preflight.disks_at_boot.targets[0], "vdb");

        CHECK(domain_xml_disk(in_metadata, "vdc", &none, NULL) == -ENOENT);
        CHECK(domain_xml_disk(in_devices, "vdb", &none, NULL) == -ENOENT);
        CHECK(domain_xml_attached_disk(in_metadata, "vdb", &none, NULL) == -ENOENT);
        CHECK(none == NULL);
        REQUIRE(domain_xml_attached_disk(in_devices, "vdb", &attached, NULL) == 0);
        CHECK_TEXT(attached, "virtio-disk1");
}

static int add_source(const struct domain_source *source, void *userdata) {
        char **text = userdata, *longer;

        REQUIRE(asprintf(&longer, "%s%s %s%s%s;", *text ? *text : "", source->target, source->path,
                         source->block ? " block" : "", source->writable ? " writable" : "") > 0);
        free(*text);
        *text = longer;
        return strcmp(source->target, "vdz") == 0 ? -ECANCELED : 0;
}

static void all_that_disks_read_and_write_is_told(void) {
        static const char xml[] =
                "<domain><os><nvram template='/t'>/var/vars.fd</nvram></os><devices>"
                "<disk type='file'><source file='/top'/><backingStore type='block'><format type='raw'/>"
                "<source dev='/dev/x'/><backingStore/></backingStore><target dev='vda'/></disk>"
                "<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"
                "<disk type='file' device='cdrom'><source file='/cd'/><target dev='sdb'/><readonly/></disk>"
                "<disk type='network'><source protocol='nbd' name='n'/><target dev='vdb'/></disk>"
                "<disk type='file'><source file='/last'/><target dev='vdz'/></disk>"
                "<disk type='file'><source file='/never'/><target dev='vdy'/></disk></devices></domain>";
        _cleanup_free_ char *text = NULL;

        CHECK(domain_xml_sources(xml, add_source, &text, NULL) == -ECANCELED);
        CHECK_TEXT(text, "nvram /var/vars.fd writable;vda /top writable;vda /dev/x block;sdb /cd;vdb  writable;"
                         "vdz /last writable;");
        CHECK(domain_xml_sources("<pool/>", add_source, &text, NULL) == -EINVAL);
}

static void a_memory_snapshot_leaves_every_disk_out(void) {
        static const char xml[] = "<domain><devices><disk type='file'><target dev='vda'/></disk>"
                                  "<disk type='file'><target dev='sdb'/></disk></devices></domain>";
        _cleanup_free_ char *text = NULL;

        REQUIRE(domain_xml_memory_snapshot(xml, "/a'b<c", NULL, 0, &text, NULL) == 0);
        CHECK_TEXT(text, "<domainsnapshot><memory snapshot=\"external\" file=\"/a'b&lt;c\"/><disks>"
                         "<disk name=\"vda\" snapshot=\"no\"/><disk name=\"sdb\" snapshot=\"no\"/></disks>"
                         "</domainsnapshot>");
}

static void a_checkpoint_freezes_the_disks_that_have_overlays(void) {
        static const struct domain_overlay overlay = { "vda", "/a.now" };
        static const char xml[] = "<domain><devices><disk type='file'><source file='/a'/><target dev='vda'/></disk>"
                                  "<disk type='file'><source file='/c'/><target dev='sda'/><readonly/></disk>"
                                  "<disk type='file'><target dev='sdb'/></disk></devices></domain>";
        _cleanup_free_ char *text = NULL;

        REQUIRE(domain_xml_memory_snapshot(xml, "/m", &overlay, 1, &text, NULL) == 0);
        CHECK_TEXT(text, "<domainsnapshot><memory snapshot=\"external\" file=\"/m\"/><disks>"
                         "<disk name=\"vda\" snapshot=\"external\"><driver type=\"qcow2\"/>"
                         "<source file=\"/a.now\"/></disk><disk name=\"sda\" snapshot=\"no\"/>"
                         "<disk name=\"sdb\" snapshot=\"no\"/></disks></domainsnapshot>");
}

static void a_disk_gets_another_file_behind_it(void) {
        static const char xml[] = "<domain><devices><disk type='file'><driver name='qemu' type='raw'/>"
                                  "<source file='/a'/><backingStore/><target dev='vda'/></disk></devices></domain>";
        _cleanup_free_ char *text = NULL;

        REQUIRE(domain_xml_replace_disk(xml, "vda", "/a&b", &text, NULL) == 0);
        CHECK_TEXT(text, "<domain><devices><disk type=\"file\"><driver name=\"qemu\" type=\"qcow2\"/>"
                         "<source file=\"/a&amp;b\"/><target dev=\"vda\"/></disk></devices></domain>");
        free(steal_ptr(text));
        CHECK(domain_xml_replace_disk(xml, "vdb", "/b", &text, NULL) == -ENOENT && !text);
}

static void nonsense_and_too_much_are_refused(void) {
        _cleanup_free_ char *big = malloc(DOMAIN_XML_MAX + 2);
        struct domain_facts f;

        REQUIRE(big != NULL);
        memset(big, ' ', DOMAIN_XML_MAX + 1);
        big[DOMAIN_XML_MAX + 1] = '\0';
        CHECK(domain_xml_parse("", &apps, &f, NULL) == -EINVAL);
        CHECK(domain_xml_parse("<domain>", &apps, &f, NULL) == -EINVAL);
        CHECK(domain_xml_parse("<network/>", &apps, &f, NULL) == -EINVAL);
        CHECK(domain_xml_parse(big, &apps, &f, NULL) == -E2BIG);
}

static void numbers_out_of_range_count_as_none(void) {
        struct domain_facts f = parse("<domain><memory unit='TiB'>18446744073709551615</memory><vcpu>-1</vcpu>"
                                      "</domain>");

        CHECK(f.preflight.base_bytes == 0);
        CHECK(f.preflight.vcpus_max == 0);
}

static void files_named_in_the_text_are_not_read(void) {
        char path[] = "/tmp/test-domain-xml-XXXXXX";
        _cleanup_close_ int fd = mkstemp(path);
        _cleanup_free_ char *text = NULL;

        REQUIRE(fd >= 0 && write(fd, "preserve", 8) == 8);
        REQUIRE(asprintf(&text, "<!DOCTYPE domain [<!ENTITY e SYSTEM 'file://%s'>]><domain><on_crash>&e;</on_crash>"
                                "</domain>", path) > 0);
        CHECK(!parse(text).preflight.crash_preserved);
        unlink(path);
}

/* The live XML as it is once the device is there, as libvirt adds it: last of the devices. */
static char *with_device(const char *live, const char *device) {
        char *both = NULL, *changed;

        REQUIRE(asprintf(&both, "%s</devices>", device) > 0);
        changed = with(live, "</devices>", both);
        free(both);
        return changed;
}

static void overflow_disks_take_free_places_and_are_found_again(void) {
        _cleanup_free_ char *live = load("live.xml"), *device = NULL, *second = NULL, *one = NULL, *two = NULL,
                            *alias = NULL, *other = NULL;
        struct domain_facts facts;

        CHECK(domain_xml_overflow(live, "", "/run/x&y/nbd", &device, NULL) == 0);
        REQUIRE(device != NULL);
        CHECK(strstr(device, "dev=\"vdz\"") && strstr(device, "socket=\"/run/x&amp;y/nbd\""));
        CHECK(strstr(device, "<serial>" OVERFLOW_SERIAL "-0</serial>") && strstr(device, "error_policy=\"report\""));
        one = with_device(live, device);
        CHECK(domain_xml_overflow(one, "", "/other", &other, NULL) == -EEXIST);
        CHECK(domain_xml_overflow(one, "db", "/run/db", &second, NULL) == 0);
        REQUIRE(second != NULL);
        CHECK(strstr(second, "dev=\"vdy\"") && strstr(second, OVERFLOW_SERIAL "-1"));
        two = with_device(one, second);
        facts = parse(two);
        REQUIRE(facts.overflow.n == 2);
        CHECK_TEXT(facts.overflow.disks[0].app, "");
        CHECK_TEXT(facts.overflow.disks[1].app, "db");
        CHECK_TEXT(facts.overflow.disks[1].serial, OVERFLOW_SERIAL "-1");
        CHECK(domain_xml_attached_overflow(two, "db", &alias, NULL) == 0);
        CHECK_TEXT(alias, OVERFLOW_ALIAS "-db");
        CHECK(domain_xml_attached_overflow(two, "web", &other, NULL) == -ENOENT && !other);
        facts = parse(live);
        CHECK(facts.overflow.n == 0);
}

static void a_domain_has_at_most_so_many_overflow_disks(void) {
        _cleanup_free_ char *live = load("live.xml");
        char app[NAME_LEN], *device = NULL;

        for (int i = 0; i < OVERFLOW_DISKS_MAX; i++) {
                char *more;

                snprintf(app, sizeof(app), "a%d", i);
                REQUIRE(domain_xml_overflow(live, app, "/run/x", &device, NULL) == 0);
                more = with_device(live, device);
                free(live);
                free(device);
                live = more;
                device = NULL;
        }
        CHECK(domain_xml_overflow(live, "more", "/run/x", &device, NULL) == -ENOSPC && !device);
}

static void what_tells_of_a_failure_is_found(void) {
        static const struct {
                const char *inside;
                bool panic, hang;
        } cases[] = {
                { "<devices/>", false, false },
                { "<devices><panic model='isa'/></devices>", true, false },
                { "<on_crash>preserve</on_crash><devices><panic model='isa'/></devices>", true, false },
                { "<on_crash>destroy</on_crash><devices><panic model='isa'/></devices>", true, false },
                { "<on_crash>restart</on_crash><devices><panic model='isa'/></devices>", false, false },
                { "<on_crash>preserve</on_crash><devices/>", false, false },
                { "<devices><watchdog model='i6300esb' action='pause'/></devices>", false, true },
                { "<devices><watchdog model='i6300esb' action='reset'/></devices>", false, false },
        };
        char text[256];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                bool panic = !cases[i].panic, hang = !cases[i].hang;

                snprintf(text, sizeof(text), "<domain>%s</domain>", cases[i].inside);
                CHECK(domain_xml_alarms(text, &panic, &hang, NULL) == 0);
                CHECK(panic == cases[i].panic && hang == cases[i].hang);
        }
        CHECK(domain_xml_alarms("<domain", &(bool) { false }, &(bool) { false }, NULL) < 0);
}

TEST_MAIN("domain-xml",
          TEST(overflow_disks_take_free_places_and_are_found_again),
          TEST(a_domain_has_at_most_so_many_overflow_disks),
          TEST(a_running_domain_tells_where_it_is_reached_and_what_is_plugged),
          TEST(a_fit_domain_has_no_findings),
          TEST(each_lack_is_found),
          TEST(huge_pages_are_found_where_they_back_a_device),
          TEST(a_channel_without_a_path_is_left_to_libvirt),
          TEST(a_path_that_fits_no_socket_is_no_path),
          TEST(the_console_is_not_the_echo_port),
          TEST(what_the_console_says_is_found),
          TEST(a_domain_without_numa_counts_its_memory_less_the_devices),
          TEST(a_resize_changes_the_requested_size_and_nothing_else),
          TEST(a_resize_that_does_not_fit_the_device_is_refused),
          TEST(a_disk_is_taken_without_what_belongs_to_one_domain),
          TEST(all_that_disks_read_and_write_is_told),
          TEST(a_memory_snapshot_leaves_every_disk_out),
          TEST(a_checkpoint_freezes_the_disks_that_have_overlays),
          TEST(a_disk_gets_another_file_behind_it),
          TEST(nonsense_and_too_much_are_refused),
          TEST(numbers_out_of_range_count_as_none),
          TEST(files_named_in_the_text_are_not_read),
          TEST(what_tells_of_a_failure_is_found))
