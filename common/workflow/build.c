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
}

static void finish_agent(struct ab_agent *agent)
{
    for (size_t i = 0; i < agent->n_members; i++)
        finish_agent(&agent->members[i]);
    free(agent->members);
    ab_condition_destroy(agent->groupchat.termination);
    free(agent->llm.entries);
    free(agent->path);
}

/* The workflow's for those that have none of their own. */
static void inherit_context(struct ab_agent *agent, const json_t *tree, const struct ab_context *context)
{
    const json_t *members = json_object_get(tree, "agents");
    if (!json_object_get(json_object_get(tree, "config"), "context"))
        agent->context = *context;
    for (size_t i = 0; i < agent->n_members; i++)
        inherit_context(&agent->members[i], json_array_get(members, i), context);
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static void build_listed(struct ab_workflow *w, struct ab_agent *agent, size_t i)
{
    const json_t *agents = json_object_get(w->tree, "agents");
    const json_t *tree = json_object_get(json_array_get(agents, i), "agent");
    struct ab_context context = {0};
    struct ab_buf path = {0};
    ab_buf_format(&path, "$.agents[%zu].agent", i);
    build_agent(agent, tree, &path, &w->n_secrets);
    ab_buf_finish(&path);
    fill(&ab_context_table, json_object_get(w->tree, "context"), &context);
    inherit_context(agent, tree, &context);
}

struct ab_workflow *ab_workflow_build(json_t *tree, char *text, size_t text_bytes)
{
    struct ab_workflow *w = ab_calloc(1, sizeof *w);
    const json_t *entries = json_object_get(tree, "agents");
    w->tree = tree;
    w->text = text;
    w->text_bytes = text_bytes;
    ab_workflow_hash(ab_view(text, text_bytes), w->hash);
    fill(&ab_flow_table, tree, w);
    w->output = ab_tree_str(tree, "output");
    w->termination = ab_condition_build(json_object_get(tree, "termination"));
    build_listed(w, &w->sender, 0);
    w->n_receivers = json_array_size(entries) - 1;
    w->receivers = ab_calloc(w->n_receivers, sizeof *w->receivers);
    for (size_t i = 0; i < w->n_receivers; i++)
        build_listed(w, &w->receivers[i], i + 1);
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
