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
    json_t *content = *text == '[' ? json_loads(text, 0, NULL) : json_string(text);
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

static char *told(const struct sim *sim, const struct engine_effect *effect)
{
    struct ab_buf text = {0};
    json_t *messages = engine_messages(sim->engine, effect, 0);
    ab_json_text(messages, &text);
    json_decref(messages);
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

static bool asks_others(const json_t *tools)
{
    size_t i;
    json_t *tool;
    json_array_foreach (tools, i, tool)
        if (json_object_get(tool, "agent") || json_object_get(tool, "workflow"))
            return true;
    return false;
}

static const char *chatter_calls(const struct engine_effect *effect, uint64_t x)
{
    static const char *const plain[] = {"call now", "call calculator now rm"};
    static const char *const others[] = {"call ask_1", "call ask_1 now ask_1", "call ask_2 ask_1 ask_0",
                                         "call calculator ask_1"};
    return asks_others(effect->tools) ? others[x % 4] : plain[x % 2];
}

/* Now and then somebody ends a chat, names a speaker, or talks nonsense; always because of what was said before. */
static const char *chatter(const struct sim *sim, const struct engine_effect *effect, char text[256])
{
    static const char *const ends[] = {
        "",          " TERMINATE", " a1", " m2",
        " m1 or m2", " DONE",      " a2", "\n```sh\nx\n```\n```sh\nfalse\n```\n```sh\ny\n```"};
    char *before = told(sim, effect);
    uint64_t x = sim_hash(sim_hash(effect->call_index * 8 + (effect->purpose ? 3 : 4), effect->step), before);
    uint64_t calls = strchr(effect->step, '.') ? 12 : 4; /* whoever is called calls others less often */
    if (effect->tools && !effect->tools_closed && x % calls < 2) {
        free(before);
        return chatter_calls(effect, x / calls);
    }
    snprintf(text, 256, "%.60s says %llu at %.60s%s", effect->purpose ? "it" : effect->agent,
             (unsigned long long)(x % 1000), effect->step, ends[x / 1000 % (sizeof ends / sizeof *ends)]);
    free(before);
    return text;
}

static const char *model_line(const struct sim *sim, const struct engine_effect *effect, char text[256])
{
    const struct sim_world *world = sim->world;
    if (world->chatter)
        return chatter(sim, effect, text);
    for (const struct sim_part *part = world->cast; part && part->agent; part++)
        if (!strcmp(part->agent, effect->agent))
            return line(part->says, effect->call_index, true);
    if (world->cast)
        fail_msg("%s has no lines", effect->agent);
    bool is_sender = !strcmp(effect->agent, sim->workflow->sender.name);
    return line(is_sender ? world->sender : world->receiver, effect->call_index, true);
}

/* A line "call NAME NAME" is a call of each of these tools, without words. What begins with ask_ is told something, but for ask_0
 * which is told nothing. */
static bool pack_call(const char *line, struct ab_buf *out)
{
    char names[256], *rest = names;
    if (strncmp(line, "call ", 5))
        return false;
    snprintf(names, sizeof names, "%s", line + 5);
    json_t *calls = json_array();
    for (char *name; (name = strsep(&rest, " "));) {
        char id[32];
        snprintf(id, sizeof id, "call-%zu", json_array_size(calls) + 1);
        bool told = !strncmp(name, "ask_", 4) && strcmp(name, "ask_0");
        json_array_append_new(calls, json_pack("{ss ss s{ss ss}}", "id", id, "type", "function", "function",
                                               "name", strcmp(name, "ask_0") ? name : "ask_1", "arguments",
                                               told ? "{\"message\": \"well?\"}" : "{}"));
    }
    ab_tree_pack(out, calls);
    json_decref(calls);
    return true;
}

/* Tools of the server `files` give an image besides; others, that are not built in, have a version. */
static void pack_image(struct ab_buf *out)
{
    json_t *parts =
        json_pack("[{ss s{ss}}]", "type", "image_url", "image_url", "url", "data:image/png;base64,AA==");
    ab_tree_pack(out, parts);
    json_decref(parts);
}

/* Announced, then answered, with what follows from the call; `refuse` is not even announced. */
static int run_tool(struct sim *sim, const struct engine_effect *effect, struct ab_error *err)
{
    char text[ENGINE_STEP_MAX + 64];
    bool refused =
        effect->answer_failed || (!effect->delegated && sim_hash(effect->tool_index, effect->step) % 5 == 0);
    struct ab_tool_started started = {.step = ab_view_of(effect->step),
                                      .agent = ab_view_of(effect->agent),
                                      .call = effect->tool_index,
                                      .tool = ab_view_of(effect->tool),
                                      .arguments = ab_view_of(effect->arguments),
                                      .version = ab_view_of(!strcmp(effect->tool, "skilled") ? "2" : NULL),
                                      .at_ms = now(sim)};
    struct ab_buf parts = {0};
    if (!refused && !effect->tool_started && !effect->answer)
        return sim_add(sim, AB_KIND_TOOL_STARTED, &started, err);
    snprintf(text, sizeof text, "%s of %s", effect->tool, effect->step);
    struct ab_tool_result result = {.step = started.step,
                                    .agent = started.agent,
                                    .call = started.call,
                                    .tool = started.tool,
                                    .failed = refused,
                                    .content = ab_view_of(effect->answer ? effect->answer : text),
                                    .at_ms = started.at_ms};
    if (!refused && !strncmp(effect->tool, "files__", 7)) {
        pack_image(&parts);
        result.parts = ab_buf_view(&parts);
    }
    int code = sim_add(sim, AB_KIND_TOOL_RESULT, &result, err);
    ab_buf_finish(&parts);
    return code;
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
    event.chosen = ab_view_of(effect->chosen);
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
    const char *text =
        sim->world->chatter ? answers[sim_hash(sim_hash(5, effect->step), effect->prompt) % 5] : NULL;
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

uint64_t sim_wanted(const struct sim *sim)
{
    static struct engine_effect wanted[ENGINE_EFFECTS_MAX];
    struct ab_buf text = {0};
    size_t n = engine_next(sim->engine, wanted, ENGINE_EFFECTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct engine_effect *e = &wanted[i];
        char *messages = e->want == ENGINE_MODEL ? told(sim, e) : ab_strdup("");
        ab_buf_format(&text, "%d %s %s %s %s %llu %llu %llu %lld %s %d %s %d %s %s %zu %d %s|", e->want,
                      e->step, e->agent ? e->agent : "", e->to ? e->to : "", e->purpose ? e->purpose : "",
                      (unsigned long long)e->call_index, (unsigned long long)e->calls_left,
                      (unsigned long long)e->after, (long long)e->left_ms, e->prompt, e->asked,
                      e->text ? e->text : "", e->stop, messages, e->tool ? e->tool : "", e->tool_index,
                      e->tool_started, e->answer ? e->answer : "");
        free(messages);
    }
    uint64_t hash = sim_hash(n, ab_buf_cstr(&text));
    ab_buf_finish(&text);
    return hash;
}

/* How much of a step says which branch it is of: the call it is in, and of several conversations which one. *call: without
 * that. */
static size_t branch_bytes(struct ab_view step, size_t *call)
{
    size_t n = 0;
    *call = 0;
    for (size_t i = 0; i < step.n; i++)
        if (step.p[i] == '.')
            for (*call = i; *call < step.n && !strchr("/:", step.p[*call]);)
                ++*call;
    n = *call + (*call > 0);
    if (step.n - n < 6 || memcmp(step.p + n, "chats/", 6))
        return *call;
    for (n += 6; n < step.n && !strchr("/:", step.p[n]);)
        n++;
    return n;
}

/* This event began the call. */
static bool begins(struct ab_view event, struct ab_view call)
{
    struct ab_view step = ab_any_str(ab_map_get(event, "step")), index = ab_map_get(event, "call");
    if (ab_event_kind(event) != AB_KIND_TOOL_STARTED)
        return false;
    char *path = ab_format("%.*s.%d", AB_VIEW_FMT(step), *index.p + 1); /* it is a byte */
    *strchr(path, ':') = '/';
    bool is = ab_view_is(call, path);
    free(path);
    return is;
}

/* After how many events an effect's branch had its last one. */
static uint64_t last_of_branch(const struct sim *sim, const char *step)
{
    size_t call, other, bytes = branch_bytes(ab_view_of(step), &call);
    for (size_t n = sim->n; n; n--) {
        struct ab_view event = ab_buf_view(&sim->events[n - 1]), at = ab_any_str(ab_map_get(event, "step"));
        if (!at.p)
            at = ab_any_str(ab_map_get(event, "ask"));
        bool same = at.p && branch_bytes(at, &other) == bytes && !memcmp(at.p, step, bytes);
        if (same || ab_event_kind(event) == AB_KIND_BEGIN || (call && begins(event, ab_view(step, call))))
            return n;
    }
    return 0;
}

/* The attempt fails and another one goes on: no state may depend on that. */
static void fail_for_now(struct sim *sim)
{
    struct ab_error err = {0};
    struct ab_attempt_failed failed = {
        .attempt = 1, .code = ab_view_of("model"), .text = ab_view_of("x"), .at_ms = now(sim)};
    struct ab_started started = {.attempt = 2, .worker = ab_view_of("w"), .at_ms = now(sim)};
    if (sim_add(sim, AB_KIND_ATTEMPT_FAILED, &failed, &err) || sim_add(sim, AB_KIND_STARTED, &started, &err))
        fail_msg("event %zu: %s: %s", sim->n, err.path, err.text);
}

/* A block writes itself; one with "false" in it fails, one with "sleep" is stopped. */
static int run_code(struct sim *sim, const struct engine_effect *effect, struct ab_error *err)
{
    char *text = ab_view_dup(effect->code.code);
    struct ab_code_result event = {.step = ab_view_of(effect->step),
                                   .agent = ab_view_of(effect->agent),
                                   .to = ab_view_of(effect->to),
                                   .block = effect->code_index,
                                   .language = ab_view_of(effect->code.language),
                                   .exit_code = strstr(text, "false")   ? 1
                                                : strstr(text, "sleep") ? 124
                                                                        : 0,
                                   .output = effect->code.code,
                                   .folder = ab_view_of(*effect->folder ? effect->folder : NULL),
                                   .at_ms = now(sim)};
    int code = sim_add(sim, AB_KIND_CODE_RESULT, &event, err);
    free(text);
    return code;
}

enum engine_stop sim_run(struct sim *sim)
{
    static int (*const performers[])(struct sim *, const struct engine_effect *, struct ab_error *) = {
        [ENGINE_BEGIN] = begin, [ENGINE_MODEL] = model,   [ENGINE_HUMAN] = human,
        [ENGINE_SAY] = say,     [ENGINE_CODE] = run_code, [ENGINE_TOOL] = run_tool};
    static struct engine_effect wanted[ENGINE_EFFECTS_MAX], again[ENGINE_EFFECTS_MAX];
    for (;;) {
        struct ab_error err = {0};
        size_t n = engine_next(sim->engine, wanted, ENGINE_EFFECTS_MAX);
        assert_true(n > 0);
        assert_int_equal(engine_next(sim->engine, again, ENGINE_EFFECTS_MAX), n); /* asking changes nothing */
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(wanted[i].want, again[i].want);
            assert_string_equal(wanted[i].step, again[i].step);
            bool sums_up = wanted[i].purpose && !strcmp(wanted[i].purpose, "summary"); /* several branches */
            bool of_branch = (wanted[i].want == ENGINE_MODEL && !sums_up) || wanted[i].want == ENGINE_HUMAN;
            assert_int_equal(wanted[i].after,
                             of_branch ? last_of_branch(sim, wanted[i].step) : wanted[i].after);
        }
        if (sim->world->record)
            sim->wanted[sim->n] = sim_wanted(sim);
        size_t pick = sim->world->shuffle ? sim_hash(sim->world->shuffle + sim->n, "order") % n : 0;
        if (wanted[pick].want == ENGINE_FINISH)
            return wanted[pick].stop;
        if (sim->world->chatter && wanted[pick].want == ENGINE_MODEL &&
            sim_hash(sim->world->shuffle + sim->n, "fails") % 16 == 0)
            fail_for_now(sim);
        else if (performers[wanted[pick].want](sim, &wanted[pick], &err))
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

static void drop_times(json_t *result)
{
    static const char *const times[] = {"start_time", "end_time", "duration_s"};
    size_t i;
    json_t *message;
    for (i = 0; i < 3; i++)
        json_object_del(result, times[i]);
    json_array_foreach (json_object_get(result, "messages"), i, message)
        json_object_del(message, "at");
}

/* What was copied and what is its own, together. */
static void add_up(json_t *usage, const json_t *copied)
{
    const char *key;
    json_t *part;
    json_object_foreach ((json_t *)(uintptr_t)copied, key, part) {
        json_t *own = json_object_get(usage, key);
        if (json_is_object(part))
            add_up(own, part);
        else if (json_is_integer(part))
            json_integer_set(own, json_integer_value(own) + json_integer_value(part));
    }
}

char *sim_outcome(const struct sim *sim, enum engine_stop stop)
{
    struct ab_buf text = {0};
    json_t *result = engine_result(sim->engine, engine_stop_name(stop), 0), *steps = json_object();
    char *summary = engine_summary(sim->engine);
    drop_times(result);
    add_up(json_object_get(result, "usage"), json_object_get(json_object_get(result, "forked"), "usage"));
    json_object_del(result, "forked");
    for (size_t i = 0; i < sim->n; i++) {
        struct ab_view raw = ab_buf_view(&sim->events[i]), step = ab_any_str(ab_map_get(raw, "step"));
        if (step.p) {
            enum ab_event_kind kind = ab_event_kind(raw);
            bool tool = kind == AB_KIND_TOOL_STARTED || kind == AB_KIND_TOOL_RESULT;
            struct ab_view call = ab_map_get(raw, "call"); /* several of a step, each is a byte */
            char *name = tool ? ab_format("%.*s %d %d", AB_VIEW_FMT(step), kind, *call.p) : ab_view_dup(step);
            assert_null(json_object_get(steps, name)); /* no step is done twice */
            json_object_set_new(steps, name, json_true());
            free(name);
        }
    }
    json_object_set_new(result, "steps", steps);
    json_object_set_new(result, "summary", json_string(summary));
    ab_json_text(result, &text);
    json_decref(result);
    free(summary);
    ab_buf_cstr(&text);
    return ab_buf_detach(&text);
}

void sim_fork(struct sim *sim)
{
    struct ab_forked forked = {.of = {{1}}, .of_seq = sim->n, .at_ms = now(sim)};
    assert_int_equal(sim_add(sim, AB_KIND_FORKED, &forked, NULL), 0);
    struct ab_started started = {.attempt = 1, .worker = ab_view_of("w"), .at_ms = now(sim)};
    assert_int_equal(sim_add(sim, AB_KIND_STARTED, &started, NULL), 0);
}

static void cut_once(const struct sim *whole, size_t cut, uint64_t shuffle, bool fork, const char *expected)
{
    struct sim_world world = *whole->world;
    struct sim resumed;
    world.shuffle = shuffle;
    world.record = false;
    sim_start(&resumed, whole->workflow, "hi", world.limits, &world);
    sim_fold(&resumed, whole, cut);
    if (fork)
        sim_fork(&resumed);
    if (!fork && whole->wanted[cut] && sim_wanted(&resumed) != whole->wanted[cut])
        fail_msg("after %zu of %zu events the folded journal wants something else", cut, whole->n);
    enum engine_stop stop = sim_run(&resumed);
    char *found = sim_outcome(&resumed, stop);
    assert_string_equal(found, expected);
    free(found);
    sim_finish(&resumed);
}

void sim_cut(const struct sim *whole, size_t cut, uint64_t shuffle, const char *expected)
{
    cut_once(whole, cut, shuffle, false, expected);
    if (!whole->world->limits || !whole->world->limits->calls_max)
        cut_once(whole, cut, shuffle, true, expected);
}
