/* Canonical tree → struct ab_workflow, by the offsets of the field tables. The tree was made without faults:
 * here nothing is checked, only picked up.
 */
#include "common/workflow/reading.h"

#include <sodium.h>
#include <stdlib.h>

/* --- fields ----------------------------------------------------------------------------------------------- */

static const char *canonical_name(const struct ab_choice *choice)
{
    return choice->canonical ? choice->canonical : choice->name;
}

static int choice_index(const struct ab_choice *choices, const char *name)
{
    for (int i = 0; choices[i].name; i++)
        if (!strcmp(canonical_name(&choices[i]), name))
            return i;
    return 0;
}

static void fill_field(const struct ab_field *field, json_t *value, void *at)
{
    switch (field->kind) {
    case AB_FIELD_INT:
        *(int64_t *)at = json_integer_value(value);
        break;
    case AB_FIELD_REAL:
        *(double *)at = json_number_value(value);
        break;
    case AB_FIELD_BOOL:
        *(bool *)at = json_is_true(value);
        break;
    case AB_FIELD_ENUM:
        *(int *)at =
            choice_index(field->choices, json_string_value(value)); /* enums are int in size, see below */
        break;
    case AB_FIELD_TEXT:
    case AB_FIELD_NAME:
        *(const char **)at = json_string_value(value);
        break;
    default:
        if (json_is_string(value))
            *(const char **)at = json_string_value(value);
        else
            *(json_t **)at = value;
    }
}
_Static_assert(sizeof(enum ab_workflow_type) == sizeof(int), "enum fields are set through int");

static void fill(const struct ab_table *table, const json_t *object, void *out)
{
    for (; table; table = table->also) {
        for (size_t i = 0; i < table->n; i++) {
            const struct ab_field *field = &table->fields[i];
            json_t *value = json_object_get(object, field->as ? field->as : field->key);
            if (field->offset && value)
                fill_field(field, value, (char *)out + field->offset - 1);
        }
    }
}

/* --- parts ------------------------------------------------------------------------------------------------ */

static void build_entry(struct ab_llm_entry *entry, const json_t *tree, size_t *n_secrets)
{
    const json_t *key = json_object_get(json_object_get(tree, "api_key"), "$secret");
    entry->secret = key ? (int)json_integer_value(key) : -1;
    if (entry->secret >= (int)*n_secrets)
        *n_secrets = (size_t)entry->secret + 1;
    fill(&ab_entry_table, tree, entry);
}

static void build_llm(struct ab_llm *llm, const json_t *tree, size_t *n_secrets)
{
    const json_t *list = json_object_get(tree, "config_list");
    llm->cache_seed = -1;
    fill(&ab_llm_table, tree, llm);
    llm->n_entries = json_array_size(list);
    llm->entries = ab_calloc(llm->n_entries + 1, sizeof *llm->entries);
    for (size_t i = 0; i < llm->n_entries; i++)
        build_entry(&llm->entries[i], json_array_get(list, i), n_secrets);
}

static void build_code(struct ab_code_config *code, const json_t *tree)
{
    if (!json_is_object(tree))
        return;
    code->mode = ab_tree_bool(tree, "use_docker", false) ? AB_CODE_DOCKER : AB_CODE_LOCAL;
    fill(&ab_code_table, tree, code);
}

static void build_termination(struct ab_agent *agent, const json_t *value)
{
    agent->terminates = !json_is_false(value);
    agent->termination_word = json_is_string(value) ? json_string_value(value) : "TERMINATE";
}

static void build_agent(struct ab_agent *agent, const json_t *tree, struct ab_buf *path, size_t *n_secrets);
static struct ab_workflow *build(json_t *tree, const char *path);

/* Names of agents are looked up when all are there. */
static void build_delegate(struct ab_delegate *delegate, const json_t *tool, struct ab_buf *path,
                           size_t *n_secrets)
{
    json_t *agent = json_object_get(tool, "agent"), *workflow = json_object_get(tool, "workflow");
    delegate->name = ab_tree_str(tool, "name");
    delegate->description = ab_tree_str(tool, "description");
    delegate->stored = json_string_value(workflow);
    if (json_is_object(agent)) {
        ab_buf_text(path, ".agent");
        delegate->agent = delegate->own = ab_calloc(1, sizeof *delegate->own);
        build_agent(delegate->own, agent, path, n_secrets);
    } else if (json_is_object(workflow)) {
        ab_buf_text(path, ".workflow");
        delegate->workflow = build(json_incref(workflow), ab_buf_cstr(path));
        if (delegate->workflow->n_secrets > *n_secrets)
            *n_secrets = delegate->workflow->n_secrets;
    }
}

static void build_delegates(struct ab_agent *agent, struct ab_buf *path, size_t *n_secrets)
{
    size_t i, mark = path->n;
    json_t *tool;
    agent->delegates = ab_calloc(json_array_size(agent->tools) + 1, sizeof *agent->delegates);
    json_array_foreach (agent->tools, i, tool) {
        if (!json_object_get(tool, "agent") && !json_object_get(tool, "workflow"))
            continue;
        ab_buf_format(path, ".tools[%zu]", i);
        build_delegate(&agent->delegates[agent->n_delegates++], tool, path, n_secrets);
        path->n = mark;
    }
}

static void build_agent(struct ab_agent *agent, const json_t *tree, struct ab_buf *path, size_t *n_secrets)
{
    const json_t *config = json_object_get(tree, "config"), *members = json_object_get(tree, "agents");
    bool group = !strcmp(ab_tree_str(tree, "type"), "groupchat");
    fill(&ab_flow_agent_table, tree, agent);
    fill(group ? &ab_flow_group_table : &ab_flow_config_table, config, agent);
    build_llm(&agent->llm, json_object_get(config, "llm_config"), n_secrets);
    build_code(&agent->code, json_object_get(config, "code_execution_config"));
    build_termination(agent, json_object_get(config, "is_termination_msg"));
    if (group)
        agent->groupchat.termination = ab_condition_build(json_object_get(config, "termination"));
    fill(&ab_context_table, json_object_get(config, "context"), &agent->context);
    agent->path = ab_strdup(ab_buf_cstr(path));
    agent->n_members = json_array_size(members);
    agent->members = ab_calloc(agent->n_members + 1, sizeof *agent->members);
    for (size_t i = 0, mark = path->n; i < agent->n_members; i++) {
        ab_buf_format(path, ".agents[%zu]", i);
        build_agent(&agent->members[i], json_array_get(members, i), path, n_secrets);
        path->n = mark;
    }
    build_delegates(agent, path, n_secrets);
}

static void finish_agent(struct ab_agent *agent)
{
    for (size_t i = 0; i < agent->n_members; i++)
        finish_agent(&agent->members[i]);
    for (size_t i = 0; i < agent->n_delegates; i++) {
        if (agent->delegates[i].own)
            finish_agent(agent->delegates[i].own);
        free(agent->delegates[i].own);
        ab_workflow_destroy(agent->delegates[i].workflow);
    }
    free(agent->delegates);
    free(agent->members);
    ab_condition_destroy(agent->groupchat.termination);
    free(agent->llm.entries);
    free(agent->path);
}

static const struct ab_agent *find_below(const struct ab_agent *agent, const char *name)
{
    const struct ab_agent *found = strcmp(agent->name, name) ? NULL : agent;
    for (size_t i = 0; !found && i < agent->n_members; i++)
        found = find_below(&agent->members[i], name);
    for (size_t i = 0; !found && i < agent->n_delegates; i++)
        found = agent->delegates[i].own ? find_below(agent->delegates[i].own, name) : NULL;
    return found;
}

const struct ab_agent *ab_workflow_agent(const struct ab_workflow *workflow, const char *name)
{
    const struct ab_agent *found = find_below(&workflow->sender, name);
    for (size_t i = 0; !found && i < workflow->n_receivers; i++)
        found = find_below(&workflow->receivers[i], name);
    return found;
}

/* What depends on the whole: whom its tools name; and the workflow's context, unless it has one of its own. */
static void settle_agent(struct ab_agent *agent, const json_t *tree, const struct ab_workflow *workflow,
                         const struct ab_context *context)
{
    const json_t *members = json_object_get(tree, "agents"), *tool;
    size_t i, k = 0;
    if (!json_object_get(json_object_get(tree, "config"), "context"))
        agent->context = *context;
    for (i = 0; i < agent->n_members; i++)
        settle_agent(&agent->members[i], json_array_get(members, i), workflow, context);
    json_array_foreach (agent->tools, i, tool) {
        json_t *called = json_object_get(tool, "agent");
        if (!called && !json_object_get(tool, "workflow"))
            continue;
        struct ab_delegate *delegate = &agent->delegates[k++];
        if (delegate->own)
            settle_agent(delegate->own, called, workflow, context);
        else if (called)
            delegate->agent = ab_workflow_agent(workflow, json_string_value(called));
    }
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static const json_t *tree_of(const struct ab_workflow *w, size_t i)
{
    return json_object_get(json_array_get(json_object_get(w->tree, "agents"), i), "agent");
}

static void build_listed(struct ab_workflow *w, struct ab_agent *agent, size_t i)
{
    struct ab_buf path = {0};
    ab_buf_format(&path, "%s.agents[%zu].agent", w->path, i);
    build_agent(agent, tree_of(w, i), &path, &w->n_secrets);
    ab_buf_finish(&path);
}

/* Takes the tree. */
static struct ab_workflow *build(json_t *tree, const char *path)
{
    struct ab_workflow *w = ab_calloc(1, sizeof *w);
    struct ab_context context = {0};
    w->tree = tree;
    w->path = ab_strdup(path);
    fill(&ab_flow_table, tree, w);
    fill(&ab_context_table, json_object_get(tree, "context"), &context);
    w->output = ab_tree_str(tree, "output");
    w->termination = ab_condition_build(json_object_get(tree, "termination"));
    build_listed(w, &w->sender, 0);
    w->n_receivers = json_array_size(json_object_get(tree, "agents")) - 1;
    w->receivers = ab_calloc(w->n_receivers, sizeof *w->receivers);
    for (size_t i = 0; i < w->n_receivers; i++)
        build_listed(w, &w->receivers[i], i + 1);
    settle_agent(&w->sender, tree_of(w, 0), w, &context);
    for (size_t i = 0; i < w->n_receivers; i++)
        settle_agent(&w->receivers[i], tree_of(w, i + 1), w, &context);
    return w;
}

struct ab_workflow *ab_workflow_build(json_t *tree, char *text, size_t text_bytes)
{
    struct ab_workflow *w = build(tree, "$");
    w->text = text;
    w->text_bytes = text_bytes;
    ab_workflow_hash(ab_view(text, text_bytes), w->hash);
    return w;
}

void ab_workflow_destroy(struct ab_workflow *workflow)
{
    if (!workflow)
        return;
    finish_agent(&workflow->sender);
    for (size_t i = 0; i < workflow->n_receivers; i++)
        finish_agent(&workflow->receivers[i]);
    ab_condition_destroy(workflow->termination);
    free(workflow->receivers);
    free(workflow->text);
    free(workflow->path);
    json_decref(workflow->tree);
    free(workflow);
}

void ab_workflow_hash(struct ab_view canonical_text, uint8_t hash[AB_WORKFLOW_HASH_BYTES])
{
    /* Fails on impossible sizes only; needs no sodium_init, as it draws no random numbers. */
    crypto_generichash(hash, AB_WORKFLOW_HASH_BYTES, (const unsigned char *)canonical_text.p, canonical_text.n,
                       NULL, 0);
}

const char *ab_provider_name(enum ab_provider provider)
{
    return ab_providers[provider].name;
}
