/* The cache of replies stays within its bounds and forgets what was used longest ago. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "worker/model/cache.h"

static void number_key(uint8_t key[CACHE_KEY_BYTES], int n)
{
    char text[16];
    snprintf(text, sizeof text, "%d", n);
    cache_key(key, 0, "http://h", NULL, ab_view_of(text));
}

static void add(struct cache *cache, int n, size_t bytes)
{
    uint8_t key[CACHE_KEY_BYTES];
    struct model_reply reply = {.content = ab_calloc(1, bytes + 1),
                                .tool_calls = json_pack("[{s:s}]", "id", "a")};
    memset(reply.content, 'x', bytes);
    number_key(key, n);
    cache_add(cache, key, &reply);
    model_reply_finish(&reply);
}

static bool has(struct cache *cache, int n)
{
    uint8_t key[CACHE_KEY_BYTES];
    struct model_reply reply;
    number_key(key, n);
    if (!cache_find(cache, key, &reply))
        return false;
    assert_int_equal(json_array_size(reply.tool_calls), 1);
    model_reply_finish(&reply);
    return true;
}

static void the_number_of_entries_is_capped(void **state)
{
    struct cache cache = {0};
    for (int i = 0; i < CACHE_ENTRIES_MAX; i++)
        add(&cache, i, 1);
    assert_true(has(&cache, 0)); /* used: now 1 is the oldest */
    add(&cache, CACHE_ENTRIES_MAX, 1);
    assert_int_equal(cache.n, CACHE_ENTRIES_MAX);
    assert_true(has(&cache, 0));
    assert_false(has(&cache, 1));
    assert_true(has(&cache, CACHE_ENTRIES_MAX));
    cache_finish(&cache);
}

static void the_bytes_are_capped(void **state)
{
    struct cache cache = {0};
    for (int i = 0; i < 100; i++) {
        add(&cache, i, CACHE_REPLY_BYTES_MAX / 2);
        assert_true(cache.bytes <= CACHE_BYTES_MAX);
        assert_true(has(&cache, i));
    }
    assert_in_range(cache.n, 30, 32);
    add(&cache, 100, CACHE_REPLY_BYTES_MAX + 1);
    assert_false(has(&cache, 100));
    cache_finish(&cache);
    assert_int_equal(cache.bytes, 0);
}

static void all_that_makes_a_reply_is_in_the_key(void **state)
{
    uint8_t keys[6][CACHE_KEY_BYTES];
    cache_key(keys[0], 0, "a", "k", ab_view_of("b"));
    cache_key(keys[1], 1, "a", "k", ab_view_of("b"));
    cache_key(keys[2], 0, "ak", NULL, ab_view_of("b"));
    cache_key(keys[3], 0, "a", NULL, ab_view_of("b"));
    cache_key(keys[4], 0, "a", "kb", ab_view_of(""));
    cache_key(keys[5], 0, "a", "k", ab_view_of("c"));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(keys[i], keys[k], CACHE_KEY_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_of_entries_is_capped),
        cmocka_unit_test(the_bytes_are_capped),
        cmocka_unit_test(all_that_makes_a_reply_is_in_the_key),
    };
    return cmocka_run_group_tests_name("reply_cache", tests, NULL, NULL);
}
