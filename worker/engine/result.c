/* What comes of a run: its answer, its result tree, and the history that a later run is given. */
#include "worker/engine/node.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/files.h"

static const char *const summary_names[] = {
    [AB_SUMMARY_LAST] = "last", [AB_SUMMARY_LLM] = "llm", [AB_SUMMARY_NONE] = "none"};

char *engine_summary(const struct engine *engine)
{
    return scope_answer(&engine->run);
}

static json_t *time_tree(int64_t at_ms)
{
    char text[AB_ISO8601_MAX];
    return json_string(ab_iso8601(at_ms, text));
}

/* What an answer of a given shape says. */
static void add_parsed(json_t *tree, const struct line *line)
{
    json_t *value = format_line_value(line);
    if (value)
        json_object_set_new(tree, "parsed", value);
}

static void add_messages(json_t *messages, const struct transcript *transcript)
{
    for (size_t i = 0; i < transcript->n; i++) {
        const struct line *line = &transcript->lines[i];
        json_t *message = json_pack("{ss ss sO so}", "agent", line->from->name, "to", line->to->name, "content",
                                    line->content, "at", time_tree(line->at_ms));
        add_parsed(message, line);
        json_array_append_new(messages, message);
    }
}

/* Branch after branch, as the workflow lists them: not in the order in which they happened to speak. What was called as a
 * tool is seen by its caller only. */
static json_t *messages_tree(const struct engine *engine)
{
    json_t *messages = json_array();
    for (size_t i = 0; i < engine->n_branches; i++)
        if (!engine->branches[i]->call)
            add_messages(messages, &engine->branches[i]->log);
    return messages;
}

struct usage_table usage_own(const struct engine *engine)
{
    struct usage_table own = {0};
    for (size_t i = 0; i < engine->n_branches; i++)
        usage_merge(&own, &engine->branches[i]->usage);
    usage_subtract(&own, &engine->copied);
    return own;
}

static json_t *own_usage_tree(const struct engine *engine)
{
    struct usage_table own = usage_own(engine);
    json_t *tree = usage_tree(&own);
    free(own.rows);
    return tree;
}

static json_t *fork_tree(const struct engine *engine)
{
    char job[AB_ID_TEXT];
    return json_pack("{ss sI so}", "job", ab_id_text(engine->forked_of, job), "seq",
                     (json_int_t)engine->forked_seq, "usage", usage_tree(&engine->copied));
}

/* Which of its termination conditions ended the conversation, as the workflow has it. */
static void add_condition(json_t *result, const struct node *node)
{
    if (node && node->ending.by)
        json_object_set(result, "stop_condition", node->ending.by->tree);
}

/* What came of each step or conversation so far. */
static json_t *results_tree(const struct node *root)
{
    json_t *results = json_array();
    for (size_t i = 0; i < root->n_children; i++) {
        const struct node *child = root->children[i];
        char *answer = node_answer(child);
        json_t *result = json_pack("{ss ss ss}", "agent", child->receiver->name, "content", answer,
                                   "stop_reason", engine_stop_name(child->stop));
        add_condition(result, child);
        add_parsed(result, child->ops->last(child));
        json_array_append_new(results, result);
        free(answer);
    }
    return results;
}

static json_t *files_tree(const struct engine *engine)
{
    json_t *files = json_array();
    for (size_t i = 0; i < engine->n_branches; i++) {
        const struct branch *branch = engine->branches[i];
        ab_files_tree(ab_view_of(branch->folder), ab_buf_view(&branch->files), files);
    }
    return files;
}

json_t *engine_result(const struct engine *engine, const char *stop_reason, int64_t at_ms)
{
    int64_t end_ms = at_ms > engine->last_ms ? at_ms : engine->last_ms;
    int64_t begin_ms = engine->forked_ms ? engine->forked_ms : engine->begun ? engine->begin_ms : end_ms;
    json_t *result = json_pack("{so ss so so so sf ss so}", "messages", messages_tree(engine), "summary_method",
                               summary_names[engine->run.workflow->summary], "files", files_tree(engine),
                               "start_time", time_tree(begin_ms), "end_time", time_tree(end_ms), "duration_s",
                               (double)(end_ms - begin_ms) / 1000, "stop_reason", stop_reason, "usage",
                               own_usage_tree(engine));
    if (!ab_id_zero(engine->forked_of))
        json_object_set_new(result, "forked", fork_tree(engine));
    if (engine->run.root && engine->run.root->ops->next == NULL)
        json_object_set_new(result, "results", results_tree(engine->run.root));
    add_condition(result, engine->run.root);
    if (engine->run.root && engine->run.workflow->summary == AB_SUMMARY_LAST)
        add_parsed(result, engine->run.root->ops->last(engine->run.root));
    if (engine->offline)
        json_object_set_new(result, "offline", json_true());
    return result;
}

int engine_history(struct ab_view messages, size_t messages_max, size_t bytes_max, struct ab_buf *out,
                   struct ab_error *err)
{
    struct ab_reader reader = ab_reader(messages);
    uint32_t n, first;
    if (ab_read_array(&reader, &n))
        return ab_fail_at(err, AB_EINVALID, "messages", "the session's history is not an array");
    struct ab_view *all = ab_calloc(n ? n : 1, sizeof *all); /* n <= messages.n: each has a byte at least */
    int code = 0;

    for (uint32_t i = 0; !code && i < n; i++)
        code = ab_read_any(&reader, &all[i]);
    size_t bytes = 0;
    for (first = n; !code && first > 0 && n - first < messages_max; first--) {
        bytes += all[first - 1].n;
        if (bytes > bytes_max)
            break;
    }
    if (!code) {
        ab_pack_array(out, n - first);
        for (uint32_t i = first; i < n; i++)
            ab_buf_add(out, all[i].p, all[i].n);
    } else {
        ab_fail_at(err, code, "messages", "the session's history is damaged");
    }
    free(all);
    return code;
}
