/* GET /api/events: what a dashboard shows, as a stream. The broker tells which of the user's jobs have changed, storage what they
 * are now; that is sent as events named `job` (a job record, without its message and answer), or `gone` if there is no such job
 * any more. They are states, not steps: of several changes of a job that come at once the last is shown. Who begins is shown the newest
 * jobs first, up to an event `listed`; so is who was away for too long. A Last-Event-ID otherwise goes on behind it.
 *
 * An event's id is a cursor of the broker's, and only so great that nothing before it is still to be shown.
 *
 * Whoever may see the figures of the service is also sent `status`, when the broker's has changed; it is asked once a second.
 */
#include <stdlib.h>

#include "client/gateway/stream.h"

enum {
    BOARD_JOBS = 200,        /* listed at once */
    BOARD_PENDING_MAX = 256, /* changed and not shown yet: if there are more, all are listed */
    BOARD_PER_SECOND = 200,  /* jobs asked for */
};

struct pending {
    char job[AB_ID_TEXT];
    uint64_t since; /* cursor of its first change that was not shown */
};

struct board {
    struct board *prev, *next;
    struct call *call;
    struct stream *stream;
    uint64_t follow; /* 0: over */
    uint64_t cursor; /* the last one that the broker told */
    uint64_t listed; /* the one at which the list was asked for */
    bool to_list, asking;
    char asked[AB_ID_TEXT];  /* the job that is asked for */
    struct pending *pending; /* in the order of `since`; thousands of idle boards keep nothing */
    int pending_n, pending_cap, budget;
    char *status; /* what was sent last */
    bool status_asked;
};

static void forget(struct call *call)
{
    struct board *b = call->state;
    autobots_stop_follow(call->gateway->bots, b->follow);
    *(b->prev ? &b->prev->next : &call->gateway->boards) = b->next;
    if (b->next)
        b->next->prev = b->prev;
    free(b->pending);
    free(b->status);
    free(b);
    call->state = NULL;
}

static void tell(struct board *b, const char *id, const char *name, const json_t *tree)
{
    char *line = json_line(tree);
    stream_event(b->stream, id, name, ab_view_of(line));
    free(line);
}

static void fail(struct board *b, const struct autobots_error *error)
{
    struct ab_error err;
    memcpy(&err, error, sizeof err);
    json_t *tree = error_tree(ab_code_name(err.code), &err, NULL);
    tell(b, NULL, "error", tree);
    json_decref(tree);
    stream_end(b->stream);
    autobots_stop_follow(b->call->gateway->bots, b->follow);
    b->follow = 0;
}

/* What is left to be shown begins here. NULL: nobody knows any more, until all are listed. */
static const char *safe_id(const struct board *b, char text[24])
{
    if (b->to_list)
        return NULL;
    uint64_t cursor = b->pending_n ? b->pending[0].since - 1 : b->cursor;
    snprintf(text, 24, "%llu", (unsigned long long)cursor);
    return text;
}

/* ---- jobs ---- */

static void go_on(struct board *b);

/* Of the answer's tree, or NULL after it was told that there is none. */
static json_t *answer_tree(struct call *call, const struct autobots_answer *answer)
{
    struct board *b = call->connection ? call->state : NULL;
    json_t *tree = NULL;
    if (!b)
        return NULL;
    b->asking = false;
    if (answer->error)
        fail(b, answer->error);
    else
        ab_json_parse(ab_view_of(answer->json), &tree, NULL);
    return tree;
}

static void tell_job(struct board *b, json_t *job, const char *id)
{
    json_object_del(job, "content");
    json_object_del(job, "end");
    tell(b, id, "job", job);
}

static void on_list(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = answer_tree(call, answer), *list = json_object_get(tree, "jobs");
    char id[24];
    if (tree) {
        struct board *b = call->state;
        for (size_t i = json_array_size(list); i-- > 0;) /* the oldest first */
            tell_job(b, json_array_get(list, i), NULL);
        json_t *listed = json_pack("{s:i}", "jobs", (int)json_array_size(list));
        snprintf(id, sizeof id, "%llu", (unsigned long long)b->listed);
        tell(b, id, "listed", listed);
        json_decref(listed);
        go_on(b);
    }
    json_decref(tree);
    call_drop(call);
}

static void on_job(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    char id[24];
    bool gone = answer->error && answer->error->code == AB_ENOTFOUND && call->connection;
    if (gone) {
        struct board *b = call->state;
        json_t *tree = json_pack("{s:s}", "id", b->asked);
        b->asking = false;
        tell(b, safe_id(b, id), "gone", tree);
        json_decref(tree);
        go_on(b);
    }
    json_t *tree = gone ? NULL : answer_tree(call, answer);
    if (tree) {
        struct board *b = call->state;
        tell_job(b, json_object_get(tree, "job"), safe_id(b, id));
        go_on(b);
    }
    json_decref(tree);
    call_drop(call);
}

static void take_first(struct board *b)
{
    memcpy(b->asked, b->pending[0].job, sizeof b->asked);
    memmove(b->pending, b->pending + 1, (size_t)--b->pending_n * sizeof *b->pending);
    if (b->pending_n)
        return;
    free(b->pending);
    b->pending = NULL;
    b->pending_cap = 0;
}

static void add_pending(struct board *b, uint64_t since, const char *job)
{
    if (b->pending_n == b->pending_cap) {
        b->pending_cap = b->pending_cap ? 2 * b->pending_cap : 8;
        b->pending = ab_realloc(b->pending, (size_t)b->pending_cap * sizeof *b->pending);
    }
    struct pending *last = &b->pending[b->pending_n++];
    last->since = since;
    snprintf(last->job, sizeof last->job, "%s", job);
}

static void go_on(struct board *b)
{
    if (b->asking || !b->follow || !stream_has_room(b->stream))
        return;
    if (b->to_list) {
        b->to_list = false;
        b->asking = true;
        b->listed = b->cursor;
        call_query(b->call, "list_jobs", json_pack("{s:i}", "limit", BOARD_JOBS), on_list);
    } else if (b->pending_n && b->budget > 0) {
        b->budget--;
        b->asking = true;
        take_first(b);
        call_query(b->call, "get_job", json_pack("{s:s}", "job", b->asked), on_job);
    }
}

static void list_anew(struct board *b)
{
    b->pending_n = 0;
    b->to_list = true;
    go_on(b);
}

static void on_begin(void *context, uint64_t cursor, bool reset)
{
    struct board *b = context;
    b->cursor = cursor;
    if (reset)
        list_anew(b);
}

static void on_change(void *context, uint64_t cursor, const char *job)
{
    struct board *b = context;
    b->cursor = cursor;
    if (b->to_list) /* it will be in the list */
        return;
    for (int i = 0; i < b->pending_n; i++)
        if (!strcmp(b->pending[i].job, job))
            return;
    if (b->pending_n == BOARD_PENDING_MAX) {
        list_anew(b);
        return;
    }
    add_pending(b, cursor, job);
    go_on(b);
}

static void on_error(void *context, const struct autobots_error *error)
{
    struct board *b = context;
    b->follow = 0;
    fail(b, error);
}

static void on_room(void *owner)
{
    go_on(owner);
}

/* ---- the service ---- */

static void on_status(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    json_t *tree = NULL;
    if (call->connection && !answer->error && !ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
        struct board *b = call->state;
        json_object_del(tree, "uptime_ms"); /* changes always, and tells nothing */
        char *line = json_line(tree);
        if (!b->status || strcmp(b->status, line))
            stream_event(b->stream, NULL, "status", ab_view_of(line));
        free(b->status);
        b->status = line;
    }
    if (call->connection)
        ((struct board *)call->state)->status_asked = false;
    json_decref(tree);
    call_drop(call);
}

static void look(struct board *b)
{
    b->budget = BOARD_PER_SECOND;
    go_on(b);
    if (b->status_asked || !b->follow || !stream_has_room(b->stream) || !auth_has(b->call, AB_SCOPE_ADMIN))
        return;
    b->status_asked = true;
    call_query(b->call, "status", json_object(), on_status);
}

void boards_look(struct gateway *gateway)
{
    for (struct board *b = gateway->boards; b; b = b->next)
        look(b);
}

/* ---- the request ---- */

void board_handle(struct call *call)
{
    struct gateway *gateway = call->gateway;
    struct autobots_follow follow = {
        .user = call->user, .on_begin = on_begin, .on_change = on_change, .on_error = on_error};
    struct autobots_error error;
    struct ab_error err;
    if (!stream_last_id(call, &follow.after)) {
        ab_fail_at(&err, AB_EINVALID, "Last-Event-ID", "is no id of an event of this stream");
        call_fail(call, &err, NULL);
        return;
    }
    struct board *b = follow.context = call->state = ab_calloc(1, sizeof *b);
    b->call = call;
    b->next = gateway->boards;
    if (b->next)
        b->next->prev = b;
    gateway->boards = b;
    call->forget = forget;
    b->stream = stream_open(call, on_room, b);
    b->follow = autobots_start_follow(gateway->bots, &follow, &error);
    if (b->follow)
        look(b);
    else
        fail(b, &error);
}
