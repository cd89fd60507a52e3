#include "tests/unit/engine_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/wire/tree.h"

struct ab_workflow *sim_workflow(const char *json)
{
    struct ab_workflow *workflow = NULL;
    struct ab_error err = {0};
    json_t *tree = NULL;
    if (ab_json_parse(ab_view_of(json), &tree, &err) || ab_workflow_parse(tree, 0, &workflow, NULL, NULL, &err))
        fail_msg("%s: %s in %s", err.path, err.text, json);
    json_decref(tree);
    return workflow;
}

struct ab_workflow *sim_pair(const char *user_config, const char *bot_config, const char *summary_method)
{
    char *json = ab_format("{\"name\": \"pair\", \"type\": \"default\", \"summary_method\": \"%s\", "
                           "\"sender\": {\"name\": \"user\", \"type\": \"userproxy\", \"config\": {%s}}, "
                           "\"receiver\": {\"name\": \"bot\", \"type\": \"assistant\", \"config\": {%s}}}",
                           summary_method, user_config, bot_config);
    struct ab_workflow *workflow = sim_workflow(json);
    free(json);
    return workflow;
}

void sim_start(struct sim *sim, const struct ab_workflow *workflow, const char *text,
               const struct engine_limits *limits, const struct sim_world *world)
{
    static const struct engine_limits none;
    struct ab_error err = {0};
    json_t *content = json_string(text);
    *sim = (struct sim){.workflow = workflow, .world = world};
    if (engine_create(workflow, content, limits ? limits : &none, &sim->engine, &err))
        fail_msg("%s: %s", err.path, err.text);
    json_decref(content);
}

static int take(struct sim *sim, struct ab_error *err)
{
    int code = engine_apply(sim->engine, ab_buf_view(&sim->events[sim->n]), err);
    if (code)
        ab_buf_finish(&sim->events[sim->n]);
    else
        sim->n++;
    return code;
}

int sim_add(struct sim *sim, enum ab_event_kind kind, const void *event, struct ab_error *err)
{
    assert_true(sim->n < SIM_EVENTS_MAX);
    ab_event_encode(&sim->events[sim->n], kind, event);
    return take(sim, err);
}

void sim_fold(struct sim *sim, const struct sim *other, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ab_error err = {0};
        ab_buf_add(&sim->events[sim->n], other->events[i].p, other->events[i].n);
        if (take(sim, &err))
            fail_msg("event %zu: %s", i, err.text);
    }
}

/* Time depends on the place in the journal only, so that a run that was cut tells the same times. */
static uint64_t now(const struct sim *sim)
{
    return (uint64_t)SIM_START_MS * 1000 + sim->n * 500;
}

static const char *line(const char *const *lines, uint64_t index, bool repeat)
{
    uint64_t i = 0;
    assert_non_null(lines);
    while (i < index && lines[i] && (!repeat || lines[i + 1]))
        i++;
    if (!lines[i])
        fail_msg("no line %llu", (unsigned long long)index);
    return lines[i];
}

static uint64_t count_kind(const struct sim *sim, enum ab_event_kind kind)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sim->n; i++)
        n += ab_event_kind(ab_buf_view(&sim->events[i])) == kind;
    return n;
}

static int begin(struct sim *sim, const struct engine_effect *effect, struct ab_error *err)
{
    struct ab_begin event = {
        .engine = ENGINE_VERSION, .seed = 7, .history = sim->world->history, .at_ms = now(sim)};
    return sim_add(sim, AB_KIND_BEGIN, &event, err);
}

uint64_t sim_hash(uint64_t seed, const char *text)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
    for (; *text; text++)
        x = (x ^ (unsigned char)*text) * 0x100000001b3;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9;
    return x ^ x >> 32;
}

/* Now and then somebody ends a chat, names a speaker, or talks nonsense. */
static const char *chatter(const struct engine_effect *effect, char text[256])
{
    static const char *const ends[] = {"", " TERMINATE", " a1", " m2", " m1 or m2", "", " a2"};
    uint64_t x = sim_hash(effect->purpose ? 3 : 4, effect->step);
    snprintf(text, 256, "%.60s says %llu at %.60s%s", effect->purpose ? "it" : effect->agent,
             (unsigned long long)(x % 1000), effect->step, ends[x / 1000 % 7]);
    return text;
}

static const char *model_line(const struct sim *sim, const struct engine_effect *effect, char text[256])
{
    const struct sim_world *world = sim->world;
    if (world->chatter)
        return chatter(effect, text);
    for (const struct sim_part *part = world->cast; part && part->agent; part++)
        if (!strcmp(part->agent, effect->agent))
            return line(part->says, effect->call_index, true);
    if (world->cast)
        fail_msg("%s has no lines", effect->agent);
    bool is_sender = !strcmp(effect->agent, sim->workflow->sender.name);
    return line(is_sender ? world->sender : world->receiver, effect->call_index, true);
}

/* A line "call NAME" is a call of that tool, without words. */
static bool pack_call(const char *line, struct ab_buf *out)
{
    if (strncmp(line, "call ", 5))
        return false;
    json_t *calls = json_pack("[{ss ss s{ss ss}}]", "id", "call-1", "type", "function", "function", "name",
                              line + 5, "arguments", "{}");
    ab_tree_pack(out, calls);
    json_decref(calls);
    return true;
}

static int model(struct sim *sim, const struct engine_effect *effect, struct ab_error *err)
{
    char room[256];
    const char *text = model_line(sim, effect, room);
    struct ab_buf calls = {0};
    bool called = pack_call(text, &calls);
    struct ab_model_reply event = {.step = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .to = ab_view_of(effect->to),
                                   .provider = ab_view_of("openai"),
                                   .model = ab_view_of("m"),
                                   .content = ab_view_of(called ? "" : text),
                                   .finish_reason = ab_view_of("stop"),
                                   .prompt_tokens = 10,
                                   .completion_tokens = 5,
                                   .cached_tokens = 4,
                                   .reasoning_tokens = 2,
                                   .at_ms = now(sim)};
    if (effect->purpose)
        event.purpose = ab_view_of(effect->purpose);
    if (called)
        event.tool_calls = ab_buf_view(&calls);
    int code = sim_add(sim, AB_KIND_MODEL_REPLY, &event, err);
    ab_buf_finish(&calls);
    return code;
}

static int human(struct sim *sim, const struct engine_effect *effect, struct ab_error *err)
{
    static const char *const answers[] = {"", "yes", "exit", "1", "so be it"};
    uint64_t index = count_kind(sim, AB_KIND_INPUT);
    const char *text = sim->world->chatter ? answers[sim_hash(5, effect->step) % 5] : NULL;
    if (sim->world->waiting && !effect->asked) {
        struct ab_waiting asked = {.reason = ab_view_of("person"),
                                   .ask = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .prompt = ab_view_of(effect->prompt),
                                   .at_ms = now(sim)};
        return sim_add(sim, AB_KIND_WAITING, &asked, err);
    }
    if (!text)
        text = line(sim->world->people, index, false);
    struct ab_input_event event = {
        .k = index + 1, .ask = ab_view_of(effect->step), .text = ab_view_of(text), .at_ms = now(sim)};
    return sim_add(sim, AB_KIND_INPUT, &event, err);
}

static int say(struct sim *sim, const struct engine_effect *effect, struct ab_error *err)
{
    struct ab_buf content = {0};
    ab_pack_str(&content, ab_view_of(effect->text));
    struct ab_turn event = {.step = ab_view_of(effect->step),
                            .agent = ab_view_of(effect->agent),
                            .to = ab_view_of(effect->to),
                            .content = ab_buf_view(&content),
                            .at_ms = now(sim)};
    int code = sim_add(sim, AB_KIND_TURN, &event, err);
    ab_buf_finish(&content);
    return code;
}

enum engine_stop sim_run(struct sim *sim)
{
    static int (*const performers[])(struct sim *, const struct engine_effect *, struct ab_error *) = {
        [ENGINE_BEGIN] = begin, [ENGINE_MODEL] = model, [ENGINE_HUMAN] = human, [ENGINE_SAY] = say};
    static struct engine_effect wanted[ENGINE_EFFECTS_MAX], again[ENGINE_EFFECTS_MAX];
    for (;;) {
        struct ab_error err = {0};
        size_t n = engine_next(sim->engine, wanted, ENGINE_EFFECTS_MAX);
        assert_true(n > 0);
        assert_int_equal(engine_next(sim->engine, again, ENGINE_EFFECTS_MAX), n); /* asking changes nothing */
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(wanted[i].want, again[i].want);
            assert_string_equal(wanted[i].step, again[i].step);
        }
        size_t pick = sim->world->shuffle ? sim_hash(sim->world->shuffle + sim->n, "order") % n : 0;
        if (wanted[pick].want == ENGINE_FINISH)
            return wanted[pick].stop;
        if (performers[wanted[pick].want](sim, &wanted[pick], &err))
            fail_msg("event %zu: %s: %s", sim->n, err.path, err.text);
    }
}

void sim_finish(struct sim *sim)
{
    for (size_t i = 0; i < sim->n; i++)
        ab_buf_finish(&sim->events[i]);
    engine_destroy(sim->engine);
    sim->engine = NULL;
    sim->n = 0;
}

char *sim_talk(const struct sim *sim)
{
    json_t *result = engine_result(sim->engine, "test", 0), *message;
    struct ab_buf talk = {0};
    size_t i;
    json_array_foreach (json_object_get(result, "messages"), i, message)
        ab_buf_format(&talk, "%s>%s|", json_string_value(json_object_get(message, "agent")),
                      json_string_value(json_object_get(message, "content")));
    json_decref(result);
    ab_buf_cstr(&talk);
    return ab_buf_detach(&talk);
}
