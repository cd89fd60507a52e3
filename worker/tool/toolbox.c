/* tool.h: the tools of one agent, from the offers of sources. An offer has two lists: the one that models are told, and the one
 * that is being made; ready() puts the second in the place of the first. Owns the tools, together with the calls that hold
 * them. */
#include <stdlib.h>

#include "common/log.h"
#include "common/tree.h"
#include "common/workflow/tools.h"
#include "worker/tool/internal.h"

struct list {
    struct tool **tools; /* by name */
    size_t n;
};

struct tool_offer {
    struct toolbox *toolbox;
    const struct tool_source *source;
    void *opened;   /* the source's; NULL: nothing to be closed */
    json_t *strict; /* borrowed of the entry; NULL: it does not say */
    struct list now, next;
    bool ready;
    struct ab_error error; /* code 0: it has not failed */
};

struct toolbox {
    struct tool_scope scope;
    struct tool_offer *offers; /* one for each entry, in their order */
    size_t n;
    bool opening;          /* sources are being asked: nobody is told of changes */
    struct ab_error clash; /* of the offers with each other */
    void (*changed)(void *user);
    void *user;
};

static void list_finish(struct list *list)
{
    for (size_t i = 0; i < list->n; i++)
        tool_unref(list->tools[i]);
    free(list->tools);
    *list = (struct list){0};
}

static struct tool *list_find(const struct list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->tools[i]->name, name))
            return list->tools[i];
    return NULL;
}

/* --- offers --------------------------------------------------------------------------------------------------- */

int tool_offer_add(struct tool_offer *offer, const struct tool_spec *spec, struct ab_error *err)
{
    struct list *list = &offer->next;
    if (list->n >= TOOLBOX_TOOLS_MAX)
        return ab_fail(err, AB_ETOOLARGE, "the tool %s is one more than the %d that an agent may have",
                       spec->name, TOOLBOX_TOOLS_MAX);
    if (list_find(list, spec->name))
        return ab_fail(err, AB_EINVALID, "the tool %s is there twice", spec->name);
    struct tool *tool = tool_make(spec, err);
    if (!tool)
        return err ? err->code : AB_EINVALID;
    size_t at = list->n;
    list->tools = ab_realloc(list->tools, ++list->n * sizeof(struct tool *));
    for (; at && strcmp(list->tools[at - 1]->name, tool->name) > 0; at--)
        list->tools[at] = list->tools[at - 1];
    list->tools[at] = tool;
    return 0;
}

void tool_offer_clear(struct tool_offer *offer)
{
    list_finish(&offer->next);
}

/* Of all the lists that models are told: how many, how long, no name twice. */
static int check_all(const struct toolbox *toolbox, struct ab_error *err)
{
    json_t *names = json_object();
    size_t n = 0, bytes = 0;
    int code = 0;
    for (size_t i = 0; i < toolbox->n; i++) {
        const struct list *list = &toolbox->offers[i].now;
        for (size_t k = 0; !code && k < list->n; k++) {
            const struct tool *tool = list->tools[k];
            n++;
            bytes += tool->bytes;
            if (json_object_get(names, tool->name))
                code = ab_fail(err, AB_EINVALID, "the agent %s has two tools that are called %s",
                               toolbox->scope.agent, tool->name);
            json_object_set_new(names, tool->name, json_true());
        }
    }
    json_decref(names);
    if (!code && n > TOOLBOX_TOOLS_MAX)
        code =
            ab_fail(err, AB_ETOOLARGE, "the agent %s has %zu tools, at most %d: name those it needs by `allow`",
                    toolbox->scope.agent, n, TOOLBOX_TOOLS_MAX);
    if (!code && bytes > TOOLBOX_BYTES_MAX)
        code = ab_fail(
            err, AB_ETOOLARGE,
            "the descriptions of the agent %s's tools have %zu bytes, at most %d: name those it needs by "
            "`allow`",
            toolbox->scope.agent, bytes, TOOLBOX_BYTES_MAX);
    return code;
}

static void tell_change(struct toolbox *toolbox)
{
    if (!toolbox->opening)
        toolbox->changed(toolbox->user);
}

void tool_offer_ready(struct tool_offer *offer)
{
    struct toolbox *toolbox = offer->toolbox;
    struct list before = offer->now;
    struct ab_error clash = {0};
    offer->now = offer->next;
    offer->next = (struct list){0};
    if (check_all(toolbox, &clash) && offer->ready && !toolbox->clash.code) {
        list_finish(&offer->now);
        offer->now = before;
        ab_log(AB_WARN, "tools.list_not_used", "agent", toolbox->scope.agent, "text", clash.text, NULL);
        return;
    }
    list_finish(&before);
    offer->ready = true;
    toolbox->clash = clash;
    tell_change(toolbox);
}

void tool_offer_fail(struct tool_offer *offer, const struct ab_error *error)
{
    offer->error = *error;
    tell_change(offer->toolbox);
}

/* --- toolboxes ------------------------------------------------------------------------------------------------ */

static void open_offer(struct tools *tools, struct tool_offer *offer, const json_t *entry)
{
    const char *kind = ab_tool_kind(entry);
    for (size_t i = 0; i < tools->n_sources; i++) {
        if (strcmp(tools->sources[i].source->kind, kind))
            continue;
        offer->source = tools->sources[i].source;
        offer->opened = offer->source->open(tools->sources[i].self, &offer->toolbox->scope, entry, offer);
        return;
    }
    ab_fail(&offer->error, AB_EINVALID, "this worker has no tools of the kind %s", kind);
}

struct toolbox *toolbox_open(struct tools *tools, const json_t *entries, const struct tool_scope *scope,
                             void (*changed)(void *user), void *user)
{
    struct toolbox *toolbox = ab_calloc(1, sizeof *toolbox);
    size_t i;
    json_t *entry;
    *toolbox = (struct toolbox){.scope = *scope, .opening = true, .changed = changed, .user = user};
    toolbox->n = json_array_size(entries);
    toolbox->offers = ab_calloc(toolbox->n, sizeof *toolbox->offers);
    json_array_foreach (entries, i, entry) {
        toolbox->offers[i].toolbox = toolbox;
        toolbox->offers[i].strict = json_object_get(entry, "strict");
        open_offer(tools, &toolbox->offers[i], entry);
    }
    toolbox->opening = false;
    return toolbox;
}

void toolbox_close(struct toolbox *toolbox)
{
    if (!toolbox)
        return;
    for (size_t i = 0; i < toolbox->n; i++) {
        struct tool_offer *offer = &toolbox->offers[i];
        if (offer->opened)
            offer->source->close(offer->opened);
        list_finish(&offer->now);
        list_finish(&offer->next);
    }
    free(toolbox->offers);
    free(toolbox);
}

enum toolbox_state toolbox_state(const struct toolbox *toolbox, struct ab_error *err)
{
    enum toolbox_state state = TOOLBOX_READY;
    for (size_t i = 0; i < toolbox->n; i++) {
        const struct tool_offer *offer = &toolbox->offers[i];
        if (offer->error.code) {
            *err = offer->error;
            return TOOLBOX_FAILED;
        }
        if (!offer->ready)
            state = TOOLBOX_PREPARING;
    }
    if (state != TOOLBOX_READY || !toolbox->clash.code)
        return state;
    *err = toolbox->clash;
    return TOOLBOX_FAILED;
}

const struct tool_scope *toolbox_scope(const struct toolbox *toolbox)
{
    return &toolbox->scope;
}

struct tool *toolbox_find(const struct toolbox *toolbox, const char *name)
{
    struct tool *found = NULL;
    for (size_t i = 0; !found && i < toolbox->n; i++)
        found = list_find(&toolbox->offers[i].now, name);
    return found;
}

static json_t *described(const struct tool *tool, json_t *strict)
{
    json_t *function = json_pack("{ss sO}", "name", tool->name, "parameters", tool->parameters);
    if (*tool->description)
        json_object_set_new(function, "description", json_string(tool->description));
    if (strict)
        json_object_set(function, "strict", strict);
    return json_pack("{ss so}", "type", "function", "function", function);
}

json_t *toolbox_described(const struct toolbox *toolbox)
{
    json_t *out = NULL;
    for (size_t i = 0; i < toolbox->n; i++) {
        const struct list *list = &toolbox->offers[i].now;
        for (size_t k = 0; k < list->n; k++) {
            out = out ? out : json_array();
            json_array_append_new(out, described(list->tools[k], toolbox->offers[i].strict));
        }
    }
    return out;
}
