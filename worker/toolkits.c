/* The tools of a run's agents: one toolbox for each agent that has any, opened before its first model call and kept as long as
 * the run. Registers the sources, one for each kind of entry. */
#include <stdlib.h>

#include "common/clock.h"
#include "common/tree.h"
#include "common/workflow/tools.h"
#include "worker/mcp/source.h"
#include "worker/tool/tool.h"
#include "worker/skills.h"

struct toolkit {
    const json_t *entries; /* of the workflow; they tell agents apart */
    char job[AB_ID_TEXT];
    struct run *run;
    struct toolbox *toolbox;
    bool preparing; /* in the worker's list, until until_ms */
    int64_t until_ms;
    struct ab_error late; /* it took too long */
    TAILQ_ENTRY(toolkit) in_run, in_preparing;
};

/* --- of a run ------------------------------------------------------------------------------------------------- */

static void prepared(struct toolkit *kit)
{
    if (kit->preparing)
        TAILQ_REMOVE(&kit->run->worker->preparing, kit, in_preparing);
    kit->preparing = false;
}

static enum toolbox_state state_of(const struct toolkit *kit, struct ab_error *err)
{
    if (!kit->late.code)
        return toolbox_state(kit->toolbox, err);
    *err = kit->late;
    return TOOLBOX_FAILED;
}

static void on_changed(void *user)
{
    struct toolkit *kit = user;
    struct ab_error err;
    if (state_of(kit, &err) != TOOLBOX_PREPARING)
        prepared(kit);
    run_wake(kit->run);
}

static struct toolkit *make(struct run *run, const struct engine_effect *effect)
{
    struct toolkit *kit = ab_calloc(1, sizeof *kit);
    kit->entries = effect->tools;
    struct tool_scope scope = {.job = ab_id_text(run->job, kit->job),
                               .user = run->user,
                               .session = run->session,
                               .agent = effect->agent,
                               .owner = run};
    struct ab_error err;
    kit->run = run;
    kit->until_ms = ab_mono_ms() + run->worker->tool_ms_max;
    kit->toolbox = toolbox_open(run->worker->tools, kit->entries, &scope, on_changed, kit);
    kit->preparing = state_of(kit, &err) == TOOLBOX_PREPARING;
    if (kit->preparing)
        TAILQ_INSERT_TAIL(&run->worker->preparing, kit, in_preparing);
    TAILQ_INSERT_TAIL(&run->toolkits, kit, in_run);
    return kit;
}

static struct toolkit *find_or_make(struct run *run, const struct engine_effect *effect)
{
    struct toolkit *kit;
    TAILQ_FOREACH(kit, &run->toolkits, in_run)
    if (kit->entries == effect->tools)
        return kit;
    return make(run, effect);
}

struct toolbox *toolkit_of(struct run *run, const struct engine_effect *effect, struct ab_error *err)
{
    struct toolkit *kit = find_or_make(run, effect);
    return state_of(kit, err) == TOOLBOX_READY ? kit->toolbox : NULL;
}

/* Whatever has become of a source since the tools were known: a model is not to be asked without them. */
json_t *toolkit_described(struct run *run, const struct engine_effect *effect)
{
    return effect->tools ? toolbox_described(find_or_make(run, effect)->toolbox) : NULL;
}

void toolkits_finish(struct run *run)
{
    struct toolkit *kit;
    while ((kit = TAILQ_FIRST(&run->toolkits))) {
        TAILQ_REMOVE(&run->toolkits, kit, in_run);
        prepared(kit);
        toolbox_close(kit->toolbox);
        free(kit);
    }
}

/* All of them may take the same time: the first is the next. */
int64_t toolkits_deadline(const struct worker *worker)
{
    const struct toolkit *kit = TAILQ_FIRST(&worker->preparing);
    return kit ? kit->until_ms : INT64_MAX;
}

void toolkits_tick(struct worker *worker, int64_t now_ms)
{
    struct toolkit *kit;
    while ((kit = TAILQ_FIRST(&worker->preparing)) && kit->until_ms <= now_ms) {
        ab_fail(&kit->late, AB_ETIMEOUT, "the tools of the agent %s were not known within %lld s",
                toolbox_scope(kit->toolbox)->agent, (long long)worker->tool_ms_max / 1000);
        prepared(kit);
        run_wake(kit->run);
    }
}

/* --- the sources ---------------------------------------------------------------------------------------------- */

static const struct tool_builtin *const builtins[] = {
#define X(name, doc) &tool_##name,
    AB_TOOLS(X)
#undef X
        NULL};

/* Agents and workflows are called inside the engine (worker/engine/call.c): here models are only told of them. */
static int no_call(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                   struct ab_buf *text, struct ab_error *err)
{
    (void)arguments;
    (void)context;
    (void)text;
    return ab_fail(err, AB_EINTERNAL, "%s is no tool of the worker", tool->name);
}

static void *tell_of(void *self, const struct tool_scope *scope, const json_t *entry, struct tool_offer *offer)
{
    static const struct tool_ops ops = {.call = no_call};
    const char *name = ab_tree_str(entry, "name"), *description = ab_tree_str(entry, "description");
    char *otherwise = ab_format("Asks %s, who answers.", name);
    json_t *parameters =
        json_pack("{s:s, s:{s:{s:s, s:s}}, s:[s], s:b}", "type", "object", "properties", "message", "type",
                  "string", "description", "All it has to know: it does not see this conversation.", "required",
                  "message", "additionalProperties", 0);
    struct tool_spec spec = {.name = name,
                             .description = description && *description ? description : otherwise,
                             .parameters = parameters,
                             .ops = &ops};
    struct ab_error err = {0};
    (void)self;
    (void)scope;
    if (tool_offer_add(offer, &spec, &err))
        tool_offer_fail(offer, &err);
    else
        tool_offer_ready(offer);
    json_decref(parameters);
    free(otherwise);
    return NULL;
}

static const struct tool_source agent_source = {.kind = "agent", .open = tell_of},
                                workflow_source = {.kind = "workflow", .open = tell_of};

int toolkits_start(struct worker *worker, struct ab_error *err)
{
    worker->tools = tools_create(ab_config_tree(worker->config, AB_CONF_HTTP_GET_HOSTS), err);
    if (!worker->tools)
        return err->code;
    worker->tool_ms_max = ab_config_int(worker->config, AB_CONF_TOOL_SECONDS_MAX) * 1000;
    TAILQ_INIT(&worker->preparing);
    TAILQ_INIT(&worker->calling);
    worker->builtins = (struct tool_builtins){builtins, worker->tools};
    tools_register(worker->tools, &tool_builtin_source, &worker->builtins);
    tools_register(worker->tools, &mcp_tool_source, worker->mcp);
    tools_register(worker->tools, &skill_source, worker);
    tools_register(worker->tools, &agent_source, worker);
    tools_register(worker->tools, &workflow_source, worker);
    return 0;
}
