/* The engine's kinds of workflow: sequences, simultaneous chats, group chats, summaries by a model; each of them cut anywhere
 * and with its branches interleaved in any order comes to the same end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/wire/tree.h"
#include "tests/unit/engine_sim.h"

#define LIST(...)       ((const char *const[]){__VA_ARGS__, NULL})
#define CAST(...)       ((const struct sim_part[]){__VA_ARGS__, {0}})
#define LLM             "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"
#define A(name, config) "{\"name\": \"" name "\", \"type\": \"assistant\", \"config\": {" config "}}"
#define BOT(name)       A(name, LLM)
#define G(name, config, members)                                                                               \
    "{\"name\": \"" name "\", \"type\": \"groupchat\", \"config\": {" config "}, \"agents\": [" members "]}"
#define FLOW(type, summary, receivers)                                                                         \
    "{\"name\": \"w\", \"type\": \"" type "\", \"summary_method\": \"" summary "\", \"sender\": {\"name\": "   \
    "\"user\", \"type\": \"userproxy\", \"config\": {\"llm_config\": false, \"max_consecutive_auto_reply\": "  \
    "0}}, \"receiver\": [" receivers "]}"
#define HOW(method) "\"speaker_selection_method\": \"" method "\""

/* A workflow, what is said in it, and what must come of it. */
static const struct row {
    const char *name, *flow;
    const struct sim_part *cast;
    const char *const *people;
    const char *talk;
    const char *stop, *summary;
} rows[] = {
    {"a sequence hands its results on",
     FLOW(
         "sequential", "last",
         BOT("a") "," BOT("b") ", {\"name\": \"c\", \"type\": \"assistant\", \"task_instruction\": \"Count.\", "
                               "\"config\": {" LLM "}}"),
     CAST({"a", LIST("1 TERMINATE")}, {"b", LIST("2")}, {"c", LIST("3")}), NULL,
     "user>hi|a>1 TERMINATE|user>hi\n\nResults so far:\n\na: 1|b>2|user>hi\n\nResults so far:\n\na: 1\n\nb: "
     "2\n\nYour task:\n\nCount.|c>3|",
     "completed", "3"},
    {"a sequence's answer is that of its last step that had one",
     FLOW("sequential", "last", BOT("a") "," BOT("b")), CAST({"a", LIST("1")}, {"b", LIST("TERMINATE")}), NULL,
     "user>hi|a>1|user>hi\n\nResults so far:\n\na: 1|b>TERMINATE|", "completed", "1"},
    {"one step alone has its task too",
     FLOW("sequential", "last",
          "{\"name\": \"a\", \"type\": \"assistant\", \"task_instruction\": \"Go.\", \"config\": {" LLM "}}"),
     CAST({"a", LIST("1")}), NULL, "user>hi\n\nYour task:\n\nGo.|a>1|", "max_consecutive_auto_reply", "1"},
    {"simultaneous answers are joined in listed order",
     FLOW("autonomous", "last", BOT("a") "," BOT("b") "," BOT("c")),
     CAST({"a", LIST("1")}, {"b", LIST("2")}, {"c", LIST("3")}), NULL, "user>hi|a>1|user>hi|b>2|user>hi|c>3|",
     "completed", "1\n\n2\n\n3"},
    {"round robin until max_round",
     FLOW("groupchat", "last",
          G("g", HOW("round_robin") ", \"max_round\": 4", BOT("a") "," BOT("b") "," BOT("c"))),
     CAST({"a", LIST("a1", "a2")}, {"b", LIST("b1")}, {"c", LIST("c1")}), NULL, "user>hi|a>a1|b>b1|c>c1|a>a2|",
     "max_round", "a2"},
    {"a group chat ends with its word",
     FLOW("groupchat", "last",
          G("g", HOW("round_robin") ", \"is_termination_msg\": \"DONE\"", BOT("a") "," BOT("b"))),
     CAST({"a", LIST("a1", "a2 DONE")}, {"b", LIST("b1")}), NULL, "user>hi|a>a1|b>b1|a>a2 DONE|",
     "termination_message", "a2"},
    {"the model names the next speaker",
     FLOW("groupchat", "last", G("g", LLM ", \"max_round\": 2", BOT("ann") "," BOT("bob") "," BOT("bob 2"))),
     CAST({"Admin", LIST("**bob 2**, please", "Ann.")}, {"ann", LIST("I am Ann")}, {"bob 2", LIST("I am 2")}),
     NULL, "user>hi|bob 2>I am 2|ann>I am Ann|", "max_round", "I am Ann"},
    {"a model that names nobody is asked three times, then the next in the list speaks",
     FLOW("groupchat", "last", G("g", LLM ", \"max_round\": 1", BOT("ann") "," BOT("bob"))),
     CAST({"Admin", LIST("hm", "ann or bob", "annabob")}, {"ann", LIST("me")}), NULL, "user>hi|ann>me|",
     "max_round", "me"},
    {"the second answer may be good",
     FLOW("groupchat", "last", G("g", LLM ", \"max_round\": 1", BOT("ann") "," BOT("bob"))),
     CAST({"Admin", LIST("hm", "bob bob")}, {"bob", LIST("me")}), NULL, "user>hi|bob>me|", "max_round", "me"},
    {"one that may speak needs no choice",
     FLOW("groupchat", "last",
          G("g", LLM ", \"max_round\": 3, \"allow_repeat_speaker\": false", BOT("ann") "," BOT("bob"))),
     CAST({"Admin", LIST("bob")}, {"ann", LIST("A")}, {"bob", LIST("B")}), NULL, "user>hi|bob>B|ann>A|bob>B|",
     "max_round", "B"},
    {"names that may repeat themselves",
     FLOW("groupchat", "last",
          G("g", LLM ", \"max_round\": 3, \"allow_repeat_speaker\": [\"bob\"]", BOT("ann") "," BOT("bob"))),
     CAST({"Admin", LIST("bob")}, {"ann", LIST("A")}, {"bob", LIST("B")}), NULL, "user>hi|bob>B|bob>B|bob>B|",
     "max_round", "B"},
    {"transitions, and a member that nobody follows",
     FLOW("groupchat", "last",
          G("g", HOW("round_robin") ", \"allowed_transitions\": {\"a\": [\"c\"], \"c\": [\"b\"]}",
            BOT("a") "," BOT("b") "," BOT("c"))),
     CAST({"a", LIST("A")}, {"b", LIST("B")}, {"c", LIST("C")}), NULL, "user>hi|a>A|c>C|b>B|",
     "no_eligible_speaker", "B"},
    {"who has replied as often as it may is passed over",
     FLOW("groupchat", "last",
          G("g", HOW("round_robin"),
            A("a", LLM ", \"max_consecutive_auto_reply\": 1") "," A("b", LLM
                                                                    ", \"max_consecutive_auto_reply\": 2"))),
     CAST({"a", LIST("A")}, {"b", LIST("B")}), NULL, "user>hi|a>A|b>B|b>B|", "no_eligible_speaker", "B"},
    {"a person chooses: by name, by number, by saying nothing, until exit",
     FLOW("groupchat", "last", G("g", HOW("manual"), BOT("ann") "," BOT("bob"))),
     CAST({"ann", LIST("A")}, {"bob", LIST("B")}), LIST("bob", "who?", "1", "", "exit"),
     "user>hi|bob>B|ann>A|bob>B|", "human_exit", "B"},
    {"a person in a member's place",
     FLOW("groupchat", "last",
          G("g", HOW("round_robin") ", \"max_round\": 4",
            BOT("a") "," A("me", "\"llm_config\": false, \"human_input_mode\": \"ALWAYS\""))),
     CAST({"a", LIST("A")}), LIST("mine", "exit"), "user>hi|a>A|me>mine|a>A|", "human_exit", "A"},
    {"messages the chat starts with",
     FLOW("groupchat", "last",
          G("g",
            HOW("round_robin") ", \"max_round\": 1, \"messages\": [\"rules\", {\"name\": \"b\", \"content\": "
                               "\"B0\"}]",
            BOT("a") "," BOT("b"))),
     CAST({"a", LIST("A")}), NULL, "user>rules|b>B0|user>hi|a>A|", "max_round", "A"},
    {"a group chat as a step, and as a member",
     FLOW("sequential", "last",
          BOT("z") "," G("g", HOW("round_robin") ", \"max_round\": 2",
                         G("h", HOW("round_robin") ", \"max_round\": 2", BOT("a") "," BOT("b")) "," BOT("c"))),
     CAST({"z", LIST("Z")}, {"a", LIST("A")}, {"b", LIST("B")}, {"c", LIST("C")}), NULL,
     "user>hi|z>Z|user>hi\n\nResults so far:\n\nz: Z|user>user: hi\n\nResults so far:\n\nz: Z|a>A|b>B|h>B|c>C|",
     "completed", "C"},
    {"group chats at the same time",
     FLOW("autonomous", "last",
          G("g", HOW("round_robin") ", \"max_round\": 2",
            BOT("a") "," BOT("b")) "," G("h", HOW("round_robin") ", \"max_round\": 1", BOT("c") "," BOT("d"))),
     CAST({"a", LIST("A")}, {"b", LIST("B")}, {"c", LIST("C")}), NULL, "user>hi|a>A|b>B|user>hi|c>C|",
     "completed", "B\n\nC"},
    {"a summary by a model", FLOW("sequential", "llm", BOT("a") "," BOT("b")),
     CAST({"a", LIST("1", " in short ")}, {"b", LIST("2")}), NULL,
     "user>hi|a>1|user>hi\n\nResults so far:\n\na: 1|b>2|", "completed", "in short"},
};

static struct sim_world world_of(const struct row *row)
{
    return (struct sim_world){.cast = row->cast, .people = row->people, .waiting = true};
}

static void workflows(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct sim_world world = world_of(row);
        struct ab_workflow *workflow = sim_workflow(row->flow);
        struct sim sim;
        print_message("  %s\n", row->name);
        sim_start(&sim, workflow, "hi", NULL, &world);
        enum engine_stop stop = sim_run(&sim);
        char *talk = sim_talk(&sim), *summary = engine_summary(sim.engine);
        assert_string_equal(talk, row->talk);
        assert_string_equal(engine_stop_name(stop), row->stop);
        assert_string_equal(summary, row->summary);
        free(talk);
        free(summary);
        sim_finish(&sim);
        ab_workflow_destroy(workflow);
    }
}

/* --- cuts and orders -------------------------------------------------------------------------------------------- */

static void every_cut_and_every_order_comes_to_the_same_end(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim_world world = world_of(&rows[i]);
        struct ab_workflow *workflow = sim_workflow(rows[i].flow);
        struct sim whole;
        sim_start(&whole, workflow, "hi", NULL, &world);
        enum engine_stop stop = sim_run(&whole);
        char *expected = sim_outcome(&whole, stop);
        for (size_t cut = 0; cut <= whole.n; cut++)
            sim_cut(&whole, cut, cut, expected);
        free(expected);
        sim_finish(&whole);
        ab_workflow_destroy(workflow);
    }
}

/* --- what is wanted, told and counted ---------------------------------------------------------------------------- */

static size_t begun(struct sim *sim, const char *flow, const struct sim_world *world,
                    struct engine_effect *effects, const struct engine_limits *limits)
{
    struct ab_begin begin = {.engine = ENGINE_VERSION, .seed = 7, .at_ms = 1000};
    sim_start(sim, sim_workflow(flow), "hi", limits, world);
    assert_int_equal(sim_add(sim, AB_KIND_BEGIN, &begin, NULL), 0);
    return engine_next(sim->engine, effects, ENGINE_EFFECTS_MAX);
}

static void ended(struct sim *sim)
{
    const struct ab_workflow *workflow = sim->workflow;
    sim_finish(sim);
    ab_workflow_destroy((struct ab_workflow *)(uintptr_t)workflow);
}

static void replies(struct sim *sim, const struct engine_effect *effect, const char *text)
{
    struct ab_error err = {0};
    struct ab_model_reply event = {.step = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .provider = ab_view_of("openai"),
                                   .model = ab_view_of("m"),
                                   .content = ab_view_of(text),
                                   .finish_reason = ab_view_of("stop"),
                                   .prompt_tokens = 3,
                                   .at_ms = 1000};
    if (effect->purpose)
        event.purpose = ab_view_of(effect->purpose);
    if (sim_add(sim, AB_KIND_MODEL_REPLY, &event, &err))
        fail_msg("%s", err.text);
}

static void a_branch_waits_for_its_own_events_only(void **state)
{
    static struct engine_effect effects[ENGINE_EFFECTS_MAX];
    static const struct sim_world nothing;
    struct sim sim;
    const char *flow =
        "{\"name\": \"w\", \"type\": \"autonomous\", \"sender\": {\"name\": \"user\", \"config\": {" LLM
        "}}, \"receiver\": [" BOT("a") "," BOT("b") "]}";
    assert_int_equal(begun(&sim, flow, &nothing, effects, &(struct engine_limits){.calls_max = 3}), 2);
    assert_string_equal(effects[0].step, "chats/1:1");
    assert_string_equal(effects[1].step, "chats/2:1");
    assert_int_equal(effects[0].after, 1);
    assert_int_equal(effects[1].after, 1);
    assert_int_equal(effects[0].calls_left, 3);
    replies(&sim, &effects[1], "b");
    assert_int_equal(engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX), 2);
    assert_string_equal(effects[0].step, "chats/1:1");
    assert_int_equal(effects[0].after, 1);
    assert_string_equal(effects[1].step, "chats/2:2");
    assert_string_equal(effects[1].agent, "user");
    assert_int_equal(effects[1].after, 2);
    assert_int_equal(effects[1].calls_left, 2);
    replies(&sim, &effects[1], "u");
    assert_int_equal(engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX), 2);
    replies(&sim, &effects[0], "a");
    assert_int_equal(engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX), 1); /* the cap */
    assert_int_equal(effects[0].want, ENGINE_FINISH);
    assert_int_equal(effects[0].stop, ENGINE_STOP_CALLS);
    ended(&sim);
}

static char *told(const struct sim *sim, const struct engine_effect *effect)
{
    struct ab_buf text = {0};
    json_t *messages = engine_messages(sim->engine, effect, 0), *message;
    size_t i;
    json_array_foreach (messages, i, message)
        ab_buf_format(&text, "%c:%s|", *json_string_value(json_object_get(message, "role")),
                      json_string_value(json_object_get(message, "content")));
    json_decref(messages);
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

static void what_the_choosing_model_is_told_and_that_it_counts(void **state)
{
    static struct engine_effect effects[ENGINE_EFFECTS_MAX];
    static const struct sim_world nothing;
    struct sim sim;
    const char *flow =
        FLOW("groupchat", "last",
             G("g", LLM ", \"admin_name\": \"chair\"",
               A("ann", LLM ", \"system_message\": \"You paint.\"") "," A(
                   "bob", LLM ", \"system_message\": \"You sing.\", \"description\": \"a singer\"")));
    assert_int_equal(begun(&sim, flow, &nothing, effects, NULL), 1);
    assert_string_equal(effects[0].purpose, "speaker");
    assert_string_equal(effects[0].agent, "chair");
    char *first = told(&sim, &effects[0]);
    assert_non_null(strstr(first, "ann: You paint.\nbob: a singer"));
    assert_non_null(
        strstr(first, "|u:hi|u:Who speaks next? Answer with exactly one of these names: ann, bob|"));
    replies(&sim, &effects[0], "both ann and bob");
    engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX);
    char *second = told(&sim, &effects[0]);
    assert_non_null(strstr(second, "|a:both ann and bob|u:You named more than one"));
    replies(&sim, &effects[0], "ann");
    engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX);
    replies(&sim, &effects[0], "a picture");
    engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX);
    replies(&sim, &effects[0], "bob");
    engine_next(sim.engine, effects, ENGINE_EFFECTS_MAX);
    assert_string_equal(effects[0].agent, "bob");
    char *bob = told(&sim, &effects[0]);
    assert_string_equal(bob, "s:You sing.|u:hi|u:ann: a picture|");
    json_t *result = engine_result(sim.engine, "x", 0), *usage = json_object_get(result, "usage");
    json_t *chair = json_object_get(json_object_get(usage, "agents"), "chair");
    assert_int_equal(json_integer_value(json_object_get(chair, "calls")), 3);
    assert_int_equal(json_integer_value(json_object_get(chair, "prompt_tokens")), 9);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(usage, "total"), "calls")), 4);
    json_decref(result);
    free(first);
    free(second);
    free(bob);
    ended(&sim);
}

/* The same seed chooses the same speakers; another one others. */
static void random_speakers_follow_from_the_seed(void **state)
{
    struct sim_world world = {.cast = CAST({"a", LIST("x")}, {"b", LIST("x")}, {"c", LIST("x")})};
    struct ab_workflow *workflow = sim_workflow(FLOW("groupchat", "last",
                                                     G("g", HOW("random") ", \"max_round\": 30",
                                                       A("a", LLM ", \"max_consecutive_auto_reply\": 99") "," A(
                                                           "b", LLM ", \"max_consecutive_auto_reply\": "
                                                                    "99") "," A("c", LLM ", "
                                                                                         "\"max_consecutive_"
                                                                                         "auto_reply\": 99"))));
    char *talks[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct ab_begin begin = {.engine = ENGINE_VERSION, .seed = i / 2, .at_ms = 1000};
        struct sim sim;
        sim_start(&sim, workflow, "hi", NULL, &world);
        assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
        assert_int_equal(sim_run(&sim), ENGINE_STOP_ROUNDS);
        talks[i] = sim_talk(&sim);
        assert_true(strstr(talks[i], "a>") && strstr(talks[i], "b>") && strstr(talks[i], "c>"));
        sim_finish(&sim);
    }
    assert_string_equal(talks[0], talks[1]);
    assert_string_not_equal(talks[0], talks[2]);
    for (size_t i = 0; i < 3; i++)
        free(talks[i]);
    ab_workflow_destroy(workflow);
}

static void a_journal_of_another_kind_does_not_fit(void **state)
{
    static struct engine_effect effects[ENGINE_EFFECTS_MAX];
    static const struct sim_world nothing;
    static const struct {
        const char *step, *agent, *purpose;
    } wrong[] = {{"chat:1", "a", NULL},         {"chats/3:1", "a", NULL},  {"chats/1:2", "a", NULL},
                 {"chats:1", "a", NULL},        {"chats/1:1", "b", NULL},  {"chats/1:1", "a", "speaker"},
                 {"summary:1", "a", "summary"}, {"chats/1/1:1", "a", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sim sim;
        assert_int_equal(begun(&sim, FLOW("autonomous", "llm", BOT("a") "," BOT("b")), &nothing, effects, NULL),
                         2);
        struct ab_model_reply event = {.step = ab_view_of(wrong[i].step),
                                       .agent = ab_view_of(wrong[i].agent),
                                       .purpose = ab_view_of(wrong[i].purpose),
                                       .provider = ab_view_of("openai"),
                                       .model = ab_view_of("m"),
                                       .content = ab_view_of("x"),
                                       .finish_reason = ab_view_of("stop"),
                                       .at_ms = 1000};
        assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &event, NULL), AB_ENONDETERMINISM);
        ended(&sim);
    }
}

static void each_receiver_has_a_result_of_its_own(void **state)
{
    struct sim_world world = {.cast = CAST({"a", LIST("1 TERMINATE")}, {"b", LIST("2")})};
    struct ab_workflow *workflow = sim_workflow(FLOW("autonomous", "last", BOT("a") "," BOT("b")));
    struct sim sim;
    struct ab_buf text = {0};
    sim_start(&sim, workflow, "hi", NULL, &world);
    sim_run(&sim);
    json_t *result = engine_result(sim.engine, "completed", 0);
    ab_json_text(json_object_get(result, "results"), &text);
    assert_string_equal(ab_buf_cstr(&text),
                        "[{\"agent\":\"a\",\"content\":\"1\",\"stop_reason\":\"termination_message\"},"
                        "{\"agent\":\"b\",\"content\":\"2\",\"stop_reason\":\"max_consecutive_auto_reply\"}]");
    ab_buf_finish(&text);
    json_decref(result);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* Of a turn's first event only; what a model or a person chose is told by their own. */
static void a_rule_that_chose_a_speaker_is_told(void **state)
{
    static const struct {
        const char *how, *more, *first, *second;
    } rules[] = {{"round_robin", "", "round_robin", "round_robin"},
                 {"random", "", "random", "random"},
                 {"random", ", \"allow_repeat_speaker\": false", "random", "only"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct sim sim;
        struct sim_world world = {.cast = CAST({"a", LIST("call now", "A", "call now", "A")},
                                               {"b", LIST("call now", "B", "call now", "B")})};
        char *flow =
            ab_format("{\"name\": \"w\", \"type\": \"groupchat\", \"receiver\": {\"name\": \"g\", \"type\": "
                      "\"groupchat\", \"config\": {\"speaker_selection_method\": \"%s\", \"max_round\": 2%s}, "
                      "\"agents\": [{\"name\": \"a\", \"tools\": [\"now\"], \"config\": {" LLM
                      "}}, {\"name\": \"b\", \"tools\": [\"now\"], \"config\": {" LLM "}}]}}",
                      rules[i].how, rules[i].more);
        struct ab_workflow *workflow = sim_workflow(flow);
        struct ab_buf told = {0};
        sim_start(&sim, workflow, "hi", NULL, &world);
        sim_run(&sim);
        for (size_t k = 0; k < sim.n; k++) {
            struct ab_view raw = ab_buf_view(&sim.events[k]), chosen = ab_any_str(ab_map_get(raw, "chosen"));
            if (ab_event_kind(raw) == AB_KIND_MODEL_REPLY)
                ab_buf_format(&told, "%.*s|", AB_VIEW_FMT(chosen));
        }
        char *expected = ab_format("%s||%s||", rules[i].first, rules[i].second);
        assert_string_equal(ab_buf_cstr(&told), expected);
        free(expected);
        free(flow);
        ab_buf_finish(&told);
        sim_finish(&sim);
        ab_workflow_destroy(workflow);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workflows),
        cmocka_unit_test(every_cut_and_every_order_comes_to_the_same_end),
        cmocka_unit_test(a_branch_waits_for_its_own_events_only),
        cmocka_unit_test(what_the_choosing_model_is_told_and_that_it_counts),
        cmocka_unit_test(random_speakers_follow_from_the_seed),
        cmocka_unit_test(a_journal_of_another_kind_does_not_fit),
        cmocka_unit_test(each_receiver_has_a_result_of_its_own),
        cmocka_unit_test(a_rule_that_chose_a_speaker_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
