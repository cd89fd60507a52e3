/* The engine: who replies with what and when a chat ends, caps, summaries, results, and that every cut of a journal goes
 * on as if it had not been cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/wire/tree.h"
#include "tests/unit/engine_sim.h"

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define MODEL     "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"
#define NO_MODEL  "\"llm_config\": false"

/* A chat: what the agents are, what models and people say, and what must come of it. */
static const struct row {
    const char *name, *user, *bot, *text;
    const char *const *user_says, *const *bot_says, *const *people;
    const char *talk;
    enum engine_stop stop;
    const char *summary;
} rows[] = {
    {"a user that never answers by itself gets one reply", NO_MODEL ", \"max_consecutive_auto_reply\": 0",
     MODEL, "hi", NULL, LIST("hello"), NULL, "user>hi|bot>hello|", ENGINE_STOP_AUTO_REPLIES, "hello"},
    {"a message ending with TERMINATE ends the chat", NO_MODEL, MODEL, "hi", NULL,
     LIST("one", "two TERMINATE \n"), NULL, "user>hi|bot>one|user>|bot>two TERMINATE \n|",
     ENGINE_STOP_TERMINATION, "two"},
    {"TERMINATE in the middle of a text ends nothing", NO_MODEL ", \"max_consecutive_auto_reply\": 1", MODEL,
     "hi", NULL, LIST("say TERMINATE to end", "bye"), NULL, "user>hi|bot>say TERMINATE to end|user>|bot>bye|",
     ENGINE_STOP_AUTO_REPLIES, "bye"},
    {"another word", NO_MODEL ", \"is_termination_msg\": \"DONE\"", MODEL, "hi", NULL,
     LIST("a TERMINATE", "b DONE"), NULL, "user>hi|bot>a TERMINATE|user>|bot>b DONE|", ENGINE_STOP_TERMINATION,
     "b"},
    {"is_termination_msg true is the default word", NO_MODEL ", \"is_termination_msg\": true", MODEL, "hi",
     NULL, LIST("a TERMINATE"), NULL, "user>hi|bot>a TERMINATE|", ENGINE_STOP_TERMINATION, "a"},
    {"is_termination_msg false: no text ends the chat",
     NO_MODEL ", \"is_termination_msg\": false, \"max_consecutive_auto_reply\": 2", MODEL, "hi", NULL,
     LIST("a TERMINATE"), NULL, "user>hi|bot>a TERMINATE|user>|bot>a TERMINATE|user>|bot>a TERMINATE|",
     ENGINE_STOP_AUTO_REPLIES, "a"},
    {"the addressed agent's word counts, not the speaker's", NO_MODEL ", \"max_consecutive_auto_reply\": 0",
     MODEL ", \"is_termination_msg\": \"STOP\"", "STOP", NULL, LIST("x"), NULL, "user>STOP|",
     ENGINE_STOP_TERMINATION, ""},
    {"the default reply keeps the chat going", NO_MODEL ", \"default_auto_reply\": \"go on\"", MODEL, "hi",
     NULL, LIST("1", "2", "3 TERMINATE"), NULL, "user>hi|bot>1|user>go on|bot>2|user>go on|bot>3 TERMINATE|",
     ENGINE_STOP_TERMINATION, "3"},
    {"the receiver's own maximum ends it too", NO_MODEL ", \"default_auto_reply\": \"more\"",
     MODEL ", \"max_consecutive_auto_reply\": 2", "hi", NULL, LIST("1", "2", "3"), NULL,
     "user>hi|bot>1|user>more|bot>2|user>more|", ENGINE_STOP_AUTO_REPLIES, "2"},
    {"a default reply is never the summary", NO_MODEL ", \"default_auto_reply\": \"ok TERMINATE\"", MODEL, "hi",
     NULL, LIST("answer"), NULL, "user>hi|bot>answer|user>ok TERMINATE|", ENGINE_STOP_TERMINATION, "answer"},
    {"a bare TERMINATE is not the summary either", NO_MODEL ", \"default_auto_reply\": \"thanks?\"", MODEL,
     "hi", NULL, LIST("the answer", "TERMINATE"), NULL, "user>hi|bot>the answer|user>thanks?|bot>TERMINATE|",
     ENGINE_STOP_TERMINATION, "the answer"},
    {"two models", MODEL, MODEL, "hi", LIST("and?", "TERMINATE"), LIST("a", "b"), NULL,
     "user>hi|bot>a|user>and?|bot>b|user>TERMINATE|", ENGINE_STOP_TERMINATION, "b"},
    {"nobody has a model", NO_MODEL ", \"max_consecutive_auto_reply\": 1",
     NO_MODEL ", \"default_auto_reply\": \"I am a rock\"", "hi", NULL, NULL, NULL,
     "user>hi|bot>I am a rock|user>|bot>I am a rock|", ENGINE_STOP_AUTO_REPLIES, ""},
    {"ALWAYS asks at every turn", NO_MODEL ", \"human_input_mode\": \"ALWAYS\"", MODEL, "hi", NULL,
     LIST("1", "2"), LIST("more", "exit"), "user>hi|bot>1|user>more|bot>2|", ENGINE_STOP_HUMAN_EXIT, "2"},
    {"an empty answer lets the agent answer itself",
     NO_MODEL ", \"human_input_mode\": \"ALWAYS\", \"default_auto_reply\": \"auto\"", MODEL, "hi", NULL,
     LIST("1", "2"), LIST("  ", " exit\n"), "user>hi|bot>1|user>auto|bot>2|", ENGINE_STOP_HUMAN_EXIT, "2"},
    {"an empty answer to a termination message ends", NO_MODEL ", \"human_input_mode\": \"ALWAYS\"", MODEL,
     "hi", NULL, LIST("bye TERMINATE"), LIST(""), "user>hi|bot>bye TERMINATE|", ENGINE_STOP_TERMINATION, "bye"},
    {"TERMINATE asks at a termination message only", NO_MODEL ", \"human_input_mode\": \"TERMINATE\"", MODEL,
     "hi", NULL, LIST("1", "2 TERMINATE", "3 TERMINATE"), LIST("why?", ""),
     "user>hi|bot>1|user>|bot>2 TERMINATE|user>why?|bot>3 TERMINATE|", ENGINE_STOP_TERMINATION, "3"},
    {"TERMINATE asks when the maximum is reached, and a person's words set the count back",
     NO_MODEL ", \"human_input_mode\": \"TERMINATE\", \"max_consecutive_auto_reply\": 1, "
              "\"default_auto_reply\": \"auto\"",
     MODEL, "hi", NULL, LIST("1", "2", "3", "4", "5"), LIST("me", "exit"),
     "user>hi|bot>1|user>auto|bot>2|user>me|bot>3|user>auto|bot>4|", ENGINE_STOP_HUMAN_EXIT, "4"},
    {"a person in the receiver's place", NO_MODEL, NO_MODEL ", \"human_input_mode\": \"ALWAYS\"", "hi", NULL,
     NULL, LIST("I answer TERMINATE"), "user>hi|bot>I answer TERMINATE|", ENGINE_STOP_TERMINATION, "I answer"},
    {"the maximum of 10 on both sides", NO_MODEL, MODEL, "hi", NULL, LIST("x"), NULL,
     "user>hi|bot>x|user>|bot>x|user>|bot>x|user>|bot>x|user>|bot>x|user>|bot>x|user>|bot>x|user>|bot>x|user>|"
     "bot>x|"
     "user>|bot>x|user>|",
     ENGINE_STOP_AUTO_REPLIES, "x"},
};

static struct sim_world world_of(const struct row *row)
{
    return (struct sim_world){
        .sender = row->user_says, .receiver = row->bot_says, .people = row->people, .waiting = true};
}

static void chats(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct sim_world world = world_of(row);
        struct ab_workflow *workflow = sim_pair(row->user, row->bot, "last");
        struct sim sim;
        print_message("  %s\n", row->name);
        sim_start(&sim, workflow, row->text, NULL, &world);
        enum engine_stop stop = sim_run(&sim);
        char *talk = sim_talk(&sim), *summary = engine_summary(sim.engine);
        assert_string_equal(talk, row->talk);
        assert_string_equal(engine_stop_name(stop), engine_stop_name(row->stop));
        assert_string_equal(summary, row->summary);
        free(talk);
        free(summary);
        sim_finish(&sim);
        ab_workflow_destroy(workflow);
    }
}

static void assert_same_journal(const struct sim *a, const struct sim *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_int_equal(a->events[i].n, b->events[i].n);
        assert_memory_equal(a->events[i].p, b->events[i].p, a->events[i].n);
    }
    json_t *one = engine_result(a->engine, "x", 0), *other = engine_result(b->engine, "x", 0);
    assert_true(json_equal(one, other));
    json_decref(one);
    json_decref(other);
}

static void every_cut_goes_on_as_if_it_were_none(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim_world world = world_of(&rows[i]);
        struct ab_workflow *workflow = sim_pair(rows[i].user, rows[i].bot, "last");
        struct sim whole;
        sim_start(&whole, workflow, rows[i].text, NULL, &world);
        enum engine_stop stop = sim_run(&whole);
        for (size_t cut = 0; cut <= whole.n; cut++) {
            struct sim resumed;
            sim_start(&resumed, workflow, rows[i].text, NULL, &world);
            sim_fold(&resumed, &whole, cut);
            assert_int_equal(sim_run(&resumed), stop);
            assert_same_journal(&whole, &resumed);
            sim_finish(&resumed);
        }
        sim_finish(&whole);
        ab_workflow_destroy(workflow);
    }
}

/* --- what does not fit ---------------------------------------------------------------------------------------- */

static struct ab_model_reply reply(const char *step, const char *agent)
{
    return (struct ab_model_reply){.step = ab_view_of(step),
                                   .agent = ab_view_of(agent),
                                   .provider = ab_view_of("openai"),
                                   .model = ab_view_of("m"),
                                   .content = ab_view_of("x"),
                                   .finish_reason = ab_view_of("stop"),
                                   .at_ms = 5};
}

static void events_that_nobody_wanted(void **state)
{
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1},
                    newer = {.engine = ENGINE_VERSION + 1, .at_ms = 1};
    struct ab_model_reply wrong_step = reply("chat:2", "bot"), wrong_agent = reply("chat:1", "user"),
                          right = reply("chat:1", "bot");
    struct ab_input_event answer = {.k = 1, .text = ab_view_of("me"), .at_ms = 2};
    struct ab_turn turn = {
        .step = ab_view_of("chat:1"), .agent = ab_view_of("bot"), .content = ab_view("\xa1x", 2), .at_ms = 2};
    const struct {
        enum ab_event_kind first, second;
        const void *one, *other;
    } faults[] = {
        {AB_KIND_UNKNOWN, AB_KIND_MODEL_REPLY, NULL, &right},
        {AB_KIND_UNKNOWN, AB_KIND_BEGIN, NULL, &newer},
        {AB_KIND_BEGIN, AB_KIND_BEGIN, &begin, &begin},
        {AB_KIND_BEGIN, AB_KIND_MODEL_REPLY, &begin, &wrong_step},
        {AB_KIND_BEGIN, AB_KIND_MODEL_REPLY, &begin, &wrong_agent},
        {AB_KIND_BEGIN, AB_KIND_INPUT, &begin, &answer},
        {AB_KIND_BEGIN, AB_KIND_TURN, &begin, &turn},
    };
    static const struct sim_world nothing;
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct sim sim;
        struct ab_error err = {0};
        sim_start(&sim, workflow, "hi", NULL, &nothing);
        if (faults[i].one)
            assert_int_equal(sim_add(&sim, faults[i].first, faults[i].one, &err), 0);
        assert_int_equal(sim_add(&sim, faults[i].second, faults[i].other, &err), AB_ENONDETERMINISM);
        assert_true(*err.text);
        sim_finish(&sim);
    }
    ab_workflow_destroy(workflow);
}

static void events_of_others_change_nothing(void **state)
{
    struct sim_world world = {.receiver = LIST("a", "b TERMINATE")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    struct ab_started started = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = 3};
    struct ab_attempt_failed failed = {
        .attempt = 1, .code = ab_view_of("model"), .text = ab_view_of("x"), .at_ms = 4};
    struct sim whole;
    sim_start(&whole, workflow, "hi", NULL, &world);
    sim_run(&whole);
    char *expected = sim_talk(&whole);
    for (size_t cut = 0; cut <= whole.n; cut++) {
        struct sim sim;
        sim_start(&sim, workflow, "hi", NULL, &world);
        sim_fold(&sim, &whole, cut);
        assert_int_equal(sim_add(&sim, AB_KIND_ATTEMPT_FAILED, &failed, NULL), 0);
        assert_int_equal(sim_add(&sim, AB_KIND_STARTED, &started, NULL), 0);
        assert_int_equal(sim_run(&sim), ENGINE_STOP_TERMINATION);
        char *talk = sim_talk(&sim);
        assert_string_equal(talk, expected);
        free(talk);
        sim_finish(&sim);
    }
    free(expected);
    sim_finish(&whole);
    ab_workflow_destroy(workflow);
}

static void after_the_end_comes_nothing(void **state)
{
    struct sim_world world = {.receiver = LIST("a TERMINATE")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    struct ab_end end = {.state = ab_view_of("succeeded"), .stop_reason = ab_view_of("x"), .at_ms = 9};
    struct ab_started started = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = 9};
    struct engine_effect effect;
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    sim_run(&sim);
    assert_int_equal(sim_add(&sim, AB_KIND_END, &end, NULL), 0);
    assert_int_equal(engine_next(sim.engine, &effect, 1), 0);
    assert_int_equal(sim_add(&sim, AB_KIND_STARTED, &started, NULL), AB_ENONDETERMINISM);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* --- caps, history, results ----------------------------------------------------------------------------------- */

static void caps_end_a_loop(void **state)
{
    static const struct {
        struct engine_limits limits;
        enum engine_stop stop;
        const char *talk;
    } caps[] = {
        {{.calls_max = 2}, ENGINE_STOP_CALLS, "user>hi|bot>x|user>|bot>x|user>|"},
        {{.tokens_max = 16}, ENGINE_STOP_TOKENS, "user>hi|bot>x|user>|bot>x|user>|"},
        {{.seconds_max = 1}, ENGINE_STOP_SECONDS, "user>hi|bot>x|user>|"},
    };
    struct sim_world world = {.receiver = LIST("x")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        struct sim sim, again;
        sim_start(&sim, workflow, "hi", &caps[i].limits, &world);
        assert_int_equal(sim_run(&sim), caps[i].stop);
        char *talk = sim_talk(&sim);
        assert_string_equal(talk, caps[i].talk);
        sim_start(&again, workflow, "hi", &(struct engine_limits){.calls_max = 1}, &world);
        sim_fold(&again, &sim, sim.n); /* made under other caps: it folds all the same */
        free(talk);
        sim_finish(&again);
        sim_finish(&sim);
    }
    ab_workflow_destroy(workflow);
}

static void a_call_knows_how_much_time_is_left(void **state)
{
    struct sim_world world = {.receiver = LIST("x")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    for (uint64_t seconds = 0; seconds <= 60; seconds += 30) {
        struct sim sim;
        struct engine_effect effect;
        sim_start(&sim, workflow, "hi", &(struct engine_limits){.seconds_max = seconds}, &world);
        struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1000000};
        struct ab_started again = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = 1000000 + 4500};
        assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
        assert_int_equal(sim_add(&sim, AB_KIND_STARTED, &again, NULL), 0);
        assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
        assert_int_equal(effect.want, ENGINE_MODEL);
        assert_int_equal(effect.left_ms, seconds ? seconds * 1000 - 4500 : 0);
        sim_finish(&sim);
    }
    ab_workflow_destroy(workflow);
}

static void a_pause_takes_no_time_from_the_job(void **state)
{
    struct sim_world world = {.receiver = LIST("x")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    struct sim sim;
    struct engine_effect effect;
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1000000};
    struct ab_paused paused = {.at_ms = 1000000 + 2000};
    struct ab_started again = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = 1000000 + 86400000};
    sim_start(&sim, workflow, "hi", &(struct engine_limits){.seconds_max = 30}, &world);
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    for (int i = 0; i < 2; i++) { /* a day each */
        assert_int_equal(sim_add(&sim, AB_KIND_PAUSED, &paused, NULL), 0);
        assert_int_equal(sim_add(&sim, AB_KIND_STARTED, &again, NULL), 0);
        paused.at_ms = again.at_ms + 3000;
        again.at_ms += 86400000;
    }
    assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
    assert_int_equal(effect.want, ENGINE_MODEL);
    assert_int_equal(effect.left_ms, 30000 - 2000 - 3000);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* What is reserved before a call changes nothing of what is wanted, also for one that was refused and waited for. */
static void reservations_and_waits_for_room_change_nothing(void **state)
{
    struct sim_world world = {.receiver = LIST("x")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    struct sim sim;
    struct engine_effect effect;
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1000000};
    struct ab_waiting full = {
        .reason = ab_view_of("budget"), .budget = ab_view_of("user ann"), .tokens = 7, .at_ms = 1000000 + 2000};
    struct ab_started again = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = 1000000 + 86400000};
    sim_start(&sim, workflow, "hi", &(struct engine_limits){.seconds_max = 30}, &world);
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    assert_int_equal(sim_add(&sim, AB_KIND_WAITING, &full, NULL), 0);
    assert_int_equal(sim_add(&sim, AB_KIND_STARTED, &again, NULL), 0);
    uint64_t wanted = sim_wanted(&sim);
    assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
    for (int attempt = 0; attempt < 2; attempt++) { /* the second one after a crash */
        struct ab_call_started call = {.step = ab_view_of(effect.step),
                                       .agent = ab_view_of(effect.agent),
                                       .tokens = 7,
                                       .at_ms = again.at_ms};
        assert_int_equal(sim_add(&sim, AB_KIND_CALL_STARTED, &call, NULL), 0);
        assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
        assert_int_equal(effect.left_ms, 30000 - 2000);
        assert_int_equal(effect.after, 1);
    }
    assert_int_equal(sim_wanted(&sim), wanted);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

/* Two calls were copied: a cap of two leaves room for two more, and the time before does not count. */
static void what_was_copied_does_not_count_for_the_caps(void **state)
{
    struct sim_world world = {.receiver = LIST("a", "b", "c", "d", "e")};
    struct ab_workflow *workflow =
        sim_pair("\"llm_config\":false,\"max_consecutive_auto_reply\":9", MODEL, "last");
    struct sim whole, fork;
    sim_start(&whole, workflow, "hi", &(struct engine_limits){.calls_max = 2}, &world);
    assert_int_equal(sim_run(&whole), ENGINE_STOP_CALLS);
    sim_start(&fork, workflow, "hi", &(struct engine_limits){.calls_max = 2, .seconds_max = 60}, &world);
    sim_fold(&fork, &whole, whole.n);
    struct ab_forked forked = {
        .of = {{1}}, .of_seq = whole.n, .at_ms = (uint64_t)SIM_START_MS * 1000 + 86400000};
    struct ab_started started = {.attempt = 1, .worker = ab_view_of("w"), .at_ms = forked.at_ms + 3600000};
    assert_int_equal(sim_add(&fork, AB_KIND_FORKED, &forked, NULL), 0);
    assert_int_equal(sim_add(&fork, AB_KIND_STARTED, &started, NULL), 0);
    assert_int_equal(sim_run(&fork), ENGINE_STOP_CALLS);
    char *talk = sim_talk(&fork);
    assert_string_equal(talk, "user>hi|bot>a|user>|bot>b|user>|bot>c|user>|bot>d|user>|");
    json_t *result = engine_result(fork.engine, "x", 0), *copied = json_object_get(result, "forked");
    for (int i = 0; i < 2; i++) {
        json_t *usage = json_object_get(i ? copied : result, "usage");
        assert_int_equal(ab_tree_int(json_object_get(usage, "total"), "calls", 0), 2);
        assert_int_equal(ab_tree_int(json_object_get(usage, "total"), "prompt_tokens", 0), 20);
    }
    json_decref(result);
    free(talk);
    sim_finish(&fork);
    sim_finish(&whole);
    ab_workflow_destroy(workflow);
}

/* The time stands in the journal: in the question, and in what comes after it. */
static void a_question_may_have_an_end(void **state)
{
    struct sim_world world = {.receiver = LIST("x")};
    struct ab_workflow *workflow = sim_pair("\"llm_config\":false,\"human_input_mode\":\"ALWAYS\",\"human_"
                                            "timeout_s\":60,\"human_default\":\"so be it\"",
                                            MODEL, "last");
    struct sim sim;
    struct engine_effect effect;
    const uint64_t now = (uint64_t)SIM_START_MS * 1000 + 10000, until = now + 60000;
    struct ab_model_reply reply = {.step = ab_view_of("chat:1"),
                                   .agent = ab_view_of("bot"),
                                   .provider = ab_view_of("script"),
                                   .model = ab_view_of("m"),
                                   .content = ab_view_of("x"),
                                   .finish_reason = ab_view_of("stop"),
                                   .at_ms = now};
    struct ab_waiting waiting = {
        .reason = ab_view_of("person"), .ask = ab_view_of("chat:2"), .until_ms = until, .at_ms = now};
    struct ab_started started = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = until - 1};
    struct ab_input_event input = {
        .ask = ab_view_of("chat:2"), .text = ab_view_of("so be it"), .timeout = true, .at_ms = until};
    (void)state;
    sim_start(&sim, workflow, "hi", &(struct engine_limits){.seconds_max = 30}, &world);
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = now};
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &reply, NULL), 0);
    assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
    assert_true(effect.want == ENGINE_HUMAN && !effect.asked && !effect.until_ms && effect.timeout_ms == 60000);
    assert_string_equal(effect.otherwise, "so be it");
    assert_int_equal(sim_add(&sim, AB_KIND_WAITING, &waiting, NULL), 0);
    for (int late = 0; late < 2; late++) { /* woken too early, then in time: by the clock of whoever wakes it */
        started.at_ms += (uint64_t)late;
        assert_int_equal(sim_add(&sim, AB_KIND_STARTED, &started, NULL), 0);
        assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
        assert_true(effect.asked && effect.until_ms == (int64_t)until && effect.due == late);
    }
    assert_int_equal(sim_add(&sim, AB_KIND_INPUT, &input, NULL), 0);
    char *talk = sim_talk(&sim);
    assert_string_equal(talk, "user>hi|bot>x|user>so be it|");
    assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
    assert_true(effect.want == ENGINE_MODEL && effect.left_ms == 30000); /* nobody's time was lost with it */
    free(talk);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

static void replies_from_a_cache_cost_nothing(void **state)
{
    struct sim_world world = {.receiver = LIST("x")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "last");
    struct ab_begin begin = {.engine = ENGINE_VERSION, .at_ms = 1000};
    for (int paid = 0; paid < 3; paid++) { /* 1: nobody knows how much; 2: somebody does */
        struct sim sim;
        sim_start(&sim, workflow, "hi", NULL, &world);
        assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
        for (int i = 0; i < 2; i++) {
            struct engine_effect effect;
            if (i) { /* the user's filler in between */
                assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
                struct ab_buf filler = {0};
                ab_pack_str(&filler, ab_view_of(effect.text));
                struct ab_turn turn = {.step = ab_view_of(effect.step),
                                       .agent = ab_view_of(effect.agent),
                                       .content = ab_buf_view(&filler),
                                       .at_ms = 1000};
                assert_int_equal(sim_add(&sim, AB_KIND_TURN, &turn, NULL), 0);
                ab_buf_finish(&filler);
            }
            assert_int_equal(engine_next(sim.engine, &effect, 1), 1);
            struct ab_model_reply reply = {.step = ab_view_of(effect.step),
                                           .agent = ab_view_of(effect.agent),
                                           .provider = ab_view_of("openai"),
                                           .model = ab_view_of("m"),
                                           .content = ab_view_of("x"),
                                           .finish_reason = ab_view_of("stop"),
                                           .cached = !i || !paid,
                                           .cost_pico_usd = {i && paid == 2, 2500000},
                                           .at_ms = 1000};
            assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &reply, NULL), 0);
        }
        json_t *result = engine_result(sim.engine, "x", 3000);
        json_t *total = json_object_get(json_object_get(result, "usage"), "total");
        assert_int_equal(json_integer_value(json_object_get(total, "cached_calls")), paid ? 1 : 2);
        assert_int_equal(json_is_null(json_object_get(total, "cost")), paid == 1);
        assert_true(paid == 1 || json_number_value(json_object_get(total, "cost")) == (paid ? 2.5e-6 : 0));
        assert_int_equal(json_integer_value(json_object_get(total, "cost_pico_usd")), paid == 2 ? 2500000 : 0);
        assert_string_equal(json_string_value(json_object_get(result, "end_time")), "1970-01-01T00:00:03.000Z");
        json_decref(result);
        sim_finish(&sim);
    }
    ab_workflow_destroy(workflow);
}

static json_t *unpacked(const struct ab_buf *raw)
{
    return ab_tree_unpack(ab_buf_view(raw), NULL);
}

static void pack_message(struct ab_buf *out, const char *role, const char *text)
{
    json_t *message = json_pack("{ss ss ss}", "id", "i", "role", role, "content", text);
    ab_tree_pack(out, message);
    json_decref(message);
}

static void history_is_bounded_oldest_first_out(void **state)
{
    struct ab_buf raw = {0}, one = {0};
    pack_message(&one, "user", "x");
    ab_pack_array(&raw, 3);
    pack_message(&raw, "user", "1");
    pack_message(&raw, "assistant", "2");
    pack_message(&raw, "user", "3");
    static const struct {
        size_t messages_max, bytes_max, kept;
    } bounds[] = {{10, 10000, 3}, {2, 10000, 2}, {0, 10000, 0}, {10, 0, 0}, {10, 70, 2}};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        struct ab_buf out = {0};
        assert_int_equal(
            engine_history(ab_buf_view(&raw), bounds[i].messages_max, bounds[i].bytes_max, &out, NULL), 0);
        json_t *kept = unpacked(&out);
        assert_int_equal(json_array_size(kept), bounds[i].kept);
        if (bounds[i].kept) {
            json_t *last = json_array_get(kept, bounds[i].kept - 1);
            assert_string_equal(json_string_value(json_object_get(last, "content")), "3");
        }
        json_decref(kept);
        ab_buf_finish(&out);
    }
    assert_int_equal(engine_history(ab_view("\xc0", 1), 1, 1, &one, NULL), AB_EINVALID);
    ab_buf_finish(&one);
    ab_buf_finish(&raw);
}

static char *sent_to(struct sim *sim, bool history)
{
    struct engine_effect effect;
    struct ab_buf text = {0};
    size_t i;
    json_t *message;
    assert_int_equal(engine_next(sim->engine, &effect, 1), 1);
    assert_int_equal(effect.want, ENGINE_MODEL);
    json_t *messages = engine_messages(sim->engine, &effect, history ? 0 : 1);
    json_array_foreach (messages, i, message)
        ab_buf_format(&text, "%c:%s|", *json_string_value(json_object_get(message, "role")),
                      json_string_value(json_object_get(message, "content")));
    json_decref(messages);
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

/* Each side sees its own words as the assistant's, and the session's history from its own place. */
static void what_a_model_is_told(void **state)
{
    struct ab_buf history = {0};
    ab_pack_array(&history, 2);
    pack_message(&history, "user", "before");
    pack_message(&history, "assistant", "after");
    struct ab_begin begin = {.engine = ENGINE_VERSION, .history = ab_buf_view(&history), .at_ms = 1};
    struct ab_model_reply first = reply("chat:1", "bot");
    static const struct sim_world nothing;
    struct ab_workflow *workflow =
        sim_pair(MODEL ", \"system_message\": \"ask\"", MODEL ", \"system_message\": \"be\"", "last");
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &nothing);
    assert_int_equal(sim_add(&sim, AB_KIND_BEGIN, &begin, NULL), 0);
    char *bot = sent_to(&sim, true), *bare = sent_to(&sim, false);
    assert_string_equal(bot, "s:be|u:before|a:after|u:hi|");
    assert_string_equal(bare, "s:be|u:hi|");
    assert_int_equal(sim_add(&sim, AB_KIND_MODEL_REPLY, &first, NULL), 0);
    char *user = sent_to(&sim, true);
    assert_string_equal(user, "s:ask|a:before|u:after|a:hi|u:x|");
    free(bot);
    free(bare);
    free(user);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
    ab_buf_finish(&history);
}

static void the_result_tells_everything(void **state)
{
    struct sim_world world = {.receiver = LIST("one", "two TERMINATE")};
    struct ab_workflow *workflow = sim_pair(NO_MODEL, MODEL, "none");
    struct sim sim;
    sim_start(&sim, workflow, "hi", NULL, &world);
    sim_run(&sim);
    json_t *result = engine_result(sim.engine, "termination_message", 0);
    struct ab_buf text = {0};
    json_object_del(result, "messages");
    ab_json_text(result, &text);
    assert_string_equal(
        ab_buf_cstr(&text),
        "{\"duration_s\":1.5,\"end_time\":\"2026-01-01T00:00:01.500Z\",\"files\":[],"
        "\"start_time\":\"2026-01-01T00:00:00.000Z\",\"stop_reason\":\"termination_message\","
        "\"summary_method\":\"none\",\"usage\":{\"agents\":{\"bot\":{\"cached_tokens\":8,\"calls\":2,"
        "\"completion_tokens\":10,\"cost\":null,\"estimated\":false,\"prompt_tokens\":20,\"reasoning_tokens\":"
        "4}},"
        "\"total\":{\"cached_tokens\":8,\"calls\":2,\"completion_tokens\":10,\"cost\":null,\"estimated\":false,"
        "\"prompt_tokens\":20,\"reasoning_tokens\":4}}}");
    char *summary = engine_summary(sim.engine);
    assert_string_equal(summary, "");
    free(summary);
    ab_buf_finish(&text);
    json_decref(result);
    sim_finish(&sim);
    ab_workflow_destroy(workflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chats),
        cmocka_unit_test(every_cut_goes_on_as_if_it_were_none),
        cmocka_unit_test(events_that_nobody_wanted),
        cmocka_unit_test(events_of_others_change_nothing),
        cmocka_unit_test(after_the_end_comes_nothing),
        cmocka_unit_test(caps_end_a_loop),
        cmocka_unit_test(a_call_knows_how_much_time_is_left),
        cmocka_unit_test(a_pause_takes_no_time_from_the_job),
        cmocka_unit_test(reservations_and_waits_for_room_change_nothing),
        cmocka_unit_test(a_question_may_have_an_end),
        cmocka_unit_test(what_was_copied_does_not_count_for_the_caps),
        cmocka_unit_test(replies_from_a_cache_cost_nothing),
        cmocka_unit_test(history_is_bounded_oldest_first_out),
        cmocka_unit_test(what_a_model_is_told),
        cmocka_unit_test(the_result_tells_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
