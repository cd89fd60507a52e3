/* The engine's rules that have a table of their own: termination conditions, alone and combined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/wire/tree.h"
#include "tests/unit/engine_sim.h"

#define LIST(...)       ((const char *const[]){__VA_ARGS__, NULL})
#define CAST(...)       ((const struct sim_part[]){__VA_ARGS__, {0}})
#define LLM             "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"
#define A(name, config) "{\"name\": \"" name "\", \"config\": {" LLM config "}}"
#define G(name, config, members)                                                                               \
    "{\"name\": \"" name "\", \"type\": \"groupchat\", \"config\": {\"speaker_selection_method\": "            \
    "\"round_robin\"" config "}, \"agents\": [" members "]}"
/* Two agents with a model each, or a user and more than one receiver. */
#define PAIR(more) "{\"name\": \"w\", \"sender\": " A("user", "") ", \"receiver\": " A("bot", "") more "}"
#define FLOW(type, receivers, more)                                                                            \
    "{\"name\": \"w\", \"type\": \"" type "\", \"sender\": {\"name\": \"user\", \"type\": \"userproxy\", "     \
    "\"config\": {\"llm_config\": false, \"default_auto_reply\": \"go on\"}}, \"receiver\": [" receivers       \
    "]" more "}"
#define UNTIL(condition) ", \"termination\": " condition

static const struct row {
    const char *name, *flow;
    const struct sim_part *cast;
    const char *const *people;
    const char *talk, *stop, *condition; /* NULL: no condition ended the run */
} rows[] = {
    {"a text somewhere in a message", PAIR(UNTIL("{\"text\": \"DONE\"}")),
     CAST({"bot", LIST("1", "2 DONE.", "3")}, {"user", LIST("more")}), NULL,
     "user>hi|bot>1|user>more|bot>2 DONE.|", "text", "{\"text\":\"DONE\"}"},
    {"the opening message is not judged",
     "{\"name\": \"w\", \"sender\": " A("user", "") ", \"receiver\": " A("bot", "")
         UNTIL("{\"text\": \"hi\"}") "}",
     CAST({"bot", LIST("1", "oh hi")}, {"user", LIST("more")}), NULL, "user>hi|bot>1|user>more|bot>oh hi|",
     "text", "{\"text\":\"hi\"}"},
    {"a text of certain agents only", PAIR(UNTIL("{\"text\": \"ok\", \"from\": [\"user\"]}")),
     CAST({"bot", LIST("ok", "ok?")}, {"user", LIST("no", "ok")}), NULL,
     "user>hi|bot>ok|user>no|bot>ok?|user>ok|", "text", "{\"from\":[\"user\"],\"text\":\"ok\"}"},
    {"so many rounds", PAIR(UNTIL("{\"rounds\": 3}")), CAST({"bot", LIST("b")}, {"user", LIST("u")}), NULL,
     "user>hi|bot>b|user>u|bot>b|", "rounds", "{\"rounds\":3}"},
    {"so many replies without a person", FLOW("default", A("bot", ""), UNTIL("{\"auto_replies\": 2}")),
     CAST({"bot", LIST("b")}), NULL, "user>hi|bot>b|user>go on|bot>b|", "auto_replies", "{\"auto_replies\":2}"},
    {"a person's words set the replies back",
     "{\"name\": \"w\", \"sender\": " A(
         "user", "") ", \"receiver\": {\"name\": \"me\", \"config\": {\"llm_config\": "
                     "false, \"human_input_mode\": \"ALWAYS\", \"default_auto_reply\": \"auto\"}}" UNTIL(
                         "{\"and\": [{\"auto_replies\": 3}, {\"rounds\": 3}]}") "}",
     CAST({"user", LIST("u")}), LIST("", "", "mine", ""),
     "user>hi|me>auto|user>u|me>auto|user>u|me>mine|user>u|", "auto_replies",
     "{\"and\":[{\"auto_replies\":3},{\"rounds\":3}]}"},
    {"so many tokens", PAIR(UNTIL("{\"tokens\": 31}")), CAST({"bot", LIST("b")}, {"user", LIST("u")}), NULL,
     "user>hi|bot>b|user>u|bot>b|", "tokens", "{\"tokens\":31}"},
    {"so much time", PAIR(UNTIL("{\"seconds\": 1}")), CAST({"bot", LIST("b")}, {"user", LIST("u")}), NULL,
     "user>hi|bot>b|user>u|", "seconds", "{\"seconds\":1.0}"},
    {"waiting for people takes no time",
     "{\"name\": \"w\", \"sender\": " A(
         "user", "") ", \"receiver\": {\"name\": \"me\", \"config\": {\"llm_config\": "
                     "false, \"human_input_mode\": \"ALWAYS\"}}" UNTIL("{\"seconds\": 1.5}") "}",
     CAST({"user", LIST("u")}), LIST("1", "2", "3"), "user>hi|me>1|user>u|me>2|", "seconds",
     "{\"seconds\":1.5}"},
    {"a call of a named tool", PAIR(UNTIL("{\"tool_call\": \"submit\"}")),
     CAST({"bot", LIST("call look", "call submit")}, {"user", LIST("u")}), NULL, "user>hi|bot>|user>u|bot>|",
     "tool_call", "{\"tool_call\":\"submit\"}"},
    {"an agent has spoken",
     FLOW("groupchat", G("g", "", A("a", "") "," A("b", "")), UNTIL("{\"agent\": \"b\"}")),
     CAST({"a", LIST("A")}, {"b", LIST("B")}), NULL, "user>hi|a>A|b>B|", "agent", "{\"agent\":\"b\"}"},
    {"any of a list: the first that is met",
     PAIR(UNTIL("[{\"rounds\": 4}, {\"text\": \"x\"}, {\"or\": [{\"text\": \"y\"}, {\"tokens\": 30}]}]")),
     CAST({"bot", LIST("b")}, {"user", LIST("u")}), NULL, "user>hi|bot>b|user>u|", "tokens", "{\"tokens\":30}"},
    {"all of a list, in whatever order",
     PAIR(UNTIL(
         "{\"and\": [{\"rounds\": 3}, {\"text\": \"x\"}, {\"or\": [{\"tokens\": 1}, {\"agent\": \"bot\"}]}]}")),
     CAST({"bot", LIST("x", "2", "3")}, {"user", LIST("u")}), NULL, "user>hi|bot>x|user>u|bot>2|", "rounds",
     "{\"and\":[{\"rounds\":3},{\"text\":\"x\"},{\"or\":[{\"tokens\":1},{\"agent\":\"bot\"}]}]}"},
    {"the usual rules still hold", PAIR(UNTIL("{\"rounds\": 9}")),
     CAST({"bot", LIST("1 TERMINATE")}, {"user", LIST("u")}), NULL, "user>hi|bot>1 TERMINATE|",
     "termination_message", NULL},
    {"no person is asked when a condition is met",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {\"human_input_mode\": \"ALWAYS\"}}, "
     "\"receiver\": " A("bot", "") UNTIL("{\"rounds\": 1}") "}",
     CAST({"bot", LIST("1")}), NULL, "user>hi|bot>1|", "rounds", "{\"rounds\":1}"},
    {"each step of a sequence for itself",
     FLOW("sequential", A("a", "") "," A("b", ""), UNTIL("{\"rounds\": 2}")),
     CAST({"a", LIST("A")}, {"b", LIST("B")}), NULL,
     "user>hi|a>A|user>go on|user>hi\n\nResults so far:\n\na: A|b>B|user>go on|", "completed", NULL},
    {"each of simultaneous chats for itself",
     FLOW("autonomous", A("a", "") "," A("b", ""), UNTIL("[{\"text\": \"stop\"}, {\"tokens\": 40}]")),
     CAST({"a", LIST("1", "stop")}, {"b", LIST("B")}), NULL,
     "user>hi|a>1|user>go on|a>stop|user>hi|b>B|user>go on|b>B|user>go on|b>B|", "completed", NULL},
    {"a group chat's own condition, and what is spent inside counts outside",
     FLOW("groupchat",
          G("g", UNTIL("{\"tokens\": 45}"),
            G("h", ", \"max_round\": 9" UNTIL("{\"text\": \"b2\"}"), A("a", "") "," A("b", "")) "," A("c", "")),
          ""),
     CAST({"a", LIST("a1", "a2")}, {"b", LIST("b1", "b2")}, {"c", LIST("C")}), NULL,
     "user>hi|user>user: hi|a>a1|b>b1|a>a2|b>b2|h>b2|", "tokens", "{\"tokens\":45}"},
};

static char *condition_of(const json_t *result)
{
    struct ab_buf text = {0};
    const json_t *condition = json_object_get(result, "stop_condition");
    if (condition)
        ab_json_text(condition, &text);
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

static void run(const struct row *row, const struct sim_world *world, const struct ab_workflow *workflow,
                const struct sim *whole, size_t cut)
{
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, world);
    if (whole)
        sim_fold(&sim, whole, cut);
    enum engine_stop stop = sim_run(&sim);
    char *talk = sim_talk(&sim);
    json_t *result = engine_result(sim.engine, engine_stop_name(stop), 0);
    char *condition = condition_of(result);
    assert_string_equal(talk, row->talk);
    assert_string_equal(engine_stop_name(stop), row->stop);
    assert_string_equal(condition, row->condition ? row->condition : "");
    free(talk);
    free(condition);
    json_decref(result);
    sim_finish(&sim);
}

static void conditions_end_a_conversation(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim_world world = {.cast = rows[i].cast, .people = rows[i].people, .waiting = true};
        struct ab_workflow *workflow = sim_workflow(rows[i].flow);
        struct sim whole;
        print_message("  %s\n", rows[i].name);
        run(&rows[i], &world, workflow, NULL, 0);
        sim_start(&whole, workflow, "hi", NULL, &world);
        sim_run(&whole);
        for (size_t cut = 0; cut <= whole.n; cut++) /* and the same again from every cut */
            run(&rows[i], &world, workflow, &whole, cut);
        sim_finish(&whole);
        ab_workflow_destroy(workflow);
    }
}

static void each_result_tells_its_condition(void **state)
{
    struct sim_world world = {.cast = CAST({"a", LIST("1", "stop")}, {"b", LIST("B")})};
    struct ab_workflow *workflow = sim_workflow(
        FLOW("autonomous", A("a", "") "," A("b", ""), UNTIL("[{\"text\": \"stop\"}, {\"tokens\": 40}]")));
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    sim_run(&sim);
    json_t *result = engine_result(sim.engine, "completed", 0);
    const json_t *results = json_object_get(result, "results");
    char *first = condition_of(json_array_get(results, 0)), *second = condition_of(json_array_get(results, 1));
    assert_string_equal(first, "{\"text\":\"stop\"}");
    assert_string_equal(second, "{\"tokens\":40}");
    assert_string_equal(ab_tree_str(json_array_get(results, 1), "stop_reason"), "tokens");
    free(first);
    free(second);
    json_decref(result);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_end_a_conversation),
        cmocka_unit_test(each_result_tells_its_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
