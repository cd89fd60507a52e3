/* Server-sent events: whatever the bytes are split into, the same events come out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "worker/model/sse.h"

static int collect(void *user, struct ab_view data, struct ab_error *err)
{
    struct ab_buf *out = user;
    ab_buf_char(out, '<');
    ab_buf_add(out, data.p, data.n);
    ab_buf_char(out, '>');
    return 0;
}

static void expect(const char *stream, size_t first, size_t step, const char *events)
{
    struct sse sse = {0};
    struct ab_buf out = {0};
    struct ab_error err;
    size_t n = strlen(stream), at = first < n ? first : n;
    assert_int_equal(sse_feed(&sse, ab_view(stream, at), collect, &out, &err), 0);
    while (at < n) {
        size_t piece = step && step < n - at ? step : n - at;
        /* a copy of its own, so that reading past it is seen by the sanitizers */
        char *copy = ab_strndup(stream + at, piece);
        assert_int_equal(sse_feed(&sse, ab_view(copy, piece), collect, &out, &err), 0);
        free(copy);
        at += piece;
    }
    assert_int_equal(sse_end(&sse, collect, &out, &err), 0);
    assert_string_equal(ab_buf_cstr(&out), events);
    ab_buf_finish(&out);
    sse_finish(&sse);
}

static void expect_always(const char *stream, const char *events)
{
    for (size_t first = 0; first <= strlen(stream); first++)
        expect(stream, first, 0, events);
    expect(stream, 0, 1, events);
    expect(stream, 0, 2, events);
    expect(stream, 0, 3, events);
}

static void every_line_end_at_every_split(void **state)
{
    expect_always("data: a\n\ndata: b\n\n", "<a><b>");
    expect_always("data: a\r\n\r\ndata: b\r\n\r\n", "<a><b>");
    expect_always("data: a\r\rdata: b\r\r", "<a><b>");
    expect_always("data: a\r\n\ndata: b\n\r\n", "<a><b>");
    expect_always("data: a\r\n\rdata: b\r\n\r", "<a><b>");
}

static void lines_of_one_event_are_joined(void **state)
{
    expect_always("data: a\ndata: b\ndata:\ndata:  c\n\n", "<a\nb\n\n c>");
    expect_always("data: a\rdata:b\r\r", "<a\nb>");
    expect_always("data: a\r\ndata: b\r\n\r\n", "<a\nb>");
}

static void comments_other_fields_and_empty_data_are_ignored(void **state)
{
    expect_always(
        ": keepalive\n\n:\n\nevent: ping\nid: 3\nretry: 5\n\ndata:\n\ndata\n\ndatax: no\n\ndata: a\n\n", "<a>");
    expect_always("\n\n\r\n\rdata: a\n\n\n\n", "<a>");
}

static void byte_order_mark_is_skipped_once(void **state)
{
    expect_always("\xEF\xBB\xBF"
                  "data: a\n\n\xEF\xBB\xBF"
                  "data: b\n\n",
                  "<a>");
}

static void last_event_without_a_blank_line_counts(void **state)
{
    expect_always("data: a\n\ndata: b", "<a><b>");
    expect_always("data: a\n\ndata: b\n", "<a><b>");
    expect_always("data: a\n\ndata: b\r", "<a><b>");
}

static void size_is_capped_in_one_line_and_over_lines(void **state)
{
    struct ab_buf out = {0};
    struct ab_error err;
    struct sse sse = {.bytes_max = 16};
    assert_int_equal(sse_feed(&sse, ab_view_of("data: 0123456789"), collect, &out, &err), 0);
    assert_int_equal(sse_feed(&sse, ab_view_of("x"), collect, &out, &err), AB_ETOOLARGE);
    sse_finish(&sse);
    sse = (struct sse){.bytes_max = 16};
    const char *lines = "data: 01234\ndata: 01234\ndata: 01234\n";
    assert_int_equal(sse_feed(&sse, ab_view_of(lines), collect, &out, &err), AB_ETOOLARGE);
    sse_finish(&sse);
    assert_int_equal(out.n, 0);
    ab_buf_finish(&out);
}

static int refuse(void *user, struct ab_view data, struct ab_error *err)
{
    ++*(int *)user;
    return AB_EMODEL;
}

static void a_refused_event_stops_the_parser(void **state)
{
    struct sse sse = {0};
    struct ab_error err;
    int calls = 0;
    assert_int_equal(sse_feed(&sse, ab_view_of("data: a\n\ndata: b\n\n"), refuse, &calls, &err), AB_EMODEL);
    assert_int_equal(calls, 1);
    sse_finish(&sse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_end_at_every_split),
        cmocka_unit_test(lines_of_one_event_are_joined),
        cmocka_unit_test(comments_other_fields_and_empty_data_are_ignored),
        cmocka_unit_test(byte_order_mark_is_skipped_once),
        cmocka_unit_test(last_event_without_a_blank_line_counts),
        cmocka_unit_test(size_is_capped_in_one_line_and_over_lines),
        cmocka_unit_test(a_refused_event_stops_the_parser),
    };
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
