/* The wire fuzzer, for two seconds from a random seed: AUTOBOTS_SEED repeats a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/clock.h"
#include "tests/fuzz/wire_one.h"

enum { RUN_MS = 2000, RECIPE_MAX = 64 };

static uint64_t run_seed(void)
{
    const char *given = getenv("AUTOBOTS_SEED");
    uint64_t seed = 0;
    if (given)
        return strtoull(given, NULL, 10);
    randombytes_buf(&seed, sizeof seed);
    return seed;
}

static void test_no_bytes_break_the_readers(void **state)
{
    (void)state;
    struct seeds random = {.state = run_seed()};
    printf("AUTOBOTS_SEED=%llu\n", (unsigned long long)random.state);
    fflush(stdout);
    uint64_t rounds = 0;
    for (int64_t end = ab_mono_ms() + RUN_MS; ab_mono_ms() < end; rounds++) {
        uint8_t recipe[RECIPE_MAX];
        size_t n = WIRE_RECIPE_HEAD + seeds_below(&random, RECIPE_MAX - WIRE_RECIPE_HEAD);
        for (size_t i = 0; i < n; i++)
            recipe[i] = (uint8_t)seeds_next(&random);
        if (seeds_below(&random, 8))
            recipe[1] |= 1; /* mostly damaged messages: pure noise hardly gets past the first byte */
        wire_one(recipe, n);
    }
    assert_true(rounds > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_bytes_break_the_readers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
