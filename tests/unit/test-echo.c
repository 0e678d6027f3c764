/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/echo.h"
#include "tests/unit/place.h"

static void count_heard(void *userdata) {
        (*(unsigned *) userdata)++;
}

/* The guest's side of an echo port, and what it has heard. */
struct guest_port {
        struct place place;
        sd_event *loop;
        struct echo *echo;
        int listen_fd, fd;
        unsigned n_heard;
};

static void guest_port_init(struct guest_port *port) {
        char path[108];

        *port = (struct guest_port){ .fd = -1 };
        place_init(&port->place);
        REQUIRE(sd_event_new(&port->loop) >= 0);
        port->listen_fd = listen_unix(&port->place, SOCK_STREAM, path);
        REQUIRE(echo_new(port->loop, path, count_heard, &port->n_heard, &port->echo) == 0);
        REQUIRE(echo_probe(port->echo) == 0);
        port->fd = accept4(port->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        REQUIRE(port->fd >= 0);
}

static void guest_port_deinit(struct guest_port *port) {
        echo_free(port->echo);
        close(port->fd);
        close(port->listen_fd);
        sd_event_unref(port->loop);
        place_deinit(&port->place);
}

static void guest_writes(struct guest_port *port, const char *text) {
        REQUIRE(write(port->fd, text, strlen(text)) == (ssize_t) strlen(text));
        REQUIRE(sd_event_run(port->loop, WAIT_USEC) > 0);
}

static void read_token(struct guest_port *port, char token[4]) {
        REQUIRE(recv(port->fd, token, 3, MSG_WAITALL) == 3);
        token[3] = '\0';
}

static void only_what_was_written_counts_as_an_echo(void) {
        struct guest_port port;
        char token[4], other[4];

        guest_port_init(&port);
        read_token(&port, token);
        CHECK(token[0] == '~');
        guest_writes(&port, "[    1.234567] random: crng init done\r\n~~zz~");
        CHECK(port.n_heard == 0);
        guest_writes(&port, token);
        CHECK(port.n_heard == 1);
        guest_writes(&port, token); /* has been heard before */
        CHECK(port.n_heard == 1);

        REQUIRE(echo_probe(port.echo) == 0);
        read_token(&port, other);
        CHECK(strcmp(token, other) != 0);
        guest_writes(&port, (char[]){ 'x', other[0], '\0' });
        guest_writes(&port, (char[]){ other[1], '\0' });
        CHECK(port.n_heard == 1);
        guest_writes(&port, (char[]){ other[2], 'y', '\0' });
        CHECK(port.n_heard == 2);
        guest_port_deinit(&port);
}

static void a_silent_guest_is_not_flooded(void) {
        struct guest_port port;
        char buffer[1024], token[4];
        ssize_t n;

        guest_port_init(&port);
        for (unsigned i = 0; i < 200; i++)
                REQUIRE(echo_probe(port.echo) == 0);
        n = recv(port.fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        CHECK(n >= 3 * 16 && n <= 3 * 18);
        /* it comes back and answers the last one: all is well again */
        memcpy(token, buffer + n - 3, 3);
        token[3] = '\0';
        guest_writes(&port, token);
        CHECK(port.n_heard == 1);
        REQUIRE(echo_probe(port.echo) == 0);
        CHECK(recv(port.fd, buffer, sizeof(buffer), MSG_DONTWAIT) == 3);
        guest_port_deinit(&port);
}

static void a_port_that_was_closed_is_connected_anew(void) {
        struct guest_port port;
        char token[4];

        guest_port_init(&port);
        close(port.fd);
        REQUIRE(sd_event_run(port.loop, WAIT_USEC) > 0);
        REQUIRE(echo_probe(port.echo) == 0);
        port.fd = accept4(port.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        REQUIRE(port.fd >= 0);
        read_token(&port, token);
        guest_writes(&port, token);
        CHECK(port.n_heard == 1);
        close(port.listen_fd);
        close(port.fd);
        REQUIRE(sd_event_run(port.loop, WAIT_USEC) > 0);
        CHECK(echo_probe(port.echo) == -ECONNREFUSED);
        port.fd = port.listen_fd = -1;
        guest_port_deinit(&port);
}

TEST_MAIN("echo",
          TEST(only_what_was_written_counts_as_an_echo),
          TEST(a_silent_guest_is_not_flooded),
          TEST(a_port_that_was_closed_is_connected_anew))
