/* The entry: tells the two forms apart, sums up the faults, makes the canonical text; and what the engine can
 * run. */
#include "common/workflow/reading.h"
#include "common/workflow/tools.h"

#include <stdlib.h>

/* --- parsing ---------------------------------------------------------------------------------------------- */

/* The seed's form has a sender, a receiver, or agents wrapped in entries with links. */
static bool is_flow_config(const json_t *source)
{
    static const char *const keys[] = {"sender", "receiver", "summary_method"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (json_object_get(source, keys[k]))
            return true;
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(source, "agents"), i, entry) {
        if (json_object_get(entry, "agent") || json_object_get(entry, "link") ||
            json_object_get(entry, "config"))
            return true;
    }
    const char *type = ab_tree_str(source, "type");
    return type && !strcmp(type, "default");
}

static json_t *read_form(struct ab_reading *r, json_t *source)
{
    if (!json_is_object(source)) {
        ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(source)),
                         ab_format("a workflow has at least agents: with a name each"));
        return NULL;
    }
    r->concise = !is_flow_config(source);
    return r->concise ? ab_read_concise(r, source) : ab_read_flow_config(r, source);
}

static json_t *read_root(struct ab_reading *r, json_t *source)
{
    r->names = json_object();
    r->mentions = json_array();
    r->places = json_array();
    json_t *tree = read_form(r, source);
    ab_check_mentions(r);
    if (tree)
        ab_check_delegates(r, tree);
    json_decref(r->names);
    json_decref(r->mentions);
    json_decref(r->places);
    return tree;
}

/* What only a job of its own has. */
static void drop_of_jobs(struct ab_reading *r, json_t *tree)
{
    static const char *const keys[] = {"budget", "task", "output"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (json_object_get(tree, keys[i]))
            ab_reading_tolerate_key(r, keys[i], ab_format("only a job has it, a tool has none"),
                                    ab_format("set it on the workflow that is submitted"));
        json_object_del(tree, keys[i]);
    }
}

json_t *ab_read_workflow(struct ab_reading *r, json_t *value)
{
    struct ab_reading outer = *r;
    r->steps = false;
    r->depth = 0;
    json_t *tree = read_root(r, value);
    drop_of_jobs(r, tree);
    r->names = outer.names;
    r->mentions = outer.mentions;
    r->places = outer.places;
    r->steps = outer.steps;
    r->depth = outer.depth;
    r->concise = outer.concise;
    return tree;
}

static void move_faults(struct ab_faults *to, struct ab_faults *from)
{
    for (size_t i = 0; to && i < from->n; i++)
        ab_faults_add(to, from->items[i].path, from->items[i].what, "%s", from->items[i].hint);
    if (to)
        to->dropped += from->dropped;
    ab_faults_finish(from);
}

static int sum_up(const struct ab_reading *r, struct ab_error *err)
{
    const struct ab_fault *first = &r->faults.items[0];
    size_t more = r->faults.n - 1 + r->faults.dropped;
    int code = r->n_no_model == more + 1 ? AB_ENOMODEL : AB_EINVALID;
    char *rest = more ? ab_format(" (and %zu more fault%s)", more, more > 1 ? "s" : "") : ab_strdup("");
    ab_fail_at(err, code, first->path, "%s%s%s%s", first->what, *first->hint ? ": " : "", first->hint, rest);
    free(rest);
    return code;
}

/* Takes tree. */
static int finish(struct ab_reading *r, json_t *tree, struct ab_workflow **out, struct ab_error *err)
{
    struct ab_buf text = {0};
    int code = r->faults.n ? sum_up(r, err) : 0;
    if (!code && ab_json_text_max(tree, &text, AB_WORKFLOW_BYTES_MAX))
        code = ab_fail_at(err, AB_ETOOLARGE, "$",
                          "the workflow has more than %d bytes with its defaults written out",
                          AB_WORKFLOW_BYTES_MAX);
    if (code) {
        ab_buf_finish(&text);
        json_decref(tree);
        return code;
    }
    size_t bytes = text.n;
    char *owned = ab_buf_detach(&text);
    *out = ab_workflow_build(tree, owned, bytes);
    return 0;
}

int ab_workflow_parse(const json_t *flow_config, unsigned flags, struct ab_workflow **out,
                      struct ab_faults *faults, struct ab_faults *warnings, struct ab_error *err)
{
    struct ab_reading r = {.flags = flags};
    json_t *source = json_deep_copy(flow_config); /* parts of it are shared by the canonical tree */
    *out = NULL;
    ab_buf_char(&r.path, '$');
    json_t *tree = read_root(&r, source);
    int code = finish(&r, tree, out, err);
    move_faults(faults, &r.faults);
    move_faults(warnings, &r.warnings);
    json_decref(source);
    ab_buf_finish(&r.path);
    return code;
}

int ab_workflow_read(struct ab_view text, const char *file, unsigned flags, struct ab_workflow **out,
                     struct ab_places *places, struct ab_faults *faults, struct ab_faults *warnings,
                     struct ab_error *err)
{
    json_t *tree;
    *out = NULL;
    if (text.n > AB_WORKFLOW_BYTES_MAX)
        return ab_fail_at(err, AB_ETOOLARGE, "$", "a workflow of %zu bytes: at most %d", text.n,
                          AB_WORKFLOW_BYTES_MAX);
    int code = ab_tree_parse(text, file, &tree, places, err);
    if (code)
        return code;
    code = ab_workflow_parse(tree, flags, out, faults, warnings, err);
    json_decref(tree);
    return code;
}

/* --- what runs -------------------------------------------------------------------------------------------- */

static bool group_calls(const struct ab_agent *agent)
{
    return agent->type == AB_AGENT_GROUPCHAT && agent->tools;
}

static bool calls_without_model(const struct ab_agent *agent)
{
    return agent->type != AB_AGENT_GROUPCHAT && agent->tools && !agent->llm.n_entries;
}

static bool chooses_nothing(const struct ab_agent *agent)
{
    return (agent->tool_choice || agent->parallel_tool_calls) && !agent->tools;
}

static bool chooses_others(const struct ab_agent *agent)
{
    const char *choice = agent->tool_choice;
    size_t i;
    json_t *entry;
    if (!choice || !agent->tools || !strcmp(choice, "auto") || !strcmp(choice, "required"))
        return false;
    json_array_foreach (agent->tools, i, entry)
        if (ab_tool_is_of(entry, choice))
            return false;
    return true;
}

static bool has_skills(const struct ab_agent *agent)
{
    return agent->skills;
}

static bool is_group(const struct ab_agent *agent)
{
    return agent->type == AB_AGENT_GROUPCHAT;
}

static bool group_asks(const struct ab_agent *agent)
{
    return is_group(agent) && agent->human_input != AB_HUMAN_NEVER;
}

static bool group_replies(const struct ab_agent *agent)
{
    return is_group(agent) && agent->default_auto_reply && *agent->default_auto_reply;
}

static bool group_formats(const struct ab_agent *agent)
{
    return is_group(agent) && agent->llm.response_format;
}

static bool default_alone(const struct ab_agent *agent)
{
    return agent->human_default && !agent->human_timeout_s;
}

static bool asks_for_tools(const struct ab_agent *agent)
{
    size_t i;
    json_t *entry;
    json_array_foreach (agent->tools, i, entry)
        if (!strcmp(ab_tree_str(entry, "approval"), "ask"))
            return true;
    return false;
}

static bool nobody_asked(const struct ab_agent *agent)
{
    bool asks = is_group(agent) ? agent->groupchat.selection == AB_SPEAKER_MANUAL
                                : agent->human_input != AB_HUMAN_NEVER || asks_for_tools(agent);
    return agent->human_timeout_s && !asks;
}

static bool is_message(const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    return json_is_string(message) || json_is_string(content) || json_is_array(content);
}

static bool group_opens_oddly(const struct ab_agent *agent)
{
    size_t i;
    json_t *message;
    json_array_foreach (is_group(agent) ? agent->groupchat.messages : NULL, i, message) {
        if (!is_message(message))
            return true;
    }
    return false;
}

/* Each row goes when the engine can do it. */
static const struct {
    bool (*has)(const struct ab_agent *agent);
    const char *path, *what, *hint;
} agent_limits[] = {
    {group_asks, ".config.human_input_mode", "a groupchat itself asks nobody", "set it on its members"},
    {default_alone, ".config.human_default", "is the answer when the time is over, and there is no time",
     "give human_timeout_s"},
    {nobody_asked, ".config.human_timeout_s", "nobody is asked here",
     "set human_input_mode (of a groupchat, speaker_selection_method manual), or approval of a tool to ask"},
    {group_replies, ".config.default_auto_reply", "a groupchat has no reply of its own",
     "set it on its members"},
    {group_formats, ".config.llm_config.response_format", "a groupchat's model only names speakers",
     "set it on its members"},
    {group_opens_oddly, ".config.messages", "a groupchat starts with messages of text or {name, content}",
     "write each as text, or give it content"},
    {group_calls, ".tools", "a groupchat itself calls no tools", "set them on its members"},
    {calls_without_model, ".tools", "an agent without a model calls no tools",
     "set them on the agent whose model shall call them"},
    {chooses_nothing, ".tools", "the agent has none to choose from",
     "add them, or remove tool_choice and "
     "parallel_tool_calls"},
    {chooses_others, ".tool_choice", "is no tool of this agent",
     "auto, required, or a name as its model sees it"},
    {has_skills, ".skills", "are named among the tools", "tools: [{skill: NAME}]"},
};

/* Nothing would ever come of asking it. */
static bool is_silent(const struct ab_agent *agent)
{
    if (is_group(agent) || agent->human_input != AB_HUMAN_NEVER)
        return false;
    bool replies = agent->llm.n_entries || *agent->default_auto_reply || agent->code.mode != AB_CODE_OFF;
    return !replies || !agent->max_consecutive_auto_reply;
}

static void check_delegate(const struct ab_agent *agent, const struct ab_delegate *delegate,
                           struct ab_faults *faults)
{
    if (delegate->agent && is_silent(delegate->agent)) {
        char *path = ab_format("%s.tools", agent->path);
        char *what = ab_format("the tool %s asks %s, who never answers", delegate->name, delegate->agent->name);
        ab_faults_add(faults, path, what, "%s", "give that agent a model, a person or a reply");
        free(path);
        free(what);
    }
}

static void check_agent(const struct ab_agent *agent, struct ab_faults *faults)
{
    for (size_t i = 0; i < sizeof agent_limits / sizeof *agent_limits; i++) {
        if (!agent_limits[i].has(agent))
            continue;
        char *path = ab_format("%s%s", agent->path, agent_limits[i].path);
        ab_faults_add(faults, path, agent_limits[i].what, "%s", agent_limits[i].hint);
        free(path);
    }
    for (size_t i = 0; i < agent->n_members; i++)
        check_agent(&agent->members[i], faults);
    for (size_t i = 0; i < agent->n_delegates; i++) {
        check_delegate(agent, &agent->delegates[i], faults);
        if (agent->delegates[i].own)
            check_agent(agent->delegates[i].own, faults);
        else if (agent->delegates[i].workflow)
            ab_workflow_supported(agent->delegates[i].workflow, faults);
    }
}

static bool has_model(const struct ab_agent *agent)
{
    bool found = agent->llm.n_entries;
    for (size_t i = 0; !found && i < agent->n_members; i++)
        found = has_model(&agent->members[i]);
    return found;
}

static bool somebody_has_model(const struct ab_workflow *workflow)
{
    bool found = has_model(&workflow->sender);
    for (size_t i = 0; !found && i < workflow->n_receivers; i++)
        found = has_model(&workflow->receivers[i]);
    return found;
}

static void no_summary(const struct ab_workflow *workflow, struct ab_faults *faults)
{
    char *path = ab_format("%s.summary_method", workflow->path);
    ab_faults_add(faults, path, "no agent has a model that could write the summary", "%s", "use last or none");
    free(path);
}

size_t ab_workflow_supported(const struct ab_workflow *workflow, struct ab_faults *faults)
{
    size_t before = faults->n + faults->dropped;
    if (workflow->summary == AB_SUMMARY_LLM && !somebody_has_model(workflow))
        no_summary(workflow, faults);
    check_agent(&workflow->sender, faults);
    for (size_t i = 0; i < workflow->n_receivers; i++)
        check_agent(&workflow->receivers[i], faults);
    return faults->n + faults->dropped - before;
}

static const struct ab_delegate *named_in(const struct ab_workflow *workflow, const char **path);

static const struct ab_delegate *named_below(const struct ab_agent *agent, const char **path)
{
    const struct ab_delegate *found = NULL;
    for (size_t i = 0; !found && i < agent->n_members; i++)
        found = named_below(&agent->members[i], path);
    for (size_t i = 0; !found && i < agent->n_delegates; i++) {
        const struct ab_delegate *delegate = &agent->delegates[i];
        if (delegate->stored)
            *path = agent->path;
        found = delegate->stored     ? delegate
                : delegate->own      ? named_below(delegate->own, path)
                : delegate->workflow ? named_in(delegate->workflow, path)
                                     : NULL;
    }
    return found;
}

/* A tool that names a stored workflow, and the path of the agent that has it. */
static const struct ab_delegate *named_in(const struct ab_workflow *workflow, const char **path)
{
    const struct ab_delegate *found = named_below(&workflow->sender, path);
    for (size_t i = 0; !found && i < workflow->n_receivers; i++)
        found = named_below(&workflow->receivers[i], path);
    return found;
}

int ab_workflow_resolved(const struct ab_workflow *workflow, struct ab_error *err)
{
    const char *path = "";
    const struct ab_delegate *named = named_in(workflow, &path);
    return named ? ab_fail_at(err, AB_EINVALID, path,
                              "the tool %s names the stored workflow %s, which is not looked up", named->name,
                              named->stored)
                 : 0;
}

/* --- the built-in one ------------------------------------------------------------------------------------- */

char *ab_workflow_builtin(const char *model)
{
    struct ab_buf text = {0};
    json_t *name = json_string(model ? model : "");
    ab_buf_text(&text, "name: " AB_WORKFLOW_BUILTIN_NAME "\n");
    if (name && *json_string_value(name)) {
        ab_buf_text(&text, "model: ");
        ab_json_text(name, &text);
        ab_buf_char(&text, '\n');
    } else {
        ab_buf_text(&text, "script: echo\n");
    }
    ab_buf_text(&text, "agents:\n"
                       "  - name: user\n"
                       "    type: user\n"
                       "    max_replies: 0\n"
                       "  - name: assistant\n"
                       "    system: You are a helpful assistant.\n");
    json_decref(name);
    return ab_buf_detach(&text);
}
