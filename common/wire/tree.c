#include "common/wire/tree.h"

#include <msgpack.h>

/* ---- tree → msgpack ---- */

static void pack_real(struct ab_buf *out, double value)
{
    union {
        double real;
        uint64_t bits;
    } u = {.real = value};
    ab_buf_char(out, (char)0xcb);
    for (int i = 56; i >= 0; i -= 8)
        ab_buf_char(out, (char)(u.bits >> i));
}

static void pack_object(struct ab_buf *out, const json_t *object)
{
    const char *key;
    json_t *value;
    ab_pack_map(out, (uint32_t)json_object_size(object));
    for (void *at = json_object_iter((json_t *)(uintptr_t)object); at;
         at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        key = json_object_iter_key(at);
        value = json_object_iter_value(at);
        ab_pack_str(out, ab_view_of(key));
        ab_tree_pack(out, value);
    }
}

void ab_tree_pack(struct ab_buf *out, const json_t *tree)
{
    size_t i;
    json_t *item;
    switch (json_typeof(tree)) {
    case JSON_OBJECT:
        pack_object(out, tree);
        break;
    case JSON_ARRAY:
        ab_pack_array(out, (uint32_t)json_array_size(tree));
        json_array_foreach (tree, i, item)
            ab_tree_pack(out, item);
        break;
    case JSON_STRING:
        ab_pack_str(out, ab_view(json_string_value(tree), json_string_length(tree)));
        break;
    case JSON_INTEGER:
        ab_pack_int(out, json_integer_value(tree));
        break;
    case JSON_REAL:
        pack_real(out, json_real_value(tree));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        ab_pack_bool(out, json_is_true(tree));
        break;
    case JSON_NULL:
        ab_pack_nil(out);
        break;
    }
}

/* ---- msgpack → tree ---- */

static json_t *from_bin(const char *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    struct ab_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        ab_buf_char(&text, digits[(unsigned char)p[i] >> 4]);
        ab_buf_char(&text, digits[p[i] & 15]);
    }
    json_t *tree = json_pack("{s:s#}", "$bin", text.p ? text.p : "", (int)text.n);
    ab_buf_finish(&text);
    return tree;
}

static json_t *from_object(const msgpack_object *value, struct ab_error *err);

static json_t *from_array(const msgpack_object_array *array, struct ab_error *err)
{
    json_t *tree = json_array();
    for (uint32_t i = 0; i < array->size; i++) {
        json_t *item = from_object(&array->ptr[i], err);
        if (!item) {
            json_decref(tree);
            return NULL;
        }
        json_array_append_new(tree, item);
    }
    return tree;
}

static json_t *from_map(const msgpack_object_map *map, struct ab_error *err)
{
    json_t *tree = json_object();
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        char *name = key->type == MSGPACK_OBJECT_STR
                         ? ab_strndup(key->via.str.size ? key->via.str.ptr : "", key->via.str.size)
                         : NULL;
        bool fits = name && strlen(name) == key->via.str.size && !json_object_get(tree, name);
        json_t *item = fits ? from_object(&map->ptr[i].val, err) : NULL;
        if (!fits)
            ab_fail_at(err, AB_EINVALID, name ? name : "",
                       "a map's keys must be strings without NUL, each once");
        if (item)
            json_object_set_new_nocheck(tree, name, item);
        free(name);
        if (!item) {
            json_decref(tree);
            return NULL;
        }
    }
    return tree;
}

static json_t *from_object(const msgpack_object *value, struct ab_error *err)
{
    switch (value->type) {
    case MSGPACK_OBJECT_NIL:
        return json_null();
    case MSGPACK_OBJECT_BOOLEAN:
        return json_boolean(value->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return value->via.u64 <= INT64_MAX ? json_integer((json_int_t)value->via.u64)
                                           : json_real((double)value->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return json_integer(value->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: {
        json_t *real = json_real(value->via.f64);
        return real ? real : json_null(); /* NaN and infinities do not exist in JSON */
    }
    case MSGPACK_OBJECT_STR:
        return json_stringn_nocheck(value->via.str.size ? value->via.str.ptr : "", value->via.str.size);
    case MSGPACK_OBJECT_BIN:
        return from_bin(value->via.bin.ptr, value->via.bin.size);
    case MSGPACK_OBJECT_ARRAY:
        return from_array(&value->via.array, err);
    case MSGPACK_OBJECT_MAP:
        return from_map(&value->via.map, err);
    case MSGPACK_OBJECT_EXT:
        break;
    }
    ab_fail(err, AB_EINVALID, "msgpack extension types are not part of the protocol");
    return NULL;
}

json_t *ab_tree_unpack(struct ab_view bytes, struct ab_error *err)
{
    /* Our own walk first: msgpack-c allocates by the claimed length and does not check UTF-8. */
    struct ab_reader reader = ab_reader(bytes);
    struct ab_view raw;
    if (ab_read_any(&reader, &raw) || reader.at != reader.end) {
        ab_fail(err, AB_EINVALID, "not one well-formed msgpack value");
        return NULL;
    }
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    size_t at = 0;
    json_t *tree = NULL;
    if (msgpack_unpack_next(&result, bytes.p, bytes.n, &at) == MSGPACK_UNPACK_SUCCESS)
        tree = from_object(&result.data, err);
    else
        ab_fail(err, AB_EINVALID, "not one well-formed msgpack value");
    msgpack_unpacked_destroy(&result);
    return tree;
}

json_t *ab_tree_of(const struct ab_schema *schema, const void *message)
{
    struct ab_buf packed = {0};
    ab_encode(&packed, schema, message);
    json_t *tree = ab_tree_unpack(ab_buf_view(&packed), NULL);
    ab_buf_finish(&packed);
    for (int i = 0; tree && i < schema->n; i++) {
        const struct ab_field *field = &schema->fields[i];
        if (field->type != AB_ID || !json_object_get(tree, field->key))
            continue;
        char text[AB_ID_TEXT];
        ab_id_text(*(const struct ab_id *)((const char *)message + field->offset), text);
        json_object_set_new(tree, field->key, json_string(text));
    }
    return tree;
}
