/* Packets: messages one after the other, and what is none; outboxes over real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/wire/socket.h"

enum { PATIENCE_MS = 5000, BODY_MAX = 1 << 20 };

static void add_ping(struct ab_buf *out, uint64_t rid, size_t body_bytes)
{
    char *body = ab_calloc(1, body_bytes);
    ab_packet_add(out, AB_PING, &(struct ab_ping){.rid = rid}, ab_view(body, body_bytes));
    free(body);
}

static uint64_t rid_of(struct ab_view header)
{
    struct ab_ping ping;
    assert_int_equal(ab_decode(&ab_ping_schema, header, &ping, NULL), 0);
    return ping.rid;
}

/* ---- the format ---- */

static void test_messages_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct ab_buf packet = {0};
    for (uint64_t rid = 0; rid < 5; rid++)
        add_ping(&packet, rid, rid * 300);
    struct ab_view left = ab_buf_view(&packet);
    struct ab_envelope one;
    for (uint64_t rid = 0; rid < 5; rid++) {
        assert_int_equal(ab_packet_take(&left, &one, NULL), 0);
        assert_int_equal(one.version, AB_VERSION_MAX);
        assert_int_equal(one.command, AB_PING);
        assert_int_equal(rid_of(one.header), rid);
        assert_int_equal(one.body.n, rid * 300);
    }
    assert_int_equal(left.n, 0);
    ab_buf_finish(&packet);
}

/* Cut anywhere, a message is none; nothing behind the end is read (the copy is exact, for the sanitizer). */
static void test_a_cut_message_is_none(void **state)
{
    (void)state;
    struct ab_buf packet = {0};
    add_ping(&packet, 1, 3);
    for (size_t n = 0; n < packet.n; n++) {
        char *cut = ab_alloc(n);
        memcpy(cut, packet.p, n);
        struct ab_view left = ab_view(cut, n);
        struct ab_envelope one;
        struct ab_error err = {0};
        assert_int_equal(ab_packet_take(&left, &one, &err), AB_EINVALID);
        assert_true(*err.text);
        free(cut);
    }
    ab_buf_finish(&packet);
}

static void expect_refused(struct ab_view packet, int code)
{
    struct ab_envelope one;
    struct ab_error err = {0};
    assert_int_equal(ab_packet_take(&packet, &one, &err), code);
    assert_true(*err.text);
}

static void test_lengths_are_checked(void **state)
{
    (void)state;
    struct ab_buf packet = {0};
    expect_refused(ab_view("XB\1\5\0\0\0\1\0\0\0\0\x80", 13), AB_EINVALID);
    expect_refused(ab_view("AB\1\5\0\0\0\2\0\0\0\0\x80", 13), AB_EINVALID);
    expect_refused(ab_view("AB\1\5\0\0\0\1\0\0\0\1\x80", 13), AB_EINVALID);
    expect_refused(ab_view("AB\1\5\xff\xff\xff\xff\xff\xff\xff\xff\x80", 13), AB_EINVALID);
    ab_buf_add(&packet, "AB\1\5\0\x20\0\1\0\0\0\0", AB_PACKET_HEAD); /* one byte over AB_HEADER_MAX */
    ab_buf_reserve(&packet, AB_HEADER_MAX + 1);
    memset(packet.p + packet.n, 0, AB_HEADER_MAX + 1);
    packet.n += AB_HEADER_MAX + 1;
    expect_refused(ab_buf_view(&packet), AB_ETOOLARGE);
    ab_buf_finish(&packet);
}

static size_t count(struct ab_view packet)
{
    struct ab_envelope one;
    size_t n = 0;
    for (; packet.n; n++)
        assert_int_equal(ab_packet_take(&packet, &one, NULL), 0);
    return n;
}

static void test_a_packet_is_bounded_in_bytes_and_messages(void **state)
{
    (void)state;
    struct ab_buf many = {0};
    assert_int_equal(ab_packet_first(ab_buf_view(&many)), 0);
    add_ping(&many, 1, 2 * AB_PACKET_BYTES); /* too great for company */
    size_t great = many.n;
    for (int i = 0; i < AB_PACKET_MESSAGES_MAX + 1; i++)
        add_ping(&many, 0, 0);
    size_t small = many.n - great;
    assert_int_equal(ab_packet_first(ab_buf_view(&many)), great);
    struct ab_view rest = ab_view(many.p + great, small);
    assert_int_equal(count(ab_view(rest.p, ab_packet_first(rest))), AB_PACKET_MESSAGES_MAX);
    ab_buf_clear(&many);
    for (int i = 0; i < 100; i++)
        add_ping(&many, 0, 1000);
    size_t first = ab_packet_first(ab_buf_view(&many));
    assert_true(first <= AB_PACKET_BYTES && first > AB_PACKET_BYTES - 1100);
    ab_buf_finish(&many);
}

/* ---- sockets ---- */

struct pair {
    char dir[64], *endpoint;
    void *router, *dealer;
    struct ab_message in; /* of the router */
    struct ab_outbox out; /* of the dealer */
};

static int setup(void **state)
{
    struct pair *p = ab_calloc(1, sizeof *p);
    struct ab_error err = {0};
    snprintf(p->dir, sizeof p->dir, "/tmp/autobots-test-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->endpoint = ab_format("ipc://%s/s", p->dir);
    p->router = ab_router_create(p->endpoint, BODY_MAX, &err);
    p->dealer = ab_dealer_create(p->endpoint, BODY_MAX, &err);
    assert_true(p->router && p->dealer);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;
    ab_message_close(&p->in);
    ab_outbox_finish(&p->out);
    ab_socket_destroy(p->router);
    ab_socket_destroy(p->dealer);
    char *path = ab_format("%s/s", p->dir);
    unlink(path);
    rmdir(p->dir);
    free(path);
    free(p->endpoint);
    free(p);
    return 0;
}

static bool wait_for(void *socket, short events)
{
    zmq_pollitem_t item = {.socket = socket, .events = events};
    return zmq_poll(&item, 1, PATIENCE_MS) > 0;
}

static void say(struct pair *p, uint64_t rid, size_t body_bytes)
{
    char *body = ab_calloc(1, body_bytes);
    ab_outbox_add(&p->out, p->dealer, NULL, AB_PING, &(struct ab_ping){.rid = rid}, ab_view(body, body_bytes));
    free(body);
}

static void flush(struct pair *p)
{
    while (ab_outbox_flush(&p->out, p->dealer, NULL))
        assert_true(wait_for(p->dealer, ZMQ_POLLOUT));
}

/* The next message at the router. */
static uint64_t hear(struct pair *p)
{
    int rc = ab_message_receive(p->router, &p->in, NULL);
    if (!rc && wait_for(p->router, ZMQ_POLLIN))
        rc = ab_message_receive(p->router, &p->in, NULL);
    assert_int_equal(rc, 1);
    return rid_of(p->in.header);
}

static void test_what_is_gathered_leaves_in_one_packet(void **state)
{
    struct pair *p = *state;
    for (uint64_t rid = 1; rid <= 100; rid++)
        say(p, rid, 10);
    assert_true(ab_outbox_bytes(&p->out) > 0);
    flush(p);
    assert_int_equal(ab_outbox_bytes(&p->out), 0);
    for (uint64_t rid = 1; rid <= 100; rid++) {
        assert_int_equal(hear(p), rid);
        assert_int_equal(ab_message_more(&p->in), rid < 100);
        assert_true(p->in.route.n > 0);
    }
    assert_int_equal(ab_message_receive(p->router, &p->in, NULL), 0);
}

static void test_messages_of_all_sizes_keep_their_order(void **state)
{
    struct pair *p = *state;
    size_t sizes[] = {0, 10, AB_PACKET_BYTES - 20, 1, BODY_MAX, 500, AB_PACKET_BYTES, 0};
    enum { N = sizeof sizes / sizeof *sizes };
    for (uint64_t i = 0; i < 10 * N; i++)
        say(p, i + 1, sizes[i % N]);
    flush(p);
    for (uint64_t i = 0; i < 10 * N; i++) {
        assert_int_equal(hear(p), i + 1);
        assert_int_equal(p->in.body.n, sizes[i % N]);
    }
}

static void test_a_peer_that_does_not_read_fills_the_pipe_and_loses_nothing(void **state)
{
    struct pair *p = *state;
    uint64_t sent = 0;
    say(p, ++sent, 0);
    flush(p);
    while (!p->out.rc) /* each of its own packet */
        say(p, ++sent, 40000);
    for (int i = 0; i < 50; i++)
        say(p, ++sent, 100);
    assert_int_equal(p->out.rc, AB_EUNAVAILABLE);
    assert_true(ab_outbox_bytes(&p->out) > 50 * 100);
    uint64_t heard = 0;
    while (heard < sent) {
        assert_int_equal(hear(p), ++heard);
        if (ab_outbox_bytes(&p->out))
            ab_outbox_flush(&p->out, p->dealer, NULL);
    }
    assert_int_equal(ab_outbox_bytes(&p->out), 0);
    assert_int_equal(p->out.rc, 0);
}

static void test_an_outbox_of_a_peer_that_is_gone_says_so(void **state)
{
    struct pair *p = *state;
    struct ab_outbox out = {0};
    say(p, 1, 0);
    flush(p);
    hear(p);
    struct ab_route gone = p->in.route;
    gone.b[gone.n - 1] ^= 1;
    ab_outbox_add(&out, p->router, &gone, AB_PONG, &(struct ab_ping){.rid = 1}, ab_view(NULL, 0));
    assert_int_equal(ab_outbox_flush(&out, p->router, &gone), AB_ENOTFOUND);
    assert_true(ab_outbox_bytes(&out) > 0);
    ab_outbox_finish(&out);
    assert_int_equal(ab_outbox_bytes(&out), 0);
}

static void test_a_bad_message_ends_its_packet_only(void **state)
{
    struct pair *p = *state;
    struct ab_buf packet = {0};
    struct ab_error err = {0};
    add_ping(&packet, 1, 0);
    ab_buf_text(&packet, "no message");
    assert_true(wait_for(p->dealer, ZMQ_POLLOUT));
    assert_true(zmq_send(p->dealer, packet.p, packet.n, 0) > 0);
    say(p, 2, 0);
    flush(p);
    assert_int_equal(hear(p), 1);
    assert_int_equal(ab_message_receive(p->router, &p->in, &err), AB_EINVALID);
    assert_true(p->in.route.n > 0);
    assert_int_equal(hear(p), 2);
    ab_buf_finish(&packet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_out_as_they_went_in),
        cmocka_unit_test(test_a_cut_message_is_none),
        cmocka_unit_test(test_lengths_are_checked),
        cmocka_unit_test(test_a_packet_is_bounded_in_bytes_and_messages),
        cmocka_unit_test_setup_teardown(test_what_is_gathered_leaves_in_one_packet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_messages_of_all_sizes_keep_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_peer_that_does_not_read_fills_the_pipe_and_loses_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_outbox_of_a_peer_that_is_gone_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_bad_message_ends_its_packet_only, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
