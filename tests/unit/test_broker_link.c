/* The broker's line to storage, without sockets: batching, order, resending, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "broker/link.h"
#include "common/log.h"

enum { BATCHES_MAX = 256 };

struct storage {
    struct link *link;
    int rc; /* of send */
    int hellos, pings, ups, downs;
    uint64_t rids[BATCHES_MAX];
    uint32_t ops[BATCHES_MAX];
    int batches;
    uint64_t queries[BATCHES_MAX];
    int queries_n;
    uint64_t answered[4096];
    int answered_n, last_code;
    int64_t now_ms;
};

static int fake_send(void *owner, enum ab_command command, const void *message, struct ab_view body)
{
    struct storage *storage = owner;
    struct ab_reader reader = ab_reader(body);
    if (storage->rc)
        return storage->rc;
    storage->hellos += command == AB_HELLO;
    storage->pings += command == AB_PING;
    if (command == AB_BATCH) {
        assert_true(storage->batches < BATCHES_MAX);
        storage->rids[storage->batches] = ((const struct ab_batch *)message)->rid;
        assert_int_equal(ab_read_array(&reader, &storage->ops[storage->batches++]), 0);
    }
    if (command == AB_QUERY)
        storage->queries[storage->queries_n++] = ((const struct ab_query *)message)->rid;
    return 0;
}

static void fake_answered(void *owner, const struct ticket *ticket, struct ab_view request, int code,
                          const struct ab_error *err, struct ab_view answer)
{
    struct storage *storage = owner;
    storage->answered[storage->answered_n++] = ticket->n;
    storage->last_code = code;
}

static void fake_up(void *owner, bool up)
{
    struct storage *storage = owner;
    storage->ups += up;
    storage->downs += !up;
}

static void fake_notice(void *owner, const struct ab_notice *notice)
{}

static uint64_t fake_epoch(void *owner)
{
    return 7;
}

static const struct link_ops ops = {fake_send, fake_answered, fake_up, fake_notice, fake_epoch};

static void hear(struct storage *storage, enum ab_command command, const void *message, struct ab_view body)
{
    struct ab_buf header = {0};
    ab_encode(&header, ab_command_row((uint8_t)command)->schema, message);
    link_message(storage->link, (uint8_t)command, ab_buf_view(&header), body, storage->now_ms);
    ab_buf_finish(&header);
}

static void tick(struct storage *storage, int64_t ms)
{
    storage->now_ms += ms;
    link_tick(storage->link, storage->now_ms);
}

static void welcome(struct storage *storage)
{
    hear(
        storage, AB_WELCOME,
        &(struct ab_welcome){.version = 1, .session = 1, .epoch = 0, .heartbeat_ms = 1000, .body_bytes_max = 1},
        ab_view(NULL, 0));
    tick(storage, 0);
}

static void write_ops(struct storage *storage, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        link_write(
            storage->link, AB_OP_append,
            &(struct ab_op_append){.n = n, .seq = 1, .token = 1, .count = 1, .events = ab_view("\x90", 1)},
            &(struct ticket){.n = n});
}

static void answer(struct storage *storage, uint64_t rid, uint32_t n, const char *code)
{
    struct ab_buf body = {0};
    ab_pack_array(&body, n);
    for (uint32_t i = 0; i < n; i++) {
        ab_pack_array(&body, 2);
        ab_pack_str(&body, ab_view_of(code));
        ab_pack_map(&body, 0);
    }
    hear(storage, AB_RESULTS, &(struct ab_results){.rid = rid}, ab_buf_view(&body));
    ab_buf_finish(&body);
}

static int setup(void **state)
{
    static struct storage storage;
    storage = (struct storage){.now_ms = 100};
    storage.link = link_create(&ops, &storage, "test");
    tick(&storage, 0);
    assert_int_equal(storage.hellos, 1);
    welcome(&storage);
    assert_int_equal(storage.ups, 1);
    *state = &storage;
    return 0;
}

static int teardown(void **state)
{
    link_destroy(((struct storage *)*state)->link);
    return 0;
}

static void one_wake_up_is_one_batch(void **state)
{
    struct storage *storage = *state;
    write_ops(storage, 1, 3);
    assert_int_equal(storage->batches, 0);
    tick(storage, 0);
    assert_int_equal(storage->batches, 1);
    assert_int_equal(storage->ops[0], 3);
    answer(storage, storage->rids[0], 3, "ok");
    assert_int_equal(storage->answered_n, 3);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(storage->answered[i], i + 1);
    assert_true(link_idle(storage->link));
    answer(storage, storage->rids[0], 3, "ok"); /* the answer once more */
    assert_int_equal(storage->answered_n, 3);
}

static void a_few_in_flight_and_the_rest_gathers(void **state)
{
    struct storage *storage = *state;
    for (uint64_t n = 1; n <= LINK_FLIGHT_MAX + 16; n++) {
        write_ops(storage, n, n);
        tick(storage, 0);
    }
    assert_int_equal(storage->batches, LINK_FLIGHT_MAX);
    answer(storage, storage->rids[0], 1, "ok");
    tick(storage, 0);
    assert_int_equal(storage->batches, LINK_FLIGHT_MAX + 1);
    assert_int_equal(storage->ops[LINK_FLIGHT_MAX], 16);
    write_ops(storage, 100, 100 + 2 * LINK_BATCH_OPS_MAX);
    for (int i = 1; i <= LINK_FLIGHT_MAX; i++)
        answer(storage, storage->rids[i], storage->ops[i], "ok");
    tick(storage, 0);
    assert_int_equal(storage->ops[LINK_FLIGHT_MAX + 1], LINK_BATCH_OPS_MAX);
}

static void unanswered_ones_are_sent_again_in_order(void **state)
{
    struct storage *storage = *state;
    for (uint64_t n = 1; n <= LINK_FLIGHT_MAX + 2; n++) {
        write_ops(storage, n, n);
        tick(storage, 0);
    }
    link_read(storage->link, AB_OP_load, &(struct ab_op_load){.n = 9}, &(struct ticket){.n = 9});
    tick(storage, 0);
    assert_int_equal(storage->queries_n, 1);
    int before = storage->batches;
    /* A new storage does not know us. */
    const struct ab_failure denied = {.code = ab_view_of("denied"), .text = ab_view_of("say HELLO first")};
    hear(storage, AB_ERROR, &denied, ab_view(NULL, 0));
    assert_int_equal(storage->downs, 1);
    write_ops(storage, LINK_FLIGHT_MAX + 3, LINK_FLIGHT_MAX + 3);
    tick(storage, 0);
    assert_int_equal(storage->hellos, 2);
    assert_int_equal(storage->batches, before);
    welcome(storage);
    assert_int_equal(storage->batches, before + LINK_FLIGHT_MAX);
    for (int i = 0; i < LINK_FLIGHT_MAX; i++)
        assert_int_equal(storage->rids[before + i], storage->rids[i]);
    assert_int_equal(storage->queries[1], storage->queries[0]);
    for (int i = 0; i < LINK_FLIGHT_MAX; i++)
        answer(storage, storage->rids[i], 1, "ok");
    tick(storage, 0);
    answer(storage, storage->rids[storage->batches - 1], storage->ops[storage->batches - 1], "ok");
    for (int i = 0; i < storage->answered_n; i++)
        assert_int_equal(storage->answered[i], i + 1);
    assert_int_equal(storage->answered_n, LINK_FLIGHT_MAX + 3);
}

static void no_connection_keeps_everything(void **state)
{
    struct storage *storage = *state;
    storage->rc = AB_EUNAVAILABLE;
    write_ops(storage, 1, 5);
    tick(storage, 0);
    assert_int_equal(storage->downs, 1);
    for (int i = 0; i < 10; i++)
        tick(storage, 100);
    storage->rc = 0;
    tick(storage, LINK_CONNECT_MS);
    assert_int_equal(storage->hellos, 2);
    welcome(storage);
    assert_int_equal(storage->ops[storage->batches - 1], 5);
}

static void silence_is_probed_then_greeted(void **state)
{
    struct storage *storage = *state;
    write_ops(storage, 1, 1);
    tick(storage, 0);
    tick(storage, LINK_PROBE_MS);
    assert_int_equal(storage->pings, 1);
    tick(storage, 3000);
    assert_int_equal(storage->downs, 1);
    assert_int_equal(storage->hellos, 2);
}

static void bounded(void **state)
{
    struct storage *storage = *state;
    assert_false(link_full(storage->link));
    write_ops(storage, 1, LINK_OPS_MAX);
    assert_true(link_full(storage->link));
}

static void refusals_are_told_per_operation(void **state)
{
    struct storage *storage = *state;
    write_ops(storage, 1, 2);
    tick(storage, 0);
    answer(storage, storage->rids[0], 2, "stale");
    assert_int_equal(storage->last_code, AB_ESTALE);
    assert_false(link_superseded(storage->link));
    write_ops(storage, 3, 4);
    tick(storage, 0);
    answer(storage, storage->rids[1], 1, "ok"); /* not as many as asked */
    assert_int_equal(storage->last_code, AB_EINTERNAL);
    assert_int_equal(storage->answered_n, 4);
    write_ops(storage, 5, 5);
    tick(storage, 0);
    const struct ab_failure stale = {
        .rid = storage->rids[2], .code = ab_view_of("stale"), .text = ab_view_of("a newer broker")};
    hear(storage, AB_ERROR, &stale, ab_view(NULL, 0));
    assert_true(link_superseded(storage->link));
}

/* Something in a batch made it unreadable: its operations are sent one by one, where it stood. */
static void a_batch_that_is_refused_whole_is_sent_one_by_one(void **state)
{
    struct storage *storage = *state;
    write_ops(storage, 1, 3);
    tick(storage, 0);
    write_ops(storage, 4, 5);
    tick(storage, 0);
    assert_int_equal(storage->batches, 2);
    const struct ab_failure bad = {
        .rid = storage->rids[0], .code = ab_view_of("invalid"), .text = ab_view_of("item 1 is none")};
    hear(storage, AB_ERROR, &bad, ab_view(NULL, 0));
    tick(storage, 0);
    assert_int_equal(storage->answered_n, 0);
    assert_int_equal(storage->batches, 5);
    for (int i = 2; i < 5; i++)
        assert_int_equal(storage->ops[i], 1);
    answer(storage, storage->rids[2], 1, "ok");
    const struct ab_failure alone = {
        .rid = storage->rids[3], .code = ab_view_of("invalid"), .text = ab_view_of("item 0 is none")};
    hear(storage, AB_ERROR, &alone, ab_view(NULL, 0));
    assert_int_equal(storage->last_code, AB_EINVALID);
    answer(storage, storage->rids[4], 1, "ok");
    answer(storage, storage->rids[1], 2, "ok");
    static const uint64_t order[] = {1, 2, 3, 4, 5};
    assert_int_equal(storage->answered_n, 5);
    assert_memory_equal(storage->answered, order, sizeof order);
    write_ops(storage, 6, 6);
    tick(storage, 0);
    assert_int_equal(storage->batches, 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_wake_up_is_one_batch),
        TEST(a_few_in_flight_and_the_rest_gathers),
        TEST(unanswered_ones_are_sent_again_in_order),
        TEST(no_connection_keeps_everything),
        TEST(silence_is_probed_then_greeted),
        TEST(bounded),
        TEST(refusals_are_told_per_operation),
        TEST(a_batch_that_is_refused_whole_is_sent_one_by_one),
    };
    ab_log_init("test", AB_ERROR_LEVEL, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
