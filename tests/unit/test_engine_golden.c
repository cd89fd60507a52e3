/* Golden journals: tests/journals/VERSION-NAME.json, each a whole job as an engine of that version ran it. Every one of them
 * must fold in every later engine, want the same effects at every cut, and come to the same answer and result.
 *
 * `test_engine_golden --write` adds the journals of the cases below that have no file yet. A file is never changed: a job of
 * an older release may be in somebody's database. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/wire/tree.h"
#include "tests/unit/engine_sim.h"

#define FOLDER              "tests/journals"
#define LIST(...)           ((const char *const[]){__VA_ARGS__, NULL})
#define MODEL               "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"
#define NO_MODEL            "\"llm_config\": false"
#define CAST(...)           ((const struct sim_part[]){__VA_ARGS__, {0}})
#define AGENT(name, config) "{\"name\": \"" name "\", \"type\": \"assistant\", \"config\": {" config "}}"
#define GROUP(how, config, members)                                                                            \
    "{\"name\": \"team\", \"type\": \"groupchat\", \"config\": {\"speaker_selection_method\": \"" how          \
    "\", " MODEL ", " config "}, "                                                                             \
    "\"agents\": [" members "]}"
#define FLOW(type, summary, receivers)                                                                         \
    "{\"name\": \"w\", \"type\": \"" type "\", \"summary_method\": \"" summary                                 \
    "\", \"sender\": {\"name\": \"user\", "                                                                    \
    "\"config\": {" NO_MODEL ", \"max_consecutive_auto_reply\": 0}}, \"receiver\": [" receivers "]}"

static void pack_earlier(struct ab_buf *out)
{
    json_t *earlier = json_pack("[{ss ss ss}, {ss ss ss}]", "id", "m1", "role", "user", "content", "Bonjour",
                                "id", "m2", "role", "assistant", "content", "Salut — ça va ?");
    ab_tree_pack(out, earlier);
    json_decref(earlier);
}

/* --- writing -------------------------------------------------------------------------------------------------- */

static const struct golden {
    const char *name, *user, *bot, *summary_method, *text;
    const char *const *user_says, *const *bot_says, *const *people;
    bool history;
    const char *flow; /* instead of user and bot */
    const struct sim_part *cast;
    uint64_t shuffle;
    bool fork; /* after half of its events it is paused, goes on, and the rest is a fork's */
} cases[] = {
    {"one_reply", NO_MODEL ", \"max_consecutive_auto_reply\": 0", MODEL, "last", "What is 6 × 7?", NULL,
     LIST("42"), NULL, false, NULL, NULL, 0, false},
    {"review", MODEL ", \"system_message\": \"Review.\"", MODEL ", \"system_message\": \"Write.\"", "last",
     "Write a haiku.", LIST("Too long.", "Good. TERMINATE"), LIST("autumn wind and rain", "autumn wind"), NULL,
     true, NULL, NULL, 0, false},
    {"people", NO_MODEL ", \"human_input_mode\": \"ALWAYS\", \"default_auto_reply\": \"go on\"", MODEL, "none",
     "Hello", NULL, LIST("one", "two", "three TERMINATE"), LIST("and then?", "", ""), false, NULL, NULL, 0,
     false},
    {"loop", NO_MODEL ", \"default_auto_reply\": \"again\"", MODEL ", \"max_consecutive_auto_reply\": 3",
     "last", "go", NULL, LIST("1", "2", "3"), NULL, false, NULL, NULL, 0, false},
    {.name = "sequential",
     .flow = FLOW("sequential", "llm",
                  AGENT("writer", MODEL) ", {\"name\": \"critic\", \"type\": \"assistant\", "
                                         "\"task_instruction\": \"Criticise.\", \"config\": {" MODEL "}}"),
     .text = "Write a haiku.",
     .cast =
         CAST({"writer", LIST("autumn wind", "a haiku, criticised")}, {"critic", LIST("Too short. TERMINATE")}),
     .history = true},
    {.name = "autonomous",
     .flow = FLOW(
         "autonomous", "last",
         AGENT("a", MODEL) ", " AGENT("b", MODEL ", \"human_input_mode\": \"ALWAYS\"") ", " AGENT("c", MODEL)),
     .text = "Estimate π.",
     .cast = CAST({"a", LIST("3")}, {"b", LIST("3.1")}, {"c", LIST("3.14")}),
     .people = LIST(""),
     .shuffle = 5},
    {.name = "groupchat",
     .flow = FLOW("groupchat", "last",
                  GROUP("auto", "\"max_round\": 4, \"allow_repeat_speaker\": false",
                        AGENT("ann", MODEL) ", " AGENT("bob", MODEL) ", " AGENT("cy", NO_MODEL))),
     .text = "Where do we meet?",
     .cast = CAST({"Admin", LIST("bob", "perhaps", "ann", "cy", "ann")}, {"ann", LIST("Inside.")},
                  {"bob", LIST("Outside.")})},
    {.name = "groups",
     .flow = FLOW("autonomous", "last",
                  GROUP("random", "\"max_round\": 5",
                        AGENT("ann", MODEL) ", " AGENT(
                            "bob", MODEL)) ", "
                                           "{\"name\": \"outer\", \"type\": \"groupchat\", \"config\": "
                                           "{\"speaker_selection_method\": "
                                           "\"manual\", \"max_round\": 2}, \"agents\": [" AGENT(
                                               "eve", MODEL) ", {\"name\": \"inner\", "
                                                             "\"type\": \"groupchat\", \"config\": "
                                                             "{\"speaker_selection_method\": \"round_robin\", "
                                                             "\"max_round\": 2}, \"agents\": [" AGENT(
                                                                 "fay", MODEL) ", " AGENT("gus", MODEL) "]}]}"),
     .text = "Plan a trip.",
     .cast = CAST({"ann", LIST("a")}, {"bob", LIST("b")}, {"eve", LIST("e")}, {"fay", LIST("f")},
                  {"gus", LIST("g")}),
     .people = LIST("inner", "1"),
     .shuffle = 9},
    {.name = "images",
     .flow =
         FLOW("groupchat", "last",
              GROUP("round_robin", "\"max_round\": 2",
                    "{\"name\": \"inner\", \"type\": \"groupchat\", \"config\": {\"speaker_selection_method\": "
                    "\"round_robin\", \"max_round\": 1}, \"agents\": [" AGENT("ann", MODEL) ", " AGENT(
                        "bob", MODEL) "]}, " AGENT("eve", MODEL))),
     .text = "[{\"type\": \"text\", \"text\": \"What is this?\"}, {\"type\": \"image_url\", \"image_url\": "
             "{\"url\": \"https://example.org/a.png\"}}]",
     .cast = CAST({"ann", LIST("A cat.")}, {"eve", LIST("A dog.")})},
    {.name = "conditions",
     .flow = "{\"name\": \"w\", \"termination\": [{\"rounds\": 9}, {\"and\": [{\"text\": \"ok\", \"from\": "
             "[\"user\"]}, "
             "{\"or\": [{\"tokens\": 40}, {\"seconds\": 60}]}]}], \"sender\": {\"name\": \"user\", \"config\": "
             "{" MODEL "}}, \"receiver\": {\"name\": \"bot\", \"config\": {" MODEL "}}}",
     .text = "Go on.",
     .cast = CAST({"user", LIST("ok", "more")}, {"bot", LIST("1", "2", "3")})},
    {.name = "code",
     .flow =
         "{\"name\": \"w\", \"type\": \"autonomous\", \"sender\": {\"name\": \"user\", \"config\": {" NO_MODEL
         ", \"max_consecutive_auto_reply\": 1, \"code_execution_config\": \"local\"}}, \"receiver\": [" AGENT(
             "a", MODEL) ", " AGENT("b", MODEL) "]}",
     .text = "Count.",
     .cast = CAST({"a", LIST("```python\nprint(1)\n```\n```sh\nfalse\n```\n```sh\nnever\n```", "1")},
                  {"b", LIST("```bash\n# filename: b.sh\necho 2\n```", "2")})},
    {.name = "shape",
     .flow = "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {" NO_MODEL
             ", \"max_consecutive_auto_reply\": 0}}, \"receiver\": {\"name\": \"bot\", \"config\": "
             "{\"llm_config\": "
             "{\"config_list\": [{\"model\": \"m\"}], \"response_format\": {\"schema\": {\"type\": \"object\", "
             "\"required\": [\"age\"]}}}}}}",
     .text = "How old?",
     .cast = CAST({"bot", LIST("7", "{\"age\": 7}")})},
    {.name = "fork",
     .user = NO_MODEL ", \"human_input_mode\": \"ALWAYS\", \"human_timeout_s\": 60",
     .bot = MODEL,
     .summary_method = "last",
     .text = "Hello",
     .bot_says = LIST("one", "two", "three TERMINATE"),
     .people = LIST("and then?", "", ""),
     .fork = true},
    {.name = "tools",
     .flow =
         "{\"name\": \"w\", \"type\": \"autonomous\", \"sender\": {\"name\": \"user\", \"config\": {" NO_MODEL
         ", \"max_consecutive_auto_reply\": 1}}, \"receiver\": [{\"name\": \"a\", \"tools\": [\"now\", "
         "\"calculator\"], \"config\": {" MODEL "}}, {\"name\": \"b\", \"tools\": [{\"name\": \"calculator\", "
         "\"approval\": \"ask\"}], \"config\": {" MODEL "}}]}",
     .text = "When?",
     .cast = CAST({"a", LIST("call now rm calculator", "call now", "Now.", "Still.")},
                  {"b", LIST("call calculator calculator", "2", "3")}),
     .people = LIST("yes", "too dear"),
     .shuffle = 3},
    {.name = "tool_sources",
     .flow = "{\"name\": \"w\", \"type\": \"default\", \"sender\": {\"name\": \"user\", \"config\": {" NO_MODEL
             ", \"max_consecutive_auto_reply\": 1}}, \"receiver\": {\"name\": \"a\", \"tool_choice\": "
             "\"required\", \"tools\": "
             "[{\"mcp\": \"files\", \"allow\": [\"look.at\", \"list\"]}, {\"mcp\": \"web\", \"approval\": "
             "\"ask\"}, {\"skill\": "
             "\"skilled@2\"}], \"config\": {" MODEL "}}}",
     .text = "Look.",
     .cast = CAST({"a", LIST("call files__list files__look_at files__list web__get skilled skilled",
                             "call files__list", "I see.", "Still.")}),
     .people = LIST("yes"),
     .shuffle = 5},
    {.name = "calls",
     .flow =
         "{\"name\": \"w\", \"type\": \"autonomous\", \"sender\": {\"name\": \"user\", \"config\": {" NO_MODEL
         ", \"max_consecutive_auto_reply\": 0}}, \"receiver\": [{\"name\": \"a\", \"tools\": [\"now\", "
         "{\"name\": "
         "\"ask_1\", \"agent\": {\"name\": \"x\", \"description\": \"Knows.\", \"config\": {" MODEL
         ", \"human_input_mode\": \"ALWAYS\"}}}, {\"name\": \"ask_2\", \"source\": \"inner@3\", "
         "\"workflow\": " FLOW(
             "autonomous", "llm",
             GROUP("random", "\"max_round\": 3", AGENT("ann", MODEL) ", " AGENT("bob", MODEL)) ", " AGENT(
                 "c", MODEL)) "}], "
                              "\"config\": {" MODEL "}}, {\"name\": \"b\", \"tools\": [{\"name\": \"ask_1\", "
                              "\"agent\": \"a\"}], \"config\": "
                              "{" MODEL "}}]}",
     .text = "Who knows?",
     .cast = CAST({"a", LIST("call ask_1 now ask_2", "call ask_2 ask_0", "I do.")},
                  {"b", LIST("call ask_1", "He does.")}, {"x", LIST("Perhaps.")}, {"Admin", LIST("ann")},
                  {"team", LIST("Both.")}, {"ann", LIST("Ann.")}, {"bob", LIST("Bob.")}, {"c", LIST("C.")}),
     .people = LIST("", "Surely.", "exit", ""),
     .shuffle = 11},
};

static json_t *journal_tree(const struct sim *sim)
{
    json_t *events = json_array();
    for (size_t i = 0; i < sim->n; i++)
        json_array_append_new(events, ab_tree_unpack(ab_buf_view(&sim->events[i]), NULL));
    return events;
}

/* The second half anew, as the run of a fork of a job that had been paused. */
static void pause_and_fork(struct sim *sim, const char *text)
{
    struct sim half;
    uint64_t at_ms = (uint64_t)SIM_START_MS * 1000 + sim->n / 2 * 500;
    struct ab_paused paused = {.at_ms = at_ms};
    struct ab_started started = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = at_ms + 100};
    sim_start(&half, sim->workflow, text, NULL, sim->world);
    sim_fold(&half, sim, sim->n / 2);
    assert_int_equal(sim_add(&half, AB_KIND_PAUSED, &paused, NULL), 0);
    assert_int_equal(sim_add(&half, AB_KIND_STARTED, &started, NULL), 0);
    sim_fork(&half);
    sim_finish(sim);
    *sim = half;
}

static int write_case(const struct golden *golden)
{
    char *path = ab_format(FOLDER "/%d-%s.json", ENGINE_VERSION, golden->name);
    FILE *exists = fopen(path, "r"), *file = exists ? NULL : fopen(path, "w");
    struct ab_buf history = {0};
    pack_earlier(&history);
    struct sim_world world = {.sender = golden->user_says,
                              .receiver = golden->bot_says,
                              .people = golden->people,
                              .cast = golden->cast,
                              .shuffle = golden->shuffle,
                              .waiting = true,
                              .history = golden->history ? ab_buf_view(&history) : (struct ab_view){0}};
    struct ab_workflow *workflow =
        golden->flow ? sim_workflow(golden->flow) : sim_pair(golden->user, golden->bot, golden->summary_method);
    struct sim sim;
    sim_start(&sim, workflow, golden->text, NULL, &world);
    const char *stop = engine_stop_name(sim_run(&sim));
    if (golden->fork) {
        pause_and_fork(&sim, golden->text);
        stop = engine_stop_name(sim_run(&sim));
    }
    char *summary = engine_summary(sim.engine);
    json_t *content = *golden->text == '[' ? json_loads(golden->text, 0, NULL) : json_string(golden->text);
    json_t *tree = json_pack("{sO so so ss ss so}", "workflow", workflow->tree, "content", content, "journal",
                             journal_tree(&sim), "stop_reason", stop, "summary", summary, "result",
                             engine_result(sim.engine, stop, 0));
    int failed = file && json_dumpf(tree, file, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    if (file) {
        failed |= fputc('\n', file) == EOF;
        failed |= fclose(file);
        print_message("%s\n", path);
    }
    if (exists)
        fclose(exists);
    json_decref(tree);
    free(summary);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
    ab_buf_finish(&history);
    free(path);
    return failed;
}

/* --- replaying ------------------------------------------------------------------------------------------------ */

static const enum engine_want wants[AB_KINDS] = {
    [AB_KIND_BEGIN] = ENGINE_BEGIN,       [AB_KIND_TURN] = ENGINE_SAY,
    [AB_KIND_MODEL_REPLY] = ENGINE_MODEL, [AB_KIND_WAITING] = ENGINE_HUMAN,
    [AB_KIND_INPUT] = ENGINE_HUMAN,       [AB_KIND_CODE_RESULT] = ENGINE_CODE,
    [AB_KIND_TOOL_STARTED] = ENGINE_TOOL, [AB_KIND_TOOL_RESULT] = ENGINE_TOOL,
};

/* What the engine takes whatever it wants. */
static const bool of_others[AB_KINDS] = {
    [AB_KIND_STARTED] = true, [AB_KIND_PAUSED] = true, [AB_KIND_FORKED] = true};

/* Which call of a step, in the one byte that so few take. */
static bool same_call(const struct engine_effect *effect, struct ab_view event)
{
    struct ab_view call = ab_map_get(event, "call");
    return effect->want != ENGINE_TOOL || (size_t)*call.p == effect->tool_index;
}

static bool wanted(const struct engine_effect *effect, enum ab_event_kind kind, struct ab_view step,
                   struct ab_view agent)
{
    return effect->want == wants[kind] && (!step.p || ab_view_is(step, effect->step)) &&
           (!agent.p || ab_view_is(agent, effect->agent));
}

static void assert_wanted(const struct engine *engine, struct ab_view event)
{
    static struct engine_effect effects[ENGINE_EFFECTS_MAX];
    enum ab_event_kind kind = ab_event_kind(event);
    struct ab_view step = ab_any_str(ab_map_get(event, "step")), agent = ab_any_str(ab_map_get(event, "agent"));
    if (of_others[kind])
        return;
    if (!step.p)
        step = ab_any_str(ab_map_get(event, "ask"));
    size_t n = engine_next(engine, effects, ENGINE_EFFECTS_MAX), found = 0;
    for (size_t i = 0; i < n; i++)
        found += wanted(&effects[i], kind, step, agent) && same_call(&effects[i], event);
    assert_int_equal(found, 1);
}

static struct engine *engine_of(const struct ab_workflow *workflow, const json_t *golden)
{
    static const struct engine_limits none;
    struct engine *engine;
    struct ab_error err = {0};
    if (engine_create(workflow, json_object_get(golden, "content"), &none, &engine, &err))
        fail_msg("%s", err.text);
    return engine;
}

/* The one kind with an id in it, which JSON has in base 16. */
static void pack_event(struct ab_buf *raw, const json_t *event)
{
    const char *hex = ab_tree_str(json_object_get(event, "of"), "$bin");
    struct ab_forked forked = {.of_seq = (uint64_t)ab_tree_int(event, "of_seq", 0),
                               .at_ms = (uint64_t)ab_tree_int(event, "at_ms", 0)};
    if (!hex) {
        ab_tree_pack(raw, event);
        return;
    }
    assert_int_equal(strlen(hex), 2 * AB_ID_BYTES);
    for (size_t i = 0; i < AB_ID_BYTES; i++) {
        const char digits[] = {hex[2 * i], hex[2 * i + 1], 0};
        forked.of.b[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    ab_event_encode(raw, AB_KIND_FORKED, &forked);
}

static void apply_wanted(struct engine *engine, const json_t *event)
{
    struct ab_buf raw = {0};
    struct ab_error err = {0};
    pack_event(&raw, event);
    assert_wanted(engine, ab_buf_view(&raw));
    if (engine_apply(engine, ab_buf_view(&raw), &err))
        fail_msg("%s: %s", err.path, err.text);
    ab_buf_finish(&raw);
}

static void replay(const char *file, const json_t *golden)
{
    struct ab_workflow *workflow = NULL;
    struct ab_error err = {0};
    struct engine_effect effect;
    json_t *journal = json_object_get(golden, "journal"), *event;
    size_t i;

    print_message("  %s\n", file);
    if (ab_workflow_parse(json_object_get(golden, "workflow"), 0, &workflow, NULL, NULL, &err))
        fail_msg("%s: %s", err.path, err.text);
    struct engine *engine = engine_of(workflow, golden);
    json_array_foreach (journal, i, event)
        apply_wanted(engine, event);
    assert_int_equal(engine_next(engine, &effect, 1), 1);
    assert_int_equal(effect.want, ENGINE_FINISH);
    assert_string_equal(engine_stop_name(effect.stop), ab_tree_view(golden, "stop_reason").p);
    char *summary = engine_summary(engine);
    json_t *result = engine_result(engine, engine_stop_name(effect.stop), 0);
    assert_string_equal(summary, ab_tree_view(golden, "summary").p);
    assert_true(json_equal(result, json_object_get(golden, "result")));
    json_decref(result);
    free(summary);
    engine_destroy(engine);
    ab_workflow_destroy(workflow);
}

static void golden_journals_fold(void **state)
{
    DIR *folder = opendir(FOLDER);
    size_t n = 0;
    assert_non_null(folder); /* tests run in the root of the tree */
    for (struct dirent *entry; (entry = readdir(folder));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".json"))
            continue;
        char *path = ab_format(FOLDER "/%s", entry->d_name);
        json_error_t error;
        json_t *golden = json_load_file(path, 0, &error);
        if (!golden)
            fail_msg("%s:%d: %s", path, error.line, error.text);
        replay(entry->d_name, golden);
        json_decref(golden);
        free(path);
        n++;
    }
    closedir(folder);
    assert_true(n >= sizeof cases / sizeof *cases);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_journals_fold)};
    int failed = 0;
    for (size_t i = 0; argc > 1 && !strcmp(argv[1], "--write") && i < sizeof cases / sizeof *cases; i++)
        failed |= write_case(&cases[i]);
    return failed ? failed : cmocka_run_group_tests(tests, NULL, NULL);
}
