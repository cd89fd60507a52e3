/* openai_tools.h. A fragment belongs to the call with its index; else with its id; else, if it has a name, it starts a
 * new call; else it goes on with the last one. */
#include "worker/model/openai_tools.h"

#include <inttypes.h>
#include <stdlib.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && *text ? text : NULL;
}

static struct openai_tool *with_id(struct openai_parse *parse, const char *id)
{
    for (size_t i = 0; id && i < parse->tool_count; i++) {
        const char *other = text_of(parse->tools[i].call, "id");
        if (other && !strcmp(other, id))
            return &parse->tools[i];
    }
    return NULL;
}

/* The last call with this index: servers that number every call 0 tell them apart by id and name. */
static struct openai_tool *with_index(struct openai_parse *parse, int64_t index, const json_t *fragment)
{
    const char *id = text_of(fragment, "id"), *name = text_of(json_object_get(fragment, "function"), "name");
    for (size_t i = parse->tool_count; i-- > 0;) {
        struct openai_tool *tool = &parse->tools[i];
        if (tool->index != index)
            continue;
        const char *other = text_of(tool->call, "id");
        bool another_call = id && name && other && strcmp(id, other);
        return another_call ? NULL : tool;
    }
    return NULL;
}

static struct openai_tool *find(struct openai_parse *parse, const json_t *fragment)
{
    const json_t *index = json_object_get(fragment, "index");
    const char *id = text_of(fragment, "id");
    if (json_is_integer(index)) {
        struct openai_tool *tool = with_id(parse, id);
        return tool ? tool : with_index(parse, json_integer_value(index), fragment);
    }
    if (id && (with_id(parse, id) || text_of(json_object_get(fragment, "function"), "name")))
        return with_id(parse, id);
    if (text_of(json_object_get(fragment, "function"), "name") || !parse->tool_count)
        return NULL;
    return &parse->tools[parse->tool_count - 1];
}

static struct openai_tool *add(struct openai_parse *parse, const json_t *fragment)
{
    const json_t *index = json_object_get(fragment, "index");
    parse->tools = ab_realloc(parse->tools, (parse->tool_count + 1) * sizeof *parse->tools);
    struct openai_tool *tool = &parse->tools[parse->tool_count++];
    *tool = (struct openai_tool){.call = json_object(),
                                 .index = json_is_integer(index) ? json_integer_value(index) : -1};
    json_object_set_new(tool->call, "function", json_object());
    return tool;
}

/* Names come whole, whole again with every fragment, or (rarely) in pieces. */
static void merge_name(json_t *function, json_t *value)
{
    const char *have = text_of(function, "name"), *more = json_string_value(value);
    if (!more || !*more || (have && !strcmp(have, more)))
        return;
    char *name = ab_format("%s%s", have ? have : "", more);
    json_object_set_new(function, "name", json_string(name));
    free(name);
}

static void merge_arguments(struct openai_tool *tool, json_t *value)
{
    if (json_is_string(value)) {
        ab_buf_add(&tool->arguments, json_string_value(value), json_string_length(value));
    } else if (json_is_object(value) || json_is_array(value)) {
        char *text = json_dumps(value, JSON_COMPACT);
        ab_buf_text(&tool->arguments, text ? text : "");
        free(text);
    }
}

static void merge_function(struct openai_tool *tool, json_t *source)
{
    const char *key;
    json_t *value, *function = json_object_get(tool->call, "function");
    json_object_foreach (source, key, value) {
        if (!strcmp(key, "name"))
            merge_name(function, value);
        else if (!strcmp(key, "arguments"))
            merge_arguments(tool, value);
        else if (!json_is_null(value))
            json_object_set(function, key, value);
    }
}

int64_t openai_tools_merge(struct openai_parse *parse, json_t *fragment, struct ab_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(fragment))
        return 0;
    struct openai_tool *tool = find(parse, fragment);
    if (!tool && parse->tool_count == OPENAI_TOOL_CALLS_MAX)
        return ab_fail(err, AB_ETOOLARGE, "the model asks for more than %d tool calls", OPENAI_TOOL_CALLS_MAX);
    if (!tool)
        tool = add(parse, fragment);
    size_t before = tool->arguments.n;
    json_object_foreach (fragment, key, value) {
        bool empty_text = json_is_string(value) && !json_string_length(value);
        bool has_one = !strcmp(key, "id") && text_of(tool->call, "id"); /* the first id is the call's */
        if (!strcmp(key, "function"))
            merge_function(tool, value);
        else if (strcmp(key, "index") && !json_is_null(value) && !empty_text && !has_one)
            json_object_set(tool->call, key, value);
    }
    return (int64_t)(tool->arguments.n - before);
}

/* What a server left out. */
static void complete(struct openai_parse *parse, struct openai_tool *tool, size_t n)
{
    json_t *function = json_object_get(tool->call, "function");
    if (!tool->arguments.n)
        ab_buf_text(&tool->arguments, "{}");
    json_object_set_new(function, "arguments", json_stringn(tool->arguments.p, tool->arguments.n));
    if (!text_of(tool->call, "type"))
        json_object_set_new(tool->call, "type", json_string("function"));
    if (text_of(tool->call, "id"))
        return;
    char *id = ab_format("call_%016" PRIx64 "_%zu", parse->id_seed, n);
    json_object_set_new(tool->call, "id", json_string(id));
    free(id);
}

json_t *openai_tools_detach(struct openai_parse *parse)
{
    json_t *calls = parse->tool_count ? json_array() : NULL;
    for (size_t i = 0; i < parse->tool_count; i++) {
        complete(parse, &parse->tools[i], i);
        json_array_append(calls, parse->tools[i].call);
    }
    openai_tools_finish(parse);
    return calls;
}

void openai_tools_finish(struct openai_parse *parse)
{
    for (size_t i = 0; i < parse->tool_count; i++) {
        json_decref(parse->tools[i].call);
        ab_buf_finish(&parse->tools[i].arguments);
    }
    free(parse->tools);
    parse->tools = NULL;
    parse->tool_count = 0;
}
