/* What of a conversation a model is sent, and answers of a given shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/engine_sim.h"
#include "worker/engine/node.h"

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CAST(...) ((const struct sim_part[]){__VA_ARGS__, {0}})
#define LLM       "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"
#define A(name)   "{\"name\": \"" name "\", \"config\": {" LLM "}}"
#define PAIR      "{\"name\": \"w\", \"sender\": " A("user") ", \"receiver\": " A("bot") "}"

/* --- what a model is sent -------------------------------------------------------------------------------------- */

/* A letter is a message of 30 bytes, 10 tokens: s system, h of the session before, u and a of the conversation, c a call of a
 * tool, t its result, i an image (1000 tokens), q what stays at the end. */
static const struct {
    const char *name, *messages;
    struct ab_context context;
    uint64_t trimmed;
    const char *sent; /* - for what was left out */
} cuts[] = {
    {"no bound", "shhuaua", {0}, 0, "shhuaua"},
    {"the newest, the session's first out", "shhuaua", {.last = 5}, 0, "s-huaua"},
    {"the newest of the conversation", "shhuaua", {.last = 2}, 0, "s----ua"},
    {"the newest stays whatever the bound is", "su", {.tokens = 1}, 0, "su"},
    {"head and newest", "shhuauaua", {.head = 2, .last = 3}, 0, "s--ua-aua"},
    {"head does not count as newest", "suaua", {.head = 1, .last = 9}, 0, "suaua"},
    {"the session is left out before the conversation, not before the newest",
     "shhua",
     {.head = 1, .last = 2},
     0,
     "s-hua"},
    {"tokens, the system message included", "shhuaua", {.tokens = 35}, 0, "s----ua"},
    {"tokens and head", "suauaua", {.head = 1, .tokens = 40}, 0, "su---ua"},
    {"tokens and newest: whichever is less", "suauaua", {.last = 5, .tokens = 40}, 0, "s---aua"},
    {"a call is not parted from its results", "suctttu", {.last = 3}, 0, "s-----u"},
    {"nor from one of them", "suctttu", {.last = 5}, 0, "s-ctttu"},
    {"nor from its images", "suctiu", {.last = 3}, 0, "s----u"},
    {"all of which stay together", "suctiu", {.last = 4}, 0, "s-ctiu"},
    {"a call and its results, though over the bound", "suctt", {.last = 2}, 0, "s-ctt"},
    {"a head that would part them ends before", "suctuuu", {.head = 2, .last = 1}, 0, "su----u"},
    {"an image counts as it costs", "suiua", {.tokens = 500}, 0, "s--ua"},
    {"what stays at the end", "suauaqq", {.last = 1}, 0, "s---aqq"},
    {"a context that was too small: no session, not more tokens", "shhuaua", {0}, 45, "s---aua"},
    {"even if there is room", "shhua", {0}, 900, "s--ua"},
    {"and as the agent wants it", "shhuaua", {.last = 2}, 900, "s----ua"},
};

static json_t *message_of(char letter, size_t i)
{
    static const struct {
        char letter;
        const char *role;
    } roles[] = {{'s', "system"},    {'h', "user"}, {'u', "user"}, {'a', "assistant"},
                 {'c', "assistant"}, {'t', "tool"}, {'i', "user"}, {'q', "user"}};
    char text[31];
    size_t k = 0;
    while (roles[k].letter != letter)
        k++;
    snprintf(text, sizeof text, "%-30zu", i);
    json_t *message = json_pack("{ss}", "role", roles[k].role);
    if (letter == 'i')
        json_object_set_new(message, "content", json_pack("[{ss}]", "type", "image_url"));
    else
        json_object_set_new(message, "content", json_string(text));
    if (letter == 'c')
        json_object_set_new(message, "tool_calls", json_pack("[{ss}]", "id", "1"));
    return message;
}

static size_t count_letters(const char *text, const char *letters)
{
    size_t n = 0;
    for (; *text; text++)
        n += strchr(letters, *text) != NULL;
    return n;
}

static void what_a_model_is_sent(void **state)
{
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        const char *letters = cuts[i].messages;
        struct prompt prompt = {.messages = json_array(),
                                .system = count_letters(letters, "s"),
                                .history = count_letters(letters, "h"),
                                .tail = count_letters(letters, "q"),
                                .context = cuts[i].context};
        json_t *all = json_array();
        char sent[32] = {0};
        for (size_t k = 0; letters[k]; k++) {
            json_array_append_new(all, message_of(letters[k], k));
            json_array_append(prompt.messages, json_array_get(all, k));
        }
        prompt_cut(&prompt, cuts[i].trimmed);
        for (size_t k = 0, left = 0; letters[k]; k++) {
            bool stays = json_array_get(prompt.messages, left) == json_array_get(all, k);
            sent[k] = stays ? letters[k] : '-';
            left += stays;
        }
        if (strcmp(sent, cuts[i].sent))
            fail_msg("%s: %s", cuts[i].name, sent);
        json_decref(prompt.messages);
        json_decref(all);
    }
}

static size_t messages_wanted(const struct sim *sim, uint64_t tokens_max, uint64_t *trim)
{
    struct engine_effect effect;
    assert_int_equal(engine_next(sim->engine, &effect, 1), 1);
    json_t *messages = engine_messages(sim->engine, &effect, tokens_max);
    size_t n = json_array_size(messages);
    json_decref(messages);
    *trim = engine_trim(sim->engine, &effect);
    return n;
}

/* What was found to be too much is not tried again; but only for the agent whose model it is, and in every fold. */
static void a_context_that_was_too_small_is_remembered(void **state)
{
    static const struct sim_world nothing;
    struct ab_workflow *workflow = sim_workflow(PAIR);
    struct sim sim;
    uint64_t trim, other;
    char text[301];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    sim_start(&sim, workflow, "hi", NULL, &nothing);
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1};
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    assert_int_equal(messages_wanted(&sim, 0, &trim), 1);
    assert_int_equal(trim, 0); /* one message: there is nothing to leave out */
    for (unsigned i = 1; i <= 8; i++) {
        char *step = ab_format("chat:%u", i);
        struct ab_model_reply reply = {.step = ab_view_of(step),
                                       .agent = ab_view_of(i % 2 ? "bot" : "user"),
                                       .provider = ab_view_of("openai"),
                                       .model = ab_view_of("m"),
                                       .content = ab_view_of(text),
                                       .finish_reason = ab_view_of("stop"),
                                       .trimmed_tokens = i == 7 ? 250 : 0,
                                       .at_ms = 2};
        assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &reply, NULL), 0);
        free(step);
    }
    assert_int_equal(messages_wanted(&sim, 0, &trim),
                     2); /* the bot's: 250 tokens are two messages of 300 bytes */
    assert_int_equal(trim, 100);
    assert_int_equal(messages_wanted(&sim, trim, &other), 1);
    struct ab_model_reply last = {.step = ab_view_of("chat:9"),
                                  .agent = ab_view_of("bot"),
                                  .provider = ab_view_of("openai"),
                                  .model = ab_view_of("m"),
                                  .content = ab_view_of("x"),
                                  .finish_reason = ab_view_of("stop"),
                                  .at_ms = 2};
    assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &last, NULL), 0);
    assert_int_equal(messages_wanted(&sim, 0, &trim), 10); /* the user's */
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* --- answers of a given shape ----------------------------------------------------------------------------------- */

#define SHAPE(format) LLM_OF(", \"response_format\": " format)
#define LLM_OF(more)  "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]" more "}"
#define ONE(config)                                                                                            \
    "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"type\": \"userproxy\", \"config\": "                 \
    "{\"llm_config\": "                                                                                        \
    "false, \"max_consecutive_auto_reply\": 0}}, \"receiver\": {\"name\": \"bot\", \"config\": {" config "}}}"
#define AGE                                                                                                    \
    "{\"schema\": {\"type\": \"object\", \"properties\": {\"age\": {\"type\": \"integer\"}}, \"required\": "   \
    "[\"age\"]}}"

static const struct {
    const char *name, *flow;
    const char *const *says;
    const char *talk, *stop, *parsed, *error; /* parsed: of the result, "" if absent */
    size_t replies;
} shapes[] = {
    {"an answer that fits", ONE(SHAPE(AGE)), LIST("{\"age\": 7}"), "user>hi|bot>{\"age\": 7}|",
     "max_consecutive_auto_reply", "{\"age\":7}", NULL, 1},
    {"in a fenced block, with the word that ends the chat", ONE(SHAPE(AGE)),
     LIST("```json\n{\"age\": 7}\n```\nTERMINATE"), "user>hi|bot>```json\n{\"age\": 7}\n```\nTERMINATE|",
     "termination_message", "{\"age\":7}", NULL, 1},
    {"one that does not fit is asked for again", ONE(SHAPE(AGE)), LIST("{\"age\": \"7\"}", "{\"age\": 8}"),
     "user>hi|bot>{\"age\": 8}|", "max_consecutive_auto_reply", "{\"age\":8}", NULL, 2},
    {"a second one that does not fit fails the run", ONE(SHAPE(AGE)), LIST("seven", "{}"), "user>hi|", "error",
     "", "the answer of bot does not fit its response_format, nor did the one before: $.age is missing", 2},
    {"any object", ONE(SHAPE("\"json_object\"")), LIST("[1]", "{\"a\": 1}"), "user>hi|bot>{\"a\": 1}|",
     "max_consecutive_auto_reply", "{\"a\":1}", NULL, 2},
    {"as OpenAI writes it",
     ONE(SHAPE(
         "{\"type\": \"json_schema\", \"json_schema\": {\"name\": \"n\", \"schema\": {\"type\": \"array\"}}}")),
     LIST("[1]"), "user>hi|bot>[1]|", "max_consecutive_auto_reply", "[1]", NULL, 1},
    {"the members of a group chat, not the choice of the speaker",
     "{\"name\": \"w\", \"type\": \"groupchat\", \"sender\": {\"name\": \"user\"}, \"receiver\": {\"name\": "
     "\"g\", "
     "\"type\": \"groupchat\", \"config\": {" LLM
     ", \"max_round\": 1}, \"agents\": [" A("a") ", {\"name\": \"bot\", "
                                                 "\"config\": {" SHAPE(AGE) "}}]}}",
     LIST("{\"age\": 1}"), "user>hi|bot>{\"age\": 1}|", "max_round", "{\"age\":1}", NULL, 2},
    {"beside llm_config", ONE(LLM ", \"response_format\": \"json_object\""), LIST("{}"), "user>hi|bot>{}|",
     "max_consecutive_auto_reply", "{}", NULL, 1},
    {"each time for itself: two faulty answers, each put right",
     "{\"name\": \"w\", \"sender\": {\"name\": \"user\", \"config\": {\"llm_config\": false, "
     "\"max_consecutive_auto_reply\": 1, \"default_auto_reply\": \"more\"}}, \"receiver\": {\"name\": \"bot\", "
     "\"config\": {" SHAPE(AGE) "}}}",
     LIST("x", "{\"age\": 1}", "y", "{\"age\": 2}"), "user>hi|bot>{\"age\": 1}|user>more|bot>{\"age\": 2}|",
     "max_consecutive_auto_reply", "{\"age\":2}", NULL, 4},
};

static void answers_of_a_given_shape(void **state)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct sim_world world = {.cast = CAST({"bot", shapes[i].says}, {"Admin", LIST("bot")})};
        struct ab_workflow *workflow = sim_workflow(shapes[i].flow);
        struct sim sim;
        struct engine_effect effect;
        struct ab_buf parsed = {0};
        print_message("  %s\n", shapes[i].name);
        sim_start(&sim, workflow, "hi", NULL, &world);
        assert_string_equal(engine_stop_name(sim_run(&sim)), shapes[i].stop);
        assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
        assert_string_equal(effect.failure ? effect.failure->text : "", shapes[i].error ? shapes[i].error : "");
        char *talk = sim_talk(&sim);
        assert_string_equal(talk, shapes[i].talk);
        json_t *result = engine_result(sim.engine, "x", 0), *usage = json_object_get(result, "usage");
        if (json_object_get(result, "parsed"))
            ab_json_text(json_object_get(result, "parsed"), &parsed);
        assert_string_equal(ab_buf_cstr(&parsed), shapes[i].parsed);
        assert_int_equal(ab_tree_int(json_object_get(usage, "total"), "calls", 0), shapes[i].replies);
        ab_buf_finish(&parsed);
        json_decref(result);
        free(talk);
        sim_finish(&sim);
        ab_workflow_destroy(workflow);
    }
}

/* A fork that copied both faulty answers asks anew, without them. */
static void a_fork_of_a_failed_run_asks_again(void **state)
{
    struct sim_world world = {.cast = CAST({"bot", LIST("x", "y", "{\"age\": 1}")})};
    struct ab_workflow *workflow = sim_workflow(ONE(SHAPE(AGE)));
    struct ab_forked forked = {.of = {{1}}, .of_seq = 3, .at_ms = (uint64_t)SIM_START_MS * 1000 + 5000};
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    assert_string_equal(engine_stop_name(sim_run(&sim)), "error");
    assert_int_equal(sim_add(&sim, AB_KIND_FORKED, &forked, NULL), 0);
    assert_string_equal(engine_stop_name(sim_run(&sim)), "max_consecutive_auto_reply");
    char *talk = sim_talk(&sim);
    assert_string_equal(talk, "user>hi|bot>{\"age\": 1}|");
    free(talk);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* What the model is told of its first answer, and that only an agent's turn has a format. */
static void a_faulty_answer_is_given_back_with_what_is_wrong(void **state)
{
    struct sim_world world = {.cast = CAST({"bot", LIST("{\"age\": \"7\"}")})};
    struct ab_workflow *workflow = sim_workflow(ONE(SHAPE(AGE)));
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1};
    struct ab_model_reply reply = {.step = ab_view_of("chat:1"),
                                   .agent = ab_view_of("bot"),
                                   .provider = ab_view_of("openai"),
                                   .model = ab_view_of("m"),
                                   .content = ab_view_of("{\"age\": \"7\"}"),
                                   .finish_reason = ab_view_of("stop"),
                                   .at_ms = 2};
    struct engine_effect effect;
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
    assert_string_equal(ab_tree_str(effect.response_format, "type"), "json_schema");
    assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &reply, NULL), 0);
    assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
    assert_string_equal(effect.step, "chat:2");
    assert_int_equal(effect.call_index, 1);
    json_t *messages = engine_messages(sim.engine, &effect, 1); /* however little may be sent */
    assert_int_equal(json_array_size(messages), 3);
    assert_string_equal(ab_tree_str(json_array_get(messages, 1), "content"), "{\"age\": \"7\"}");
    assert_non_null(strstr(ab_tree_str(json_array_get(messages, 2), "content"),
                           "\n\n$.age must be integer, not string\n\nAnswer again"));
    json_decref(messages);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_model_is_sent),
        cmocka_unit_test(a_context_that_was_too_small_is_remembered),
        cmocka_unit_test(answers_of_a_given_shape),
        cmocka_unit_test(a_fork_of_a_failed_run_asks_again),
        cmocka_unit_test(a_faulty_answer_is_given_back_with_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
