/* Watchers; see watchers.h for the rule. */
#include "broker/internal.h"

#include <assert.h>
#include <stdlib.h>

enum { BEHIND_LOOKS = 256 }; /* watchers looked at in one tick */

/* ---- lists ---- */

static void behind_remove(struct watchers *all, struct watcher *w)
{
    if (w->state != WATCH_BEHIND)
        return;
    *(w->behind_prev ? &w->behind_prev->behind_next : &all->behind_first) = w->behind_next;
    *(w->behind_next ? &w->behind_next->behind_prev : &all->behind_last) = w->behind_prev;
    w->behind_prev = w->behind_next = NULL;
    w->state = WATCH_LIVE;
}

static void set_behind(struct core *core, struct watcher *w, int64_t again_ms)
{
    struct watchers *all = &core->watchers;
    behind_remove(all, w);
    w->state = WATCH_BEHIND;
    w->again_ms = again_ms;
    w->behind_prev = all->behind_last;
    w->behind_next = NULL;
    *(all->behind_last ? &all->behind_last->behind_next : &all->behind_first) = w;
    all->behind_last = w;
}

static void job_link(struct watcher *w, struct job *job)
{
    if (w->job == job)
        return;
    w->job = job;
    w->job_prev = NULL;
    w->job_next = job->watchers;
    if (job->watchers)
        job->watchers->job_prev = w;
    job->watchers = w;
}

static void job_unlink(struct watcher *w)
{
    if (!w->job)
        return;
    *(w->job_prev ? &w->job_prev->job_next : &w->job->watchers) = w->job_next;
    if (w->job_next)
        w->job_next->job_prev = w->job_prev;
    w->job = NULL;
    w->job_prev = w->job_next = NULL;
}

static void peer_link(struct watcher *w, struct peer *peer)
{
    w->peer = peer;
    w->peer_next = peer->watchers;
    if (peer->watchers)
        peer->watchers->peer_prev = w;
    peer->watchers = w;
    peer->watchers_n++;
}

static void drop(struct core *core, struct watcher *w)
{
    struct watchers *all = &core->watchers;
    all->reading -= w->state == WATCH_READING;
    all->n--;
    behind_remove(all, w);
    job_unlink(w);
    *(w->peer_prev ? &w->peer_prev->peer_next : &w->peer->watchers) = w->peer_next;
    if (w->peer_next)
        w->peer_next->peer_prev = w->peer_prev;
    w->peer->watchers_n--;
    map_remove(&all->by_serial, w->serial);
    free(w->user);
    free(w);
}

static struct watcher *find(const struct peer *peer, const struct job *job, struct ab_id id)
{
    struct watcher *w = job ? job->watchers : peer->watchers;
    while (w && (w->peer != peer || !ab_id_eq(w->id, id)))
        w = job ? w->job_next : w->peer_next;
    return w;
}

void watch_drop_all(struct core *core, struct peer *peer)
{
    while (peer->watchers)
        drop(core, peer->watchers);
}

/* ---- deltas ---- */

static void text_free(struct job *job)
{
    if (!job->text)
        return;
    ab_buf_finish(&job->text->step);
    ab_buf_finish(&job->text->agent);
    ab_buf_finish(&job->text->piece);
    free(job->text);
    job->text = NULL;
}

static void set_text(struct ab_buf *buf, struct ab_view text)
{
    ab_buf_clear(buf);
    ab_buf_add(buf, text.p, text.n);
}

/* Drops what is over the cap from the front, whole characters only. */
static void text_trim(struct text *text)
{
    struct ab_buf *piece = &text->piece;
    if (piece->n <= WATCH_TEXT_MAX)
        return;
    size_t cut = piece->n - WATCH_TEXT_MAX;
    while (cut < piece->n && ((uint8_t)piece->p[cut] & 0xc0) == 0x80)
        cut++;
    piece->n -= cut;
    memmove(piece->p, piece->p + cut, piece->n);
    text->start += cut;
}

static void text_add(struct job *job, const struct ab_delta *delta)
{
    if (!job->text)
        job->text = ab_calloc(1, sizeof *job->text);
    struct text *text = job->text;
    bool goes_on = ab_view_eq(ab_buf_view(&text->step), delta->step) && text->attempt == delta->attempt &&
                   text->start + text->piece.n == delta->offset;
    if (!goes_on) {
        set_text(&text->step, delta->step);
        set_text(&text->agent, delta->agent);
        ab_buf_clear(&text->piece);
        text->attempt = delta->attempt;
        text->start = delta->offset;
    }
    ab_buf_add(&text->piece, delta->text.p, delta->text.n);
    text_trim(text);
}

/* All that is known of the step being written. */
static void send_text(struct core *core, struct watcher *w)
{
    const struct text *text = w->job ? w->job->text : NULL;
    w->text_behind = false;
    if (!w->deltas || !text || !text->piece.n)
        return;
    const struct ab_delta delta = {.job = w->id,
                                   .step = ab_buf_view(&text->step),
                                   .agent = ab_buf_view(&text->agent),
                                   .attempt = text->attempt,
                                   .offset = text->start,
                                   .text = ab_buf_view(&text->piece)};
    w->text_behind = core_send(core, w->peer, AB_DELTA, &delta, ab_view(NULL, 0), false) == AB_EBUSY;
}

bool watch_wants_deltas(const struct job *job)
{
    for (const struct watcher *w = job->watchers; w; w = w->job_next)
        if (w->deltas)
            return true;
    return false;
}

void on_delta(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_delta *in = message;
    struct job *job = job_held(core, peer, in->job, in->token);
    (void)body;
    if (!job)
        return; /* ephemeral: its next EVENTS is answered with STALE */
    job_lease(core, job);
    if (!watch_wants_deltas(job))
        return;
    text_add(job, in);
    struct ab_delta out = *in;
    out.token = 0;
    for (struct watcher *w = job->watchers; w; w = w->job_next) {
        if (!w->deltas || w->state != WATCH_LIVE)
            continue;
        if (w->text_behind)
            send_text(core, w);
        else
            w->text_behind = core_send(core, w->peer, AB_DELTA, &out, ab_view(NULL, 0), false) == AB_EBUSY;
    }
}

static void ask_for_deltas(struct core *core, struct job *job)
{
    if (job->state != JOB_RUNNING || job->watched)
        return;
    job->watched = true;
    job_notice(core, job, 0, ab_view_of("watched"), ab_view(NULL, 0), ab_view(NULL, 0));
}

/* ---- watching ---- */

/* Live, if it has all that is on disk. */
static void catch_up(struct core *core, struct watcher *w)
{
    if (!w->job || (w->next_seq <= w->job->seq && !w->end_only)) {
        set_behind(core, w, core->now_ms);
        return;
    }
    behind_remove(&core->watchers, w);
    w->state = WATCH_LIVE;
    send_text(core, w);
}

static struct watcher *create(struct core *core, struct peer *peer, struct ab_id id, struct ab_view user)
{
    struct watcher *w = ab_calloc(1, sizeof *w);
    w->serial = ++core->watchers.serials;
    w->id = id;
    w->user = ab_view_dup(user);
    w->state = WATCH_LIVE;
    peer_link(w, peer);
    map_put(&core->watchers.by_serial, w->serial, w);
    core->watchers.n++;
    return w;
}

void watch_start(struct core *core, struct peer *peer, struct ab_id id, struct ab_view user, uint64_t after,
                 bool end_only, bool deltas, uint64_t rid)
{
    struct job *job = jobs_find(&core->jobs, id);
    struct watcher *w = find(peer, job, id);
    if (w)
        drop(core, w); /* the same request again, or another wish */
    if (core->watchers.n >= WATCHERS_MAX) {
        struct ab_error err = {0};
        ab_fail(&err, AB_EBUSY, "%d jobs are being watched, no more is allowed", WATCHERS_MAX);
        core_error(core, peer, rid, job, &err);
        return;
    }
    w = create(core, peer, id, user);
    w->next_seq = after + 1;
    w->end_only = end_only;
    w->deltas = deltas;
    w->rid = rid;
    if (job) {
        job_link(w, job);
        if (deltas)
            ask_for_deltas(core, job);
    }
    catch_up(core, w);
}

void on_watch(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_watch *watch = message;
    const struct job *job = jobs_find(&core->jobs, watch->job);
    struct ab_error err = {0};
    int rc = 0;
    (void)body;
    if (watch->want.n && !ab_view_is(watch->want, "all") && !ab_view_is(watch->want, "end"))
        rc = ab_fail_at(&err, AB_EINVALID, "want", "want is all or end");
    else if (!watch->user.n)
        rc = ab_fail_at(&err, AB_EINVALID, "user", "the user is empty");
    else if (watch->after >= INT64_MAX)
        rc = ab_fail_at(&err, AB_EINVALID, "after", "no journal is that long");
    else if (job && !ab_view_eq(job_user(job), watch->user))
        rc = ab_fail(&err, AB_ENOTFOUND, "this user has no such job");
    if (rc)
        core_error(core, peer, watch->rid, job, &err);
    else
        watch_start(core, peer, watch->job, watch->user, watch->after, ab_view_is(watch->want, "end"),
                    watch->deltas, watch->rid);
}

void on_unwatch(struct core *core, struct peer *peer, const void *message, struct ab_view body)
{
    const struct ab_unwatch *unwatch = message;
    struct watcher *w = find(peer, jobs_find(&core->jobs, unwatch->job), unwatch->job);
    (void)body;
    if (w)
        drop(core, w);
}

/* ---- events ---- */

/* 0: sent, next_seq moved on. */
static int send_event(struct core *core, struct watcher *w, uint64_t seq, struct ab_view event,
                      struct ab_view end)
{
    const struct ab_event header = {.job = w->id, .seq = seq, .end = end};
    int rc = core_send(core, w->peer, AB_EVENT, &header, event, false);
    if (!rc)
        w->next_seq = seq + 1;
    return rc;
}

struct events {
    uint64_t seq; /* of the first */
    uint32_t n;
    struct ab_view end; /* end state, if the last one ends the job */
    struct ab_view at[WATCH_PAGE_EVENTS];
};

static int read_events(struct ab_view array, struct events *events)
{
    struct ab_reader reader = ab_reader(array);
    if (ab_read_array(&reader, &events->n) || events->n > WATCH_PAGE_EVENTS)
        return AB_EINVALID;
    for (uint32_t i = 0; i < events->n; i++)
        if (ab_read_any(&reader, &events->at[i]))
            return AB_EINVALID;
    return 0;
}

/* Shows the watcher what it may see of these events. 1: it has seen the end. 0: all shown. AB_EBUSY, AB_ENOTFOUND.
 * next_seq says how far it is. A gap before the events leaves next_seq where it is. */
static int show(struct core *core, struct watcher *w, const struct events *events)
{
    for (uint32_t i = 0; i < events->n; i++) {
        uint64_t seq = events->seq + i;
        bool ends = events->end.n && i + 1 == events->n;
        if (w->end_only) {
            if (!ends)
                continue;
            w->next_seq = seq;
        }
        if (seq < w->next_seq)
            continue;
        if (seq > w->next_seq)
            return 0;
        int rc = send_event(core, w, seq, events->at[i], ends ? events->end : ab_view(NULL, 0));
        if (rc || ends)
            return rc ? rc : 1;
    }
    return 0;
}

void watch_commit(struct core *core, struct job *job, struct ab_view request)
{
    struct ab_op_append append;
    struct events events;
    struct ab_error err;
    text_free(job); /* what was being written is an event now */
    if (!job->watchers)
        return;
    int rc = ab_decode(&ab_op_append_schema, request, &append, &err);
    rc = rc ? rc : read_events(append.events, &events);
    assert(!rc); /* we encoded it */
    (void)rc;
    events.seq = append.seq;
    events.end = append.end;
    for (struct watcher *next, *w = job->watchers; w; w = next) {
        next = w->job_next;
        if (w->state != WATCH_LIVE)
            continue;
        int shown = show(core, w, &events);
        if (shown == 1)
            drop(core, w);
        else if (shown == AB_EBUSY)
            set_behind(core, w, core->now_ms + WATCH_RETRY_MS);
        else if (w->next_seq <= job->seq && !w->end_only)
            set_behind(core, w, core->now_ms);
    }
}

void watch_job_ended(struct core *core, struct job *job)
{
    text_free(job);
    for (struct watcher *w; (w = job->watchers);) {
        job_unlink(w);
        if (w->state == WATCH_LIVE)
            set_behind(core, w, core->now_ms);
    }
}

/* ---- pages ---- */

static void read_page(struct core *core, struct watcher *w)
{
    const struct ab_op_journal request = {
        .job = w->id, .user = ab_view_of(w->user), .after = w->next_seq - 1, .limit = WATCH_PAGE_EVENTS};
    behind_remove(&core->watchers, w);
    w->state = WATCH_READING;
    core->watchers.reading++;
    core_read(core, AB_OP_journal, &request,
              &(struct ticket){.kind = TICKET_PAGE, .n = w->serial, .seq = w->next_seq - 1});
}

void watch_tick(struct core *core)
{
    struct watchers *all = &core->watchers;
    struct watcher *w = all->behind_first;
    if (!core->storage_up || core->phase != PHASE_READY)
        return;
    for (int looks = 0; w && looks < BEHIND_LOOKS && all->reading < WATCH_PAGES_MAX; looks++) {
        struct watcher *next = w->behind_next;
        if (w->again_ms <= core->now_ms)
            read_page(core, w);
        else if (next)
            set_behind(core, w, w->again_ms); /* to the end, so that the others are looked at */
        w = next;
    }
}

/* In place of the next event: why none comes. */
static void watch_over(struct core *core, struct watcher *w, const struct ab_error *err)
{
    struct ab_failure failure = core_failure(err);
    failure.rid = w->rid;
    failure.job = w->id;
    core_send(core, w->peer, AB_ERROR, &failure, ab_view(NULL, 0), true);
    drop(core, w);
}

static void page_failed(struct core *core, struct watcher *w, const struct answer *answer)
{
    if (ab_code_retryable(answer->code)) {
        set_behind(core, w, core->now_ms + WATCH_AWAY_RETRY_MS);
        return;
    }
    watch_over(core, w, answer->err);
}

/* Its journal begins later: what stood before was deleted, by somebody or for its age. Nothing is skipped silently. */
static void deleted(struct core *core, struct watcher *w)
{
    struct ab_error err;
    ab_fail(&err, AB_EEXPIRED, "the journal of this job was deleted; its end may still be had with want=end");
    watch_over(core, w, &err);
}

/* The job has ended, and the watcher asked for what comes behind its end: nothing ever will. */
static bool behind_end(struct core *core, struct watcher *w, const struct ab_op_journal_answer *page)
{
    struct ab_error err;
    if (!page->ended.n || page->more || w->next_seq <= page->last)
        return false;
    if (page->last)
        ab_fail(&err, AB_EENDED, "the job has ended (%.*s) with event %llu; nothing comes behind it",
                AB_VIEW_FMT(page->ended), (unsigned long long)page->last);
    else
        ab_fail(&err, AB_EENDED, "the job has ended (%.*s), and its journal was deleted",
                AB_VIEW_FMT(page->ended));
    watch_over(core, w, &err);
    return true;
}

static void page_shown(struct core *core, struct watcher *w, int shown, bool more)
{
    struct job *job = jobs_find(&core->jobs, w->id);
    if (job && w->job != job && find(w->peer, job, w->id)) {
        drop(core, w); /* a later WATCH of the same peer found the job before this one did */
        return;
    }
    if (job)
        job_link(w, job);
    if (shown == 1)
        drop(core, w);
    else if (shown == AB_EBUSY)
        set_behind(core, w, core->now_ms + WATCH_RETRY_MS);
    else if (job || more)
        catch_up(core, w);
    else
        set_behind(core, w, core->now_ms + WATCH_AWAY_RETRY_MS); /* its end is being committed */
}

void page_answered(struct core *core, const struct answer *answer)
{
    struct watcher *w = map_get(&core->watchers.by_serial, answer->ticket->n);
    struct ab_op_journal_answer page;
    struct events events;
    struct ab_error err = {0};
    if (!w)
        return;
    w->state = WATCH_LIVE;
    core->watchers.reading--;
    struct answer bad = *answer;
    if (!bad.code && (bad.code = ab_decode(&ab_op_journal_answer_schema, answer->body, &page, &err)))
        bad.err = &err;
    if (!bad.code && read_events(page.events, &events)) {
        bad.code = ab_fail(&err, AB_EINTERNAL, "storage answered a journal page that cannot be read");
        bad.err = &err;
    }
    if (bad.code) {
        page_failed(core, w, &bad);
        return;
    }
    events.seq = page.seq >= events.n ? page.seq - events.n + 1 : answer->ticket->seq + 1;
    events.end = page.end;
    if (events.n && events.seq > w->next_seq && !w->end_only) {
        deleted(core, w);
        return;
    }
    int shown = show(core, w, &events);
    if (w->end_only && !shown)
        w->next_seq = events.seq + events.n;
    if (!shown && behind_end(core, w, &page))
        return;
    page_shown(core, w, shown, page.more);
}
