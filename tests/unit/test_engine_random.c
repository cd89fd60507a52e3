/* The engine's law, on random workflows: what a folded journal wants is what the engine that wrote it wanted there, wherever it
 * is cut; and whatever the order in which simultaneous conversations go on, and however often attempts fail, the run comes to
 * the same end. What models and people say follows from what they are told, so whoever is told something else says so.
 *
 * AUTOBOTS_SIM_SEED=N runs that workflow alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/wire/tree.h"
#include "tests/unit/engine_sim.h"

enum { WORKFLOWS = 600, MEMBERS_MAX = 4 };

#define LLM "\"llm_config\": {\"config_list\": [{\"model\": \"m\"}]}"

struct maker {
    struct ab_buf json;
    uint64_t seed;
    unsigned drawn, agents, models;
    unsigned calls; /* tools around what is being made */
    char made[16];  /* an agent that is complete, of the same workflow; "": there is none */
    unsigned made_calls;
};

static uint64_t draw(struct maker *maker, uint64_t n)
{
    return sim_hash(maker->seed + ++maker->drawn * 77, "draw") % n;
}

#define PICK(maker, list) (list)[draw(maker, sizeof(list) / sizeof *(list))]
#define ADD(maker, ...)   ab_buf_format(&(maker)->json, __VA_ARGS__)

static const char *make_llm(struct maker *maker)
{
    bool has = draw(maker, 4);
    maker->models += has;
    return has ? LLM : "\"llm_config\": false";
}

/* Conditions that depend on the clock are left out: time goes on with every event, also with those of others. */
static void make_termination(struct maker *maker)
{
    static const char *const conditions[] = {
        "{\"text\": \"DONE\"}",
        "{\"rounds\": 3}",
        "{\"auto_replies\": 3}",
        "{\"tokens\": 60}",
        "[{\"text\": \"7\"}, {\"rounds\": 5}]",
        "{\"and\": [{\"rounds\": 2}, {\"text\": \"1\"}]}",
        "{\"or\": [{\"tokens\": 200}, {\"and\": [{\"auto_replies\": 2}, {\"text\": \"3\"}]}]}",
    };
    if (!draw(maker, 3))
        ADD(maker, ", \"termination\": %s", PICK(maker, conditions));
}

static void name_of(unsigned agent, char name[16])
{
    snprintf(name, 16, "%c%u", "am"[agent % 2], agent / 2);
}

static void make_transitions(struct maker *maker, const unsigned *members, uint64_t n)
{
    char name[16], next[16];
    ADD(maker, ", \"allowed_transitions\": {");
    for (uint64_t i = 0; i < n; i++) {
        name_of(members[i], name);
        name_of(members[draw(maker, n)], next);
        ADD(maker, "%s\"%s\": [\"%s\"", i ? ", " : "", name, next);
        name_of(members[draw(maker, n)], name);
        ADD(maker, strcmp(name, next) ? ", \"%s\"]" : "]", name);
    }
    ADD(maker, "}");
}

/* Returns how deep it calls others, as those below. */
static unsigned make_agent(struct maker *maker, int depth, bool group);

static unsigned make_group(struct maker *maker, int depth)
{
    unsigned calls = 0, below;
    static const char *const how[] = {"auto", "round_robin", "random", "manual"};
    static const char *const repeat[] = {"true", "false"};
    unsigned members[MEMBERS_MAX];
    uint64_t n = 2 + draw(maker, MEMBERS_MAX - 1);
    char name[16];
    ADD(maker, "\"type\": \"groupchat\", \"agents\": [");
    for (uint64_t i = 0; i < n; i++) {
        ADD(maker, i ? ", " : "");
        members[i] = maker->agents;
        below = make_agent(maker, depth - 1, depth > 1 && !draw(maker, 3));
        calls = below > calls ? below : calls;
    }
    name_of(members[0], name);
    ADD(maker, "], \"config\": {" LLM ", \"speaker_selection_method\": \"%s\", \"max_round\": %d, ",
        PICK(maker, how), (int)(1 + draw(maker, 5)));
    if (draw(maker, 3))
        ADD(maker, "\"allow_repeat_speaker\": %s", PICK(maker, repeat));
    else
        ADD(maker, "\"allow_repeat_speaker\": [\"%s\"]", name);
    if (!draw(maker, 3))
        make_transitions(maker, members, n);
    if (!draw(maker, 4))
        ADD(maker, ", \"messages\": [\"rules\", {\"name\": \"%s\", \"content\": \"yes\"}]", name);
    make_termination(maker);
    ADD(maker, "}}");
    return calls;
}

static void make_workflow(struct maker *maker, int depth);

/* Another agent as a tool, or a workflow. Returns how many calls deep it is. */
static unsigned make_delegate(struct maker *maker, int depth)
{
    static const char *const approvals[] = {"always", "always", "always", "always", "ask", "never"};
    char made[16];
    unsigned calls, made_calls = maker->made_calls;
    ADD(maker, "{\"name\": \"ask_%d\", \"approval\": \"%s\", ", (int)(1 + !draw(maker, 4)),
        PICK(maker, approvals));
    if (*maker->made && maker->calls + 1 + made_calls <= AB_WORKFLOW_CALLS_MAX && draw(maker, 2)) {
        ADD(maker, "\"agent\": \"%s\"}", maker->made);
        return 1 + made_calls;
    }
    memcpy(made, maker->made, sizeof made);
    maker->calls++;
    if (draw(maker, 2)) {
        ADD(maker, "\"agent\": ");
        calls = make_agent(maker, depth, !draw(maker, 4));
    } else {
        ADD(maker, "\"workflow\": ");
        *maker->made = 0;
        make_workflow(maker, depth);
        calls = AB_WORKFLOW_CALLS_MAX - maker->calls;
        memcpy(maker->made, made, sizeof made);
        maker->made_calls = made_calls;
    }
    maker->calls--;
    ADD(maker, "}");
    return 1 + calls;
}

static unsigned make_tools(struct maker *maker, int depth)
{
    static const char *const tools[] = {"[\"now\"]",
                                        "[\"calculator\", {\"name\": \"now\", \"approval\": \"ask\"}]",
                                        "[{\"name\": \"calculator\", \"approval\": \"never\"}]"};
    if (maker->calls >= 2 || !draw(maker, 4)) {
        ADD(maker, "\"tools\": %s, ", PICK(maker, tools));
        return 0;
    }
    ADD(maker, "\"tools\": [\"now\", ");
    unsigned calls = make_delegate(maker, depth - 1);
    ADD(maker, "], ");
    return calls;
}

static unsigned make_agent(struct maker *maker, int depth, bool group)
{
    static const char *const human[] = {"NEVER", "NEVER", "TERMINATE", "ALWAYS"};
    static const char *const more[] = {"",
                                       ", \"is_termination_msg\": \"DONE\"",
                                       ", \"system_message\": \"Talk.\"",
                                       ", \"code_execution_config\": \"local\"",
                                       ", \"context\": {\"last\": 2}",
                                       ", \"context\": {\"head\": 1, \"tokens\": 40}"};
    char name[16];
    name_of(maker->agents++, name);
    ADD(maker, "{\"name\": \"%s\", ", name);
    if (group)
        return make_group(maker, depth);
    unsigned models = maker->models, calls = 0;
    const char *llm = make_llm(maker);
    if (maker->models > models && draw(maker, 5) < 2)
        calls = make_tools(maker, depth);
    ADD(maker, "\"type\": \"assistant\", \"config\": {%s, \"human_input_mode\": \"%s\", ", llm,
        PICK(maker, human));
    ADD(maker, "\"max_consecutive_auto_reply\": %d, \"default_auto_reply\": \"well\"%s}}",
        (int)(1 + draw(maker, 4)), PICK(maker, more));
    memcpy(maker->made, name, sizeof name);
    maker->made_calls = calls;
    return calls;
}

static void make_workflow(struct maker *maker, int depth)
{
    static const char *const types[] = {"sequential", "autonomous", "autonomous", "groupchat", "default"};
    static const char *const summaries[] = {"last", "llm", "none"};
    static const char *const human[] = {"NEVER", "NEVER", "TERMINATE", "ALWAYS"};
    const char *type = PICK(maker, types);
    bool one = *type == 'g' || *type == 'd';
    uint64_t receivers = one ? 1 : 1 + draw(maker, maker->calls ? 2 : 5);
    unsigned models = maker->models;
    ADD(maker, "{\"name\": \"w\", \"type\": \"%s\", ", type);
    ADD(maker,
        "\"sender\": {\"name\": \"user\", \"config\": {%s, \"human_input_mode\": \"%s\", "
        "\"max_consecutive_auto_reply\": %d}}, \"receiver\": [",
        make_llm(maker), PICK(maker, human), (int)draw(maker, 4));
    for (uint64_t i = 0; i < receivers; i++) {
        ADD(maker, i ? ", " : "");
        make_agent(maker, depth, *type == 'g' || (!one && !draw(maker, 3)));
        if (*type == 's' && !draw(maker, 3)) {
            maker->json.n--; /* into the agent */
            ADD(maker, ", \"task_instruction\": \"Step %d.\"}", (int)i);
        }
    }
    ADD(maker, "]");
    make_termination(maker);
    ADD(maker, ", \"summary_method\": \"%s\"}", maker->models > models ? PICK(maker, summaries) : "last");
}

static struct ab_workflow *random_workflow(uint64_t seed)
{
    struct maker maker = {.seed = seed};
    make_workflow(&maker, 3);
    struct ab_workflow *workflow = sim_workflow(ab_buf_cstr(&maker.json));
    ab_buf_finish(&maker.json);
    return workflow;
}

/* What was tried, so that nobody narrows it by mistake. */
struct seen {
    size_t events, cuts, branching, blocks, tools, called;
    size_t stops[64];
};

/* By an agent or in a workflow that was called as a tool. */
static bool is_called(struct ab_view event)
{
    struct ab_view step = ab_any_str(ab_map_get(event, "step"));
    return step.n && memchr(step.p, '.', step.n);
}

static void one_workflow(uint64_t seed, struct ab_view history, struct seen *seen)
{
    struct ab_workflow *workflow = random_workflow(seed);
    bool branching = workflow->n_receivers > 1 && workflow->type == AB_WORKFLOW_AUTONOMOUS;
    /* Which of several conversations has spent the last call depends on their order. */
    bool at_once = branching || strstr(workflow->text, "\"ask_");
    struct engine_limits limits = {.calls_max = !at_once && seed % 7 == 0 ? 5 : 0, .seconds_max = 86400};
    struct sim_world world = {
        .chatter = true, .record = true, .waiting = seed % 2, .shuffle = seed, .limits = &limits};
    if (seed % 3 == 0)
        world.history = history;
    static struct sim whole;
    sim_start(&whole, workflow, "hi", &limits, &world);
    enum engine_stop stop = sim_run(&whole);
    char *expected = sim_outcome(&whole, stop);
    for (size_t cut = 0; cut <= whole.n; cut += 1 + seed % 3, seen->cuts++)
        sim_cut(&whole, cut, seed * 1000 + cut, expected);
    sim_cut(&whole, 0, 0, expected);
    seen->events += whole.n;
    for (size_t i = 0; i < whole.n; i++)
        seen->blocks += ab_event_kind(ab_buf_view(&whole.events[i])) == AB_KIND_CODE_RESULT;
    for (size_t i = 0; i < whole.n; i++)
        seen->called += is_called(ab_buf_view(&whole.events[i]));
    for (size_t i = 0; i < whole.n; i++)
        seen->tools += ab_event_kind(ab_buf_view(&whole.events[i])) == AB_KIND_TOOL_RESULT;
    seen->branching += branching;
    seen->stops[stop]++;
    free(expected);
    sim_finish(&whole);
    ab_workflow_destroy(workflow);
}

static void random_workflows_do_not_depend_on_cuts_and_orders(void **state)
{
    static const enum engine_stop stops[] = {
        ENGINE_STOP_TERMINATION, ENGINE_STOP_AUTO_REPLIES, ENGINE_STOP_HUMAN_EXIT, ENGINE_STOP_ROUNDS,
        ENGINE_STOP_SPEAKERS,    ENGINE_STOP_TEXT,         ENGINE_STOP_MESSAGES,   ENGINE_STOP_REPLIES,
        ENGINE_STOP_SPENT,       ENGINE_STOP_COMPLETED,    ENGINE_STOP_CALLS};
    const char *only = getenv("AUTOBOTS_SIM_SEED");
    struct seen seen = {0};
    struct ab_buf history = {0};
    json_t *earlier = json_pack("[{ss ss ss}]", "id", "m1", "role", "user", "content", "before");
    ab_tree_pack(&history, earlier);
    json_decref(earlier);
    for (uint64_t seed = 1; seed <= WORKFLOWS; seed++) {
        print_message("  AUTOBOTS_SIM_SEED=%llu\n", (unsigned long long)seed);
        if (!only || strtoull(only, NULL, 10) == seed)
            one_workflow(seed, ab_buf_view(&history), &seen);
    }
    ab_buf_finish(&history);
    print_message("  %d workflows, %zu with branches, %zu events, %zu of code, %zu of calls, %zu cuts\n",
                  WORKFLOWS, seen.branching, seen.events, seen.blocks, seen.called, seen.cuts);
    if (only)
        return;
    assert_true(seen.events > 8000 && seen.branching > 80 && seen.blocks > 20 && seen.called > 500);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        print_message("  %s: %zu\n", engine_stop_name(stops[i]), seen.stops[stops[i]]);
        assert_true(seen.stops[stops[i]]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_workflows_do_not_depend_on_cuts_and_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
