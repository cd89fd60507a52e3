/* The command line's pure parts: what may reach a terminal, how words become a verb with options, and durations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/choices.h"
#include "client/cli/cli.h"
#include "client/cli/stream.h"

/* args.c finds its verbs in this table; the program's own stands in main.c. */
static int nothing(struct cli *cli)
{
    (void)cli;
    return 0;
}
const struct verb cli_verbs[] = {
    {"jobs", "", "list", BIT(state) | BIT(limit), 0, 0, nothing},
    {"submit", "TEXT", "submit", BIT(detach) | BIT(workflow), 0, -1, nothing},
    {"show", "JOB", "show", 0, 1, 1, nothing},
    {"sessions", "", "list", 0, 0, 0, nothing},
    {"sessions rename", "SESSION NAME", "rename", BIT(description), 2, 2, nothing},
};
const size_t cli_verbs_n = sizeof cli_verbs / sizeof *cli_verbs;

/* ---- the terminal ---- */

static char *shown(const char *text, size_t bytes)
{
    char *out = NULL;
    size_t n;
    FILE *file = open_memstream(&out, &n);
    term_text(file, text, bytes);
    fclose(file);
    return out;
}

#define R "\xef\xbf\xbd" /* U+FFFD */

static void test_no_control_character_reaches_a_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"plain \xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80\n\ttab",
         "plain \xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80\n\ttab"},
        {"\033[31mred\033[0m", R "[31mred" R "[0m"},
        {"\033]0;title\007", R "]0;title" R},
        {"over\rwrite", "over" R "write"},
        {"line\r\nend", "line\nend"},
        {"\x7f\x08", R R},
        {"\xc2\x9b"
         "31m",
         R "31m"}, /* CSI in one character */
        {"\xe2\x80\xae right to left", R " right to left"},
        {"\xe2\x81\xa6 isolate", R " isolate"},
        {"\xff\xfe", R R},
        {"\xe6\xbc", R R},       /* cut */
        {"\xc0\xaf", R R},       /* overlong */
        {"\xed\xa0\x80", R R R}, /* a surrogate */
        {"\xf3\xa0\x81\x81 tag", R " tag"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = shown(rows[i].text, strlen(rows[i].text));
        assert_string_equal(text, rows[i].shown);
        free(text);
    }
    char *text = shown("a\0b", 3);
    assert_string_equal(text, "a" R "b");
    free(text);
}

static void test_every_byte_is_harmless(void **state)
{
    (void)state;
    for (int first = 0; first < 256; first++)
        for (int second = 0; second < 256; second++) {
            char raw[] = {(char)first, (char)second};
            char *text = shown(raw, 2);
            for (char *p = text; *p; p++)
                if ((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t')
                    fail_msg("%02x %02x lets %02x through", first, second, (unsigned char)*p);
            free(text);
        }
}

static void test_a_line_is_one_line_of_that_width(void **state)
{
    (void)state;
    char *line = term_line("two\nlines and \xe6\xbc\xa2\xe5\xad\x97 more", 12);
    assert_string_equal(line, "two lines a…");
    free(line);
    line = term_line("\xe6\xbc\xa2\xe5\xad\x97", 2);
    assert_string_equal(line, "\xe6\xbc\xa2\xe5\xad\x97");
    free(line);
}

static void test_json_stays_the_same_value_without_its_controls(void **state)
{
    (void)state;
    char *out = NULL;
    size_t n;
    FILE *file = open_memstream(&out, &n);
    static const char text[] = "esc \033 csi \xc2\x9b bidi \xe2\x80\xae tag \xf3\xa0\x81\x81 del \x7f";
    term_json(file, json_pack("{s:s}", "t", text));
    fclose(file);
    for (size_t i = 0; i + 1 < n; i++)
        assert_true((unsigned char)out[i] >= 0x20 && (unsigned char)out[i] < 0x7f);
    json_t *tree = json_loads(out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(tree, "t")), text);
    json_decref(tree);
    free(out);
}

/* ---- arguments ---- */

static int parse(struct cli *cli, char **argv)
{
    int n = 0;
    *cli = (struct cli){0};
    while (argv[n])
        n++;
    return args_parse(cli, n, argv);
}
#define PARSE(cli, ...) parse(cli, (char *[]){__VA_ARGS__, NULL})
static char jobs[] = "jobs", submit[] = "submit", show[] = "show", sessions[] = "sessions",
            renamed[] = "rename";
static char a[] = "a", b[] = "b", json[] = "--json", state_is[] = "--state=waiting", limit[] = "-n5",
            limit_word[] = "-n";
static char stop[] = "--", dash[] = "-", detach[] = "-d", unknown[] = "--nonsense", value[] = "--detach=yes";

static void test_words_become_a_verb_with_its_options(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(PARSE(&cli, json, jobs, state_is, limit), 0);
    assert_string_equal(cli.verb->name, "jobs");
    assert_true(cli.json);
    assert_string_equal(cli.option[OPT_state], "waiting");
    assert_string_equal(cli.option[OPT_limit], "5");
    assert_int_equal(PARSE(&cli, jobs, limit_word, a), 0);
    assert_string_equal(cli.option[OPT_limit], "a");
    assert_int_equal(PARSE(&cli, sessions), 0);
    assert_string_equal(cli.verb->name, "sessions");
    assert_int_equal(PARSE(&cli, sessions, renamed, a, b), 0);
    assert_string_equal(cli.verb->name, "sessions rename");
    assert_int_equal(cli.n, 2);
}

static void test_text_may_look_like_an_option_after_two_dashes(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(PARSE(&cli, submit, detach, stop, detach, unknown), 0);
    assert_non_null(cli.option[OPT_detach]);
    assert_int_equal(cli.n, 2);
    assert_int_equal(PARSE(&cli, submit, dash), 0);
    assert_string_equal(cli.words[0], "-");
}

static void test_wrong_words_are_usage(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(PARSE(&cli, unknown), CLI_USAGE);
    assert_int_equal(PARSE(&cli, a), CLI_USAGE);
    assert_int_equal(PARSE(&cli, show), CLI_USAGE);
    assert_int_equal(PARSE(&cli, show, a, b), CLI_USAGE);
    assert_int_equal(PARSE(&cli, show, a, detach), CLI_USAGE); /* not an option of this verb */
    assert_int_equal(PARSE(&cli, jobs, limit_word), CLI_USAGE);
    assert_int_equal(PARSE(&cli, submit, value, a), CLI_USAGE);
    assert_int_equal(PARSE(&cli, sessions, renamed, a), CLI_USAGE);
}

/* ---- values ---- */

static void test_durations_and_dates(void **state)
{
    (void)state;
    int64_t ms;
    uint64_t number;
    assert_true(parse_duration("90s", &ms) && ms == 90000);
    assert_true(parse_duration("2h", &ms) && ms == 7200000);
    assert_true(parse_duration("250ms", &ms) && ms == 250);
    assert_false(parse_duration("90", &ms));
    assert_false(parse_duration("-1s", &ms));
    assert_false(parse_duration("1w", &ms));
    assert_false(parse_duration("99999999999999999999s", &ms));
    assert_true(parse_since("1m", 100000, &ms) && ms == 40000);
    assert_true(parse_since("2026-01-31T12:00:00Z", 0, &ms) && ms == 1769860800000);
    assert_false(parse_since("yesterday", 0, &ms));
    assert_true(parse_number("42", &number) && number == 42);
    assert_false(parse_number("42x", &number));
    assert_false(parse_number("-1", &number));
    assert_false(parse_number("", &number));
}

/* ---- streaming ---- */

/* The text a reader sees when these pieces come, then the whole turn. */
static void test_pieces_and_the_whole_turn_make_the_text_once(void **state)
{
    (void)state;
    static const char text[] = "abcdefghij";
    static const struct {
        struct {
            int attempt, offset, bytes;
        } pieces[4];
        const char *shown; /* before the whole turn */
    } rows[] = {
        {{{1, 0, 3}, {1, 3, 3}}, "abcdef"},            /* in order */
        {{{1, 0, 3}, {1, 0, 3}, {1, 2, 4}}, "abcdef"}, /* repeated and overlapping */
        {{{1, 0, 3}, {1, 6, 2}}, "abc"},               /* a gap stops it */
        {{{1, 3, 3}}, ""},                             /* the beginning was not seen */
        {{{1, 0, 5}, {2, 0, 2}, {1, 5, 2}},
         "abcde|ab"},                     /* a new attempt starts again; the old one is ignored */
        {{{1, 0, 4}, {2, 4, 2}}, "abcd"}, /* its beginning was not seen */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stream stream = {0};
        struct ab_buf seen = {0};
        size_t skip, shown;
        for (size_t p = 0; p < 4 && rows[i].pieces[p].bytes; p++) {
            enum stream_act act =
                stream_piece(&stream, "s", (uint64_t)rows[i].pieces[p].attempt,
                             (uint64_t)rows[i].pieces[p].offset, (size_t)rows[i].pieces[p].bytes, &skip);
            if (act == STREAM_AGAIN)
                ab_buf_char(&seen, '|');
            if (act != STREAM_SKIP)
                ab_buf_add(&seen, text + rows[i].pieces[p].offset + skip,
                           (size_t)rows[i].pieces[p].bytes - skip);
        }
        assert_string_equal(ab_buf_cstr(&seen), rows[i].shown);
        const char *last = strrchr(rows[i].shown, '|') ? strrchr(rows[i].shown, '|') + 1 : rows[i].shown;
        assert_int_equal(stream_whole(&stream, "s", &shown), *last != 0);
        assert_int_equal(shown, strlen(last));
        assert_false(stream_close(&stream));
        ab_buf_finish(&seen);
    }
}

static void test_only_one_agent_is_streamed_at_a_time(void **state)
{
    (void)state;
    struct stream stream = {0};
    size_t skip, shown;
    assert_int_equal(stream_piece(&stream, "a", 1, 0, 3, &skip), STREAM_OPEN);
    assert_int_equal(stream_piece(&stream, "b", 1, 0, 3, &skip), STREAM_SKIP);
    assert_false(stream_whole(&stream, "b", &shown));
    assert_int_equal(shown, 0);
    assert_int_equal(stream_piece(&stream, "a", 1, 3, 3, &skip), STREAM_GO);
    assert_true(stream_whole(&stream, "a", &shown));
    assert_int_equal(shown, 6);
    assert_int_equal(stream_piece(&stream, "b", 1, 0, 3, &skip), STREAM_OPEN);
    assert_true(stream_close(&stream));
}

static void test_who_was_chosen_is_told_from_the_groups_own_events(void **state)
{
    (void)state;
    struct choices choices = {0};
    assert_false(choices_asked(&choices, "a/chat:1", "the Critic, please"));
    assert_false(choices_asked(&choices, "b/chat:1", "hm"));
    assert_int_equal(choices_made(&choices, "a:2", "critic"), CHOICE_NONE); /* another group's */
    assert_true(choices_asked(&choices, "b/chat:2", "nobody"));
    assert_int_equal(choices_made(&choices, "a/chat:2", "critic"), CHOICE_NAMED);
    assert_int_equal(choices_made(&choices, "a/chat:3", "critic"), CHOICE_NONE); /* by rule */
    assert_int_equal(choices_made(&choices, "b/chat:3", "critic"), CHOICE_IN_TURN);
    for (int i = 0; i < CHOICES_MAX + 5; i++) {
        char step[16];
        snprintf(step, sizeof step, "%d:1", i);
        assert_false(choices_asked(&choices, step, "x"));
    }
    assert_int_equal(choices_made(&choices, "0:2", "x"), CHOICE_NAMED);
    assert_int_equal(choices_made(&choices, "68:2", "x"), CHOICE_NONE); /* beyond the bound nothing is said */
    choices_finish(&choices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_control_character_reaches_a_terminal),
        cmocka_unit_test(test_every_byte_is_harmless),
        cmocka_unit_test(test_a_line_is_one_line_of_that_width),
        cmocka_unit_test(test_json_stays_the_same_value_without_its_controls),
        cmocka_unit_test(test_words_become_a_verb_with_its_options),
        cmocka_unit_test(test_text_may_look_like_an_option_after_two_dashes),
        cmocka_unit_test(test_wrong_words_are_usage),
        cmocka_unit_test(test_durations_and_dates),
        cmocka_unit_test(test_pieces_and_the_whole_turn_make_the_text_once),
        cmocka_unit_test(test_only_one_agent_is_streamed_at_a_time),
        cmocka_unit_test(test_who_was_chosen_is_told_from_the_groups_own_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
