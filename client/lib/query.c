/* Queries: a JSON object in, the operation's msgpack map out, by the operation table; and answers as JSON for people,
 * where ids are text.
 */
#include "client/lib/internal.h"
#include "common/auth.h"
#include "common/clock.h"
#include "common/tree.h"

/* ---- msgpack → JSON ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* {"$bin": 32 digits} → "019…-…" ; other lengths stay base 16 */
static json_t *bin_for_people(const char *hex)
{
    struct ab_id id;
    char text[AB_ID_TEXT];
    if (strlen(hex) != 2 * AB_ID_BYTES || !ab_id_parse(ab_view_of(hex), &id))
        return json_string(hex);
    return json_string(ab_id_text(id, text));
}

static json_t *object_for_people(json_t *tree)
{
    const char *bin = json_object_size(tree) == 1 ? ab_tree_str(tree, "$bin") : NULL;
    if (bin) {
        json_t *text = bin_for_people(bin);
        json_decref(tree);
        return text;
    }
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe (tree, next, key, value)
        json_object_set_new_nocheck(tree, key, tree_for_people(json_incref(value)));
    return tree;
}

json_t *tree_for_people(json_t *tree)
{
    if (json_is_object(tree))
        return object_for_people(tree);
    for (size_t i = 0; i < json_array_size(tree); i++)
        json_array_set_new(tree, i, tree_for_people(json_incref(json_array_get(tree, i))));
    return tree;
}

char *query_json(struct ab_view raw, struct ab_error *err)
{
    json_t *tree = tree_for_people(ab_tree_unpack(raw, err));
    if (!tree)
        return NULL;
    char *text = json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    json_decref(tree);
    return text;
}

/* ---- JSON → msgpack ---- */

static int pack_id(const json_t *value, const char *key, struct ab_buf *out, struct ab_error *err)
{
    struct ab_id id;
    const char *text = json_string_value(value);
    if (!text || !ab_id_parse(ab_view_of(text), &id))
        return ab_fail_at(err, AB_EINVALID, key, "%s must be an id of 36 characters", key);
    ab_pack_bin(out, ab_view(id.b, sizeof id.b));
    return 0;
}

static int pack_bin(const json_t *value, const char *key, struct ab_buf *out, struct ab_error *err)
{
    const char *hex = json_string_value(value);
    struct ab_buf bytes = {0};
    bool fits = hex && strlen(hex) % 2 == 0;
    for (size_t i = 0; fits && hex[i]; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        fits = high >= 0 && low >= 0;
        ab_buf_char(&bytes, (char)(high * 16 + low));
    }
    if (fits)
        ab_pack_bin(out, ab_buf_view(&bytes));
    ab_buf_finish(&bytes);
    return fits ? 0 : ab_fail_at(err, AB_EINVALID, key, "%s must be bytes in base 16 (0-9, a-f)", key);
}

static bool type_fits(uint8_t type, const json_t *value)
{
    switch (type) {
    case AB_BOOL:
        return json_is_boolean(value);
    case AB_UINT:
    case AB_MAYBE:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case AB_INT:
        return json_is_integer(value);
    case AB_ANY:
        return true;
    default:
        return json_is_string(value);
    }
}

static int pack_field(const struct ab_field *field, const json_t *value, struct ab_buf *out,
                      struct ab_error *err)
{
    static const char *const names[] = {
#define X(type, c_type, name) name,
        AB_FIELD_TYPES(X)
#undef X
    };
    if (!type_fits(field->type, value))
        return ab_fail_at(err, AB_EINVALID, field->key, "%s must be of type %s", field->key,
                          names[field->type]);
    ab_pack_str(out, ab_view_of(field->key));
    if (field->type == AB_ID)
        return pack_id(value, field->key, out, err);
    if (field->type == AB_BIN)
        return pack_bin(value, field->key, out, err);
    ab_tree_pack(out, value);
    return 0;
}

static const struct ab_field *field_of(const struct ab_schema *schema, const char *key)
{
    for (int i = 0; i < schema->n; i++)
        if (!strcmp(schema->fields[i].key, key))
            return &schema->fields[i];
    return NULL;
}

static int pack_object(const struct ab_op_row *op, json_t *object, struct ab_buf *out, struct ab_error *err)
{
    const char *key;
    json_t *value;
    int rc = 0;
    ab_pack_map(out, (uint32_t)json_object_size(object));
    json_object_foreach (object, key, value) {
        const struct ab_field *field = field_of(op->request, key);
        if (!field)
            return ab_fail_at(err, AB_EINVALID, key, "%s has no field \"%s\"", op->name, key);
        if ((rc = pack_field(field, value, out, err)))
            return rc;
    }
    for (int i = 0; i < op->request->n; i++)
        if (op->request->fields[i].required && !json_object_get(object, op->request->fields[i].key))
            return ab_fail_at(err, AB_EINVALID, op->request->fields[i].key, "%s needs the field \"%s\"",
                              op->name, op->request->fields[i].key);
    return 0;
}

/* null = not given */
static void drop_nulls(json_t *object)
{
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe (object, next, key, value)
        if (json_is_null(value))
            json_object_del(object, key);
}

int query_pack(const struct ab_op_row *op, const char *user, const char *json, struct ab_buf *out,
               struct ab_error *err)
{
    json_t *object = NULL;
    if (ab_json_parse(ab_view_of(json ? json : "{}"), &object, err))
        return err->code;
    int rc = 0;
    if (!json_is_object(object))
        rc = ab_fail(err, AB_EINVALID, "a request is a JSON object");
    else {
        drop_nulls(object);
        if (ab_auth_of_user(op) && !json_object_get(object, "user"))
            json_object_set_new(object, "user", json_string(user));
        rc = pack_object(op, object, out, err);
    }
    json_decref(object);
    return rc;
}

static int start(struct autobots *client, const char *operation, const char *request_json, bool raw,
                 autobots_done *done, void *context, struct autobots_error *error)
{
    struct ab_error err = {0};
    const struct ab_op_row *op = ab_op_by_name(ab_view_of(operation));
    struct ab_buf body = {0};
    struct request *request = NULL;
    if (!op || !(op->by & AB_BY_CLIENT))
        ab_fail(&err, AB_ENOTFOUND, "clients have no operation \"%s\"", operation);
    else if (!query_pack(op, client->user, request_json, &body, &err)) {
        struct ab_query message = {.op = ab_view_of(op->name)};
        struct link *link = op->kind == AB_OP_BROKER ? &client->broker : &client->storage;
        request = request_create(client, link, AB_QUERY, &message, &body, done, context, &err);
    }
    ab_buf_finish(&body);
    if (!request)
        return client_error(error, &err);
    request->op = op;
    request->raw = raw;
    client->storage_wanted |= request->link == &client->storage;
    request_start(request);
    return 0;
}

int autobots_start_query(struct autobots *client, const char *operation, const char *request_json,
                         autobots_done *done, void *context, struct autobots_error *error)
{
    return start(client, operation, request_json, false, done, context, error);
}

int autobots_start_raw_query(struct autobots *client, const char *operation, const char *request_json,
                             autobots_done *done, void *context, struct autobots_error *error)
{
    return start(client, operation, request_json, true, done, context, error);
}
