/* The inside of the configuration's nested values, models and limits: every member is known and of its type. */
#include "common/config_value.h"

#include <stdlib.h>

enum { RUNNING_MAX = 1000000 };

struct inside {
    const struct config_row *row;
    const struct config_origin *origin;
    struct ab_buf path;
    struct ab_error *err;
};

static int wrong(struct inside *in, const char *what)
{
    const char *path = ab_buf_cstr(&in->path);
    return config_fail(in->origin, path, in->err, "%s%s: %s", in->row->key,
                       path + (strncmp(path, "$.", 2) ? 1 : 2 + strlen(in->row->key)), what);
}

static int unknown_member(struct inside *in, const char *const *names, size_t n, const char *member)
{
    struct ab_buf legal = {0};
    for (size_t i = 0; i < n; i++)
        ab_buf_format(&legal, "%s%s", i ? ", " : "", names[i]);
    const char *near = ab_nearest(member, names, n);
    char *what = near ? ab_format("is not known; did you mean \"%s\"?", near)
                      : ab_format("is not known; there are %s", ab_buf_cstr(&legal));
    int code = wrong(in, what);
    free(what);
    ab_buf_finish(&legal);
    return code;
}

static bool is_one_of(const char *const *names, size_t n, const char *member)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], member))
            return true;
    return false;
}

/* ---- models ---------------------------------------------------------------------------------------------- */

static const char *const model_members[] = {"name", "base_url", "api_key_env", "api_key_file"};
enum { MODEL_MEMBERS = sizeof model_members / sizeof *model_members };

static int check_model_member(struct inside *in, const char *member, const json_t *value)
{
    if (!strcmp(member, "api_key"))
        return wrong(
            in, "a key does not belong into the configuration: name the environment variable (api_key_env) or "
                "the file (api_key_file) that has it");
    if (!is_one_of(model_members, MODEL_MEMBERS, member))
        return unknown_member(in, model_members, MODEL_MEMBERS, member);
    if (!json_is_string(value) || !json_string_length(value))
        return wrong(in, "must be text");
    return 0;
}

static int check_model(struct inside *in, json_t *model)
{
    if (!json_is_object(model))
        return wrong(in, "must be a mapping with base_url, and name, api_key_env or api_key_file");
    const char *member;
    json_t *value;
    json_object_foreach (model, member, value) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, member);
        int code = check_model_member(in, member, value);
        if (code)
            return code;
        in->path.n = mark;
    }
    if (!json_object_get(model, "base_url"))
        return wrong(in, "needs a base_url");
    if (json_object_get(model, "api_key_env") && json_object_get(model, "api_key_file"))
        return wrong(in, "has both api_key_env and api_key_file: keep one");
    return 0;
}

static int check_models(struct inside *in, json_t *models)
{
    if (!json_is_array(models))
        return wrong(in, "must be a list of endpoints");
    size_t i;
    json_t *model;
    json_array_foreach (models, i, model) {
        size_t mark = in->path.n;
        ab_path_index(&in->path, i);
        int code = check_model(in, model);
        if (code)
            return code;
        in->path.n = mark;
    }
    return 0;
}

/* ---- limits ---------------------------------------------------------------------------------------------- */

static const char *const limit_kinds[] = {"tenant", "pool", "concurrency_key"};
enum { LIMIT_KINDS = sizeof limit_kinds / sizeof *limit_kinds };

static int check_limit_names(struct inside *in, json_t *names)
{
    if (!json_is_object(names))
        return wrong(in, "must be a mapping of names to numbers of jobs, \"*\" for those not named");
    const char *name;
    json_t *value;
    json_object_foreach (names, name, value) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, name);
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > RUNNING_MAX)
            return wrong(in, "must be a number of jobs from 1 to 1000000");
        in->path.n = mark;
    }
    return 0;
}

static int check_limits(struct inside *in, json_t *limits)
{
    if (!json_is_object(limits))
        return wrong(in, "must be a mapping with tenant, pool or concurrency_key");
    const char *kind;
    json_t *names;
    json_object_foreach (limits, kind, names) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, kind);
        int code = is_one_of(limit_kinds, LIMIT_KINDS, kind)
                       ? check_limit_names(in, names)
                       : unknown_member(in, limit_kinds, LIMIT_KINDS, kind);
        if (code)
            return code;
        in->path.n = mark;
    }
    return 0;
}

static const struct {
    enum ab_config_key key;
    int (*check)(struct inside *in, json_t *tree);
} checks[] = {{AB_CONF_MODELS, check_models}, {AB_CONF_LIMITS, check_limits}};

int config_check_tree(const struct config_row *row, json_t *tree, const struct config_origin *origin,
                      const char *json_path, struct ab_error *err)
{
    struct inside in = {.row = row, .origin = origin, .err = err};
    ab_buf_text(&in.path, json_path);
    int code = 0;
    for (size_t i = 0; i < sizeof checks / sizeof *checks && !code; i++)
        if (checks[i].key == row->id)
            code = checks[i].check(&in, tree);
    ab_buf_finish(&in.path);
    return code;
}
