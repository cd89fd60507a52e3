/* The engine without any I/O: processor time per step, as a run grows.
 *
 *   bench_engine            one line per kind of workflow and length of its run
 *
 * A step is one event: what is wanted is asked (engine_next), the event is encoded and applied ("live"), or an event
 * from the disk is applied ("fold"). Prompts are not built: a prompt holds the whole conversation by its nature, so its cost
 * grows with it; it is measured by itself ("prompt", one call's messages at the end of the run).
 */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/wire/messages.h"
#include "worker/engine/engine.h"

enum { STEPS = 50000, TIMES = 4, PROMPTS = 20 };

#define LLM       "{\"config_list\": [{\"model\": \"m\"}]}"
#define LONG      "\"is_termination_msg\": false, \"max_consecutive_auto_reply\": 10000"
#define BOT(name) "{\"name\": \"" name "\", \"config\": {\"llm_config\": " LLM ", " LONG "}}"
#define USER      "\"sender\": {\"name\": \"user\", \"config\": {\"llm_config\": " LLM ", " LONG "}}"
#define BOTS      BOT("a") "," BOT("b") "," BOT("c") "," BOT("d")
#define GROUP(how)                                                                                             \
    "{\"name\": \"g\", \"type\": \"groupchat\", \"config\": {\"llm_config\": " LLM ", " LONG                   \
    ", \"max_round\": 10000, \"speaker_selection_method\": \"" how "\"}, \"agents\": [" BOTS "]}"

static const struct {
    const char *name, *flow;
} kinds[] = {
    {"chat", "{\"name\": \"w\", " USER ", \"receiver\": " BOT("a") "}"},
    {"groupchat",
     "{\"name\": \"w\", \"type\": \"groupchat\", " USER ", \"receiver\": " GROUP("round_robin") "}"},
    {"choosing", "{\"name\": \"w\", \"type\": \"groupchat\", " USER ", \"receiver\": " GROUP("auto") "}"},
    {"parallel", "{\"name\": \"w\", \"type\": \"autonomous\", " USER ", \"receiver\": [" BOTS "]}"},
};

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct ab_workflow *parse(const char *flow)
{
    struct ab_workflow *workflow = NULL;
    struct ab_error err = {0};
    if (ab_workflow_read(ab_view_of(flow), NULL, 0, &workflow, NULL, NULL, NULL, &err))
        bench_die("%s: %s", err.path, err.text);
    return workflow;
}

static struct engine *make(const struct ab_workflow *workflow)
{
    static const struct engine_limits limits = {
        .calls_max = UINT32_MAX, .tokens_max = UINT32_MAX, .seconds_max = UINT32_MAX};
    struct ab_error err = {0};
    struct engine *engine = NULL;
    json_t *content = json_string("The task of this run, in a sentence of usual length.");
    if (engine_create(workflow, content, &limits, &engine, &err))
        bench_die("%s: %s", err.path, err.text);
    json_decref(content);
    return engine;
}

/* One step of a run that lives: an answer of about fifty tokens, a choice of speaker by name. */
static void step(struct engine *engine, struct ab_buf *event)
{
    static char text[200];
    struct engine_effect effects[8];
    struct ab_error err = {0};

    if (!*text)
        bench_fill(text, sizeof text);
    if (!engine_next(engine, effects, 8))
        bench_die("the run ended");
    if (effects[0].want == ENGINE_BEGIN) {
        struct ab_begin begin = {.engine = ENGINE_VERSION, .seed = 1, .at_ms = 1};
        ab_event_encode(event, AB_KIND_BEGIN, &begin);
    } else if (effects[0].want == ENGINE_MODEL) {
        struct ab_model_reply reply = {.step = ab_view_of(effects[0].step),
                                       .agent = ab_view_of(effects[0].agent),
                                       .to = ab_view_of(effects[0].to),
                                       .purpose = ab_view_of(effects[0].purpose),
                                       .provider = ab_view_of("openai"),
                                       .model = ab_view_of("m"),
                                       .content =
                                           effects[0].purpose ? ab_view_of("b") : ab_view(text, sizeof text),
                                       .finish_reason = ab_view_of("stop"),
                                       .prompt_tokens = 100,
                                       .completion_tokens = 50,
                                       .at_ms = 2};
        ab_event_encode(event, AB_KIND_MODEL_REPLY, &reply);
    } else {
        bench_die("the run wants effect %d", effects[0].want);
    }
    if (engine_apply(engine, ab_buf_view(event), &err))
        bench_die("%s: %s", err.path, err.text);
}

static double less(double best, double seconds)
{
    return best && best < seconds ? best : seconds;
}

/* A run that lives, its events kept; the best of several times, as others use the machine too. Processor seconds. */
static double live(const struct ab_workflow *workflow, struct ab_buf *journal, size_t events)
{
    double best = 0;
    for (size_t t = 0; t < TIMES; t++) {
        double seconds = 0;
        for (size_t r = 0; r < STEPS / events; r++) {
            for (size_t i = 0; i < events; i++)
                ab_buf_clear(&journal[i]);
            double begin = cpu_seconds();
            struct engine *engine = make(workflow);
            for (size_t i = 0; i < events; i++)
                step(engine, &journal[i]);
            seconds += cpu_seconds() - begin;
            engine_destroy(engine);
        }
        best = less(best, seconds);
    }
    return best / (double)(STEPS / events * events);
}

static struct engine *fold_once(const struct ab_workflow *workflow, const struct ab_buf *journal, size_t events)
{
    struct engine *engine = make(workflow);
    for (size_t i = 0; i < events; i++)
        if (engine_apply(engine, ab_buf_view(&journal[i]), NULL))
            bench_die("the journal does not fold");
    return engine;
}

static double fold(const struct ab_workflow *workflow, const struct ab_buf *journal, size_t events)
{
    double best = 0;
    for (size_t t = 0; t < TIMES; t++) {
        double seconds = 0;
        for (size_t r = 0; r < STEPS / events; r++) {
            double begin = cpu_seconds();
            struct engine *engine = fold_once(workflow, journal, events);
            seconds += cpu_seconds() - begin;
            engine_destroy(engine);
        }
        best = less(best, seconds);
    }
    return best / (double)(STEPS / events * events);
}

static double prompt(const struct ab_workflow *workflow, const struct ab_buf *journal, size_t events)
{
    struct engine *engine = fold_once(workflow, journal, events);
    struct engine_effect effects[8];
    engine_next(engine, effects, 8);
    double begin = cpu_seconds();
    for (size_t i = 0; i < PROMPTS; i++)
        json_decref(engine_messages(engine, &effects[0], 0));
    double seconds = cpu_seconds() - begin;
    engine_destroy(engine);
    return seconds / PROMPTS;
}

static void measure(const char *kind, const struct ab_workflow *workflow, size_t events)
{
    struct ab_buf *journal = ab_calloc(events, sizeof *journal);
    double alive = live(workflow, journal, events), folded = fold(workflow, journal, events);
    printf("engine %s events=%zu live_ns=%.0f fold_ns=%.0f prompt_ns=%.0f\n", kind, events, alive * 1e9,
           folded * 1e9, prompt(workflow, journal, events) * 1e9);
    fflush(stdout);
    for (size_t i = 0; i < events; i++)
        ab_buf_finish(&journal[i]);
    free(journal);
}

int main(void)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct ab_workflow *workflow = parse(kinds[k].flow);
        for (size_t events = 10; events <= 10000; events *= 10)
            measure(kinds[k].name, workflow, events);
        ab_workflow_destroy(workflow);
    }
    return 0;
}
