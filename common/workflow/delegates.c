/* Tools that are agents or workflows: how they are written in a tool's entry, and that none of them comes to call itself.
 *
 *   {agent: NAME}       another agent of the same workflow, whatever else it does there
 *   {agent: {…}}        one that is only this tool, written as agents are in the form around it
 *   {workflow: {…}}     a workflow of its own, in either form; agents outside of it are unknown in it
 *   {workflow: NAME}    a stored one, until ab_workflow_resolve() has put it there as it is then, with `source`: NAME@VERSION
 *
 * What is not said of a tool is taken from whom it calls: its name, its description.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/workflow/reading.h"
#include "common/workflow/tools.h"

/* --- reading -------------------------------------------------------------------------------------------------- */

/* Where a value of the canonical tree was written, for faults that are found when all of it is known. */
void ab_reading_place(struct ab_reading *r, json_t *value)
{
    json_t *place = json_pack("[s, O]", ab_buf_cstr(&r->path), value);
    json_array_append_new(r->places, place);
}

/* Faults that are only counted need no place, which is looked for among many. */
static void fault_at(struct ab_reading *r, const json_t *value, char *what, char *hint)
{
    const char *path = "$";
    size_t i;
    json_t *place;
    json_array_foreach (r->faults.n < AB_FAULTS_MAX ? r->places : NULL, i, place) {
        if (json_array_get(place, 1) == value)
            path = json_string_value(json_array_get(place, 0));
    }
    ab_reading_fault_at(r, path, what, hint);
}

#define TOO_DEEP                                                                                               \
    ab_format("agents and workflows call each other over more than %d levels", AB_WORKFLOW_CALLS_MAX)

static json_t *read_inside(struct ab_reading *r, json_t *value, ab_read_fn *read)
{
    if (r->calls >= AB_WORKFLOW_CALLS_MAX) {
        ab_reading_fault(r, TOO_DEEP, ab_format("flatten the workflow"));
        return NULL;
    }
    r->calls++;
    r->depth++;
    json_t *out = read(r, value);
    r->calls--;
    r->depth--;
    if (out)
        ab_reading_place(r, out);
    return out;
}

static bool is_flow_agent(const json_t *value)
{
    return ab_given(value, "config") || ab_given(value, "agents");
}

json_t *ab_read_tool_agent(struct ab_reading *r, json_t *value)
{
    bool concise = r->concise && !is_flow_agent(value);
    if (!json_is_string(value) && !json_is_object(value)) {
        ab_reading_fault(r, ab_format("must be the name of an agent or an agent, not %s", ab_kind_name(value)),
                         ab_format("such as researcher, or {name: researcher, system: …}"));
        return NULL;
    }
    if (json_is_object(value))
        return read_inside(r, value, concise ? ab_read_concise_agent : ab_read_flow_agent);
    ab_reading_place(r, value);
    return ab_read_mention(r, value);
}

/* NAME or NAME@VERSION. */
static bool stored_name(const char *text, struct ab_view *name, uint64_t *version)
{
    size_t n = strcspn(text, "@");
    uint64_t number = 0;
    *name = ab_view(text, n);
    for (const char *c = text + n + (text[n] == '@'); *c; c++) {
        if (*c < '0' || *c > '9' || number > UINT32_MAX)
            return false;
        number = number * 10 + (uint64_t)(*c - '0');
    }
    *version = number;
    return ab_workflow_name_ok(*name) && (!text[n] || number);
}

json_t *ab_read_tool_flow(struct ab_reading *r, json_t *value)
{
    struct ab_view name;
    uint64_t version;
    if (json_is_object(value))
        return read_inside(r, value, ab_read_workflow);
    if (!json_is_string(value))
        ab_reading_fault(
            r, ab_format("must be the name of a stored workflow or a workflow, not %s", ab_kind_name(value)),
            ab_format("NAME, NAME@VERSION or {agents: [...]}"));
    else if (!stored_name(json_string_value(value), &name, &version))
        ab_reading_fault(r, ab_format("\"%.80s\" is no name of a stored workflow", json_string_value(value)),
                         ab_format("NAME or NAME@VERSION, as `autobots workflows` lists them"));
    else
        return json_incref(value);
    return NULL;
}

/* --- who is called -------------------------------------------------------------------------------------------- */

static void add_agents(json_t *all, json_t *agent);

static void add_members(json_t *all, json_t *agent)
{
    size_t i;
    json_t *member, *tool;
    json_array_foreach (json_object_get(agent, "agents"), i, member)
        add_agents(all, member);
    json_array_foreach (json_object_get(agent, "tools"), i, tool)
        if (json_is_object(json_object_get(tool, "agent")))
            add_agents(all, json_object_get(tool, "agent"));
}

static void add_agents(json_t *all, json_t *agent)
{
    const char *name = ab_tree_str(agent, "name");
    if (name)
        json_object_set(all, name, agent);
    add_members(all, agent);
}

/* All of a canonical workflow by their names, without those of workflows inside. */
static json_t *agents_of(const json_t *workflow)
{
    json_t *all = json_object(), *entry;
    size_t i;
    json_array_foreach (json_object_get(workflow, "agents"), i, entry)
        add_agents(all, json_object_get(entry, "agent"));
    return all;
}

/* How deep it goes below an agent: through all, and through calls. */
struct height {
    size_t levels, calls;
};

struct measure {
    struct ab_reading *r; /* NULL: faults were told before */
    json_t *agents;       /* by name */
    json_t *known;        /* by name: [levels, calls]; null while it is being measured */
};

static struct height height_of_agent(struct measure *m, json_t *agent);

static void raise(struct height *height, struct height below, bool call)
{
    if (below.levels + 1 > height->levels)
        height->levels = below.levels + 1;
    if (below.calls + call > height->calls)
        height->calls = below.calls + call;
}

static struct height height_of_workflow(json_t *workflow)
{
    struct measure m = {.agents = agents_of(workflow), .known = json_object()};
    struct height highest = {0};
    const char *name;
    json_t *agent;
    json_object_foreach (m.agents, name, agent) {
        struct height one = height_of_agent(&m, agent);
        highest.levels = one.levels > highest.levels ? one.levels : highest.levels;
        highest.calls = one.calls > highest.calls ? one.calls : highest.calls;
    }
    json_decref(m.agents);
    json_decref(m.known);
    return highest;
}

static void check_height(struct measure *m, struct height *height, const json_t *called)
{
    bool calls = height->calls > AB_WORKFLOW_CALLS_MAX;
    if (!calls && height->levels <= AB_WORKFLOW_DEPTH_MAX)
        return;
    if (m->r)
        fault_at(
            m->r, called,
            calls ? TOO_DEEP
                  : ab_format("groupchats and tools are nested deeper than %d levels", AB_WORKFLOW_DEPTH_MAX),
            ab_format("flatten the workflow"));
    *height = (struct height){0}; /* told once */
}

static void measure_tool(struct measure *m, json_t *tool, const char *caller, struct height *height)
{
    json_t *agent = json_object_get(tool, "agent"), *workflow = json_object_get(tool, "workflow");
    json_t *called = json_is_string(agent) ? json_object_get(m->agents, json_string_value(agent)) : agent;
    const char *name = ab_tree_str(called, "name");
    if (json_is_object(workflow)) {
        raise(height, height_of_workflow(workflow), true);
    } else if (name && json_is_null(json_object_get(m->known, name))) {
        if (m->r)
            fault_at(m->r, agent, ab_format("\"%s\" comes to call itself through \"%s\"", name, caller),
                     ab_format("an agent cannot be a tool of its own, nor of what it calls"));
        return;
    } else if (called) {
        raise(height, height_of_agent(m, called), true);
    }
    check_height(m, height, agent ? agent : workflow);
}

static struct height measured(const json_t *known)
{
    return (struct height){(size_t)json_integer_value(json_array_get(known, 0)),
                           (size_t)json_integer_value(json_array_get(known, 1))};
}

static struct height height_of_agent(struct measure *m, json_t *agent)
{
    const char *name = ab_tree_str(agent, "name");
    struct height height = {0};
    size_t i;
    json_t *below;
    if (!name || json_object_get(m->known, name))
        return measured(json_object_get(m->known, name ? name : ""));
    json_object_set_new(m->known, name, json_null());
    json_array_foreach (json_object_get(agent, "agents"), i, below)
        raise(&height, height_of_agent(m, below), false);
    json_array_foreach (json_object_get(agent, "tools"), i, below)
        measure_tool(m, below, name, &height);
    json_object_set_new(m->known, name,
                        json_pack("[I, I]", (json_int_t)height.levels, (json_int_t)height.calls));
    return height;
}

/* What is told about it, if nothing is said: what is said of whom it calls. */
static void describe(const json_t *agents, json_t *agent)
{
    size_t i;
    json_t *tool;
    json_array_foreach (json_object_get(agent, "tools"), i, tool) {
        json_t *called = json_object_get(tool, "agent");
        if (json_is_string(called))
            called = json_object_get(agents, json_string_value(called));
        json_t *about = called ? json_object_get(called, "config") : json_object_get(tool, "workflow");
        json_t *description = json_is_object(about) ? json_object_get(about, "description") : NULL;
        if (description && !json_object_get(tool, "description"))
            json_object_set(tool, "description", description);
    }
}

void ab_check_delegates(struct ab_reading *r, json_t *workflow)
{
    struct measure m = {.r = r, .agents = agents_of(workflow), .known = json_object()};
    const char *name;
    json_t *agent;
    json_object_foreach (m.agents, name, agent) {
        describe(m.agents, agent);
        height_of_agent(&m, agent);
    }
    json_decref(m.agents);
    json_decref(m.known);
}

/* --- stored workflows ----------------------------------------------------------------------------------------- */

struct resolving {
    ab_stored_fn *find;
    void *context;
    struct ab_buf path;
    size_t found;
};

static int resolve_agent(struct resolving *res, json_t *agent, struct ab_error *err);

static int resolve_workflow(struct resolving *res, json_t *workflow, struct ab_error *err)
{
    size_t i, mark = res->path.n;
    json_t *entry;
    int code = 0;
    json_array_foreach (json_object_get(workflow, "agents"), i, entry) {
        ab_buf_format(&res->path, ".agents[%zu].agent", i);
        if ((code = resolve_agent(res, json_object_get(entry, "agent"), err)))
            return code;
        res->path.n = mark;
    }
    return 0;
}

static int find_stored(struct resolving *res, json_t *tool, struct ab_error *err)
{
    struct ab_view name;
    struct ab_error why = {0};
    json_t *found = NULL;
    uint64_t version = 0;
    if (!stored_name(ab_tree_str(tool, "workflow"), &name, &version))
        return ab_fail_at(err, AB_EINVALID, ab_buf_cstr(&res->path), "is no name of a stored workflow");
    int code = res->find(res->context, name, &version, &found, &why);
    if (code)
        return ab_fail_at(err, code, ab_buf_cstr(&res->path), "%s", why.text);
    char *source = ab_format("%.*s@%llu", AB_VIEW_FMT(name), (unsigned long long)version);
    json_object_set_new(tool, "source", json_string(source));
    json_object_set_new(tool, "workflow", found);
    free(source);
    res->found++;
    return 0;
}

static int resolve_tool(struct resolving *res, json_t *tool, struct ab_error *err)
{
    json_t *workflow = json_object_get(tool, "workflow"), *agent = json_object_get(tool, "agent");
    size_t mark = res->path.n;
    int code = 0;
    ab_path_key(&res->path, workflow ? "workflow" : "agent");
    if (json_is_string(workflow))
        code = find_stored(res, tool, err);
    else if (workflow)
        code = resolve_workflow(res, workflow, err);
    else if (json_is_object(agent))
        code = resolve_agent(res, agent, err);
    res->path.n = code ? res->path.n : mark;
    return code;
}

static int resolve_agent(struct resolving *res, json_t *agent, struct ab_error *err)
{
    size_t i, mark = res->path.n;
    json_t *below;
    int code = 0;
    json_array_foreach (json_object_get(agent, "agents"), i, below) {
        ab_buf_format(&res->path, ".agents[%zu]", i);
        if ((code = resolve_agent(res, below, err)))
            return code;
        res->path.n = mark;
    }
    json_array_foreach (json_object_get(agent, "tools"), i, below) {
        ab_buf_format(&res->path, ".tools[%zu]", i);
        if ((code = resolve_tool(res, below, err)))
            return code;
        res->path.n = mark;
    }
    return 0;
}

int ab_workflow_resolve(const struct ab_workflow *workflow, ab_stored_fn *find, void *context,
                        struct ab_workflow **out, struct ab_faults *faults, struct ab_error *err)
{
    struct resolving res = {.find = find, .context = context};
    json_t *tree = json_deep_copy(workflow->tree);
    *out = NULL;
    ab_buf_char(&res.path, '$');
    int code = resolve_workflow(&res, tree, err);
    if (!code && res.found)
        code = ab_workflow_parse(tree, 0, out, faults, NULL, err);
    ab_buf_finish(&res.path);
    json_decref(tree);
    return code;
}
