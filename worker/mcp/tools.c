/* tools.h: the list. */
#include "worker/mcp/tools.h"

#include <sodium.h>
#include <stdlib.h>

#include "common/tree.h"
#include "common/wire/schema.h"
#include "worker/mcp/internal.h"

/* --- one tool ------------------------------------------------------------------------------------------------- */

/* All that a model is told, and all that we go by. */
static void digest(const json_t *definition, char hex[MCP_DIGEST_SIZE])
{
    static const char *const keys[] = {"name",        "title",        "description",
                                       "inputSchema", "outputSchema", "annotations"};
    json_t *told = json_object();
    struct ab_buf text = {0};
    unsigned char hash[(MCP_DIGEST_SIZE - 1) / 2];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(definition, keys[i]))
            json_object_set(told, keys[i], json_object_get(definition, keys[i]));
    ab_json_text(told, &text);
    crypto_generichash(hash, sizeof hash, (const unsigned char *)text.p, text.n, NULL, 0);
    sodium_bin2hex(hex, MCP_DIGEST_SIZE, hash, sizeof hash);
    ab_buf_finish(&text);
    json_decref(told);
}

static void tool_finish(struct mcp_tool *tool)
{
    for (size_t i = 0; i < tool->headers_n; i++) {
        free(tool->headers[i].name);
        json_decref(tool->headers[i].path);
    }
    free(tool->name);
    free(tool->description);
    json_decref(tool->input);
    json_decref(tool->output);
}

/* Whole characters of it. */
static char *description_of(const json_t *definition)
{
    struct ab_view text = ab_tree_view(definition, "description");
    if (!text.n)
        text = ab_tree_view(definition, "title");
    if (text.n > MCP_DESCRIPTION_BYTES_MAX)
        text.n = MCP_DESCRIPTION_BYTES_MAX;
    while (text.n && !ab_utf8_ok(text))
        text.n--;
    return ab_strndup(text.n ? text.p : "", text.n);
}

static const char *fault_of(const json_t *definition)
{
    const char *name = ab_tree_str(definition, "name");
    const json_t *input = json_object_get(definition, "inputSchema");
    const char *type = ab_tree_str(input, "type");
    const char *tasks = ab_tree_str(json_object_get(definition, "execution"), "taskSupport");
    if (!name || !*name)
        return "it has no name";
    if (strlen(name) > MCP_TOOL_NAME_MAX)
        return "its name has more than 128 characters";
    if (!json_is_object(input) || (type && strcmp(type, "object")))
        return "its inputSchema is not that of an object";
    if (tasks && !strcmp(tasks, "required"))
        return "it can be called as a task only, which is not supported";
    return NULL;
}

static void read_tool(const json_t *definition, struct mcp_tool *tool)
{
    const json_t *hints = json_object_get(definition, "annotations");
    const json_t *output = json_object_get(definition, "outputSchema");
    tool->name = ab_strdup(ab_tree_str(definition, "name"));
    tool->description = description_of(definition);
    tool->input = json_deep_copy(json_object_get(definition, "inputSchema"));
    tool->output = json_is_object(output) ? json_deep_copy(output) : NULL;
    tool->idempotent =
        ab_tree_bool(hints, "idempotentHint", false) || ab_tree_bool(hints, "readOnlyHint", false);
    digest(definition, tool->digest);
}

static void leave_out(struct mcp_tools *tools, const char *name, const char *why)
{
    enum { LEFT_OUT_BYTES_MAX = 4096 };
    struct ab_view shown = ab_view_of(name ? name : "a tool");
    shown.n = shown.n < MCP_TOOL_NAME_MAX ? shown.n : MCP_TOOL_NAME_MAX;
    while (!ab_utf8_ok(shown)) /* whole characters */
        shown.n--;
    if (tools->left_out.n < LEFT_OUT_BYTES_MAX)
        ab_buf_format(&tools->left_out, "%.*s: %s\n", AB_VIEW_FMT(shown), why);
}

static int add_tool(struct mcp_tools *tools, const json_t *definition, struct ab_error *err)
{
    struct ab_buf text = {0};
    const char *name = ab_tree_str(definition, "name"), *why = fault_of(definition);
    if (!why && ab_json_text_max(definition, &text, MCP_TOOL_BYTES_MAX))
        why = "its definition is too long";
    tools->bytes += text.n;
    ab_buf_finish(&text);
    if (tools->bytes > MCP_TOOLS_BYTES_MAX)
        return ab_fail(err, AB_ETOOLARGE, "the definitions of its tools have more than %d bytes",
                       MCP_TOOLS_BYTES_MAX);
    if (tools->n == MCP_TOOLS_MAX)
        return ab_fail(err, AB_ETOOLARGE, "it lists more than %d tools", MCP_TOOLS_MAX);
    struct mcp_tool tool = {0};
    if (!why) {
        read_tool(definition, &tool);
        why = headers_read(&tool);
    }
    if (why) {
        tool_finish(&tool);
        leave_out(tools, name, why);
        return 0;
    }
    tools->items = ab_realloc(tools->items, (tools->n + 1) * sizeof *tools->items);
    tools->items[tools->n++] = tool;
    return 0;
}

/* --- the list ------------------------------------------------------------------------------------------------- */

int mcp_tools_add(struct mcp_tools *tools, const json_t *page, const char **cursor, struct ab_error *err)
{
    const json_t *list = json_object_get(page, "tools");
    size_t i;
    json_t *one;
    *cursor = ab_tree_str(page, "nextCursor");
    if (*cursor && !**cursor)
        *cursor = NULL;
    if (!json_is_array(list))
        return ab_fail(err, AB_EINVALID, "its tools/list has no list of tools");
    if (++tools->pages == MCP_PAGES_MAX && *cursor)
        return ab_fail(err, AB_ETOOLARGE, "its tools/list goes on after %d pages", MCP_PAGES_MAX);
    json_array_foreach (list, i, one) {
        int code = add_tool(tools, one, err);
        if (code)
            return code;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct mcp_tool *)a)->name, ((const struct mcp_tool *)b)->name);
}

void mcp_tools_end(struct mcp_tools *tools)
{
    size_t kept = 0;
    if (tools->n)
        qsort(tools->items, tools->n, sizeof *tools->items, by_name);
    for (size_t i = 0; i < tools->n; i++) {
        struct mcp_tool *tool = &tools->items[i];
        if (kept && !strcmp(tools->items[kept - 1].name, tool->name)) {
            leave_out(tools, tool->name, "it is listed twice");
            tool_finish(tool);
        } else {
            tools->items[kept++] = *tool;
        }
    }
    tools->n = kept;
}

struct mcp_tools *mcp_tools_create(void)
{
    struct mcp_tools *tools = ab_calloc(1, sizeof *tools);
    tools->uses = 1;
    return tools;
}

struct mcp_tools *mcp_tools_ref(struct mcp_tools *tools)
{
    tools->uses++;
    return tools;
}

void mcp_tools_unref(struct mcp_tools *tools)
{
    if (!tools || --tools->uses)
        return;
    for (size_t i = 0; i < tools->n; i++)
        tool_finish(&tools->items[i]);
    free(tools->items);
    ab_buf_finish(&tools->left_out);
    free(tools);
}

bool mcp_tools_same(const struct mcp_tools *a, const struct mcp_tools *b)
{
    size_t i = 0;
    while (a->n == b->n && i < a->n && !strcmp(a->items[i].digest, b->items[i].digest))
        i++;
    return a->n == b->n && i == a->n;
}

const struct mcp_tool *mcp_tools_find(const struct mcp_tools *tools, const char *name)
{
    for (size_t i = 0; i < tools->n; i++)
        if (!strcmp(tools->items[i].name, name))
            return &tools->items[i];
    return NULL;
}
