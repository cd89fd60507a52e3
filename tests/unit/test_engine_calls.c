/* Agents and workflows as tools: what they are told, what becomes of their answers, and what does not leave their calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/tree.h"
#include "common/wire/operations.h"
#include "common/wire/tree.h"
#include "tests/unit/engine_sim.h"

#define LIST(...)       ((const char *const[]){__VA_ARGS__, NULL})
#define CAST(...)       ((const struct sim_part[]){__VA_ARGS__, {0}})
#define LLM             "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"
#define A(name, config) "{\"name\": \"" name "\", \"config\": {" LLM config "}}"
#define NOBODY          "{\"name\": \"user\", \"config\": {\"llm_config\": false, \"max_consecutive_auto_reply\": 0}}"
/* A user who says nothing more, and an agent with tools. */
#define ASKS(tools, config, more)                                                                              \
    "{\"name\": \"w\", \"sender\": " NOBODY ", \"receiver\": {\"name\": \"boss\", \"tools\": [" tools          \
    "], \"config\": {" LLM config "}}" more "}"
#define ASK_AGENT(agent)   "{\"name\": \"ask_1\", \"agent\": " agent "}"
#define ASK_FLOW(workflow) "{\"name\": \"ask_1\", \"workflow\": " workflow "}"
#define SEVERAL(type, more)                                                                                    \
    "{\"name\": \"in\", \"type\": \"" type "\", \"sender\": " NOBODY                                           \
    ", \"receiver\": [" A("x", "") ", " A("y", "") "]" more "}"

/* The journal from its second event on: a call as (STEP, its result as )RESULT, or !RESULT of a failed one. */
static char *told(const struct sim *sim)
{
    struct ab_buf text = {0};
    for (size_t i = 1; i < sim->n; i++) {
        struct ab_view raw = ab_buf_view(&sim->events[i]);
        struct ab_view step = ab_any_str(ab_map_get(raw, "step")),
                       content = ab_any_str(ab_map_get(raw, "content")),
                       agent = ab_any_str(ab_map_get(raw, "agent"));
        struct ab_tool_result result;
        switch (ab_event_kind(raw)) {
        case AB_KIND_TOOL_STARTED:
            ab_buf_format(&text, "(%.*s|", AB_VIEW_FMT(step));
            break;
        case AB_KIND_TOOL_RESULT:
            assert_int_equal(ab_decode(&ab_tool_result_schema, raw, &result, NULL), 0);
            ab_buf_format(&text, "%c%.*s|", result.failed ? '!' : ')', AB_VIEW_FMT(content));
            break;
        case AB_KIND_INPUT:
            ab_buf_format(&text, "?%.*s|", AB_VIEW_FMT(ab_any_str(ab_map_get(raw, "ask"))));
            break;
        default:
            ab_buf_format(&text, "%.*s@%.*s %.*s|", AB_VIEW_FMT(agent), AB_VIEW_FMT(step),
                          AB_VIEW_FMT(content));
        }
    }
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

static const struct row {
    const char *name, *flow;
    const struct sim_part *cast;
    const char *const *people;
    const char *told, *stop;
} rows[] = {
    {"an agent answers", ASKS(ASK_AGENT(A("x", "")), "", ""),
     CAST({"boss", LIST("call ask_1", "So be it.")}, {"x", LIST("Yes. TERMINATE")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 Yes. TERMINATE|)Yes.|boss@chat:3 So be it.|",
     "max_consecutive_auto_reply"},
    {"two at once, and a plain tool between them", ASKS("\"now\", " ASK_AGENT(A("x", "")), "", ""),
     CAST({"boss", LIST("call ask_1 now ask_1", "Well.")}, {"x", LIST("1", "2")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 1|)1|(chat:2|)now of chat:2|(chat:2|x@chat/2.3/chat:1 1|)1|"
     "boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"what names no message is told so", ASKS(ASK_AGENT(A("x", "")), "", ""),
     CAST({"boss", LIST("call ask_0", "Well.")}), NULL,
     "boss@chat:1 |!the arguments do not fit: an object with one member is wanted, {\"message\": text}|"
     "boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"each call is a conversation of its own", ASKS(ASK_AGENT(A("x", "")), "", ""),
     CAST({"boss", LIST("call ask_1", "call ask_1", "Well.")}, {"x", LIST("first", "never")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 first|)first|boss@chat:3 |(chat:4|x@chat/4.1/chat:1 first|)first|"
     "boss@chat:5 Well.|",
     "max_consecutive_auto_reply"},
    {"its stop word, conditions and rounds end the call alone",
     ASKS(ASK_FLOW("{\"name\": \"in\", \"termination\": {\"text\": \"2\"}, \"sender\": " A(
              "x", "") ", \"receiver\": " A("y", "") "}"),
          "", ", \"termination\": {\"text\": \"1\"}"),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("TERMINATE 1")}, {"y", LIST("1", "2")}), NULL,
     "boss@chat:1 |(chat:2|y@chat/2.1/chat:1 1|x@chat/2.1/chat:2 TERMINATE 1|y@chat/2.1/chat:3 2|)2|"
     "boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"a sequence", ASKS(ASK_FLOW(SEVERAL("sequential", "")), "", ""),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("1")}, {"y", LIST("2")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/steps/1:1 1|y@chat/2.1/steps/2:1 2|)2|boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"all at the same time, with a summary by a model",
     ASKS(ASK_FLOW(SEVERAL("autonomous", ", \"summary_method\": \"llm\"")), "", ""),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("1", "1 and 2")}, {"y", LIST("2")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chats/1:1 1|y@chat/2.1/chats/2:1 2|x@chat/2.1:1 1 and 2|)1 and 2|"
     "boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"a group chat as an agent, which is a member of nothing else",
     ASKS(ASK_AGENT("{\"name\": \"g\", \"type\": \"groupchat\", \"config\": {\"speaker_selection_method\": "
                    "\"round_robin\", \"max_round\": 2}, \"agents\": [" A("x", "") ", " A("y", "") "]}"),
          "", ""),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("1")}, {"y", LIST("2")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 1|y@chat/2.1/chat:2 2|)2|boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"others in turn",
     ASKS(ASK_AGENT("{\"name\": \"x\", \"tools\": [\"now\", {\"agent\": " A("ask_2", "") "}], \"config\": {" LLM
                                                                                         "}}"),
          "", ""),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("call ask_2", "1")}, {"ask_2", LIST("2")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 |(chat/2.1/chat:2|ask_2@chat/2.1/chat/2.1/chat:1 2|)2|"
     "x@chat/2.1/chat:3 1|)1|boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"a person in it, who ends it", ASKS(ASK_AGENT(A("x", ", \"human_input_mode\": \"ALWAYS\"")), "", ""),
     CAST({"boss", LIST("call ask_1", "call ask_1", "Well.")}), LIST("I say so.", "exit"),
     "boss@chat:1 |(chat:2|?chat/2.1/chat:1|)I say so.|boss@chat:3 |(chat:4|?chat/4.1/chat:1|!it ended "
     "without an answer (human_exit)|boss@chat:5 Well.|",
     "max_consecutive_auto_reply"},
    {"a person who must agree",
     ASKS("{\"name\": \"ask_1\", \"approval\": \"ask\", \"agent\": " A("x", "") "}", "", ""),
     CAST({"boss", LIST("call ask_1 ask_1", "Well.")}, {"x", LIST("1")}), LIST("yes", "too dear"),
     "boss@chat:1 |?chat:2|?chat:3|(chat:4|x@chat/4.1/chat:1 1|)1|boss@chat:5 Well.|",
     "max_consecutive_auto_reply"},
    {"an answer of a wrong shape is the call's failure",
     ASKS(ASK_AGENT(A("x", ", \"response_format\": \"json_object\"")), "", ""),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("7", "8")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 7|x@chat/2.1/chat:2 8|!the answer of x does not fit its "
     "response_format, nor did the one before: $ is no JSON object|boss@chat:3 Well.|",
     "max_consecutive_auto_reply"},
    {"what is called calls for itself, but spends for all",
     ASKS(ASK_AGENT("{\"name\": \"x\", \"tools\": [\"now\"], \"config\": {" LLM "}}"), "",
          ", \"termination\": [{\"tool_call\": \"now\"}, {\"tokens\": 50}]"),
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("call now", "1")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 |(chat/2.1/chat:2|)now of chat/2.1/chat:2|x@chat/2.1/chat:3 1|)1|"
     "boss@chat:3 Well.|",
     "tokens"},
    {"an agent of the same workflow, in a group",
     "{\"name\": \"w\", \"type\": \"groupchat\", \"sender\": " NOBODY
     ", \"receiver\": {\"name\": \"g\", \"type\": \"groupchat\", \"config\": {\"speaker_selection_method\": "
     "\"round_robin\", \"max_round\": 2}, \"agents\": [{\"name\": \"boss\", \"tools\": [{\"name\": \"ask_1\", "
     "\"agent\": \"x\"}], \"config\": {" LLM "}}, " A("x", "") "]}}",
     CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("1", "2")}), NULL,
     "boss@chat:1 |(chat:2|x@chat/2.1/chat:1 1|)1|boss@chat:3 Well.|x@chat:4 1|", "max_round"},
};

static void calls_go_as_they_should(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct sim_world world = {.cast = row->cast, .people = row->people};
        struct ab_workflow *workflow = sim_workflow(row->flow);
        struct sim sim;
        print_message("  %s\n", row->name);
        sim_start(&sim, workflow, "hi", NULL, &world);
        enum engine_stop stop = sim_run(&sim);
        char *found = told(&sim);
        assert_string_equal(found, row->told);
        assert_string_equal(engine_stop_name(stop), row->stop);
        free(found);
        sim_finish(&sim);
        ab_workflow_destroy(workflow);
    }
}

static const struct engine_effect *next(const struct sim *sim, size_t n)
{
    static struct engine_effect effects[ENGINE_EFFECTS_MAX];
    assert_int_equal(engine_next(sim->engine, effects, ENGINE_EFFECTS_MAX), n);
    return effects;
}

static void assert_messages(const struct sim *sim, const struct engine_effect *effect, const char *expected)
{
    json_t *messages = engine_messages(sim->engine, effect, 0), *wanted = json_loads(expected, 0, NULL);
    char *found = json_dumps(messages, JSON_COMPACT);
    assert_non_null(wanted);
    if (!json_equal(messages, wanted))
        fail_msg("%s", found);
    free(found);
    json_decref(messages);
    json_decref(wanted);
}

static void add_reply(struct sim *sim, const struct engine_effect *effect, const char *says, const char *calls)
{
    struct ab_buf raw = {0};
    json_t *tree = calls ? json_loads(calls, 0, NULL) : NULL;
    if (tree)
        ab_tree_pack(&raw, tree);
    struct ab_model_reply reply = {.step = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .provider = ab_view_of("openai"),
                                   .model = ab_view_of("m"),
                                   .content = ab_view_of(says),
                                   .finish_reason = ab_view_of("stop"),
                                   .prompt_tokens = 1,
                                   .tool_calls = ab_buf_view(&raw),
                                   .at_ms = SIM_START_MS};
    assert_int_equal(sim_add(sim, AB_KIND_MODEL_REPLY, &reply, NULL), 0);
    ab_buf_finish(&raw);
    json_decref(tree);
}

static void add_started(struct sim *sim, const struct engine_effect *effect)
{
    struct ab_tool_started started = {.step = ab_view_of(effect->step),
                                      .agent = ab_view_of(effect->agent),
                                      .call = effect->tool_index,
                                      .tool = ab_view_of(effect->tool),
                                      .arguments = ab_view_of(effect->arguments),
                                      .at_ms = SIM_START_MS};
    assert_true(effect->delegated && !effect->answer && !effect->tool_started);
    assert_int_equal(sim_add(sim, AB_KIND_TOOL_STARTED, &started, NULL), 0);
}

static int add_result(struct sim *sim, const struct engine_effect *effect, const char *content)
{
    struct ab_tool_result result = {.step = ab_view_of(effect->step),
                                    .agent = ab_view_of(effect->agent),
                                    .call = effect->tool_index,
                                    .tool = ab_view_of(effect->tool),
                                    .content = ab_view_of(content),
                                    .at_ms = SIM_START_MS};
    return sim_add(sim, AB_KIND_TOOL_RESULT, &result, NULL);
}

/* The history's instruction is for all, its messages are not; both calls are wanted at the same time. */
static void each_sees_its_message_only(void **state)
{
    static const char calls[] =
        "[{\"id\": \"1\", \"type\": \"function\", \"function\": {\"name\": \"ask_1\", "
        "\"arguments\": \"{\\\"message\\\": \\\"one?\\\"}\"}}, {\"id\": \"2\", \"type\": \"function\", "
        "\"function\": {\"name\": \"ask_1\", \"arguments\": \"{\\\"message\\\": \\\"two?\\\"}\"}}]";
    json_t *earlier = json_pack("[{ss ss ss}, {ss ss ss}]", "id", "m0", "role", "system", "content", "Be kind.",
                                "id", "m1", "role", "user", "content", "before");
    struct ab_buf history = {0};
    ab_tree_pack(&history, earlier);
    struct sim_world world = {.history = ab_buf_view(&history)};
    struct ab_workflow *workflow =
        sim_workflow(ASKS(ASK_AGENT(A("x", ", \"system_message\": \"Short.\"")), "", ""));
    struct sim sim;
    struct ab_begin begin = {.engine = ENGINE_VERSION, .history = world.history, .at_ms = SIM_START_MS};
    sim_start(&sim, workflow, "hi", NULL, &world);
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    add_reply(&sim, next(&sim, 1), "", calls);
    struct engine_effect asked[2];
    memcpy(asked, next(&sim, 2), sizeof asked);
    add_started(&sim, &asked[1]); /* in whatever order */
    add_started(&sim, &asked[0]);
    const struct engine_effect *both = next(&sim, 2);
    assert_string_equal(both[0].agent, "x");
    assert_string_equal(both[0].to, "boss");
    assert_messages(
        &sim, &both[both[0].step[7] == '1' ? 0 : 1],
        "[{\"role\": \"system\", \"content\": \"Short.\"}, {\"role\": \"system\", \"content\": \"Be "
        "kind.\"}, {\"role\": \"user\", \"content\": \"one?\"}]");
    assert_int_equal(add_result(&sim, &asked[0], "too early"), AB_ENONDETERMINISM);
    sim_finish(&sim);
    json_decref(earlier);
    ab_buf_finish(&history);
    ab_workflow_destroy(workflow);
}

/* The caller's transcript is the result's; the usage is everybody's. */
static void the_result_has_the_callers_talk_and_all_usage(void **state)
{
    struct sim_world world = {
        .cast = CAST({"boss", LIST("call ask_1", "Well.")}, {"x", LIST("1")}, {"y", LIST("2")})};
    struct ab_workflow *workflow =
        sim_workflow(ASKS(ASK_FLOW(SEVERAL("autonomous", "")), "", ", \"summary_method\": \"last\""));
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    enum engine_stop stop = sim_run(&sim);
    json_t *result = engine_result(sim.engine, engine_stop_name(stop), 0);
    char *talk = sim_talk(&sim), *summary = engine_summary(sim.engine);
    json_t *agents = json_object_get(json_object_get(result, "usage"), "agents");
    assert_string_equal(talk, "user>hi|boss>Well.|");
    assert_string_equal(summary, "Well.");
    assert_int_equal(json_object_size(agents), 3);
    assert_int_equal(ab_tree_int(json_object_get(agents, "boss"), "calls", 0), 2);
    assert_int_equal(ab_tree_int(json_object_get(agents, "y"), "calls", 0), 1);
    json_decref(result);
    free(talk);
    free(summary);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

static void each_call_has_a_folder_of_its_own(void **state)
{
    struct sim_world world = {
        .cast = CAST({"boss", LIST("call ask_1 ask_1", "Well.")}, {"x", LIST("```sh\nls\n```", "TERMINATE")})};
    struct ab_workflow *workflow = sim_workflow(
        ASKS(ASK_FLOW("{\"name\": \"in\", \"sender\": {\"name\": \"runs\", \"config\": {\"llm_config\": false, "
                      "\"code_execution_config\": \"local\"}}, \"receiver\": " A("x", "") "}"),
             "", ""));
    struct sim sim;
    struct ab_buf folders = {0};
    sim_start(&sim, workflow, "hi", NULL, &world);
    sim_run(&sim);
    for (size_t i = 0; i < sim.n; i++) {
        struct ab_view raw = ab_buf_view(&sim.events[i]);
        if (ab_event_kind(raw) == AB_KIND_CODE_RESULT)
            ab_buf_format(&folders, "%.*s|", AB_VIEW_FMT(ab_any_str(ab_map_get(raw, "folder"))));
    }
    assert_string_equal(ab_buf_cstr(&folders), "call-chat-2.1|call-chat-2.2|");
    ab_buf_finish(&folders);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* Of two calls of a skill one leaves files: the next one finds them, and the result lists them. */
static void the_files_of_a_tool_are_those_of_its_folder(void **state)
{
    static const char calls[] =
        "[{\"id\": \"1\", \"type\": \"function\", \"function\": {\"name\": \"plot\", \"arguments\": \"{}\"}}, "
        "{\"id\": \"2\", \"type\": \"function\", \"function\": {\"name\": \"plot\", \"arguments\": \"{}\"}}]";
    static const char hash[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    struct ab_workflow *workflow =
        sim_workflow(ASKS("{\"skill\": \"plot\"}", ", \"code_execution_config\": \"docker\"", ""));
    struct sim_world world = {0};
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = SIM_START_MS};
    struct engine_effect asked[2];
    struct ab_buf files = {0};
    struct ab_file_entry entry = {.path = ab_view_of("plot.png"), .hash = ab_view_of(hash), .bytes = 7};
    struct ab_error err = {0};
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    add_reply(&sim, next(&sim, 1), "", calls);
    assert_int_equal(engine_next(sim.engine, asked, 2), 2);
    assert_string_equal(asked[0].folder, "");
    assert_int_equal(asked[0].code_config->mode, AB_CODE_DOCKER);
    assert_null(engine_files(sim.engine, "").p);

    ab_pack_array(&files, 1);
    ab_encode(&files, &ab_file_entry_schema, &entry);
    struct ab_tool_result result = {.step = ab_view_of(asked[0].step),
                                    .agent = ab_view_of(asked[0].agent),
                                    .tool = ab_view_of("plot"),
                                    .content = ab_view_of(""),
                                    .files = ab_buf_view(&files),
                                    .at_ms = SIM_START_MS};
    assert_int_equal(sim_add(&sim, AB_KIND_TOOL_RESULT, &result, NULL), 0);
    assert_true(ab_view_eq(engine_files(sim.engine, ""), ab_buf_view(&files)));
    result.call = 1;
    result.files = (struct ab_view){0};
    assert_int_equal(sim_add(&sim, AB_KIND_TOOL_RESULT, &result, NULL), 0);
    assert_true(ab_view_eq(engine_files(sim.engine, ""), ab_buf_view(&files)));
    json_t *told = engine_result(sim.engine, "completed", 0);
    assert_string_equal(ab_tree_str(json_array_get(json_object_get(told, "files"), 0), "path"), "plot.png");
    json_decref(told);

    add_reply(&sim, next(&sim, 1), "", calls);
    result = (struct ab_tool_result){.step = ab_view_of(next(&sim, 2)->step),
                                     .agent = ab_view_of(asked[0].agent),
                                     .tool = ab_view_of("plot"),
                                     .content = ab_view_of(""),
                                     .folder = ab_view_of("another's"),
                                     .files = ab_buf_view(&files),
                                     .at_ms = SIM_START_MS};
    assert_int_equal(sim_add(&sim, AB_KIND_TOOL_RESULT, &result, &err), AB_ENONDETERMINISM);
    ab_buf_finish(&files);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

static void a_stored_workflow_must_be_looked_up_first(void **state)
{
    static const struct engine_limits none;
    struct ab_workflow *workflow = sim_workflow(ASKS("{\"workflow\": \"market study@3\"}", "", ""));
    struct engine *engine;
    struct ab_error err = {0};
    json_t *content = json_string("hi");
    assert_int_equal(engine_create(workflow, content, &none, &engine, &err), AB_EINVALID);
    assert_null(engine);
    assert_string_equal(err.path, "$.agents[1].agent");
    assert_string_equal(
        err.text, "the tool market_study names the stored workflow market study@3, which is not looked up");
    json_decref(content);
    ab_workflow_destroy(workflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_go_as_they_should),
        cmocka_unit_test(each_sees_its_message_only),
        cmocka_unit_test(the_result_has_the_callers_talk_and_all_usage),
        cmocka_unit_test(each_call_has_a_folder_of_its_own),
        cmocka_unit_test(the_files_of_a_tool_are_those_of_its_folder),
        cmocka_unit_test(a_stored_workflow_must_be_looked_up_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
