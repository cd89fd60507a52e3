/* tool.h: the registry. */
#include "worker/tool/internal.h"

#include <stdlib.h>

#include "common/json_schema.h"
#include "common/tree.h"
#include "common/version.h"
#include "common/workflow/tools.h"

enum { ARGUMENTS_BYTES_MAX = 1 << 20, FAULTS_TOLD_MAX = 5 };

/* One row for each name that a workflow may have. */
static const struct tool_ops *const kinds[] = {
#define X(name, doc) &tool_##name,
    AB_TOOLS(X)
#undef X
};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct tools *tools_create(const json_t *hosts, struct ab_error *err)
{
    struct http_pool *http = http_pool_create("autobots/" AB_VERSION, err);
    if (!http)
        return NULL;
    struct tools *tools = ab_calloc(1, sizeof *tools);
    tools->http = http;
    tools->hosts = hosts;
    tools->tools = ab_calloc(KINDS, sizeof *tools->tools);
    for (size_t i = 0; i < KINDS; i++) {
        tools->tools[i].ops = kinds[i];
        ab_json_parse(ab_view_of(kinds[i]->parameters), &tools->tools[i].parameters, NULL);
    }
    return tools;
}

void tools_destroy(struct tools *tools)
{
    if (!tools)
        return;
    for (size_t i = 0; i < KINDS; i++)
        json_decref(tools->tools[i].parameters);
    http_pool_destroy(tools->http);
    free(tools->tools);
    free(tools);
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

const struct tool *tools_find(const struct tools *tools, const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (!strcmp(tools->tools[i].ops->name, name))
            return &tools->tools[i];
    return NULL;
}

json_t *tools_described(const struct tools *tools, const json_t *wanted)
{
    json_t *out = NULL, *one;
    size_t i;
    json_array_foreach (wanted, i, one) {
        const struct tool *tool = tools_find(tools, ab_tree_str(one, "name"));
        if (!tool)
            continue;
        out = out ? out : json_array();
        json_array_append_new(out, json_pack("{ss s{ss ss sO}}", "type", "function", "function", "name",
                                             tool->ops->name, "description", tool->ops->description,
                                             "parameters", tool->parameters));
    }
    return out;
}

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

    if (strlen(text) > ARGUMENTS_BYTES_MAX) {
        ab_fail(err, AB_ETOOLARGE, "the arguments have more than %d bytes", ARGUMENTS_BYTES_MAX);
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
