/* openai_content.h */
#include "worker/model/openai_content.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/tree.h"

static json_t *data_url(const json_t *part, const char *otherwise)
{
    const char *media = ab_tree_str(part, "media_type"), *data = ab_tree_str(part, "data");
    char *url = ab_format("data:%s;base64,%s", media ? media : otherwise, data);
    json_t *text = json_string(url);
    free(url);
    return text;
}

static json_t *image(const json_t *part)
{
    const char *url = ab_tree_str(part, "url");
    if (!url && !ab_tree_str(part, "data"))
        return NULL;
    json_t *target = json_pack("{so}", "url", url ? json_string(url) : data_url(part, "image/png"));
    json_t *detail = json_object_get(part, "detail");
    if (detail)
        json_object_set(target, "detail", detail);
    return json_pack("{ss so}", "type", "image_url", "image_url", target);
}

static json_t *file(const json_t *part)
{
    const char *name = ab_tree_str(part, "name");
    if (!ab_tree_str(part, "data"))
        return NULL;
    return json_pack("{ss s{ss so}}", "type", "file", "file", "filename", name ? name : "file", "file_data",
                     data_url(part, "application/octet-stream"));
}

static const struct {
    const char *type;
    json_t *(*write)(const json_t *part); /* NULL: it is in OpenAI's shape already */
} shapes[] = {{"image", image}, {"file", file}};

/* Bytes of base64 text. */
static size_t decoded_bytes(const char *data)
{
    size_t n = strlen(data), padding = 0;
    while (padding < 2 && padding < n && data[n - 1 - padding] == '=')
        padding++;
    return n < 4 ? 0 : n / 4 * 3 - padding;
}

static json_t *for_code(const json_t *part)
{
    const char *name = ab_tree_str(part, "name"), *data = ab_tree_str(part, "data");
    char *text = ab_format("[The file %s, %zu bytes, is in the working directory of the code.]",
                           name ? name : "", decoded_bytes(data ? data : ""));
    json_t *note = json_pack("{ss ss}", "type", "text", "text", text);
    free(text);
    return note;
}

/* A new reference; NULL if the part stays as it is. */
static json_t *written(const json_t *part)
{
    const char *type = ab_tree_str(part, "type"), *reader = ab_tree_str(part, "for");
    if (reader && !strcmp(reader, "code"))
        return for_code(part);
    for (size_t i = 0; type && i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].type, type))
            return shapes[i].write(part);
    return NULL;
}

/* A new reference; NULL if no part changes. */
static json_t *content_of(json_t *content)
{
    json_t *out = NULL, *part;
    size_t i;
    json_array_foreach (content, i, part) {
        json_t *other = written(part);
        if (other && !out)
            out = json_copy(content);
        if (other)
            json_array_set_new(out, i, other);
    }
    return out;
}

json_t *openai_messages(json_t *messages)
{
    json_t *out = json_incref(messages), *message;
    size_t i;
    json_array_foreach (messages, i, message) {
        json_t *content = content_of(json_object_get(message, "content"));
        if (!content)
            continue;
        if (out == messages) {
            json_decref(out);
            out = json_copy(messages);
        }
        json_t *copy = json_copy(message);
        json_object_set_new(copy, "content", content);
        json_array_set_new(out, i, copy);
    }
    return out;
}
