/* tools.h: arguments that a server wants in headers too (revision 2026-07-28, basic/transports/streamable-http: Custom Headers
 * from Tool Parameters), and how values are written there. */
#include <ctype.h>
#include <sodium.h>
#include <stdlib.h>
#include <strings.h>

#include "common/tree.h"
#include "worker/mcp/internal.h"

enum { DEPTH_MAX = 16 };

static bool is_token(const char *name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(others, *c))
            return false;
    return *name;
}

static bool is_primitive(const json_t *schema)
{
    const char *type = ab_tree_str(schema, "type");
    return type && (!strcmp(type, "string") || !strcmp(type, "integer") || !strcmp(type, "boolean"));
}

static const char *add_header(struct mcp_tool *tool, const json_t *schema, const json_t *mark,
                              const json_t *path)
{
    const char *word = json_string_value(mark);
    if (!word || !is_token(word) || !is_primitive(schema))
        return "its x-mcp-header breaks the rules of the protocol";
    char *name = ab_format("Mcp-Param-%s", word);
    bool twice = false;
    for (size_t i = 0; i < tool->headers_n; i++)
        twice |= !strcasecmp(tool->headers[i].name, name);
    if (twice || tool->headers_n == MCP_HEADERS_MAX) {
        free(name);
        return twice ? "it has an x-mcp-header twice" : "it has too many x-mcp-headers";
    }
    tool->headers[tool->headers_n++] = (struct mcp_header){name, json_copy((json_t *)(uintptr_t)path)};
    return NULL;
}

static const char *read_properties(struct mcp_tool *tool, const json_t *schema, json_t *path, size_t *found)
{
    const char *key, *why = NULL;
    json_t *one;
    json_object_foreach ((json_t *)(uintptr_t)json_object_get(schema, "properties"), key, one) {
        const json_t *mark = json_object_get(one, "x-mcp-header");
        json_array_append_new(path, json_string(key));
        *found += mark != NULL;
        if (mark)
            why = add_header(tool, one, mark, path);
        if (!why && json_array_size(path) < DEPTH_MAX)
            why = read_properties(tool, one, path, found);
        json_array_remove(path, json_array_size(path) - 1);
        if (why)
            return why;
    }
    return NULL;
}

/* How often the mark stands anywhere: it may stand only where it is found by names of properties. */
static size_t marks(const json_t *value)
{
    size_t n = 0, i;
    const char *key;
    json_t *one;
    json_object_foreach ((json_t *)(uintptr_t)value, key, one)
        n += marks(one) + !strcmp(key, "x-mcp-header");
    json_array_foreach (value, i, one)
        n += marks(one);
    return n;
}

const char *headers_read(struct mcp_tool *tool)
{
    size_t found = 0;
    json_t *path = json_array();
    const char *why = read_properties(tool, tool->input, path, &found);
    json_decref(path);
    return why ? why : marks(tool->input) != found ? "it has an x-mcp-header where none may be" : NULL;
}

/* --- values --------------------------------------------------------------------------------------------------- */

static bool needs_encoding(struct ab_view text)
{
    static const char begin[] = "=?base64?", end[] = "?=";
    if (!text.n)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ' || (unsigned char)text.p[i] > '~')
            return true;
    return text.p[0] == ' ' || text.p[text.n - 1] == ' ' ||
           (text.n >= sizeof begin + sizeof end - 2 && !memcmp(text.p, begin, sizeof begin - 1) &&
            !memcmp(text.p + text.n - sizeof end + 1, end, sizeof end - 1));
}

static char *encoded(struct ab_view text)
{
    if (!needs_encoding(text))
        return ab_strndup(text.p, text.n);
    size_t size = sodium_base64_encoded_len(text.n, sodium_base64_VARIANT_ORIGINAL);
    char *base64 = ab_alloc(size);
    sodium_bin2base64(base64, size, (const unsigned char *)text.p, text.n, sodium_base64_VARIANT_ORIGINAL);
    char *value = ab_format("=?base64?%s?=", base64);
    free(base64);
    return value;
}

char *mcp_header_value(const json_t *value)
{
    if (json_is_string(value))
        return encoded(ab_view(json_string_value(value), json_string_length(value)));
    if (json_is_integer(value))
        return ab_format("%lld", (long long)json_integer_value(value));
    return json_is_boolean(value) ? ab_strdup(json_is_true(value) ? "true" : "false") : NULL;
}
