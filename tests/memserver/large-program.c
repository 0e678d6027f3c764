/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A program whose image is large: 8 MiB of constants, each page full of its own number (test_programs.py).
 *
 *   large-program [CODE]    answers each line "FIRST LAST" with the sum of those pages' numbers; at the end of its
 *                           input it exits with CODE
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define PAGE_BYTES 4096
#define PAGES 2048

extern const uint32_t pages[PAGES][PAGE_BYTES / sizeof(uint32_t)];
__asm__(".pushsection .rodata\n"
        ".balign 4096\n"
        ".globl pages\n"
        "pages:\n"
        ".set number, 1\n"
        ".rept 2048\n"
        ".fill 1024, 4, number\n"
        ".set number, number + 1\n"
        ".endr\n"
        ".popsection\n");

int main(int argc, char **argv) {
        unsigned first, last;

        if (wait(NULL) >= 0)
                return 99; /* somebody else's child */
        while (scanf("%u %u", &first, &last) == 2 && first <= last && last < PAGES) {
                unsigned long sum = 0;

                for (unsigned i = first; i <= last; i++)
                        for (size_t k = 0; k < PAGE_BYTES / sizeof(uint32_t); k++)
                                sum += pages[i][k];
                printf("%lu\n", sum / (PAGE_BYTES / sizeof(uint32_t)));
                fflush(stdout);
        }
        return argc > 1 ? atoi(argv[1]) : 0;
}
