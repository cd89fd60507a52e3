/* The tool `search_session`: full text of what was said in the job's session before. Asks storage, for the job's user and in its
 * session only; what the running job has said itself stands in the conversation already and is left out.
 */
#include <stdlib.h>

#include "common/tree.h"
#include "worker/worker.h"

enum { LIMIT_DEFAULT = 5, LIMIT_MAX = 20 };

struct lookup {
    struct worker *worker;
    struct query *query;
    struct ab_id job;
    uint64_t limit;
    tool_done_fn *done;
    void *user;
};

/* "1. assistant, 2026-01-31T12:00:00.000Z: …text…" */
static void add_hit(const struct ab_search_hit *hit, unsigned number, struct ab_buf *text)
{
    ab_buf_format(text, "%u. %.*s, %.*s: %.*s\n", number, AB_VIEW_FMT(hit->role), AB_VIEW_FMT(hit->timestamp),
                  AB_VIEW_FMT(hit->snippet));
}

static int say(const struct lookup *lookup, struct ab_view answer, struct ab_buf *text, struct ab_error *err)
{
    struct ab_op_search_messages_answer found;
    struct ab_search_hit hit;
    struct ab_view item;
    uint32_t n = 0;
    unsigned shown = 0;
    int code = ab_decode(&ab_op_search_messages_answer_schema, answer, &found, err);
    struct ab_reader reader = ab_reader(found.hits);
    if (code || ab_read_array(&reader, &n))
        return code;
    while (!code && n-- && shown < lookup->limit && !ab_read_any(&reader, &item))
        if (!(code = ab_decode(&ab_search_hit_schema, item, &hit, err)) &&
            memcmp(hit.job.b, lookup->job.b, AB_ID_BYTES) != 0)
            add_hit(&hit, ++shown, text);
    if (!shown)
        ab_buf_format(text, "Nothing in this conversation's earlier messages has all these words%s.\n",
                      found.behind ? ", as far as they can be searched already" : "");
    return code;
}

static void on_answer(void *user, struct ab_view answer, const struct ab_error *error)
{
    struct lookup *lookup = user;
    struct ab_buf text = {0};
    struct ab_error err = {0};
    if (error) /* of the request: the path is its field */
        ab_fail(&err, error->code, "%s%s%s", error->path, *error->path ? " " : "", error->text);
    else
        say(lookup, answer, &text, &err);
    struct tool_result result = {.text = ab_buf_view(&text)};
    lookup->done(lookup->user, err.code ? NULL : &result, err.code ? &err : NULL);
    ab_buf_finish(&text);
    free(lookup);
}

static void *start(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                   tool_done_fn *done, void *user, struct ab_error *err)
{
    struct run *run = context->scope->owner;
    uint64_t limit = (uint64_t)ab_tree_int(arguments, "limit", LIMIT_DEFAULT);
    (void)tool;
    if (!*context->scope->session) {
        ab_fail(err, AB_EINVALID, "this job has no session, so nothing was said before it");
        return NULL;
    }
    struct lookup *lookup = ab_calloc(1, sizeof *lookup);
    *lookup =
        (struct lookup){.worker = run->worker, .job = run->job, .limit = limit, .done = done, .user = user};
    const struct ab_op_search_messages request = {
        .user = ab_view_of(context->scope->user),
        .session = ab_view_of(context->scope->session),
        .query = ab_tree_view(arguments, "query"),
        .limit = limit + 1, /* the job's own question may be one */
    };
    lookup->query = queries_ask_for(run->worker, AB_OP_search_messages, &request, on_answer, lookup);
    return lookup;
}

static void cancel(void *started)
{
    struct lookup *lookup = started;
    query_drop(lookup->worker, lookup->query);
    free(lookup);
}

const struct tool_builtin tool_search_session = {
    .name = "search_session",
    .description =
        "Searches the earlier messages of this conversation, also those that you are not shown, and answers a "
        "piece "
        "of each that has all the words. Use few words, \"phrases in quotation marks\" and prefixes (prog*).",
    .parameters =
        "{\"type\":\"object\",\"properties\":{\"query\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":"
        "1024,"
        "\"description\":\"what to look for\"},\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":20,"
        "\"description\":\"at most so many messages (default 5)\"}},\"required\":[\"query\"],"
        "\"additionalProperties\":false}",
    .idempotent = true,
    .ops = {.start = start, .cancel = cancel},
};
_Static_assert(LIMIT_MAX == 20 && LIMIT_DEFAULT == 5, "the schema says so");
