/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/xml-snippet.h"

#include <inttypes.h>

/*
 * What a domain must have so that failoverd can move memory into it and out of it.
 *
 * Each application's region is a virtio-mem device on a guest NUMA node of its own, so that the region is a place.
 * Its node needs a cell, and QEMU takes no cell without memory: each gets 4 MiB of the base, and node 0, where the
 * guest's system lives, the rest. So the boot memory, libvirt's <currentMemory>, is the member's base, no more and no
 * less, and compares with the table. (In its own dump libvirt adds the devices' sizes to <memory>.)
 *
 * Both members get the devices of all applications in the policy's order: a node's number is then the same on both
 * sides, whatever each of them runs.
 */

/* Guest NUMA node of an application's region, by its index in the pair; node 0 is the guest's own. */
int application_guest_node(size_t application) {
        return (int) application + 1;
}

/* A guest plugs nothing of a device that is no multiple of its kernel's memory block, so the device may be larger
 * than the region; what is requested of it is the region. */
static uint64_t device_bytes(const struct application *application) {
        return (application->memory_bytes + GUEST_BLOCK_BYTES - 1) / GUEST_BLOCK_BYTES * GUEST_BLOCK_BYTES;
}

static void print_memory(const struct pair_policy *pair, const struct member *member, FILE *f) {
        uint64_t top = member->base_bytes, n = pair->n_applications;

        for (size_t i = 0; i < n; i++)
                top += device_bytes(&pair->applications[i]);
        fprintf(f, "  <maxMemory slots='%" PRIu64 "' unit='KiB'>%" PRIu64 "</maxMemory>\n", n, top / KIB);
        fprintf(f, "  <memory unit='KiB'>%" PRIu64 "</memory>\n", member->base_bytes / KIB);
        fprintf(f, "  <currentMemory unit='KiB'>%" PRIu64 "</currentMemory>\n", member->base_bytes / KIB);
        fputs("  <!-- Keep your own mode and model of <cpu>; node 0 takes all processors. -->\n"
              "  <cpu>\n"
              "    <numa>\n", f);
        fprintf(f, "      <cell id='0' memory='%" PRIu64 "' unit='KiB'/>\n",
                (member->base_bytes - n * SNIPPET_CELL_BYTES) / KIB);
        for (size_t i = 0; i < n; i++)
                fprintf(f, "      <cell id='%d' memory='%" PRIu64 "' unit='KiB'/>\n", application_guest_node(i),
                        (uint64_t) (SNIPPET_CELL_BYTES / KIB));
        fputs("    </numa>\n"
              "  </cpu>\n", f);
}

/* One free port for each disk that moves, and two for whatever is plugged by hand; libvirt adds those of the
 * devices that the domain begins with. */
static void print_ports(const struct pair_policy *pair, FILE *f) {
        size_t n_ports = 2;

        for (size_t i = 0; i < pair->n_applications; i++)
                n_ports += pair->applications[i].n_disks;
        fputs("    <!-- Free slots for hot-plug: a q35 domain has one otherwise. -->\n"
              "    <controller type='pci' index='0' model='pcie-root'/>\n", f);
        for (size_t i = 0; i < n_ports + pair->n_applications; i++)
                fputs("    <controller type='pci' model='pcie-root-port'/>\n", f);
}

static bool has_disks(const struct pair_policy *pair) {
        for (size_t i = 0; i < pair->n_applications; i++)
                if (pair->applications[i].n_disks > 0)
                        return true;
        return false;
}

/* libvirt keeps metadata as it is and opens nothing of it, so both sides can name the same image. */
static void print_disks(const struct pair_policy *pair, FILE *f) {
        fputs("  <!-- Disks that failoverd attaches to the side that owns them, and to no other. They must not stand "
              "in\n"
              "       <devices>, or both domains would open them when they start. Put in your own type and source. "
              "-->\n"
              "  <metadata>\n"
              "    <failover:disks xmlns:failover='" DISKS_NAMESPACE "'>\n",
              f);
        for (size_t i = 0; i < pair->n_applications; i++)
                for (size_t k = 0; k < pair->applications[i].n_disks; k++)
                        fprintf(f, "      <disk type='file' device='disk'>\n"
                                   "        <driver name='qemu' type='raw'/>\n"
                                   "        <source file='/path/to/%s.raw'/>\n"
                                   "        <target dev='%s' bus='virtio'/>\n"
                                   "      </disk>\n",
                                pair->applications[i].name, pair->applications[i].disks[k]);
        fputs("    </failover:disks>\n"
              "  </metadata>\n", f);
}

static void print_region(const struct application *application, size_t index, FILE *f) {
        fprintf(f, "    <memory model='virtio-mem'>\n"
                   "      <target>\n"
                   "        <size unit='KiB'>%" PRIu64 "</size>\n"
                   "        <node>%d</node>\n"
                   "        <block unit='KiB'>%" PRIu64 "</block>\n"
                   "        <requested unit='KiB'>0</requested>\n"
                   "      </target>\n"
                   "      <alias name='ua-%s'/>\n"
                   "    </memory>\n",
                device_bytes(application) / KIB, application_guest_node(index), (uint64_t) (SNIPPET_BLOCK_BYTES / KIB),
                application->name);
}

/* Prints the elements that the domain of one side must have, as a <domain> that holds nothing else: well-formed,
 * to be merged into the domain's own XML, not to be defined as it stands. Names need no escaping, by their syntax.
 * -EINVAL where the base does not cover the nodes' cells, -EIO where the stream failed. */
int policy_print_domain_snippet(const struct pair_policy *pair, enum side side, FILE *f) {
        const struct member *member = &pair->members[side];

        if (member->base_bytes <= pair->n_applications * SNIPPET_CELL_BYTES)
                return -EINVAL;
        fputs("<!-- Merge these elements into the domain. Leave autostart off: failoverd starts it. Memory above\n"
              "     4 GiB makes Linux set 64 MiB of bounce buffers aside; swiotlb=noforce on the guest kernel's\n"
              "     command line spares them where no device needs them. -->\n"
              "<domain>\n", f);
        fprintf(f, "  <name>%s</name>\n", member->domain);
        if (has_disks(pair))
                print_disks(pair, f);
        print_memory(pair, member, f);
        fputs("  <!-- A reset unplugs the regions and the guest plugs them again while booting, behind failoverd's\n"
              "       back: a reboot ends the domain, and failoverd starts it anew. A crashed one is kept until it is\n"
              "       fenced. -->\n"
              "  <on_poweroff>destroy</on_poweroff>\n"
              "  <on_reboot>destroy</on_reboot>\n"
              "  <on_crash>preserve</on_crash>\n"
              "  <devices>\n", f);
        print_ports(pair, f);
        fputs("    <channel type='unix'>\n"
              "      <target type='virtio' name='" AGENT_CHANNEL_NAME "'/>\n"
              "    </channel>\n"
              "    <panic model='isa'/>\n"
              "    <memballoon model='virtio'>\n"
              "      <stats period='1'/>\n"
              "    </memballoon>\n", f);
        fprintf(f,
                "    <!-- Optional: a second serial port that the guest's kernel echoes, so that a hang is decided "
                "within\n"
                "         two seconds. Nothing else may use it (/dev/ttyS1 in the guest). -->\n"
                "    <serial type='unix'>\n"
                "      <source mode='bind' path='/run/failoverd/%s.echo'/>\n"
                "      <target port='1'/>\n"
                "      <alias name='ua-echo'/>\n"
                "    </serial>\n",
                member->domain);
        for (size_t i = 0; i < pair->n_applications; i++)
                print_region(&pair->applications[i], i, f);
        fputs("  </devices>\n"
              "</domain>\n", f);
        return ferror(f) ? -EIO : 0;
}
