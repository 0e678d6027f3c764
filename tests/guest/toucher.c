/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A guest without an operating system, for tests of what a host does with a real QEMU's memory: it boots in no time
 * wherever QEMU runs, also where processors are emulated twice. It writes and verifies its memory as the serial line
 * tells it, and answers each command with one character.
 *
 *   f FIRST END   writes into each page of these MiB
 *   v FIRST END   verifies that: "+", or "-" where a page has another content
 */

typedef unsigned int u32;

#define PORT 0x3f8
#define MIB (1u << 20)
#define PAGE 4096u

/* The boot loader's (QEMU's -kernel): Multiboot specification 0.6.96, with nothing asked for. */
__attribute__((section(".multiboot"), used)) static const u32 multiboot[] = { 0x1badb002, 0, 0u - 0x1badb002 };

static unsigned char stack[PAGE] __attribute__((used, aligned(16)));

static inline void out(unsigned short port, unsigned char value) {
        __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline unsigned char in(unsigned short port) {
        unsigned char value;

        __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
        return value;
}

static unsigned char get(void) {
        while (!(in(PORT + 5) & 1))
                ;
        return in(PORT);
}

static void put(unsigned char c) {
        while (!(in(PORT + 5) & 0x20))
                ;
        out(PORT, c);
}

static u32 get_number(void) {
        unsigned char c = get();
        u32 value = 0;

        while (c == ' ')
                c = get();
        for (; c >= '0' && c <= '9'; c = get())
                value = value * 10 + (c - '0');
        return value;
}

static u32 pattern(u32 at) {
        return at * 2654435761u ^ 0x5bd1e995u;
}

static int go_through(u32 first, u32 end, int write) {
        int good = 1;

        for (u32 at = first * MIB; at < end * MIB; at += PAGE) {
                volatile u32 *page = (volatile u32 *) at;

                if (write)
                        page[0] = page[PAGE / 4 - 1] = pattern(at);
                else if (page[0] != pattern(at) || page[PAGE / 4 - 1] != pattern(at))
                        good = 0;
        }
        return good;
}

__attribute__((used)) static void run(void) {
        put('+');
        for (;;) {
                unsigned char command = get();
                u32 first, end;

                if (command != 'f' && command != 'v')
                        continue;
                first = get_number();
                end = get_number();
                put(go_through(first, end, command == 'f') ? '+' : '-');
        }
}

__attribute__((naked, noreturn, used)) void _start(void) {
        __asm__ volatile("mov $stack + 4096, %esp\n"
                         "call run\n");
}
