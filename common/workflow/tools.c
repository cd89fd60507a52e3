/* Reads the tools of an agent, and the tool calls that a script makes. */
#include "common/workflow/tools.h"

#include <stdio.h>

#include "common/workflow/reading.h"

static const struct ab_choice names[] = {
#define X(name, doc) {#name, 0},
    AB_TOOLS(X)
#undef X
        {0}};

/* --- of an agent ---------------------------------------------------------------------------------------------- */

static json_t *fault(struct ab_reading *r, char *what, const char *hint)
{
    ab_reading_fault(r, what, ab_format("%s", hint));
    return NULL;
}

/* Text, or a fault that says what is wanted. */
static const char *text_of(struct ab_reading *r, const json_t *value, const char *wanted, const char *hint)
{
    if (!json_is_string(value))
        fault(r, ab_format("must be %s, not %s", wanted, ab_kind_name(value)), hint);
    return json_string_value(value);
}

json_t *ab_read_tool_builtin(struct ab_reading *r, json_t *value)
{
    const char *name = text_of(r, value, "the name of a tool", "such as calculator");
    return name && ab_read_choice(r, names, name) ? json_incref(value) : NULL;
}

json_t *ab_read_tool_server(struct ab_reading *r, json_t *value)
{
    const char *name = text_of(r, value, "the name of an MCP server", "as the worker's configuration has it");
    if (!name || ab_tool_server_ok(ab_view_of(name)))
        return name ? json_incref(value) : NULL;
    return fault(r, ab_format("\"%.64s\" is no name of an MCP server", name),
                 "at most 32 of A-Z a-z 0-9 - and single _ between them");
}

static json_t *read_others_name(struct ab_reading *r, json_t *value)
{
    const char *name = text_of(r, value, "the name of a tool", "as the server has it");
    if (!name || (*name && json_string_length(value) <= AB_TOOL_OTHERS_MAX))
        return name ? json_incref(value) : NULL;
    return fault(r, ab_format("is a name of %zu characters", json_string_length(value)), "from 1 to 128");
}

json_t *ab_read_tool_allow(struct ab_reading *r, json_t *value)
{
    return ab_read_list(r, value, 1, AB_TOOLS_ALLOW_MAX, "tools", read_others_name);
}

/* NAME or NAME@VERSION. */
json_t *ab_read_tool_skill(struct ab_reading *r, json_t *value)
{
    const char *text = text_of(r, value, "the name of a skill", "NAME or NAME@VERSION");
    size_t n = text ? strcspn(text, "@") : 0;
    if (!text)
        return NULL;
    if (ab_tool_name_ok(ab_view(text, n)) && (!text[n] || ab_tool_name_ok(ab_view_of(text + n + 1))))
        return json_incref(value);
    return fault(r, ab_format("\"%.64s\" is no name of a skill", text),
                 "NAME or NAME@VERSION, each at most 64 of A-Z a-z 0-9 _ -");
}

json_t *ab_read_tool_name(struct ab_reading *r, json_t *value)
{
    const char *name = text_of(r, value, "a name", "as the model shall see it");
    if (!name || ab_tool_name_ok(ab_view_of(name)))
        return name ? json_incref(value) : NULL;
    return fault(r, ab_format("\"%.80s\" is no name of a tool", name), "at most 64 of A-Z a-z 0-9 _ -");
}

/* Whose name it is, is looked at when the agent's tools are known: ab_workflow_supported(). */
json_t *ab_read_tool_choice(struct ab_reading *r, json_t *value)
{
    const char *text = text_of(r, value, "auto, required or the name of a tool", "such as required");
    if (!text || ab_tool_name_ok(ab_view_of(text)))
        return text ? json_incref(value) : NULL;
    return fault(r, ab_format("\"%.80s\" is no name of a tool", text), "auto, required or the name of a tool");
}

json_t *ab_read_flag(struct ab_reading *r, json_t *value)
{
    if (json_is_boolean(value))
        return json_incref(value);
    return fault(r, ab_format("must be true or false, not %s", ab_kind_name(value)), "");
}

/* What a model calls an agent or a workflow that says nothing about it. */
static void name_it(json_t *out, const char *kind)
{
    char name[AB_TOOL_NAME_MAX + 1];
    const json_t *called = json_object_get(out, kind);
    const char *text = json_is_object(called) ? ab_tree_str(called, "name") : json_string_value(called);
    if (!text || json_object_get(out, "name"))
        return;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "@"), text);
    for (char *c = name; *c; c++)
        if (*c == '.' || *c == ' ')
            *c = '_';
    json_object_set_new(out, "name", json_string(name));
}

static const struct ab_table *const tables[] = {
#define X(key, doc) &ab_tool_##key##_table,
    AB_TOOL_KINDS(X)
#undef X
};
static const char *const kinds[] = {
#define X(key, doc) #key,
    AB_TOOL_KINDS(X)
#undef X
};
enum { KINDS = sizeof kinds / sizeof *kinds, BUILTIN = KINDS - 1 };

/* Index of the kind; `name` is the last one. A second one is a fault. */
static size_t kind_of(struct ab_reading *r, const json_t *object)
{
    size_t found = BUILTIN;
    for (size_t i = 0; i < BUILTIN; i++) {
        if (!json_object_get(object, kinds[i]))
            continue;
        if (found != BUILTIN)
            ab_reading_fault(r, ab_format("names both %s and %s", kinds[found], kinds[i]),
                             ab_format("write two entries"));
        found = found == BUILTIN ? i : found;
    }
    return found;
}

/* A name, or an object that says what it is by its keys. */
static json_t *read_tool(struct ab_reading *r, json_t *value)
{
    size_t faults = r->faults.n;
    json_t *object = json_is_string(value) ? json_pack("{s:O}", "name", value) : json_incref(value),
           *out = NULL;
    if (json_is_object(object)) {
        size_t kind = kind_of(r, object);
        out = r->faults.n == faults ? ab_read_table(r, tables[kind], object) : NULL;
        name_it(out, "agent");
        name_it(out, "workflow");
    } else {
        fault(r, ab_format("must be the name of a tool or an object, not %s", ab_kind_name(value)),
              "such as calculator, {name: calculator, approval: ask}, {mcp: SERVER} or {skill: NAME}");
    }
    json_decref(object);
    if (r->faults.n == faults)
        return out;
    json_decref(out);
    return NULL;
}

/* --- no name twice -------------------------------------------------------------------------------------------- */

/* Each name that is known without asking anybody, once; a server of which all are meant stands alone. */
struct seen {
    json_t *names, *servers, *whole; /* sets */
};

static bool add_once(json_t *set, const char *key)
{
    return json_object_get(set, key) ? false : !json_object_set_new(set, key, json_true());
}

static void see(struct ab_reading *r, struct seen *seen, const char *name, const char *shown)
{
    const char *sep = strstr(name, "__");
    char server[AB_TOOL_SERVER_MAX + 1] = "";
    if (sep && (size_t)(sep - name) < sizeof server)
        snprintf(server, sizeof server, "%.*s", (int)(sep - name), name);
    if (!add_once(seen->names, name))
        ab_reading_fault(r, ab_format("names %s twice", shown), ab_format("once is enough"));
    else if (json_object_get(seen->whole, server))
        ab_reading_fault(r, ab_format("names %s, which may be of the MCP server %s too", shown, server),
                         ab_format("give that server's entry an `allow`"));
}

static void see_server(struct ab_reading *r, struct seen *seen, const json_t *entry)
{
    const char *server = ab_tree_str(entry, "mcp");
    const json_t *allow = json_object_get(entry, "allow"), *tool;
    char name[AB_TOOL_NAME_MAX + 1];
    size_t i;
    bool first = add_once(seen->servers, server);
    if (!allow && !first)
        ab_reading_fault(r, ab_format("names the MCP server %s twice", server),
                         ab_format("of two entries both need `allow`"));
    json_array_foreach (allow, i, tool) {
        ab_tool_mcp_name(server, json_string_value(tool), name);
        see(r, seen, name, name);
    }
}

static void check_twice(struct ab_reading *r, const json_t *tools)
{
    struct seen seen = {json_object(), json_object(), json_object()};
    size_t i;
    json_t *entry;
    json_array_foreach (tools, i, entry)
        if (json_object_get(entry, "mcp") && !json_object_get(entry, "allow"))
            json_object_set_new(seen.whole, ab_tree_str(entry, "mcp"), json_true());
    json_array_foreach (tools, i, entry) {
        struct ab_buf shown = {0};
        if (json_object_get(entry, "mcp")) {
            see_server(r, &seen, entry);
            continue;
        }
        ab_tool_show(entry, &shown);
        see(r, &seen, ab_buf_cstr(&shown), ab_buf_cstr(&shown));
        ab_buf_finish(&shown);
    }
    json_decref(seen.names);
    json_decref(seen.servers);
    json_decref(seen.whole);
}

json_t *ab_read_tools(struct ab_reading *r, json_t *value)
{
    json_t *out = ab_read_list(r, value, 0, AB_TOOLS_MAX, "tools", read_tool);
    check_twice(r, out);
    return out;
}

/* --- of a script ---------------------------------------------------------------------------------------------- */

static json_t *read_call(struct ab_reading *r, json_t *value)
{
    if (json_is_object(value))
        return ab_read_table(r, &ab_tool_call_table, value);
    ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(value)),
                     ab_format("such as {name: calculator, arguments: {expression: 1 + 1}}"));
    return NULL;
}

json_t *ab_read_tool_calls(struct ab_reading *r, json_t *value)
{
    return ab_read_list(r, value, 1, AB_TOOLS_MAX, "tool calls", read_call);
}

/* An object; text is taken as it is, so that a script can write what a model gets wrong. */
json_t *ab_read_arguments(struct ab_reading *r, json_t *value)
{
    if (json_is_object(value) || json_is_string(value))
        return json_incref(value);
    ab_reading_fault(r, ab_format("must be an object, not %s", ab_kind_name(value)),
                     ab_format("such as {expression: 1 + 1}"));
    return NULL;
}
