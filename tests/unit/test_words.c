/* Words of texts and queries: what is found, where it is marked, and that no bytes upset it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/wire/schema.h"
#include "storage/sqlite/words.h"

static sqlite3 *handle;
static struct words *words;

static int open_words(void **state)
{
    (void)state;
    struct ab_error err;
    assert_int_equal(sqlite3_open(":memory:", &handle), SQLITE_OK);
    return words_create(handle, &words, &err);
}

static int close_words(void **state)
{
    (void)state;
    words_destroy(words);
    sqlite3_close(handle);
    return 0;
}

/* The snippet with [marks] in it; "" if the query does not fit. */
static const char *found(const char *text, const char *asked)
{
    static char out[2048];
    struct query *query = NULL;
    struct ab_error err;
    struct ab_buf snippet = {0}, marks = {0};
    uint32_t n = 0, pair;
    uint64_t first, count;
    char *to = out;
    assert_int_equal(query_create(words, ab_view_of(asked), &query, &err), 0);
    if (query_snippet(query, ab_view_of(text), &snippet, &marks)) {
        struct ab_reader reader = ab_reader(ab_buf_view(&marks));
        uint64_t at = 0, end = UINT64_MAX;
        assert_int_equal(ab_read_array(&reader, &n), 0);
        for (size_t i = 0; i <= snippet.n; i++) {
            bool character = i < snippet.n && ((uint8_t)snippet.p[i] & 0xc0) != 0x80;
            if ((character || i == snippet.n) && at == end) {
                *to++ = ']';
                end = UINT64_MAX;
            }
            if (character && end == UINT64_MAX && n) {
                struct ab_reader peek = reader;
                if (!ab_read_array(&peek, &pair) && !ab_read_uint(&peek, &first) &&
                    !ab_read_uint(&peek, &count) && first == at) {
                    *to++ = '[';
                    end = first + count;
                    reader = peek;
                    n--;
                }
            }
            at += character;
            if (i < snippet.n)
                *to++ = snippet.p[i];
        }
        assert_int_equal(n, 0);
    }
    *to = 0;
    ab_buf_finish(&snippet);
    ab_buf_finish(&marks);
    query_destroy(query);
    return out;
}

static void terms_are_found_and_marked(void **state)
{
    (void)state;
    static const struct {
        const char *text, *query, *found;
    } rows[] = {
        {"The owl sleeps.", "owl", "The [owl] sleeps."},
        {"The owl sleeps.", "OWL the", "[The] [owl] sleeps."},
        {"The owl sleeps.", "\"owl sleeps\"", "The [owl sleeps]."},
        {"The owl sleeps.", "\"the sleeps\"", ""},
        {"The owl sleeps.", "sle*", "The owl [sleeps]."},
        {"The owl sleeps.", "sle", ""},
        {"naïve Käse", "naive kase", "[naïve] [Käse]"},
        {"a@b.example", "\"b example\"", "a@[b.example]"},
        {"一二三四", "二三", "一[二三]四"},
        {"abc一二def", "c一", ""},
        {"abc一二def", "abc一", "[abc一]二def"},
        {"x\ny\tz", "\"x y\"", "[x y] z"},
        {"👍 owl 👍", "owl", "👍 [owl] 👍"},
        {"one two one", "\"one two\" two one", "[one two] [one]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(found(rows[i].text, rows[i].query), rows[i].found);
}

static void what_no_query_can_be_is_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {"", "  ", "\"\"", "*", "!?.", "a*"};
    struct query *query = NULL;
    struct ab_error err;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(query_create(words, ab_view_of(refused[i]), &query, &err), AB_EINVALID);
        assert_string_equal(err.path, "query");
    }
}

/* What the query is for FTS5 is never its syntax. */
static void a_match_is_of_strings_only(void **state)
{
    (void)state;
    struct query *query = NULL;
    struct ab_error err;
    struct ab_buf match = {0};
    assert_int_equal(query_create(words, ab_view_of("a\"b) OR place:u2\" pre* 一二"), &query, &err), 0);
    query_match(query, WORDS_TERMS_MAX, ab_view_of("u1"), &match);
    assert_string_equal(
        ab_buf_cstr(&match),
        "place:\"u1\" AND text:\"a\" AND text:\"b) OR place:u2\" AND text:\"pre*\"* AND text:\" 一 二\"");
    ab_buf_finish(&match);
    query_destroy(query);
}

/* Any bytes, as texts and as queries: nothing is read or written beside them, and what is marked lies in the snippet. */
static void any_bytes_are_taken(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",    "b ",       "\"",   "*",  " ", "一",
                                         "\xe4", "\xf0\x9f", "\n",   "\0", "é", "ก็",
                                         "\xff", "owl ",     "\xc3", "“",  "-", "\xf0\x9f\xa6\x89"};
    uint32_t random = 4711;
    for (int round = 0; round < 3000; round++) {
        struct ab_buf both[2] = {{0}};
        for (int b = 0; b < 2; b++)
            for (uint32_t n = (random >> 8) % (b ? 300 : 12) + 1; n--;) {
                random = random * 1664525u + 1013904223u;
                const char *piece = pieces[(random >> 10) % (sizeof pieces / sizeof *pieces)];
                ab_buf_add(&both[b], piece, *piece ? strlen(piece) : 1);
            }
        struct query *query = NULL;
        struct ab_error err;
        struct ab_buf snippet = {0}, marks = {0}, match = {0};
        char *asked = ab_view_dup(ab_buf_view(&both[0])),
             *text = malloc(both[1].n); /* exactly as long: for asan */
        memcpy(text, both[1].p, both[1].n);
        if (!query_create(words, ab_view(asked, both[0].n), &query, &err)) {
            if (query_snippet(query, ab_view(text, both[1].n), &snippet, &marks))
                assert_true(snippet.n && ab_any_ok(ab_buf_view(&marks)));
            query_match(query, WORDS_TERMS_MAX, ab_view_of("u1 s1"), &match);
            assert_null(memchr(match.p, 0, match.n));
        }
        query_destroy(query);
        free(asked);
        free(text);
        for (int b = 0; b < 2; b++)
            ab_buf_finish(&both[b]);
        ab_buf_finish(&snippet);
        ab_buf_finish(&marks);
        ab_buf_finish(&match);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_are_found_and_marked),
        cmocka_unit_test(what_no_query_can_be_is_refused),
        cmocka_unit_test(a_match_is_of_strings_only),
        cmocka_unit_test(any_bytes_are_taken),
    };
    return cmocka_run_group_tests(tests, open_words, close_words);
}
