/* See feed.h. */
#include "client/gateway/feed.h"

#include <assert.h>
#include <stdlib.h>

#include "common/failpoint.h"

enum { BUCKETS = 1024 };

/* The text of one step that is being written. */
struct step_text {
    char *step, *agent;
    uint64_t attempt, start; /* offset of text[0] */
    struct ab_buf text;
};

struct feed {
    struct feed *next;
    struct ab_id id;
    char job[AB_ID_TEXT];
    uint64_t seq; /* the last event the watch delivered */
    bool watched; /* the library's watch runs */
    bool deltas;  /* with the pieces of turns: only if somebody wants them, as they cost the worker work */
    int held;     /* on the stack: freed when it is let go */
    struct gateway *gateway;
    struct listener *listeners;
    struct step_text steps[FEED_STEPS_MAX];
    int steps_n;
};

/* Outlives its listener: the answer finds out whether that is still there. */
struct page {
    struct listener *listener; /* NULL: gone */
    struct feeds *feeds;
    struct page *prev, *next; /* all of the feeds */
};

struct feeds {
    struct feed *buckets[BUCKETS];
    size_t n;
    struct page *pages; /* on their way; when the client library is closed they never come */
};

static void page_free(struct feeds *feeds, struct page *page)
{
    *(page->prev ? &page->prev->next : &feeds->pages) = page->next;
    if (page->next)
        page->next->prev = page->prev;
    free(page);
}

struct feeds *feeds_create(void)
{
    return ab_calloc(1, sizeof(struct feeds));
}

void feeds_destroy(struct feeds *feeds)
{
    assert(!feeds->n);
    while (feeds->pages)
        page_free(feeds, feeds->pages);
    free(feeds);
}

size_t feeds_count(const struct feeds *feeds)
{
    return feeds->n;
}

/* ---- texts being written ---- */

static void steps_remove(struct feed *feed, int i)
{
    struct step_text *gone = &feed->steps[i];
    free(gone->step);
    free(gone->agent);
    ab_buf_finish(&gone->text);
    memmove(gone, gone + 1, (size_t)(feed->steps_n - i - 1) * sizeof *gone);
    feed->steps_n--;
}

static void steps_clear(struct feed *feed)
{
    while (feed->steps_n)
        steps_remove(feed, feed->steps_n - 1);
}

static int steps_find(const struct feed *feed, const char *step)
{
    for (int i = 0; i < feed->steps_n; i++)
        if (!strcmp(feed->steps[i].step, step))
            return i;
    return -1;
}

static void steps_add(struct feed *feed, const struct autobots_delta *delta)
{
    int i = steps_find(feed, delta->step);
    if (i < 0) {
        if (feed->steps_n == FEED_STEPS_MAX)
            steps_remove(feed, 0);
        i = feed->steps_n++;
        feed->steps[i] = (struct step_text){.step = ab_strdup(delta->step),
                                            .agent = ab_strdup(delta->agent),
                                            .attempt = delta->attempt,
                                            .start = delta->offset};
    }
    struct step_text *text = &feed->steps[i];
    if (text->attempt != delta->attempt || text->start + text->text.n != delta->offset ||
        text->text.n + delta->text_bytes > FEED_TEXT_MAX) {
        ab_buf_clear(&text->text);
        text->attempt = delta->attempt;
        text->start = delta->offset;
    }
    ab_buf_add(&text->text, delta->text, delta->text_bytes);
}

/* The whole turn has come, or the attempt is over: what was written of it is no longer needed. */
static void steps_event(struct feed *feed, const char *kind, struct ab_view raw)
{
    struct ab_view step = ab_any_str(ab_map_get(raw, "step"));
    if (!strcmp(kind, "started") || !strcmp(kind, "attempt_failed") || !strcmp(kind, "end"))
        steps_clear(feed);
    for (int i = feed->steps_n - 1; step.p && i >= 0; i--)
        if (ab_view_is(step, feed->steps[i].step))
            steps_remove(feed, i);
}

static void show_texts(struct listener *listener)
{
    struct feed *feed = listener->feed;
    listener->text_behind = false;
    for (int i = 0; listener->feed && listener->deltas && i < feed->steps_n; i++) {
        struct step_text *text = &feed->steps[i];
        struct autobots_delta all = {.job = feed->job,
                                     .step = text->step,
                                     .agent = text->agent,
                                     .attempt = text->attempt,
                                     .offset = text->start,
                                     .text = ab_buf_view(&text->text).p,
                                     .text_bytes = text->text.n};
        listener->text_behind |= !listener->on_delta(listener, &all);
    }
}

/* ---- feeds ---- */

static void on_event(void *context, const struct autobots_event *event);
static void on_delta(void *context, const struct autobots_delta *delta);
static void on_error(void *context, const struct autobots_error *error);

static struct feed **place_of(struct feeds *feeds, struct ab_id id)
{
    struct feed **place = &feeds->buckets[ab_id_hash(id) % BUCKETS];
    while (*place && !ab_id_eq((*place)->id, id))
        place = &(*place)->next;
    return place;
}

static void feed_let_go(struct feed *feed)
{
    if (feed->held || feed->listeners)
        return;
    struct feeds *feeds = feed->gateway->feeds;
    if (feed->watched)
        autobots_stop_watch(feed->gateway->bots, feed->job);
    *place_of(feeds, feed->id) = feed->next;
    feeds->n--;
    steps_clear(feed);
    free(feed);
}

/* Every listener that is there now, also if callbacks stop some of them: those are skipped. */
#define EACH_LISTENER(feed, l)                                                                                 \
    for (struct listener *l = (feed)->listeners, *l##_next = l ? l->next : NULL; l;                            \
         l = l##_next, l##_next = l ? l->next : NULL)

static int feed_watch(struct feed *feed, const struct listener *listener, uint64_t after, struct ab_error *err)
{
    struct autobots_watch watch = {.user = listener->user,
                                   .after = after,
                                   .deltas = listener->deltas,
                                   .on_event = on_event,
                                   .on_delta = on_delta,
                                   .on_error = on_error,
                                   .context = feed};
    struct autobots_error error;
    feed->seq = after;
    feed->deltas = listener->deltas;
    feed->watched = false;
    if (AB_FAILPOINT("gateway.watch"))
        return ab_fail(err, AB_EBUSY, "fail point gateway.watch");
    feed->watched = !autobots_start_watch(feed->gateway->bots, feed->job, &watch, &error);
    if (!feed->watched)
        memcpy(err, &error, sizeof *err);
    return feed->watched ? 0 : err->code;
}

/* Watched, and with deltas if the listener wants them: then the watch begins anew where it stands. */
static int feed_ensure(struct feed *feed, const struct listener *listener, struct ab_error *err)
{
    if (!feed->watched)
        return feed_watch(feed, listener, listener->seq, err);
    if (feed->deltas || !listener->deltas)
        return 0;
    autobots_stop_watch(feed->gateway->bots, feed->job);
    return feed_watch(feed, listener, feed->seq, err);
}

static void fail(struct listener *listener, const struct ab_error *error)
{
    listener_stop(listener);
    listener->on_error(listener, error);
}

static struct feed *feed_join(struct listener *listener, struct ab_error *err)
{
    struct feeds *feeds = listener->gateway->feeds;
    struct ab_id id;
    if (!ab_id_parse(ab_view_of(listener->job), &id)) {
        ab_fail_at(err, AB_EINVALID, "job", "%s is not a job's id (36 characters)", listener->job);
        return NULL;
    }
    struct feed **place = place_of(feeds, id), *feed = *place;
    if (!feed) {
        feed = *place = ab_calloc(1, sizeof *feed);
        feed->id = id;
        feed->gateway = listener->gateway;
        ab_id_text(id, feed->job);
        feeds->n++;
    }
    feed->held++;
    int rc = feed_ensure(feed, listener, err);
    if (rc)
        EACH_LISTENER(feed, l)
    fail(l, err); /* nothing tells them any more */
    feed->held--;
    if (!rc) {
        listener->feed = feed;
        listener->prev = NULL;
        listener->next = feed->listeners;
        if (listener->next)
            listener->next->prev = listener;
        feed->listeners = listener;
    } else
        feed_let_go(feed);
    return rc ? NULL : feed;
}

/* ---- giving events ---- */

/* True if it was the next one and there is room for more. */
static bool give(struct listener *listener, const struct feed_event *event)
{
    listener->seq = event->seq;
    listener->behind = !listener->on_event(listener, event) && listener->job && !event->end;
    return listener->job && !listener->behind && !event->end;
}

static void read_page(struct listener *listener);

static void on_event(void *context, const struct autobots_event *event)
{
    struct feed *feed = context;
    char *json = autobots_event_json(event);
    struct feed_event shown = {
        .job = feed->job, .kind = event->kind, .seq = event->seq, .end = event->end, .json = ab_view_of(json)};
    feed->held++;
    feed->seq = event->seq;
    feed->watched = !event->end; /* the library has dropped it */
    steps_event(feed, event->kind, ab_view(event->raw, event->raw_bytes));
    EACH_LISTENER(feed, l)
    {
        if (l->reading || l->behind || event->seq <= l->seq)
            continue;
        if (event->seq == l->seq + 1)
            give(l, &shown);
        else
            read_page(l);
    }
    feed->held--;
    feed_let_go(feed);
    free(json);
}

static void on_delta(void *context, const struct autobots_delta *delta)
{
    struct feed *feed = context;
    feed->held++;
    steps_add(feed, delta);
    EACH_LISTENER(feed, l)
    {
        if (!l->deltas || l->reading || l->behind)
            continue;
        if (l->text_behind)
            show_texts(l);
        else
            l->text_behind = !l->on_delta(l, delta);
    }
    feed->held--;
    feed_let_go(feed);
}

static void on_error(void *context, const struct autobots_error *error)
{
    struct feed *feed = context;
    struct ab_error err;
    memcpy(&err, error, sizeof err);
    feed->held++;
    feed->watched = false;
    EACH_LISTENER(feed, l)
    fail(l, &err);
    feed->held--;
    feed_let_go(feed);
}

/* ---- pages of the journal ---- */

/* As autobots_event_json() writes it. */
static char *event_line(const char *job, uint64_t seq, const char *kind, json_t *event)
{
    json_t *tree = json_pack("{s:s, s:I, s:s}", "job", job, "seq", (json_int_t)seq, "kind", kind);
    json_object_update_missing(tree, event);
    char *line = json_line(tree);
    json_decref(tree);
    return line;
}

static void give_page(struct listener *listener, json_t *events, uint64_t last, const char *end)
{
    size_t n = json_array_size(events);
    char job[AB_ID_TEXT];
    memcpy(job, listener->job, sizeof job); /* the listener may be stopped in between */
    for (size_t i = 0; i < n; i++) {
        json_t *event = json_array_get(events, i);
        uint64_t seq = last - (n - 1 - i);
        const char *kind = ab_tree_str(event, "kind");
        char *json = event_line(job, seq, kind ? kind : "", event);
        struct feed_event shown = {.job = job,
                                   .kind = kind ? kind : "",
                                   .seq = seq,
                                   .end = i == n - 1 ? end : NULL,
                                   .json = ab_view_of(json)};
        bool more = give(listener, &shown);
        free(json);
        if (!more)
            return;
    }
}

/* It has all that storage had: from here on the watch tells, unless it is further already. */
static void go_live(struct listener *listener)
{
    struct ab_error err;
    bool new = !listener->feed;
    if (new && !feed_join(listener, &err))
        fail(listener, &err);
    else if (listener->feed->seq > listener->seq)
        read_page(listener);
    else if (new)
        listener->text_behind = true;
    if (listener->feed && !listener->reading && listener->text_behind)
        show_texts(listener);
}

static void on_page(void *context, const struct autobots_answer *answer)
{
    struct page *page = context;
    struct listener *listener = page->listener;
    struct ab_error err = {0};
    json_t *tree = NULL;
    page_free(page->feeds, page);
    if (!listener)
        return;
    listener->page = NULL;
    listener->reading = false;
    if (answer->error)
        memcpy(&err, answer->error, sizeof err);
    else
        ab_json_parse(ab_view_of(answer->json), &tree, &err);
    if (err.code) {
        fail(listener, &err);
        return;
    }
    const char *end = ab_tree_str(tree, "end");
    bool more = ab_tree_bool(tree, "more", false);
    json_t *events = json_object_get(tree, "events");
    uint64_t last = (uint64_t)ab_tree_int(tree, "seq", 0);
    if (ab_tree_str(tree, "ended") && !more && !json_array_size(events)) {
        ab_fail(&err, AB_EENDED, "the job has ended: nothing comes behind its last event");
        fail(listener, &err);
        json_decref(tree);
        return;
    }
    bool there = listener->on_begin ? listener->on_begin(listener) : true;
    listener->on_begin = NULL;
    if (there)
        give_page(listener, events, last, end);
    if (listener->job && !listener->behind && !end) {
        if (more)
            read_page(listener);
        else
            go_live(listener);
    }
    json_decref(tree);
}

static void read_page(struct listener *listener)
{
    struct autobots_error error;
    json_t *fields = json_pack("{s:s, s:s, s:I, s:i}", "job", listener->job, "user", listener->user, "after",
                               (json_int_t)listener->seq, "limit", FEED_PAGE_EVENTS);
    char *text = json_dumps(fields, JSON_COMPACT);
    struct feeds *feeds = listener->gateway->feeds;
    struct page *page = listener->page = ab_calloc(1, sizeof *page);
    *page = (struct page){.feeds = feeds, .listener = listener, .next = feeds->pages};
    if (page->next)
        page->next->prev = page;
    feeds->pages = page;
    listener->reading = true;
    listener->behind = false;
    if (autobots_start_query(listener->gateway->bots, "journal", text, on_page, listener->page, &error)) {
        struct autobots_answer answer = {.error = &error};
        on_page(listener->page, &answer);
    }
    free(text);
    json_decref(fields);
}

/* ---- listeners ---- */

void listener_start(struct listener *listener, struct gateway *gateway, const char *job, const char *user,
                    bool fresh)
{
    listener->gateway = gateway;
    listener->job = ab_strdup(job);
    listener->user = ab_strdup(user);
    if (fresh)
        go_live(listener);
    else
        read_page(listener);
}

void listener_stop(struct listener *listener)
{
    struct feed *feed = listener->feed;
    if (listener->page)
        listener->page->listener = NULL;
    listener->page = NULL;
    listener->reading = listener->behind = false;
    free(listener->job);
    free(listener->user);
    listener->job = listener->user = NULL;
    if (!feed)
        return;
    *(listener->prev ? &listener->prev->next : &feed->listeners) = listener->next;
    if (listener->next)
        listener->next->prev = listener->prev;
    listener->feed = NULL;
    feed_let_go(feed);
}

void listener_go_on(struct listener *listener)
{
    if (!listener->job || listener->reading)
        return;
    if (listener->behind)
        read_page(listener);
    else if (listener->text_behind && listener->feed)
        show_texts(listener);
}
