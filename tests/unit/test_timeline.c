/* Who worked when: events to spans, and spans to text of a given width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/timeline.h"
#include "common/tree.h"

/* args.c finds its verbs here; there are none in this test. */
const struct verb cli_verbs[] = {{"none", "", "", 0, 0, 0, NULL}};
const size_t cli_verbs_n = 0;

static json_t *timeline(const char *events, int64_t now_ms)
{
    json_t *tree = json_loads(events, 0, NULL);
    assert_non_null(tree);
    json_t *made = timeline_of(tree, now_ms);
    json_decref(tree);
    return made;
}

static char *drawn(const json_t *made, unsigned columns, bool fancy)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    timeline_draw(out, made, columns, fancy, false);
    fclose(out);
    return text;
}

/* Two at the same time, a turn without a model, a question of 4 s. */
static const char run[] =
    "[{'kind':'started','seq':1,'attempt':1,'worker':'w','at_ms':10000},"
    "{'kind':'turn','seq':2,'step':'a:0','agent':'user','at_ms':10000},"
    "{'kind':'model_reply','seq':3,'agent':'writer','latency_ms':4000,'at_ms':14000},"
    "{'kind':'model_reply','seq':4,'agent':'critic','latency_ms':2000,'at_ms':14000},"
    "{'kind':'waiting','seq':5,'agent':'user','ask':'q','at_ms':14000},"
    "{'kind':'started','seq':6,'attempt':2,'worker':'w','at_ms':18000},"
    "{'kind':'input','seq':7,'ask':'q','at_ms':18000},"
    "{'kind':'model_reply','seq':8,'agent':'writer','cached':true,'latency_ms':4000,'at_ms':18000},"
    "{'kind':'end','seq':9,'at_ms':20000}]";

static json_t *of_run(void)
{
    char *text = ab_strdup(run);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *made = timeline(text, 99000);
    free(text);
    return made;
}

static const json_t *agent(const json_t *made, size_t i)
{
    return json_array_get(json_object_get(made, "agents"), i);
}

static void test_events_become_spans(void **state)
{
    (void)state;
    json_t *made = of_run();
    assert_int_equal(ab_tree_int(made, "from_ms", 0), 10000);
    assert_int_equal(ab_tree_int(made, "to_ms", 0), 20000);
    assert_int_equal(json_array_size(json_object_get(made, "agents")), 3);
    static const struct {
        const char *name;
        int turns, busy_ms, waiting_ms, spans;
    } rows[] = {{"user", 1, 0, 4000, 2}, {"writer", 2, 4000, 0, 2}, {"critic", 1, 2000, 0, 1}};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(ab_tree_str(agent(made, i), "agent"), rows[i].name);
        assert_int_equal(ab_tree_int(agent(made, i), "turns", -1), rows[i].turns);
        assert_int_equal(ab_tree_int(agent(made, i), "busy_ms", -1), rows[i].busy_ms);
        assert_int_equal(ab_tree_int(agent(made, i), "waiting_ms", -1), rows[i].waiting_ms);
        assert_int_equal(json_array_size(json_object_get(agent(made, i), "spans")), rows[i].spans);
    }
    const json_t *attempts = json_object_get(made, "attempts");
    assert_int_equal(json_array_size(attempts), 2);
    assert_string_equal(ab_tree_str(json_array_get(attempts, 0), "ended_by"), "waiting");
    assert_string_equal(ab_tree_str(json_array_get(attempts, 1), "ended_by"), "end");
    json_decref(made);
}

static void test_a_question_without_an_answer_is_open_until_now(void **state)
{
    (void)state;
    json_t *made =
        timeline("[{\"kind\":\"waiting\",\"seq\":1,\"agent\":\"user\",\"ask\":\"q\",\"at_ms\":1000}]", 7000);
    const json_t *span = json_array_get(json_object_get(agent(made, 0), "spans"), 0);
    assert_true(ab_tree_bool(span, "open", false));
    assert_int_equal(ab_tree_int(span, "to_ms", 0), 7000);
    assert_int_equal(ab_tree_int(made, "to_ms", 0), 7000);
    json_decref(made);
}

static void test_the_drawing(void **state)
{
    (void)state;
    json_t *made = of_run();
    /* 49 columns: 6 for names, 2 between, 21 for sums, so 20 cells of half a second */
    char *text = drawn(made, 49, false);
    assert_string_equal(text, "user    |       ........        1 turns     0.0 s\n"
                              "writer  ########        |       2 turns     4.0 s\n"
                              "critic      ####                1 turns     2.0 s\n"
                              "        0             10.0 s\n"
                              "# a model or tool works  | a turn without one  . waits\n"
                              "2 attempts\n");
    free(text);
    text = drawn(made, 49, true);
    assert_non_null(strstr(text, "writer  ████████"));
    assert_non_null(strstr(text, "░░░░░░░░"));
    free(text);
    json_decref(made);
}

static void test_no_line_is_wider_than_the_terminal(void **state)
{
    (void)state;
    json_t *made = of_run();
    for (unsigned columns = TIMELINE_COLUMNS_MIN; columns < 500; columns += 23) {
        char *text = drawn(made, columns, false), *rest = text;
        unsigned most = columns < TIMELINE_COLUMNS_MAX ? columns : TIMELINE_COLUMNS_MAX;
        for (int i = 0; i < 4; i++) /* the rows and the axis; the legend has a width of its own */
            assert_true(strlen(strsep(&rest, "\n")) <= most);
        free(text);
    }
    json_decref(made);
}

static void test_tools_have_rows_under_their_agents(void **state)
{
    (void)state;
    json_t *made = timeline(
        "[{\"kind\":\"model_reply\",\"seq\":1,\"agent\":\"a\",\"latency_ms\":1000,\"tool_calls\":[{}],\"at_"
        "ms\":11000},"
        "{\"kind\":\"model_reply\",\"seq\":2,\"agent\":\"b\",\"latency_ms\":1000,\"at_ms\":11000},"
        "{\"kind\":\"tool_started\",\"seq\":3,\"agent\":\"a\",\"tool\":\"now\",\"at_ms\":11000},"
        "{\"kind\":\"tool_result\",\"seq\":4,\"agent\":\"a\",\"tool\":\"now\",\"duration_ms\":2000,\"at_ms\":"
        "13000},"
        "{\"kind\":\"tool_result\",\"seq\":5,\"agent\":\"a\",\"tool\":\"rm\",\"failed\":true,\"at_ms\":13000},"
        "{\"kind\":\"tool_result\",\"seq\":6,\"agent\":\"a\",\"tool\":\"now\",\"failed\":true,\"at_ms\":13000},"
        "{\"kind\":\"model_reply\",\"seq\":7,\"agent\":\"a\",\"latency_ms\":1000,\"at_ms\":14000}]",
        20000);
    char *text = drawn(made, 48, false);
    assert_string_equal(text, "a      #####          #####    1 turns     2.0 s\n"
                              "  now       ##########|        2 calls     2.0 s\n"
                              "  rm                  |        1 calls     0.0 s\n"
                              "b      #####                   1 turns     1.0 s\n"
                              "       0              4.0 s\n"
                              "# a model or tool works  | a turn without one  . waits\n");
    assert_int_equal(ab_tree_int(agent(made, 1), "failed", -1), 1);
    free(text);
    json_decref(made);
}

static void test_odd_journals(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "[]",
        "{}",
        "[1,null,{}]",
        "[{\"kind\":\"turn\",\"agent\":\"a\"}]",
        "[{\"kind\":\"turn\",\"agent\":\"\\u001b[31m\",\"at_ms\":5}]",
        "[{\"kind\":\"model_reply\",\"agent\":\"a\",\"at_ms\":5,\"latency_ms\":900}]",
        "[{\"kind\":\"turn\",\"agent\":\"a\",\"at_ms\":9223372036854775807},{\"kind\":\"end\",\"at_ms\":1}]"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        json_t *made = timeline(odd[i], 0);
        char *text = drawn(made, 60, false);
        assert_null(strchr(text, '\033'));
        free(text);
        json_decref(made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_become_spans),
        cmocka_unit_test(test_a_question_without_an_answer_is_open_until_now),
        cmocka_unit_test(test_the_drawing),
        cmocka_unit_test(test_no_line_is_wider_than_the_terminal),
        cmocka_unit_test(test_tools_have_rows_under_their_agents),
        cmocka_unit_test(test_odd_journals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
