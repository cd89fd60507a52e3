/* Append: events onto a job's journal, under the rule that makes leases safe.
 *
 * Accepted iff the row before is there, the job has not ended, and the last row's token is not above mine. The same
 * (seq, token, content) again is answered like the first time; everything else changes nothing.
 */
#include "storage/sqlite/budgets.h"
#include "storage/sqlite/usage.h"

/* An append, read: the events' bodies and kinds. */
struct append {
    const struct ab_op_append *r;
    struct ab_view bodies[AB_EVENTS_MAX];
    enum ab_event_kind kinds[AB_EVENTS_MAX];
    unsigned n;
    int end; /* END_… */
};

static int read_events(struct append *a, const struct ab_op_append *r, struct ab_error *err)
{
    a->r = r;
    a->end = END_NONE;
    struct ab_reader reader = ab_reader(r->events);
    uint32_t count;
    if (ab_read_array(&reader, &count) || count != r->count || !count || count > AB_EVENTS_MAX)
        return ab_fail_at(err, AB_EINVALID, "events", "is an array of `count` events, 1 to %d", AB_EVENTS_MAX);
    for (a->n = 0; a->n < count; a->n++) {
        if (ab_read_any(&reader, &a->bodies[a->n]))
            return ab_fail_at(err, AB_EINVALID, "events", "event %u is malformed", a->n);
        a->kinds[a->n] = ab_event_kind(a->bodies[a->n]);
    }
    return 0;
}

/* The flags of the request and its last event say the same. */
static int check_flags(struct append *a, struct ab_error *err)
{
    enum ab_event_kind last = a->kinds[a->n - 1];
    const struct {
        bool is;
        enum ab_event_kind kind;
        const char *flag;
    } flags[] = {{a->r->end.n, AB_KIND_END, "end"},
                 {a->r->wait.n, AB_KIND_WAITING, "wait"},
                 {a->r->retry, AB_KIND_ATTEMPT_FAILED, "retry"}};
    for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (flags[i].is != (last == flags[i].kind))
            return ab_fail_at(err, AB_EINVALID, flags[i].flag, "does not fit the last event");
    for (unsigned i = 0; i + 1 < a->n; i++)
        if (a->kinds[i] == AB_KIND_END || a->kinds[i] == AB_KIND_WAITING || a->kinds[i] == AB_KIND_PAUSED)
            return ab_fail_at(err, AB_EINVALID, "events", "an event after the one that ends or parks the job");
    for (unsigned i = 0; i < a->n; i++)
        if (a->kinds[i] == AB_KIND_CALL_STARTED && a->n > 1)
            return ab_fail_at(err, AB_EINVALID, "events", "a call_started is alone in its append");
    if (!a->r->end.n)
        return 0;
    a->end = end_of(a->r->end);
    if (!a->end || !ab_view_eq(ab_any_str(ab_map_get(a->bodies[a->n - 1], "state")), a->r->end))
        return ab_fail_at(err, AB_EINVALID, "end", "is no end state, or not that of the end event");
    return 0;
}

/* One event against the row that is there. An end is the same if its state is: its text may have been deleted since. */
static bool same_event(const struct append *a, unsigned i, const struct head *head, sqlite3_stmt *row)
{
    if ((uint64_t)col_int(row, 0) != a->r->token)
        return false;
    if (a->kinds[i] == AB_KIND_END)
        return a->end == head->end;
    return ab_view_eq(col_blob(row, 1), a->bodies[i]);
}

/* 1: these very events are on disk; 0: not all of them, or others. */
static int appended_before(struct db *db, const struct append *a, const struct head *head, struct ab_error *err)
{
    for (unsigned i = 0; i < a->n; i++) {
        sqlite3_stmt *s = db_sql(db, SQL_EVENT_GET);
        bind_int(s, 1, (int64_t)head->n);
        bind_int(s, 2, (int64_t)(a->r->seq + i));
        int got = db_row(db, s, err);
        if (got < 0)
            return got;
        /* Of a job whose session was deleted only the end is kept: what stood before it was there too. */
        bool gone = !got && head->end && i + 1 < a->n;
        if (!gone && (!got || !same_event(a, i, head, s)))
            return 0;
    }
    return 1;
}

/* Why the events do not fit the journal; 0 if they do; 1 if they are there already. */
static int check_fit(struct db *db, const struct append *a, const struct head *head, struct ab_error *err)
{
    const struct ab_op_append *r = a->r;
    if (r->token > INT64_MAX || !r->seq || r->seq > INT32_MAX)
        return ab_fail_at(err, AB_EINVALID, "seq", "seq or token is out of range");
    if (r->seq + a->n - 1 <= head->seq) {
        int same = appended_before(db, a, head, err);
        if (same)
            return same;
    }
    if (head->end)
        return ab_fail(err, AB_EENDED, "the job has ended: %s", end_names[head->end % END_N]);
    if (r->token < head->token)
        return ab_fail(err, AB_ESTALE, "a newer lease holder has written to this job: drop it");
    if (r->seq != head->seq + 1)
        return ab_fail_at(
            err, AB_ECONFLICT, "seq", "the journal is at %llu, so the next event is %llu, not %llu",
            (unsigned long long)head->seq, (unsigned long long)head->seq + 1, (unsigned long long)r->seq);
    if (r->wait.n && r->inbox_seen < head->inbox_k)
        return ab_fail(err, AB_ECONFLICT, "the inbox holds a later row (%llu): do not wait",
                       (unsigned long long)head->inbox_k);
    return 0;
}

static int write_events(struct db *db, const struct append *a, struct ab_error *err)
{
    for (unsigned i = 0; i < a->n; i++) {
        sqlite3_stmt *s = db_sql(db, SQL_EVENT_ADD);
        bind_int(s, 1, (int64_t)a->r->n);
        bind_int(s, 2, (int64_t)(a->r->seq + i));
        bind_int(s, 3, (int64_t)a->r->token);
        bind_int(s, 4, a->kinds[i]);
        bind_int(s, 5, crc32c(a->bodies[i]));
        bind_blob(s, 6, a->bodies[i]);
        int code = db_run(db, s, err);
        if (code)
            return code;
    }
    return 0;
}

/* open_jobs is touched only when what it says changes. */
static int set_open(struct db *db, const struct append *a, struct head *head, uint64_t wake_at_ms,
                    struct ab_error *err)
{
    uint8_t state = ab_view_is(a->r->wait, "timer")    ? OPEN_TIMER
                    : ab_view_is(a->r->wait, "budget") ? OPEN_BUDGET
                    : a->r->wait.n                     ? OPEN_WAITING
                    : a->r->retry                      ? OPEN_RETRY
                                                       : OPEN_READY;
    if (state == OPEN_READY && head->state == OPEN_READY)
        return 0;
    int code = budget_unwait(db, head, err);
    if (code)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_OPEN_SET);
    bind_int(s, 1, (int64_t)head->n);
    bind_int(s, 2, state);
    bind_opt(s, 3, state == OPEN_READY ? 0 : (int64_t)wake_at_ms);
    head->state = state;
    return db_run(db, s, err);
}

/* The assistant's message, which points at the end event; nothing if the session is gone. A question that was deleted
 * while the job ran takes its text along now. */
static int answer_add(struct db *db, const struct append *a, const struct head *head, int64_t event,
                      struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, head->session);
    bind_int(s, 2, pos_of(head->n, POS_QUESTION));
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    if (!got) {
        int code = job_purge(db, head->n, head->seq, err);
        return code ? code : redact_end(db, event, err);
    }
    bool deleted = col_int(s, 0);
    if (a->end == END_SUCCEEDED || ab_map_get(a->bodies[a->n - 1], "content").p) {
        int code = message_add(db, head->session, pos_of(head->n, POS_ANSWER), (struct ab_view){0}, err);
        if (code)
            return code;
    }
    return deleted ? redact_message(db, head->session, pos_of(head->n, POS_QUESTION), err) : 0;
}

static int finish_job(struct db *db, const struct append *a, const struct head *head, int64_t event,
                      struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_END_ADD);
    bind_int(s, 1, (int64_t)head->n);
    bind_int(s, 2, a->end);
    bind_int(s, 3, db->now_ms);
    bind_int(s, 4, event);
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_OPEN_REMOVE);
    bind_int(s, 1, (int64_t)head->n);
    if ((code = db_run(db, s, err)))
        return code;
    if (head->secrets) {
        s = db_sql(db, SQL_SECRETS_REMOVE);
        bind_int(s, 1, (int64_t)head->n);
        if ((code = db_run(db, s, err)))
            return code;
    }
    if ((code = budget_unwait(db, head, err)))
        return code;
    heads_remove(&db->heads, head->n);
    return head->session ? answer_add(db, a, head, event, err) : 0;
}

/* What the events mean for budgets and for the sums of what was used. */
static int charge(struct db *db, const struct append *a, struct head *head, uint64_t *wake_at_ms,
                  struct ab_error *err)
{
    int code = 0;
    for (unsigned i = 0; i < a->n && !code; i++)
        if (!(code = budget_take(db, head, a->kinds[i], a->bodies[i], wake_at_ms, err)))
            code = usage_take(db, head, a->kinds[i], a->bodies[i], err);
    return code;
}

static int tell_budget(struct db *db, const struct append *a, struct head *head,
                       struct ab_op_append_answer *done, struct ab_error *err)
{
    int bits = a->end ? 0 : budget_bits(db, head, err);
    done->budget = bits > 0 ? (uint64_t)bits : 0;
    return bits < 0 ? bits : 0;
}

int op_append(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    struct append a; /* large: not cleared whole */
    struct head head;
    int code = read_events(&a, request, err);
    if (code || (code = check_flags(&a, err)) || (code = head_load(db, a.r->n, &head, err)))
        return code;
    code = check_fit(db, &a, &head, err);
    if (!code)
        code = budget_check(db, &head, a.kinds[a.n - 1], a.bodies[a.n - 1], err);
    if (code < 0)
        return code;
    struct ab_op_append_answer done = {.seq = a.r->seq + a.n - 1};
    if (!code) {
        uint64_t wake_at_ms = a.r->wake_at_ms;
        if ((code = write_events(db, &a, err)))
            return code;
        int64_t last = sqlite3_last_insert_rowid(db->handle);
        head.seq = done.seq;
        head.token = a.r->token;
        if ((code = charge(db, &a, &head, &wake_at_ms, err)) || (code = tell_budget(db, &a, &head, &done, err)))
            return code;
        if (!a.end && !(code = set_open(db, &a, &head, wake_at_ms, err)))
            heads_put(&db->heads, &head);
        else if (a.end)
            code = finish_job(db, &a, &head, last, err);
        if (code)
            return code;
        done.wake_at_ms = a.r->wait.n ? wake_at_ms : 0;
    }
    if (code && (code = tell_budget(db, &a, &head, &done, err)))
        return code;
    ab_encode(answer, &ab_op_append_answer_schema, &done);
    return 0;
}
