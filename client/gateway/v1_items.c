/* Input items of responses, out of what their jobs were given; see v1_shape.h. */
#include <string.h>

#include "client/gateway/v1_shape.h"

/* ---- parts, as /v1/responses has them ---- */

static json_t *text_item(const json_t *text, bool assistant)
{
    return assistant ? json_pack("{s:s, s:O, s:[]}", "type", "output_text", "text", text, "annotations")
                     : json_pack("{s:s, s:O}", "type", "input_text", "text", text);
}

static json_t *image_item(const json_t *part)
{
    const json_t *image = json_object_get(part, "image_url"), *detail = json_object_get(image, "detail");
    json_t *item = json_pack("{s:s, s:O?}", "type", "input_image", "image_url",
                             json_is_object(image) ? json_object_get(image, "url") : image);
    json_object_set_new(item, "detail", json_is_string(detail) ? json_deep_copy(detail) : json_string("auto"));
    return item;
}

static json_t *file_item(const json_t *part)
{
    json_t *item = json_deep_copy(json_object_get(part, "file"));
    if (!item)
        item = json_object();
    json_object_set_new(item, "type", json_string("input_file"));
    return item;
}

static json_t *part_item(const json_t *part, bool assistant)
{
    const char *type = ab_tree_str(part, "type");
    if (type && !strcmp(type, "text"))
        return text_item(json_object_get(part, "text"), assistant);
    if (type && !strcmp(type, "image_url"))
        return image_item(part);
    if (type && !strcmp(type, "file"))
        return file_item(part);
    return json_deep_copy(part);
}

static json_t *content_items(const json_t *content, bool assistant)
{
    json_t *list = json_array(), *part;
    size_t i;
    if (json_is_string(content))
        json_array_append_new(list, text_item(content, assistant));
    json_array_foreach (content, i, part)
        json_array_append_new(list, part_item(part, assistant));
    return list;
}

/* ---- items ---- */

static void add(json_t *items, const char *job, const char *role, const json_t *content)
{
    char id[V1_ID_MAX];
    bool assistant = !strcmp(role, "assistant");
    json_t *item = json_pack("{s:s, s:s, s:s, s:o}", "type", "message", "role", role, "status", "completed",
                             "content", content_items(content, assistant));
    json_object_set_new(item, "id", json_sprintf("%s_%zu", v1_id("msg_", job, id), json_array_size(items)));
    json_array_append_new(items, item);
}

json_t *v1_input_items(const char *job, const json_t *input)
{
    json_t *items = json_array(), *message;
    size_t i;
    json_array_foreach (json_object_get(input, "history"), i, message) {
        const char *role = ab_tree_str(message, "role");
        if (role && strcmp(role, "system")) /* instructions are none */
            add(items, job, role, json_object_get(message, "content"));
    }
    add(items, job, "user", json_object_get(input, "content"));
    return items;
}

static bool is_item(const json_t *item, const char *id)
{
    const char *own = ab_tree_str(item, "id");
    return id && own && !strcmp(own, id);
}

static json_t *id_at(const json_t *list, size_t at)
{
    json_t *id = json_object_get(json_array_get(list, at), "id");
    return id ? json_incref(id) : json_null();
}

json_t *v1_items_list(const json_t *items, const struct v1_items_page *page)
{
    size_t n = json_array_size(items), first = 0, limit = page->limit ? page->limit : 20;
    json_t *data = json_array();
    for (size_t i = 0; page->after && i < n; i++)
        if (is_item(json_array_get(items, page->ascending ? i : n - 1 - i), page->after))
            first = i + 1;
    for (size_t i = first; i < n && i - first < limit; i++)
        json_array_append(data, json_array_get(items, page->ascending ? i : n - 1 - i));
    size_t got = json_array_size(data);
    return json_pack("{s:s, s:o, s:o, s:o, s:b}", "object", "list", "first_id", id_at(data, 0), "last_id",
                     id_at(data, got ? got - 1 : 0), "data", data, "has_more", first + got < n);
}
