/* tool.h: the registry, single tools, and arguments against their schemas. */
#include <assert.h>
#include <stdlib.h>

#include "common/json_schema.h"
#include "common/tree.h"
#include "common/version.h"
#include "common/workflow/tools.h"
#include "worker/tool/internal.h"

enum { FAULTS_TOLD_MAX = 5, SCHEMA_DEPTH_MAX = 64 };

/* --- the registry --------------------------------------------------------------------------------------------- */

struct tools *tools_create(const json_t *hosts, struct ab_error *err)
{
    struct http_pool *http = http_pool_create("autobots/" AB_VERSION, err);
    if (!http)
        return NULL;
    struct tools *tools = ab_calloc(1, sizeof *tools);
    tools->http = http;
    tools->hosts = hosts;
    return tools;
}

void tools_destroy(struct tools *tools)
{
    if (!tools)
        return;
    http_pool_destroy(tools->http);
    free(tools);
}

void tools_register(struct tools *tools, const struct tool_source *source, void *self)
{
    assert(tools->n_sources < TOOL_SOURCES_MAX);
    tools->sources[tools->n_sources].source = source;
    tools->sources[tools->n_sources++].self = self;
}

int tools_fd(const struct tools *tools)
{
    return http_pool_fd(tools->http);
}

int64_t tools_deadline_ms(const struct tools *tools)
{
    return http_pool_deadline_ms(tools->http);
}

void tools_run(struct tools *tools, int64_t now_ms)
{
    http_run(tools->http, now_ms);
}

/* --- one tool ------------------------------------------------------------------------------------------------- */

static bool deeper_than(const json_t *tree, int levels)
{
    const char *key;
    json_t *value;
    size_t i;
    if (!levels)
        return json_object_size(tree) || json_array_size(tree);
    json_object_foreach ((json_t *)(uintptr_t)tree, key, value)
        if (deeper_than(value, levels - 1))
            return true;
    json_array_foreach (tree, i, value)
        if (deeper_than(value, levels - 1))
            return true;
    return false;
}

/* Of a schema as a model is told it; its text is measured on the way. */
static int check_schema(const char *name, const json_t *schema, size_t *bytes, struct ab_error *err)
{
    struct ab_buf text = {0};
    const char *type = ab_tree_str(schema, "type");
    int code = 0;
    if (!json_is_object(schema) || (json_object_get(schema, "type") && !(type && !strcmp(type, "object"))))
        code = ab_fail(err, AB_EINVALID,
                       "the arguments of the tool %s are described by no JSON Schema of an object", name);
    else if (deeper_than(schema, SCHEMA_DEPTH_MAX))
        code = ab_fail(err, AB_EINVALID, "the schema of the tool %s is deeper than %d levels", name,
                       SCHEMA_DEPTH_MAX);
    else if (ab_json_text_max(schema, &text, TOOL_SCHEMA_BYTES_MAX))
        code = ab_fail(err, AB_ETOOLARGE, "the schema of the tool %s has more than %d bytes", name,
                       TOOL_SCHEMA_BYTES_MAX);
    *bytes = text.n;
    ab_buf_finish(&text);
    return code;
}

/* Endpoints want a type; that it is an object goes without saying. */
static json_t *schema_of(const json_t *schema)
{
    json_t *copy = schema ? json_deep_copy(schema) : json_pack("{s{}}", "properties");
    json_object_set_new(copy, "type", json_string("object"));
    return copy;
}

struct tool *tool_make(const struct tool_spec *spec, struct ab_error *err)
{
    const char *description = spec->description ? spec->description : "", *version = spec->version;
    size_t bytes = 0;
    if (!ab_tool_name_ok(ab_view_of(spec->name))) {
        ab_fail(err, AB_EINVALID, "\"%.80s\" is no name that a model can be given", spec->name);
        return NULL;
    }
    if (strlen(description) > TOOL_DESCRIPTION_BYTES_MAX ||
        (version && strlen(version) > TOOL_VERSION_BYTES_MAX)) {
        ab_fail(err, AB_ETOOLARGE, "the description or version of the tool %s has more than %d bytes",
                spec->name, TOOL_DESCRIPTION_BYTES_MAX);
        return NULL;
    }
    if (spec->parameters && check_schema(spec->name, spec->parameters, &bytes, err))
        return NULL;
    struct tool *tool = ab_calloc(1, sizeof *tool);
    *tool = (struct tool){.name = ab_strdup(spec->name),
                          .description = ab_strdup(description),
                          .version = ab_strdup(version ? version : ""),
                          .parameters = schema_of(spec->parameters),
                          .idempotent = spec->idempotent,
                          .ops = spec->ops,
                          .data = spec->data,
                          .bytes = bytes + strlen(description) + strlen(spec->name),
                          .uses = 1};
    return tool;
}

struct tool *tool_ref(struct tool *tool)
{
    tool->uses++;
    return tool;
}

void tool_unref(struct tool *tool)
{
    if (!tool || --tool->uses)
        return;
    free(tool->name);
    free(tool->description);
    free(tool->version);
    json_decref(tool->parameters);
    free(tool);
}

/* --- arguments ------------------------------------------------------------------------------------------------ */

static void tell(const struct ab_faults *faults, struct ab_error *err)
{
    struct ab_buf text = {0};
    for (size_t i = 0; i < faults->n && i < FAULTS_TOLD_MAX; i++) {
        const struct ab_fault *fault = &faults->items[i];
        ab_buf_format(&text, "%s%s %s%s%s", i ? "; " : "", fault->path, fault->what, *fault->hint ? ": " : "",
                      fault->hint);
    }
    ab_fail(err, AB_EINVALID, "the arguments do not fit: %s", ab_buf_cstr(&text));
    ab_buf_finish(&text);
}

json_t *tool_arguments(const struct tool *tool, const char *text, struct ab_error *err)
{
    struct ab_faults faults = {0};
    struct ab_error why = {0};
    json_t *arguments = NULL;

    if (strlen(text) > TOOL_ARGUMENTS_BYTES_MAX) {
        ab_fail(err, AB_ETOOLARGE, "the arguments have more than %d bytes", TOOL_ARGUMENTS_BYTES_MAX);
        return NULL;
    }
    if (ab_json_parse(ab_view_of(text), &arguments, &why)) {
        ab_fail(err, AB_EINVALID, "the arguments are no JSON: %s: %s", why.path, why.text);
        return NULL;
    }
    if (!ab_json_schema_validate(tool->parameters, arguments, &faults))
        return arguments;
    tell(&faults, err);
    ab_faults_finish(&faults);
    json_decref(arguments);
    return NULL;
}
