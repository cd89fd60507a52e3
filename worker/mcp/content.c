/* content.h. */
#include "worker/mcp/content.h"

#include "common/json_schema.h"
#include "common/tree.h"

struct reading {
    struct ab_buf *text;
    json_t *parts; /* owned until it is given away */
    size_t bytes;
};

static void new_line(struct reading *r)
{
    if (r->text->n && r->text->p[r->text->n - 1] != '\n')
        ab_buf_char(r->text, '\n');
}

static const char *word(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = ab_tree_str(object, key);
    return text && *text ? text : otherwise;
}

/* --- kinds of content ----------------------------------------------------------------------------------------- */

static void read_text(struct reading *r, const json_t *item)
{
    struct ab_view text = ab_tree_view(item, "text");
    ab_buf_add(r->text, text.p, text.n);
}

/* It goes into an address: nothing but the type itself. */
static bool is_image_type(const char *type)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-";
    return !strncmp(type, "image/", 6) && type[6] && !type[6 + strspn(type + 6, plain)];
}

static void read_image(struct reading *r, const json_t *item)
{
    struct ab_view data = ab_tree_view(item, "data");
    const char *type = word(item, "mimeType", "image/png");
    if (!data.n || !is_image_type(type) || json_array_size(r->parts) == MCP_PARTS_MAX ||
        data.n > MCP_PARTS_BYTES_MAX - r->bytes) {
        ab_buf_format(r->text, "[an image (%.64s, %zu bytes in base64) was left out]", type, data.n);
        return;
    }
    r->bytes += data.n;
    r->parts = r->parts ? r->parts : json_array();
    json_array_append_new(r->parts, json_pack("{ss s{so}}", "type", "image_url", "image_url", "url",
                                              json_sprintf("data:%s;base64,%s", type, data.p)));
    ab_buf_format(r->text, "[image %zu, %s]", json_array_size(r->parts), type);
}

static void read_audio(struct reading *r, const json_t *item)
{
    ab_buf_format(r->text, "[audio (%s, %zu bytes in base64), which is not passed on]",
                  word(item, "mimeType", "audio"), ab_tree_view(item, "data").n);
}

static void read_link(struct reading *r, const json_t *item)
{
    const char *about = ab_tree_str(item, "description");
    ab_buf_format(r->text, "[link: %s, %s%s%s]", word(item, "name", "a resource"),
                  word(item, "uri", "no address"), about && *about ? ": " : "", about ? about : "");
}

static void read_resource(struct reading *r, const json_t *item)
{
    const json_t *resource = json_object_get(item, "resource");
    struct ab_view text = ab_tree_view(resource, "text");
    const char *type = word(resource, "mimeType", "no type given");
    if (text.p) {
        ab_buf_format(r->text, "[resource %s]\n", word(resource, "uri", "without an address"));
        ab_buf_add(r->text, text.p, text.n);
        return;
    }
    struct ab_view blob = ab_tree_view(resource, "blob");
    if (!strncmp(type, "image/", 6) && blob.n) {
        json_t *image = json_pack("{ss% ss}", "data", blob.p, blob.n, "mimeType", type);
        read_image(r, image);
        json_decref(image);
        return;
    }
    ab_buf_format(r->text, "[resource %s (%s, %zu bytes in base64), which is not passed on]",
                  word(resource, "uri", "without an address"), type, blob.n);
}

static const struct {
    const char *type;
    void (*read)(struct reading *r, const json_t *item);
} kinds[] = {{"text", read_text},
             {"image", read_image},
             {"audio", read_audio},
             {"resource_link", read_link},
             {"resource", read_resource}};

static void read_item(struct reading *r, const json_t *item)
{
    const char *type = word(item, "type", "no type");
    new_line(r);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].type, type)) {
            kinds[i].read(r, item);
            return;
        }
    ab_buf_format(r->text, "[content of an unknown kind, %.64s]", type);
}

/* --- the result ----------------------------------------------------------------------------------------------- */

/* What a server of the modern era wants to know from a person or model before it goes on. */
static int input_required(const json_t *result, struct ab_error *err)
{
    struct ab_buf wanted = {0};
    const char *key;
    json_t *one;
    size_t n = 0;
    json_object_foreach ((json_t *)(uintptr_t)json_object_get(result, "inputRequests"), key, one) {
        if (n++ < MCP_INPUT_REQUESTS_SHOWN_MAX)
            ab_buf_format(&wanted, "%s%.64s", wanted.n ? ", " : "", word(one, "method", "something"));
    }
    int code = ab_fail(err, AB_EINVALID,
                       "the tool wants to ask back before it goes on (%s), which MCP servers cannot do here",
                       wanted.n ? ab_buf_cstr(&wanted) : "it does not say what");
    ab_buf_finish(&wanted);
    return code;
}

/* Beside the content a server should give the same as text; if it does not, its JSON is the text. */
static int read_structured(const struct mcp_tool *tool, const json_t *value, struct ab_buf *text,
                           struct ab_error *err)
{
    struct ab_faults faults = {0};
    if (!text->n)
        ab_json_text(value, text);
    if (!tool->output || !ab_json_schema_validate(tool->output, value, &faults))
        return 0;
    int code =
        ab_fail(err, AB_EINVALID, "the server's structuredContent does not fit the tool's outputSchema: %s %s",
                faults.n ? faults.items[0].path : "$", faults.n ? faults.items[0].what : "is wrong");
    ab_faults_finish(&faults);
    return code;
}

int mcp_content_read(const struct mcp_tool *tool, const json_t *result, struct ab_buf *text, json_t **parts,
                     bool *failed, struct ab_error *err)
{
    struct reading r = {.text = text};
    const json_t *structured = json_object_get(result, "structuredContent");
    const char *type = ab_tree_str(result, "resultType");
    size_t i;
    json_t *item;
    *parts = NULL;
    *failed = false;
    if (type && !strcmp(type, "input_required"))
        return input_required(result, err);
    if (type && strcmp(type, "complete"))
        return ab_fail(err, AB_EINVALID, "the server answered with a result of an unknown type, %.64s", type);
    json_array_foreach (json_object_get(result, "content"), i, item)
        read_item(&r, item);
    int code = 0;
    *failed = ab_tree_bool(result, "isError", false);
    if (*failed && !text->n)
        ab_buf_text(text, "the tool failed and does not say why");
    else if (!*failed && structured)
        code = read_structured(tool, structured, text, err);
    else if (!json_is_array(json_object_get(result, "content")))
        code = ab_fail(err, AB_EINVALID, "the server answered without content");
    if (code)
        json_decref(r.parts);
    else
        *parts = r.parts;
    return code;
}
