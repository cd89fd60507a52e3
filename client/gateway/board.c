/* GET /api/events: what a dashboard shows, as a stream. Once a second storage is asked for the user's newest jobs and the
 * broker for its status; what has changed since is sent: events named `job` (a job record, without its message and answer)
 * and `status`. They are states, not steps: who comes back is shown all of them again, and needs nothing that was missed.
 */
#include <stdlib.h>

#include "client/gateway/stream.h"

enum { BOARD_JOBS = 200, BOARD_EVERY_MS = 1000 };

struct board {
    struct board *prev, *next;
    struct call *call;
    struct stream *stream;
    json_t *jobs; /* id → what was sent of it last */
    char *status; /* what was sent last */
    int asked;    /* answers that are still to come */
    int64_t asked_ms;
};

static void forget(struct call *call)
{
    struct board *b = call->state;
    *(b->prev ? &b->prev->next : &call->gateway->boards) = b->next;
    if (b->next)
        b->next->prev = b->prev;
    json_decref(b->jobs);
    free(b->status);
    free(b);
    call->state = NULL;
}

/* A slow client is not sent more until it has read: the next look is as good. */
static void on_room(void *owner)
{
    (void)owner;
}

static void tell_job(struct board *b, json_t *job, json_t *jobs)
{
    const char *id = ab_tree_str(job, "id");
    if (!id)
        return;
    json_object_del(job, "content");
    json_object_del(job, "end");
    if (!json_equal(json_object_get(b->jobs, id), job)) {
        char *line = json_line(job);
        stream_event(b->stream, NULL, "job", ab_view_of(line));
        free(line);
    }
    json_object_set(jobs, id, job);
}

static void on_jobs(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct board *b = call->state;
    json_t *tree = NULL, *job, *list;
    if (call->connection) {
        b->asked--;
        if (!answer->error && !ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
            json_t *jobs = json_object();
            list = json_object_get(tree, "jobs");
            for (size_t i = json_array_size(list); i-- > 0;) { /* the oldest first */
                job = json_array_get(list, i);
                tell_job(b, job, jobs);
            }
            json_decref(b->jobs); /* only those that may come again are remembered */
            b->jobs = jobs;
        }
    }
    json_decref(tree);
    call_drop(call);
}

static void on_status(void *context, const struct autobots_answer *answer)
{
    struct call *call = context;
    struct board *b = call->state;
    json_t *tree = NULL;
    if (call->connection) {
        b->asked--;
        if (!answer->error && !ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
            json_object_del(tree, "uptime_ms"); /* changes always, and tells nothing */
            char *line = json_line(tree);
            if (!b->status || strcmp(b->status, line))
                stream_event(b->stream, NULL, "status", ab_view_of(line));
            free(b->status);
            b->status = line;
        }
    }
    json_decref(tree);
    call_drop(call);
}

static void look(struct board *b, int64_t now)
{
    bool all = auth_has(b->call, AB_SCOPE_ADMIN); /* the figures of the whole service */
    b->asked = all ? 2 : 1;
    b->asked_ms = now;
    call_query(b->call, "list_jobs", json_pack("{s:i}", "limit", BOARD_JOBS), on_jobs);
    if (all)
        call_query(b->call, "status", json_object(), on_status);
}

void boards_look(struct gateway *gateway, int64_t now)
{
    for (struct board *b = gateway->boards; b; b = b->next)
        if (!b->asked && now - b->asked_ms >= BOARD_EVERY_MS / 2 && stream_has_room(b->stream))
            look(b, now);
}

void board_handle(struct call *call)
{
    struct gateway *gateway = call->gateway;
    struct board *b = call->state = ab_calloc(1, sizeof *b);
    b->call = call;
    b->jobs = json_object();
    b->next = gateway->boards;
    if (b->next)
        b->next->prev = b;
    gateway->boards = b;
    call->forget = forget;
    b->stream = stream_open(call, on_room, b);
    look(b, gateway->now_ms);
}
