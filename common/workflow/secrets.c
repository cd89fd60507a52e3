/* Keys leave a workflow before anything is stored, and variables are put into it before anything is validated.
 * Both walk the document as written, in either form, and change it in place.
 */
#include "common/workflow/workflow.h"

#include <sodium.h>
#include <stdlib.h>

/* Calls visit on every member of every object, keys sorted. Stops at the first that returns non-zero. */
typedef int visit_fn(void *context, json_t *object, const char *key, json_t *value, struct ab_buf *path);
static int walk(json_t *tree, struct ab_buf *path, visit_fn *visit, void *context);

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A sorted list of copies: the object may change while it is walked. */
static char **sorted_keys(json_t *object, size_t *n)
{
    char **keys = ab_calloc(json_object_size(object) + 1, sizeof *keys);
    const char *key;
    json_t *value;
    *n = 0;
    json_object_foreach (object, key, value) {
        keys[(*n)++] = ab_strdup(key);
    }
    qsort(keys, *n, sizeof *keys, by_text);
    return keys;
}

static int walk_object(json_t *object, struct ab_buf *path, visit_fn *visit, void *context)
{
    size_t n, mark = path->n;
    char **keys = sorted_keys(object, &n);
    int code = 0;
    for (size_t i = 0; i < n && !code; i++) {
        json_t *value = json_object_get(object, keys[i]);
        ab_path_key(path, keys[i]);
        code = walk(value, path, visit, context);
        if (!code)
            code = visit(context, object, keys[i], value, path);
        path->n = mark;
    }
    for (size_t i = 0; i < n; i++)
        free(keys[i]);
    free(keys);
    return code;
}

static int walk(json_t *tree, struct ab_buf *path, visit_fn *visit, void *context)
{
    if (json_is_object(tree))
        return walk_object(tree, path, visit, context);
    size_t mark = path->n, i;
    json_t *item;
    int code = 0;
    json_array_foreach (tree, i, item) {
        ab_path_index(path, i);
        code = walk(item, path, visit, context);
        path->n = mark;
        if (code)
            break;
    }
    return code;
}

static int walk_document(json_t *tree, visit_fn *visit, void *context)
{
    struct ab_buf path = {0};
    ab_buf_char(&path, '$');
    int code = walk(tree, &path, visit, context);
    ab_buf_finish(&path);
    return code;
}

/* --- keys out --------------------------------------------------------------------------------------------- */

struct extraction {
    struct ab_secret_list *list;
    struct ab_error *err;
};

static void take_secret(struct ab_secret_list *list, json_t *object, json_t *value, struct ab_buf *path)
{
    const char *base_url = ab_tree_str(object, "base_url");
    list->items = ab_realloc(list->items, (list->n + 1) * sizeof *list->items);
    list->items[list->n] = (struct ab_secret){
        .path = ab_strdup(ab_buf_cstr(path)),
        .value = ab_strdup(json_string_value(value)),
        .base_url = base_url ? ab_strdup(base_url) : NULL,
    };
    /* Jansson frees the text without wiping it, as the buffers did that it was read from. */
    json_object_set_new(object, "api_key", json_pack("{s:I}", "$secret", (json_int_t)list->n));
    list->n++;
}

static int extract(void *context, json_t *object, const char *key, json_t *value, struct ab_buf *path)
{
    struct extraction *x = context;
    if (strcmp(key, "api_key"))
        return 0;
    if (json_object_get(value, "$secret"))
        return ab_fail_at(x->err, AB_EINVALID, ab_buf_cstr(path),
                          "a key is already replaced by a reference: write the key itself, or leave it out");
    if (json_is_null(value) || (json_is_string(value) && !json_string_length(value)))
        return json_object_del(object, key);
    if (!json_is_string(value))
        return 0; /* a fault of the workflow, which the parser reports */
    if (x->list->n >= AB_WORKFLOW_SECRETS_MAX)
        return ab_fail_at(x->err, AB_ETOOLARGE, ab_buf_cstr(path), "more than %d keys in one workflow",
                          AB_WORKFLOW_SECRETS_MAX);
    take_secret(x->list, object, value, path);
    return 0;
}

int ab_workflow_extract_secrets(json_t *flow_config, struct ab_secret_list *out, struct ab_error *err)
{
    struct extraction x = {out, err};
    return walk_document(flow_config, extract, &x);
}

void ab_secret_list_finish(struct ab_secret_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        sodium_memzero(list->items[i].value, strlen(list->items[i].value));
        free(list->items[i].path);
        free(list->items[i].value);
        free(list->items[i].base_url);
    }
    free(list->items);
    *list = (struct ab_secret_list){0};
}

/* --- variables in ----------------------------------------------------------------------------------------- */

struct expansion {
    ab_lookup_fn *lookup;
    void *context;
    struct ab_faults *faults;
    size_t n_faults;
};

/* The inside of one ${…}: NAME or NAME:-otherwise. */
static void expand_one(struct expansion *x, const char *inside, size_t n, struct ab_buf *path,
                       struct ab_buf *out)
{
    char *name = ab_strndup(inside, n), *otherwise = strstr(name, ":-");
    if (otherwise)
        *otherwise = 0;
    const char *value = x->lookup(x->context, name);
    if (value && *value)
        ab_buf_text(out, value);
    else if (otherwise)
        ab_buf_text(out, otherwise + 2);
    else {
        char *hint = ab_format("set it, or write ${%s:-otherwise}", name);
        char *what = ab_format("the variable %.80s is not set", name);
        ab_faults_add(x->faults, ab_buf_cstr(path), what, "%s", hint);
        x->n_faults++;
        free(what);
        free(hint);
    }
    free(name);
}

static void expand_text(struct expansion *x, const char *text, struct ab_buf *path, struct ab_buf *out)
{
    const char *start, *end;
    while ((start = strstr(text, "${"))) {
        ab_buf_add(out, text, (size_t)(start - text));
        end = strchr(start, '}');
        if (!end) {
            ab_faults_add(x->faults, ab_buf_cstr(path), "${ is not closed", "write ${NAME}");
            x->n_faults++;
            return;
        }
        expand_one(x, start + 2, (size_t)(end - start) - 2, path, out);
        text = end + 1;
    }
    ab_buf_text(out, text);
}

static bool is_expanded(const char *key)
{
    return !strcmp(key, "model") || !strcmp(key, "base_url") || !strcmp(key, "api_key");
}

/* New reference; NULL if there is nothing to replace. */
static json_t *expanded(struct expansion *x, const json_t *value, struct ab_buf *path)
{
    const char *text = json_string_value(value);
    if (!text || !strstr(text, "${"))
        return NULL;
    struct ab_buf out = {0};
    expand_text(x, text, path, &out);
    json_t *replaced = json_string(ab_buf_cstr(&out));
    sodium_memzero(out.p, out.n); /* it may be a key */
    ab_buf_finish(&out);
    return replaced;
}

/* The texts of `model: [a, b]` */
static void expand_items(struct expansion *x, json_t *list, struct ab_buf *path)
{
    size_t i, mark = path->n;
    json_t *item, *replaced;
    json_array_foreach (list, i, item) {
        ab_path_index(path, i);
        replaced = expanded(x, item, path);
        if (replaced)
            json_array_set_new(list, i, replaced);
        path->n = mark;
    }
}

static int expand(void *context, json_t *object, const char *key, json_t *value, struct ab_buf *path)
{
    if (!is_expanded(key))
        return 0;
    expand_items(context, value, path);
    json_t *replaced = expanded(context, value, path);
    if (replaced)
        json_object_set_new(object, key, replaced);
    return 0;
}

size_t ab_workflow_expand(json_t *flow_config, ab_lookup_fn *lookup, void *context, struct ab_faults *faults)
{
    struct expansion x = {lookup, context, faults, 0};
    walk_document(flow_config, expand, &x);
    return x.n_faults;
}
