/* The engine's rules that have a table of their own: termination conditions, alone and combined; those of the seed that no other
 * test has; code. */
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

/* Of the seed's rules those that no other table has. */
static const struct row seed_rows[] = {
    {"a member that asks people at its maximum is not passed over",
     FLOW("groupchat",
          G("g", "",
            "{\"name\": \"a\", \"config\": {" LLM ", \"human_input_mode\": \"TERMINATE\", "
            "\"max_consecutive_auto_reply\": 1}}," A("b", ", \"max_consecutive_auto_reply\": 1")),
          ""),
     CAST({"a", LIST("a1", "a2")}, {"b", LIST("B")}), LIST("mine", "exit"), "user>hi|a>a1|b>B|a>mine|a>a2|",
     "human_exit", NULL},
    {"a member that was told its own word does not go on",
     FLOW("groupchat", G("g", "", A("a", "") "," A("b", ", \"is_termination_msg\": \"STOP\"")), ""),
     CAST({"a", LIST("STOP")}, {"b", LIST("B")}), NULL, "user>hi|a>STOP|", "termination_message", NULL},
    {"a group that no text ends",
     FLOW("groupchat",
          G("g", ", \"max_round\": 2, \"is_termination_msg\": false",
            A("a", ", \"is_termination_msg\": false") "," A("b", ", \"is_termination_msg\": false")),
          ""),
     CAST({"a", LIST("A TERMINATE")}, {"b", LIST("B TERMINATE")}), NULL, "user>hi|a>A TERMINATE|b>B TERMINATE|",
     "max_round", NULL},
    {"a member without a model says its default reply",
     FLOW("groupchat",
          G("g", ", \"max_round\": 2",
            "{\"name\": \"a\", \"config\": {\"llm_config\": false, \"default_auto_reply\": \"noted\"}}," A("b",
                                                                                                           "")),
          ""),
     CAST({"b", LIST("B")}), NULL, "user>hi|a>noted|b>B|", "max_round", NULL},
    {"a user with a model answers back", PAIR(""),
     CAST({"bot", LIST("1", "2 TERMINATE")}, {"user", LIST("more")}), NULL,
     "user>hi|bot>1|user>more|bot>2 TERMINATE|", "termination_message", NULL},
    {"simultaneous chats end each in its own way",
     FLOW("autonomous", A("a", "") "," A("b", ", \"max_consecutive_auto_reply\": 0") "," A("c", ""), ""),
     CAST({"a", LIST("1 TERMINATE")}, {"c", LIST("2", "TERMINATE")}), NULL,
     "user>hi|a>1 TERMINATE|user>hi|user>hi|c>2|user>go on|c>TERMINATE|", "completed", NULL},
};

#define RUNS       "\"llm_config\": false, \"code_execution_config\": \"local\""
#define CODE(text) "```python\n" text "\n```"
#define OK(output) "exitcode: 0 (execution succeeded)\nCode output: " output

/* Code blocks of a message, and in which order the ways to reply are tried. */
static const struct row code_rows[] = {
    {"the user runs the code it is told",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS
     "}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST("Run:\n" CODE("print(1)"), "done TERMINATE")}), NULL,
     "user>hi|bot>Run:\n" CODE("print(1)") "|user>" OK("print(1)\n") "|bot>done TERMINATE|",
     "termination_message", NULL},
    {"all blocks in order, of the languages that run",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS
     "}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST(CODE("a") "\n```js\nb\n```\n```sh\nc\n```", "TERMINATE")}), NULL,
     "user>hi|bot>" CODE("a") "\n```js\nb\n```\n```sh\nc\n```|user>" OK("a\nc\n") "|bot>TERMINATE|",
     "termination_message", NULL},
    {"the first failure ends them",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS
     "}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST(CODE("false") "\n" CODE("never"), "TERMINATE")}), NULL,
     "user>hi|bot>" CODE("false") "\n" CODE(
         "never") "|user>exitcode: 1 (execution failed)\nCode output: false\n|bot>"
                  "TERMINATE|",
     "termination_message", NULL},
    {"a time limit",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS
     "}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST(CODE("sleep"), "TERMINATE")}), NULL,
     "user>hi|bot>" CODE("sleep") "|user>exitcode: 124 (execution failed)\nCode output: sleep\n|bot>TERMINATE|",
     "termination_message", NULL},
    {"the word that ends the chat comes before code",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS
     "}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST(CODE("a") "\nTERMINATE")}), NULL, "user>hi|bot>" CODE("a") "\nTERMINATE|",
     "termination_message", NULL},
    {"so does a person",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS
     ", \"human_input_mode\": \"ALWAYS\"}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST(CODE("a"))}), LIST("no", "", "exit"),
     "user>hi|bot>" CODE("a") "|user>no|bot>" CODE("a") "|user>" OK("a\n") "|bot>" CODE("a") "|", "human_exit",
     NULL},
    {"code comes before the model",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" LLM
     ", \"code_execution_config\": \"local\"}}, \"receiver\": " A("bot", "") "}",
     CAST({"bot", LIST(CODE("a"), "no code", "TERMINATE")}, {"user", LIST("well")}), NULL,
     "user>hi|bot>" CODE("a") "|user>" OK("a\n") "|bot>no code|user>well|bot>TERMINATE|", "termination_message",
     NULL},
    {"what code wrote counts as a reply, and may meet a condition",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" RUNS "}}, \"receiver\": " A("bot", "")
         UNTIL("[{\"text\": \"succeeded\", \"from\": [\"user\"]}, {\"rounds\": 9}]") "}",
     CAST({"bot", LIST(CODE("a"))}), NULL, "user>hi|bot>" CODE("a") "|user>" OK("a\n") "|", "text",
     "{\"from\":[\"user\"],\"text\":\"succeeded\"}"},
    {"in a group chat the next one runs what was said last",
     FLOW("groupchat", G("g", ", \"max_round\": 3", A("a", "") ",{\"name\": \"b\", \"config\": {" RUNS "}}"),
          ""),
     CAST({"a", LIST(CODE("x"), "fine")}), NULL, "user>hi|a>" CODE("x") "|b>" OK("x\n") "|a>fine|", "max_round",
     NULL},
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

/* And the same again from every cut. */
static void run_all(const struct row *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sim_world world = {.cast = table[i].cast, .people = table[i].people, .waiting = true};
        struct ab_workflow *workflow = sim_workflow(table[i].flow);
        struct sim whole;
        print_message("  %s\n", table[i].name);
        run(&table[i], &world, workflow, NULL, 0);
        sim_start(&whole, workflow, "hi", NULL, &world);
        sim_run(&whole);
        for (size_t cut = 0; cut <= whole.n; cut++)
            run(&table[i], &world, workflow, &whole, cut);
        sim_finish(&whole);
        ab_workflow_destroy(workflow);
    }
}

static void conditions_end_a_conversation(void **state)
{
    run_all(rows, sizeof rows / sizeof *rows);
}

static void code_is_run_before_a_model_is_asked(void **state)
{
    run_all(code_rows, sizeof code_rows / sizeof *code_rows);
}

static void more_rules_of_the_seed(void **state)
{
    run_all(seed_rows, sizeof seed_rows / sizeof *seed_rows);
}

/* Usage counts every conversation; the model that sums up is told how. */
static void usage_of_all_conversations_and_the_summarys_instruction(void **state)
{
    struct sim_world world = {.cast = CAST({"a", LIST("1 TERMINATE", "sum")}, {"b", LIST("2 TERMINATE")})};
    struct ab_workflow *workflow =
        sim_workflow(FLOW("autonomous", A("a", "") "," A("b", ""), ", \"summary_method\": \"llm\""));
    struct sim sim, before;
    struct engine_effect effect;
    sim_start(&sim, workflow, "hi", NULL, &world);
    sim_run(&sim);
    sim_start(&before, workflow, "hi", NULL, &world);
    sim_fold(&before, &sim, sim.n - 1); /* the last event is the summary */
    assert_int_equal(engine_next(before.engine, &effect, 1), 1);
    assert_string_equal(effect.purpose, "summary");
    json_t *messages = engine_messages(before.engine, &effect, 0);
    const char *instruction = ab_tree_str(json_array_get(messages, 0), "content");
    assert_non_null(strstr(instruction, "as short as it can be"));
    assert_non_null(strstr(instruction, "Do not mention the speakers"));
    assert_string_equal(ab_tree_str(json_array_get(messages, 1), "content"),
                        "user: hi\n\na: 1 TERMINATE\n\nuser: hi\n\nb: 2 TERMINATE");
    json_decref(messages);
    json_t *result = engine_result(sim.engine, "completed", 0), *usage = json_object_get(result, "usage");
    const json_t *total = json_object_get(usage, "total");
    assert_int_equal(ab_tree_int(total, "calls", 0), 3);
    assert_int_equal(ab_tree_int(total, "prompt_tokens", 0), 30);
    assert_true(ab_tree_int(total, "cached_tokens", 0) <= ab_tree_int(total, "prompt_tokens", 0));
    assert_int_equal(ab_tree_int(json_object_get(json_object_get(usage, "agents"), "b"), "calls", 0), 1);
    json_decref(result);
    sim_finish(&before);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* Two replies of 0.6 cents; an unpriced one; one that cost nothing as nobody was asked. */
static void a_cost_ends_a_conversation_and_an_unpriced_model_fails_it(void **state)
{
    static const struct {
        struct ab_model_reply reply;
        const char *stop;
        size_t replies;
    } costs[] = {
        {{.cost_pico_usd = {.is = true, .value = 6000000000}}, "cost_usd", 2},
        {{.cost_pico_usd = {.is = true, .value = INT64_MAX}}, "cost_usd", 1},
        {{.prompt_tokens = 1}, "error", 1},
        {{.cached = true}, "rounds", 3},
        {{.offline = true}, "rounds", 3},
    };
    static const struct sim_world nothing;
    struct ab_workflow *workflow = sim_workflow(PAIR(UNTIL("[{\"cost_usd\": 0.01}, {\"rounds\": 3}]")));
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++) {
        struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1};
        struct engine_effect effect;
        struct sim sim;
        size_t replies = 0;
        sim_start(&sim, workflow, "hi", NULL, &nothing);
        assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
        while (engine_next(sim.engine, &effect, 1) && effect.want == ENGINE_MODEL) {
            struct ab_model_reply reply = costs[i].reply;
            reply.step = ab_view_of(effect.step);
            reply.agent = ab_view_of(effect.agent);
            reply.provider = ab_view_of("openai");
            reply.model = ab_view_of("m-1");
            reply.content = ab_view_of("x");
            reply.finish_reason = ab_view_of("stop");
            reply.at_ms = 2;
            assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &reply, NULL), 0);
            replies++;
        }
        assert_int_equal(effect.want, ENGINE_FINISH);
        assert_string_equal(engine_stop_name(effect.stop), costs[i].stop);
        assert_int_equal(effect.failure != NULL, !strcmp(costs[i].stop, "error"));
        assert_true(!effect.failure || strstr(effect.failure->text, "m-1 has no price"));
        assert_int_equal(replies, costs[i].replies);
        sim_finish(&sim);
    }
    ab_workflow_destroy(workflow);
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
        cmocka_unit_test(more_rules_of_the_seed),
        cmocka_unit_test(code_is_run_before_a_model_is_asked),
        cmocka_unit_test(usage_of_all_conversations_and_the_summarys_instruction),
        cmocka_unit_test(a_cost_ends_a_conversation_and_an_unpriced_model_fails_it),
        cmocka_unit_test(each_result_tells_its_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
