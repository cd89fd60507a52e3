/* The concise form → canonical tree. Everything it leaves out is decided here:
 *
 * An agent of type user opens the chat, wherever it stands; without one, a silent user does. In a chat of two
 * other agents the first one listed speaks first: it is the receiver, the second one the sender. max_turns
 * becomes the number of replies of each side, model settings of the workflow become those of every agent that
 * has none.
 */
#include "common/workflow/reading.h"

#include <stdlib.h>

static const char *const settings[] = {"temperature", "cache_seed", "timeout",
                                       "max_tokens",  "extra_body", "response_format"};
static const char *const config_keys[] = {
    "system_message",     "description",           "human_input_mode",           "default_auto_reply",
    "is_termination_msg", "code_execution_config", "max_consecutive_auto_reply", "context",
    "human_timeout_s",    "human_default"};
enum {
    N_SETTINGS = sizeof settings / sizeof *settings,
    N_CONFIG_KEYS = sizeof config_keys / sizeof *config_keys
};

/* Marks, in what was read of the workflow itself, that its model or script was given but faulty. */
static const char FAULTY[] = "$faulty";
/* An agent in a tool: as it was read, as it was written, and where. */
static const char FLAT[] = "$flat", SOURCE[] = "$source", PLACE[] = "$place";

static void move(json_t *to, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);
    if (value)
        json_object_set(to, key, value);
}

static bool is_user(const json_t *agent)
{
    const char *type = ab_tree_str(agent, "type");
    return type && !strcmp(type, "userproxy");
}

/* --- models ----------------------------------------------------------------------------------------------- */

static json_t *script_entry(json_t *script)
{
    return json_pack("{s:s, s:s, s:O}", "model", "script", "api_type", "script", "script", script);
}

/* `model: script` stands for the script beside it. */
static json_t *settle_scripts(struct ab_reading *r, json_t *models, json_t *script)
{
    json_t *list = json_array(), *entry;
    size_t i;
    json_array_foreach (models, i, entry) {
        bool pending = !json_object_get(entry, "api_type");
        if (pending && !script)
            ab_reading_fault_key(r, "script", ab_format("the script model has no script"),
                                 ab_format("add script: with a list of replies, or script: echo"));
        if (!pending)
            json_array_append(list, entry);
        else if (script)
            json_array_append_new(list, script_entry(script));
    }
    return list;
}

/* The agent's own model or script, else the workflow's. NULL: none. */
static json_t *config_list_of(struct ab_reading *r, const json_t *agent, const json_t *defaults)
{
    json_t *model = json_object_get(agent, "model"), *script = json_object_get(agent, "script");
    json_t *shared = is_user(agent) ? NULL : json_object_get(defaults, "model");
    json_t *shared_script = is_user(agent) ? NULL : json_object_get(defaults, "script");
    if (model)
        return settle_scripts(r, model, script ? script : json_object_get(defaults, "script"));
    if (script)
        return json_pack("[o]", script_entry(script));
    if (shared)
        return settle_scripts(r, shared, shared_script);
    return shared_script ? json_pack("[o]", script_entry(shared_script)) : NULL;
}

static bool uses_script(const json_t *models)
{
    size_t i;
    json_t *entry;
    json_array_foreach (models, i, entry) {
        if (!json_object_get(entry, "api_type"))
            return true;
    }
    return false;
}

static json_t *llm_of(struct ab_reading *r, const json_t *agent, const json_t *defaults)
{
    json_t *list = config_list_of(r, agent, defaults);
    if (!list || !json_array_size(list)) {
        json_decref(list);
        return json_false();
    }
    json_t *llm = json_pack("{s:o, s:f}", "config_list", list, "temperature", 0.0);
    for (size_t i = 0; i < N_SETTINGS; i++) {
        move(llm, defaults, settings[i]);
        move(llm, agent, settings[i]);
    }
    return llm;
}

/* --- agents ----------------------------------------------------------------------------------------------- */

static json_t *read_agent(struct ab_reading *r, json_t *value)
{
    json_t *flat = ab_read_table(r, &ab_concise_agent_table, value);
    if (!flat)
        return NULL;
    ab_reading_agent(r, ab_tree_str(flat, "name"));
    const json_t *model = json_object_get(flat, "model");
    if (model && json_object_get(flat, "script") && !uses_script(model))
        ab_reading_fault_key(r, "script", ab_format("the agent has a model and a script"),
                             ab_format("remove one"));
    return flat;
}

/* It becomes canonical when the workflow's model and settings are known, as those around it do. */
json_t *ab_read_concise_agent(struct ab_reading *r, json_t *value)
{
    json_t *flat = read_agent(r, value);
    if (!flat)
        return NULL;
    if (is_user(flat))
        ab_reading_fault_key(r, "type", ab_format("a user cannot be called"), ab_format("remove it"));
    return json_pack("{s:O*, s:o, s:O, s:s}", "name", json_object_get(flat, "name"), FLAT, flat, SOURCE, value,
                     PLACE, ab_buf_cstr(&r->path));
}

static json_t *read_agents(struct ab_reading *r, json_t *value)
{
    return ab_read_list(r, value, 1, AB_WORKFLOW_AGENTS_MAX, "agents", read_agent);
}

/* A model that is given but faulty is reported where it stands, and not again for each agent. */
static void check_model(struct ab_reading *r, const json_t *flat, const json_t *source, const json_t *config,
                        const json_t *defaults)
{
    bool shared = json_array_size(json_object_get(defaults, "model")) || json_object_get(defaults, FAULTY);
    const json_t *llm = json_object_get(config, "llm_config"), *model = ab_given(source, "model");
    bool other = ab_given(source, "script") || json_is_false(model);
    const char *reply = ab_tree_str(flat, "default_auto_reply");
    if (is_user(flat) || !json_is_false(llm) || other || model || shared || (reply && *reply))
        return;
    ab_reading_no_model(
        r, "model", ab_format("no model is configured for this agent"),
        ab_format("add model: NAME to the workflow or the agent; or a script; or model: false with a "
                  "reply"));
}

static void check_task(struct ab_reading *r, const json_t *flat, const char *type)
{
    bool step = !r->depth && (!type || (!strcmp(type, "sequential") && !is_user(flat)));
    if (!step && json_object_get(flat, "task_instruction"))
        ab_reading_fault_key(r, "task",
                             ab_format("only an agent of a sequential workflow has a task of its own"),
                             ab_format("put it into system, or set type to sequential"));
}

static json_t *make_agent(struct ab_reading *r, const json_t *flat, json_t *source, const json_t *defaults);

/* Those of its tools that are agents. */
static void make_tools(struct ab_reading *r, json_t *tools, const json_t *defaults)
{
    struct ab_buf here = r->path;
    size_t i;
    json_t *tool;
    json_array_foreach (tools, i, tool) {
        json_t *inside = json_object_get(tool, "agent"), *flat = json_object_get(inside, FLAT);
        if (!flat)
            continue;
        r->path = (struct ab_buf){0};
        ab_buf_text(&r->path, ab_tree_str(inside, PLACE)); /* faulty tools before it are not in the list */
        r->depth++;
        json_t *agent = make_agent(r, flat, json_object_get(inside, SOURCE), defaults);
        r->depth--;
        ab_reading_place(r, agent);
        json_object_set_new(tool, "agent", agent);
        ab_buf_finish(&r->path);
    }
    r->path = here;
}

/* flat (as read) → canonical agent, at the path of the agent as written */
static json_t *make_agent(struct ab_reading *r, const json_t *flat, json_t *source, const json_t *defaults)
{
    json_t *given = json_object(), *agent = json_object();
    move(given, defaults, "is_termination_msg");
    for (size_t i = 0; i < N_CONFIG_KEYS; i++)
        move(given, flat, config_keys[i]);
    json_t *config = ab_read_table(r, &ab_flow_config_table, given);
    json_object_set_new(config, "llm_config", llm_of(r, flat, defaults));
    check_model(r, flat, source, config, defaults);
    move(agent, flat, "name");
    move(agent, flat, "type");
    move(agent, flat, "task_instruction");
    check_task(r, flat, ab_tree_str(defaults, "type"));
    make_tools(r, json_object_get(flat, "tools"), defaults);
    if (json_array_size(json_object_get(flat, "tools")))
        move(agent, flat, "tools");
    move(agent, flat, "tool_choice");
    move(agent, flat, "parallel_tool_calls");
    json_object_set_new(agent, "config", config);
    json_decref(given);
    return agent;
}

static json_t *make_agents(struct ab_reading *r, json_t *flats, json_t *source, const json_t *defaults)
{
    json_t *agents = json_array(), *flat;
    size_t mark = r->path.n, i;
    json_array_foreach (flats, i, flat) {
        ab_path_key(&r->path, "agents");
        ab_path_index(&r->path, i);
        json_array_append_new(agents, make_agent(r, flat, json_array_get(source, i), defaults));
        r->path.n = mark;
    }
    return agents;
}

/* --- who opens -------------------------------------------------------------------------------------------- */

/* Takes the user out of the agents, or makes one. New reference. */
static json_t *take_user(struct ab_reading *r, json_t *agents)
{
    json_t *found = NULL, *agent;
    size_t i, at = 0, n = 0;
    json_array_foreach (agents, i, agent) {
        if (is_user(agent)) {
            n++;
            at = i;
        }
    }
    if (n > 1)
        ab_reading_fault_key(r, "agents", ab_format("%zu agents are of type user", n),
                             ab_format("at most one is"));
    if (n != 1)
        return ab_silent_user(r);
    found = json_incref(json_array_get(agents, at));
    json_array_remove(agents, at);
    return found;
}

static bool has_user(const json_t *agents)
{
    size_t i;
    json_t *agent;
    json_array_foreach (agents, i, agent) {
        if (is_user(agent))
            return true;
    }
    return false;
}

/* Of n turns the receiver has the first, third … unless the agent says itself how often it replies. */
static void limit_turns(json_t *agent, const json_t *flat, int64_t turns)
{
    if (!json_object_get(flat, "max_consecutive_auto_reply"))
        json_object_set_new(json_object_get(agent, "config"), "max_consecutive_auto_reply",
                            json_integer(turns));
}

static json_t *flat_of(json_t *flats, const json_t *agent)
{
    size_t i;
    json_t *flat;
    json_array_foreach (flats, i, flat) {
        if (json_equal(json_object_get(flat, "name"), json_object_get(agent, "name")))
            return flat;
    }
    return NULL;
}

static json_t *chat(struct ab_reading *r, const json_t *head, json_t *agents, json_t *flats)
{
    size_t n = json_array_size(agents);
    bool two = n == 2;
    int64_t turns = ab_tree_int(head, "max_turns", 0);
    if (n > 2)
        ab_reading_fault_key(r, "agents", ab_format("a chat has one or two agents, here are %zu", n),
                             ab_format("set type to sequential, autonomous or groupchat"));
    if (turns > 1 && n == 1)
        ab_reading_fault_key(r, "max_turns", ab_format("one agent answers once"),
                             ab_format("add a second agent"));
    json_t *sender = two && !has_user(agents) ? json_incref(json_array_get(agents, 1)) : take_user(r, agents);
    json_t *receiver = json_array_get(agents, 0);
    if (!receiver)
        ab_reading_fault_key(r, "agents", ab_format("no agent answers"),
                             ab_format("add one of type assistant"));
    if (two && turns) {
        limit_turns(sender, flat_of(flats, sender), turns / 2);
        limit_turns(receiver, flat_of(flats, receiver), turns - turns / 2);
    }
    json_t *list = json_pack("[o]", ab_agent_entry(sender, "sender"));
    if (receiver)
        json_array_append_new(list, ab_agent_entry(json_incref(receiver), "receiver"));
    return list;
}

static json_t *several(struct ab_reading *r, json_t *agents)
{
    json_t *list = json_pack("[o]", ab_agent_entry(take_user(r, agents), "sender")), *agent;
    size_t i;
    json_array_foreach (agents, i, agent) {
        json_array_append_new(list, ab_agent_entry(json_incref(agent), "receiver"));
    }
    if (!json_array_size(agents))
        ab_reading_fault_key(r, "agents", ab_format("no agent answers"),
                             ab_format("add one of type assistant"));
    return list;
}

/* A member may have all the turns, unless it says itself how often it replies. */
static void limit_members(const json_t *head, json_t *agents, json_t *flats)
{
    size_t i;
    json_t *member;
    json_array_foreach (json_object_get(head, "max_turns") ? agents : NULL, i, member)
        limit_turns(member, flat_of(flats, member), ab_tree_int(head, "max_turns", 0));
}

static json_t *group(struct ab_reading *r, const json_t *head, json_t *agents, json_t *flats)
{
    json_t *user = take_user(r, agents), *given = json_object();
    limit_members(head, agents, flats);
    if (json_array_size(agents) < 2)
        ab_reading_fault_key(r, "agents", ab_format("a groupchat has at least two members"),
                             ab_format("add agents"));
    char *name = ab_reading_fresh_name(r, "group");
    move(given, head, "speaker_selection_method");
    move(given, head, "is_termination_msg");
    if (json_object_get(head, "max_turns"))
        json_object_set(given, "max_round", json_object_get(head, "max_turns"));
    json_t *config = ab_read_table(r, &ab_flow_group_table, given), *nobody = json_object();
    json_t *llm = llm_of(r, nobody, head);
    if (json_is_false(llm) && !strcmp(ab_tree_str(config, "speaker_selection_method"), "auto"))
        ab_reading_no_model(r, "model", ab_format("no model chooses the next speaker"),
                            ab_format("add model: NAME to the workflow, or speaker: round_robin"));
    json_object_del(llm, "response_format"); /* of the members: the group's model only names them */
    json_object_set_new(config, "llm_config", llm);
    json_t *chat_agent = json_pack("{s:s, s:s, s:o, s:O}", "name", name, "type", "groupchat", "config", config,
                                   "agents", agents);
    free(name);
    json_decref(given);
    json_decref(nobody);
    return json_pack("[o, o]", ab_agent_entry(user, "sender"), ab_agent_entry(chat_agent, "receiver"));
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static void check_head(struct ab_reading *r, const json_t *head, const char *type)
{
    bool grouped = !strcmp(type, "groupchat");
    const json_t *model = json_object_get(head, "model");
    if (json_object_get(head, "speaker_selection_method") && !grouped)
        ab_reading_fault_key(r, "speaker", ab_format("only a groupchat chooses speakers"),
                             ab_format("remove it, or set type to groupchat"));
    if (json_object_get(head, "max_turns") && !grouped && strcmp(type, "default"))
        ab_reading_fault_key(r, "max_turns", ab_format("only a chat or groupchat has it"),
                             ab_format("use max_replies on the agents"));
    if (model && json_object_get(head, "script") && !uses_script(model))
        ab_reading_fault_key(r, "script", ab_format("the workflow has a model and a script"),
                             ab_format("remove one"));
}

static json_t *link_agents(struct ab_reading *r, const json_t *head, json_t *agents, json_t *flats)
{
    const char *type = ab_tree_str(head, "type");
    if (!type)
        return NULL;
    check_head(r, head, type);
    if (!strcmp(type, "default"))
        return chat(r, head, agents, flats);
    return strcmp(type, "groupchat") ? several(r, agents) : group(r, head, agents, flats);
}

json_t *ab_read_concise(struct ab_reading *r, json_t *source)
{
    static const char *const kept[] = {"name",        "type",    "description", "task",  "summary_method",
                                       "termination", "context", "output",      "budget"};
    json_t *head = ab_read_table(r, &ab_concise_table, source), *out = json_object();
    if ((ab_given(source, "model") && !json_object_get(head, "model")) ||
        (ab_given(source, "script") && !json_object_get(head, "script")))
        json_object_set_new(head, FAULTY, json_true());
    json_t *flats = ab_given(source, "agents") ? ab_read_member(r, source, "agents", read_agents) : NULL;
    size_t written = json_array_size(json_object_get(source, "agents"));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        move(out, head, kept[i]);
    if (flats &&
        json_array_size(flats) == written) { /* else the places do not match, and it is faulty anyway */
        json_t *agents = make_agents(r, flats, json_object_get(source, "agents"), head);
        json_t *entries = link_agents(r, head, agents, flats);
        if (entries)
            json_object_set_new(out, "agents", entries);
        json_decref(agents);
    }
    json_decref(flats);
    json_decref(head);
    return out;
}
