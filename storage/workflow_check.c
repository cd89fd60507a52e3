/* Workflows at the door of storage: hash, validity, no clear keys. */
#include "storage/workflow_check.h"

#include "common/tree.h"
#include "common/wire/tree.h"
#include "common/workflow/workflow.h"

void faults_pack(const struct ab_faults *faults, struct ab_buf *out)
{
    ab_pack_array(out, (uint32_t)faults->n);
    for (size_t i = 0; i < faults->n; i++) {
        const char *const pair[][2] = {
            {"path", faults->items[i].path}, {"what", faults->items[i].what}, {"hint", faults->items[i].hint}};
        ab_pack_map(out, 3);
        for (int k = 0; k < 3; k++) {
            ab_pack_str(out, ab_view_of(pair[k][0]));
            ab_pack_str(out, ab_view_of(pair[k][1]));
        }
    }
}

static int refuse(struct ab_workflow **out, int code)
{
    ab_workflow_destroy(*out);
    *out = NULL;
    return code;
}

static int check_supported(const struct ab_workflow *workflow, struct ab_faults *found, struct ab_error *err)
{
    if (!ab_workflow_supported(workflow, found))
        return 0;
    return ab_fail_at(err, AB_EINVALID, found->items[0].path, "%s", found->items[0].what);
}

/* In place of the names of stored workflows there is what they name. */
static int look_up(struct ab_workflow **workflow, const struct workflow_names *names, struct ab_faults *found,
                   bool *changed, struct ab_error *err)
{
    struct ab_workflow *whole = NULL;
    int code = names->find ? ab_workflow_resolve(*workflow, names->find, names->context, &whole, found, err)
                           : ab_workflow_resolved(*workflow, err);
    *changed = whole;
    if (whole) {
        ab_workflow_destroy(*workflow);
        *workflow = whole;
        code = check_supported(whole, found, err);
    }
    return code;
}

/* Valid, and one that this release can run; *out is the caller's. */
static int read_valid(struct ab_view text, const struct workflow_names *names, struct ab_workflow **out,
                      bool *changed, struct ab_buf *faults, struct ab_error *err)
{
    json_t *tree = NULL;
    struct ab_faults found = {0};
    *out = NULL;
    int code = ab_json_parse(text, &tree, err);
    if (code)
        return code;
    code = ab_workflow_parse(tree, 0, out, &found, NULL, err);
    code = code ? code : check_supported(*out, &found, err);
    code = code ? code : look_up(out, names, &found, changed, err);
    if (code && found.n)
        faults_pack(&found, faults);
    ab_faults_finish(&found);
    json_decref(tree);
    return code ? refuse(out, code) : 0;
}

int workflow_check(struct ab_view hash, struct ab_view text, const struct workflow_names *names,
                   struct ab_workflow **out, bool *changed, struct ab_buf *faults, struct ab_error *err)
{
    uint8_t real[AB_WORKFLOW_HASH_BYTES];
    ab_workflow_hash(text, real);
    if (!ab_view_eq(hash, ab_view(real, sizeof real)))
        return ab_fail_at(err, AB_EINVALID, "hash", "is not the BLAKE2b-256 of the workflow's text");
    return read_valid(text, names, out, changed, faults, err);
}

int workflow_check_saved(struct ab_view text, const struct workflow_names *names, struct ab_workflow **out,
                         struct ab_buf *faults, struct ab_error *err)
{
    bool changed;
    int code = read_valid(text, names, out, &changed, faults, err);
    if (code || !(*out)->n_secrets)
        return code;
    return refuse(
        out, ab_fail_at(err, AB_EINVALID, "workflow",
                        "refers to sealed keys, which go with one job only: leave api_key out, so that the "
                        "workers use their own"));
}

/* True if some member named api_key, at any depth, is a text. */
static bool has_clear_key(const json_t *tree)
{
    const char *key;
    size_t i;
    json_t *value;
    if (json_is_object(tree)) {
        json_object_foreach ((json_t *)(uintptr_t)tree, key, value)
            if ((!strcmp(key, "api_key") && json_string_length(value)) || has_clear_key(value))
                return true;
    } else {
        json_array_foreach (tree, i, value)
            if (has_clear_key(value))
                return true;
    }
    return false;
}

int workflow_check_stored(struct ab_view flow_config, struct ab_error *err)
{
    struct ab_error why = {0};
    json_t *tree = ab_tree_unpack(flow_config, &why);
    if (!tree)
        return ab_fail_at(err, why.code, "flow_config", "%s", why.text);
    bool clear = has_clear_key(tree);
    json_decref(tree);
    if (clear)
        return ab_fail_at(
            err, AB_EINVALID, "flow_config",
            "holds an api_key in clear, which is never stored: leave it out, or configure it at the worker");
    return 0;
}

int workflow_pack(struct ab_view text, struct ab_buf *out, struct ab_error *err)
{
    json_t *tree = NULL;
    int code = ab_json_parse(text, &tree, err);
    if (code)
        return code;
    ab_tree_pack(out, tree);
    json_decref(tree);
    return 0;
}
