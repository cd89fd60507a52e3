/* The seed's flow_config → canonical tree: agents[] with links, or sender and receiver. */
#include "common/workflow/reading.h"

#include <stdlib.h>

/* Where the agents of a run are gathered, whichever form they came in. */
struct cast {
    json_t *sender;    /* canonical agent or NULL */
    json_t *receivers; /* list of canonical agents */
    size_t senders;    /* how many were declared */
};

static json_t *read_agent(struct ab_reading *r, json_t *value, bool is_sender);

/* --- one agent -------------------------------------------------------------------------------------------- */

static bool is_type(const json_t *agent, const char *type)
{
    const char *own = ab_tree_str(agent, "type");
    return own && !strcmp(own, type);
}

static void settle_name(struct ab_reading *r, json_t *spec, json_t *out)
{
    const char *own = ab_tree_str(spec, "name"), *inner = ab_tree_str(json_object_get(spec, "config"), "name");
    json_t *value = ab_given(json_object_get(spec, "config"), "name");
    if (!ab_given(spec, "name") && value) {
        struct ab_field field = ab_flow_agent_table.fields[0]; /* name */
        struct ab_table only = {ab_flow_agent_table.title, &field, 1, NULL, false};
        size_t mark = r->path.n;
        json_t *wrap = json_pack("{s:O}", "name", value);
        ab_path_key(&r->path, "config");
        ab_read_object(r, &only, wrap, out);
        r->path.n = mark;
        json_decref(wrap);
    } else if (!value && !ab_given(spec, "name")) {
        ab_reading_fault_key(r, "name", ab_format("is missing"), ab_format("every agent has a unique name"));
    }
    if (own && inner && strcmp(own, inner))
        ab_reading_tolerate_key(r, "name", ab_format("differs from config.name"),
                                ab_format("\"%s\" is used: make them equal or remove config.name", own));
    ab_reading_agent(r, ab_tree_str(out, "name"));
}

static json_t *members_of(json_t *spec, bool *inner)
{
    json_t *own = ab_given(spec, "agents"), *config = ab_given(json_object_get(spec, "config"), "agents");
    *inner = !own || (json_is_array(own) && !json_array_size(own) && config);
    return *inner ? config : own;
}

static void settle_type(json_t *spec, json_t *out, bool is_sender)
{
    bool inner;
    if (ab_given(spec, "type"))
        return;
    const json_t *llm = ab_given(json_object_get(spec, "config"), "llm_config");
    const char *type = json_array_size(members_of(spec, &inner)) ? "groupchat"
                       : is_sender && !json_is_object(llm)       ? "userproxy"
                                                                 : "assistant";
    json_object_set_new(out, "type", json_string(type));
}

static json_t *read_config(struct ab_reading *r, json_t *spec, const json_t *agent)
{
    const struct ab_table *table = is_type(agent, "groupchat") ? &ab_flow_group_table : &ab_flow_config_table;
    json_t *source = ab_given(spec, "config"), *empty = json_object();
    size_t mark = r->path.n;
    ab_path_key(&r->path, "config");
    json_t *config = ab_read_table(r, table, source ? source : empty);
    r->path.n = mark;
    json_decref(empty);
    return config ? config : json_object();
}

static json_t *read_member(struct ab_reading *r, json_t *value)
{
    json_t *agent = ab_given(value, "agent");
    if (!json_is_object(agent))
        return read_agent(r, value, false);
    size_t mark = r->path.n;
    ab_path_key(&r->path, "agent");
    agent = read_agent(r, agent, false);
    r->path.n = mark;
    return agent;
}

static json_t *read_members(struct ab_reading *r, json_t *value)
{
    if (r->depth >= AB_WORKFLOW_DEPTH_MAX) {
        ab_reading_fault(r, ab_format("groupchats are nested deeper than %d levels", AB_WORKFLOW_DEPTH_MAX),
                         ab_format("flatten the workflow"));
        return NULL;
    }
    r->depth++;
    json_t *list = ab_read_list(r, value, 2, AB_WORKFLOW_AGENTS_MAX, "members", read_member);
    r->depth--;
    return list;
}

static bool is_member(const json_t *members, const char *name)
{
    size_t i;
    json_t *member;
    json_array_foreach (members, i, member) {
        const char *own = ab_tree_str(member, "name");
        if (own && !strcmp(own, name))
            return true;
    }
    return false;
}

static void check_member_names(struct ab_reading *r, const json_t *members, const json_t *names,
                               const char *key)
{
    size_t i;
    json_t *name;
    json_array_foreach (names, i, name) {
        if (!is_member(members, json_string_value(name)))
            ab_reading_fault_key(r, key,
                                 ab_format("\"%s\" is no member of this groupchat", json_string_value(name)),
                                 ab_format("name agents of its list"));
    }
}

static void check_group(struct ab_reading *r, const json_t *config, const json_t *members)
{
    const char *selection = ab_tree_str(config, "speaker_selection_method"), *from;
    json_t *to;
    size_t mark = r->path.n;
    ab_path_key(&r->path, "config");
    check_member_names(r, members, json_object_get(config, "allow_repeat_speaker"), "allow_repeat_speaker");
    json_object_foreach (json_object_get(config, "allowed_transitions"), from, to) {
        json_t *one = json_pack("[s]", from);
        check_member_names(r, members, one, "allowed_transitions");
        check_member_names(r, members, to, "allowed_transitions");
        json_decref(one);
    }
    if (selection && !strcmp(selection, "auto") && json_is_false(json_object_get(config, "llm_config")))
        ab_reading_no_model(r, "llm_config", ab_format("no model chooses the next speaker"),
                            ab_format("add llm_config, or set speaker_selection_method to round_robin"));
    r->path.n = mark;
}

static void read_group(struct ab_reading *r, json_t *spec, json_t *out, json_t *config)
{
    bool inner;
    json_t *value = members_of(spec, &inner);
    if (!is_type(out, "groupchat")) {
        if (json_array_size(value))
            ab_reading_tolerate_key(r, "agents", ab_format("only a groupchat has members"),
                                    ab_format("set type to groupchat, or remove them"));
        return;
    }
    if (!value) {
        ab_reading_fault_key(r, "agents", ab_format("is missing"),
                             ab_format("a groupchat has at least two members"));
        return;
    }
    size_t mark = r->path.n;
    if (inner)
        ab_path_key(&r->path, "config");
    json_t *members = ab_read_member(r, inner ? json_object_get(spec, "config") : spec, "agents", read_members);
    r->path.n = mark;
    if (!members)
        return;
    check_group(r, config, members);
    json_object_set_new(out, "agents", members);
}

static void check_model(struct ab_reading *r, json_t *spec, const json_t *out, const json_t *config)
{
    const char *reply = ab_tree_str(config, "default_auto_reply");
    if (!is_type(out, "assistant") || ab_given(json_object_get(spec, "config"), "llm_config") || !reply ||
        *reply)
        return;
    size_t mark = r->path.n;
    ab_path_key(&r->path, "config");
    ab_reading_no_model(r, "llm_config", ab_format("no model is configured for this agent"),
                        ab_format("add llm_config: {config_list: [{model: ...}]}, or llm_config: false with a "
                                  "default_auto_reply"));
    r->path.n = mark;
}

static void drop_empty_list(json_t *object, const char *key)
{
    const json_t *list = json_object_get(object, key);
    if (list && !json_array_size(list))
        json_object_del(object, key);
}

/* Only a step of a sequence has a task of its own; elsewhere nobody would ever be told. */
static void check_task(struct ab_reading *r, json_t *value, json_t *out, bool is_step)
{
    if (is_step || !ab_given(value, "task_instruction"))
        return;
    ab_reading_tolerate_key(r, "task_instruction",
                            ab_format("only a receiver of a sequential workflow has one"),
                            ab_format("put it into system_message, or set type to sequential"));
    json_object_del(out, "task_instruction");
}

/* Its members do; what the group says was said by one of them. */
static void check_code(struct ab_reading *r, const json_t *agent, json_t *config)
{
    const json_t *code = json_object_get(config, "code_execution_config");
    if (!is_type(agent, "groupchat") || !json_is_object(code))
        return;
    size_t mark = r->path.n;
    ab_path_key(&r->path, "config");
    ab_reading_tolerate_key(r, "code_execution_config", ab_format("a groupchat runs no code itself"),
                            ab_format("set it on its members"));
    r->path.n = mark;
    json_object_set_new(config, "code_execution_config", json_false());
}

/* It may stand beside llm_config, but belongs into it. */
static void move_format(struct ab_reading *r, json_t *config)
{
    json_t *format = json_object_get(config, "response_format"), *llm = json_object_get(config, "llm_config");
    size_t mark = r->path.n;
    ab_path_key(&r->path, "config");
    if (format && json_is_false(llm))
        ab_reading_fault_key(r, "response_format", ab_format("the agent has no model"),
                             ab_format("add llm_config, or remove it"));
    else if (format && json_object_get(llm, "response_format"))
        ab_reading_fault_key(r, "response_format", ab_format("is in llm_config too"), ab_format("remove one"));
    else if (format && llm)
        json_object_set(llm, "response_format", format);
    r->path.n = mark;
    json_object_del(config, "response_format");
}

static json_t *read_agent(struct ab_reading *r, json_t *value, bool is_sender)
{
    json_t *out = ab_read_table(r, &ab_flow_agent_table, value);
    if (!out)
        return NULL;
    check_task(r, value, out, r->steps && !is_sender && !r->depth);
    settle_name(r, value, out);
    settle_type(value, out, is_sender);
    json_t *config = read_config(r, value, out);
    json_object_set_new(out, "config", config);
    check_code(r, out, config);
    move_format(r, config);
    check_model(r, value, out, config);
    read_group(r, value, out, config);
    drop_empty_list(out, "skills");
    drop_empty_list(out, "tools");
    return out;
}

json_t *ab_read_flow_agent(struct ab_reading *r, json_t *value)
{
    return read_agent(r, value, false);
}

json_t *ab_silent_user(struct ab_reading *r)
{
    char *name = ab_reading_fresh_name(r, "user");
    json_t *spec = json_pack("{s:s, s:s, s:{s:i}}", "name", name, "type", "userproxy", "config",
                             "max_consecutive_auto_reply", 0);
    json_t *agent = json_copy(spec),
           *empty = ab_read_table(r, &ab_flow_config_table, json_object_get(spec, "config"));
    json_object_set_new(agent, "config", empty);
    json_decref(spec);
    free(name);
    return agent;
}

/* --- who takes part --------------------------------------------------------------------------------------- */

static void join(struct cast *cast, json_t *agent, bool is_sender)
{
    cast->senders += is_sender;
    if (!agent)
        return;
    if (!is_sender)
        json_array_append_new(cast->receivers, agent);
    else if (!cast->sender)
        cast->sender = agent;
    else
        json_decref(agent); /* the fault is reported from the count */
}

/* sender, receiver or "" (not said); NULL for a faulty link */
static const char *read_link(struct ab_reading *r, json_t *entry, json_t **keep)
{
    if (!ab_given(entry, "link"))
        return "";
    size_t mark = r->path.n;
    ab_path_key(&r->path, "link");
    *keep = ab_read_table(r, &ab_flow_link_table, json_object_get(entry, "link"));
    r->path.n = mark;
    const char *link = ab_tree_str(*keep, "agent_type");
    return link || !*keep || ab_given(json_object_get(entry, "link"), "agent_type") ? link : "";
}

static void read_entry(struct ab_reading *r, json_t *entry, struct cast *cast)
{
    json_t *own = ab_read_table(r, &ab_flow_entry_table, entry), *link_tree = NULL;
    json_t *spec = ab_given(entry, "agent");
    if (!own)
        return;
    const char *link = read_link(r, entry, &link_tree);
    bool proxy = is_type(spec, "userproxy") && !cast->senders;
    bool is_sender = link && (*link ? !strcmp(link, "sender") : proxy);
    size_t mark = r->path.n;
    ab_path_key(&r->path, "agent");
    json_t *agent = spec ? read_agent(r, spec, is_sender) : NULL;
    r->path.n = mark;
    check_task(r, entry, own, r->steps && !is_sender);
    json_t *task = json_object_get(own, "task_instruction");
    if (agent && task && !json_object_get(agent, "task_instruction"))
        json_object_set(agent, "task_instruction", task);
    join(cast, agent, is_sender);
    json_decref(link_tree);
    json_decref(own);
}

static void read_entries(struct ab_reading *r, json_t *list, struct cast *cast)
{
    size_t mark = r->path.n, i;
    json_t *entry;
    ab_path_key(&r->path, "agents");
    size_t inner = r->path.n;
    if (!json_is_array(list))
        ab_reading_fault(r, ab_format("must be a list, not %s", ab_kind_name(list)),
                         ab_format("a list of {agent: {...}, link: {agent_type: sender or receiver}}"));
    json_array_foreach (list, i, entry) {
        if (i > AB_WORKFLOW_AGENTS_MAX)
            break; /* reported when the last of them was counted */
        ab_path_index(&r->path, i);
        read_entry(r, entry, cast);
        r->path.n = inner;
    }
    if (cast->senders > 1)
        ab_reading_fault(r, ab_format("%zu agents are senders", cast->senders),
                         ab_format("one is the sender, the others are receivers"));
    r->path.n = mark;
}

static json_t *read_sender_agent(struct ab_reading *r, json_t *value)
{
    return read_agent(r, value, true);
}

static json_t *read_receiver_agent(struct ab_reading *r, json_t *value)
{
    return read_agent(r, value, false);
}

static json_t *read_receivers(struct ab_reading *r, json_t *value)
{
    if (json_is_array(value))
        return ab_read_list(r, value, 1, AB_WORKFLOW_AGENTS_MAX, "agents", read_receiver_agent);
    json_t *agent = read_agent(r, value, false);
    return agent ? json_pack("[o]", agent) : NULL;
}

static void read_pair(struct ab_reading *r, json_t *source, struct cast *cast)
{
    if (ab_given(source, "sender"))
        join(cast, ab_read_member(r, source, "sender", read_sender_agent), true);
    if (!ab_given(source, "receiver"))
        return;
    json_t *list = ab_read_member(r, source, "receiver", read_receivers);
    if (list)
        json_array_extend(cast->receivers, list);
    json_decref(list);
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static void check_shape(struct ab_reading *r, const struct cast *cast, const char *type, const char *key)
{
    size_t n = json_array_size(cast->receivers);
    const json_t *first = json_array_get(cast->receivers, 0);
    if (is_type(cast->sender, "groupchat"))
        ab_reading_fault_key(r, key, ab_format("a groupchat cannot be the sender"),
                             ab_format("make it a receiver"));
    if (!strcmp(type, "default") && n > 1)
        ab_reading_fault_key(r, key, ab_format("type default has one receiver, here are %zu", n),
                             ab_format("set type to sequential or autonomous"));
    else if (!strcmp(type, "default") && is_type(first, "groupchat"))
        ab_reading_fault_key(r, "type", ab_format("the receiver is a groupchat"),
                             ab_format("set type to groupchat"));
    else if (!strcmp(type, "groupchat") && (n != 1 || !is_type(first, "groupchat")))
        ab_reading_fault_key(r, key, ab_format("type groupchat has one receiver, which is of type groupchat"),
                             ab_format("put the agents into its list of agents"));
}

static json_t *entries_of(struct cast *cast)
{
    json_t *list = json_pack("[o]", ab_agent_entry(json_incref(cast->sender), "sender")), *agent;
    size_t i;
    json_array_foreach (cast->receivers, i, agent) {
        json_array_append_new(list, ab_agent_entry(json_incref(agent), "receiver"));
    }
    return list;
}

json_t *ab_read_flow_config(struct ab_reading *r, json_t *source)
{
    json_t *out = ab_read_table(r, &ab_flow_table, source), *list = ab_given(source, "agents");
    struct cast cast = {.receivers = json_array()};
    bool pair = !list || (json_is_array(list) && !json_array_size(list) && ab_given(source, "receiver"));
    const char *type = ab_tree_str(out, "type");
    r->steps = !type || !strcmp(type, "sequential"); /* a faulty type is told as such only */
    if (pair)
        read_pair(r, source, &cast);
    else
        read_entries(r, list, &cast);
    const char *key = pair ? "receiver" : "agents";
    if (!r->faults.n && !json_array_size(cast.receivers))
        ab_reading_fault_key(r, key, ab_format("no agent answers"), ab_format("add at least one receiver"));
    if (!cast.sender)
        cast.sender = ab_silent_user(r);
    if (type && !r->faults.n)
        check_shape(r, &cast, type, key);
    json_object_set_new(out, "agents", entries_of(&cast));
    json_decref(cast.sender);
    json_decref(cast.receivers);
    return out;
}
