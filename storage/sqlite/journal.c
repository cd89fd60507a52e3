/* Reads of the broker and of workers: open jobs, a job's input and journal, workflows.
 */
#include "storage/sqlite/budgets.h"

/* ---- open jobs ---- */

/* What the journal of an open job says of its attempts. *started_event: the last one's; *got_on: the job added to its journal
 * since then. */
static int fold_events(struct db *db, struct ab_open_job *job, int64_t *started_event, bool *got_on,
                       struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_KINDS);
    bind_int(s, 1, (int64_t)job->n);
    int got;
    *started_event = 0;
    *got_on = false;
    while ((got = db_row(db, s, err)) > 0) {
        job->seq = (uint64_t)col_int(s, 1);
        job->token = (uint64_t)col_int(s, 2);
        int64_t kind = col_int(s, 3);
        *got_on = kind != AB_KIND_STARTED && (*got_on || kind != AB_KIND_ATTEMPT_FAILED);
        switch (kind) {
        case AB_KIND_STARTED:
            job->attempt++;
            job->started = true;
            *started_event = col_int(s, 0);
            break;
        case AB_KIND_ATTEMPT_FAILED:
            job->failures++;
            job->started = false;
            break;
        case AB_KIND_WAITING:
        case AB_KIND_PAUSED:
            job->started = false;
            break;
        default:
            break;
        }
    }
    return got;
}

static int fold_inbox(struct db *db, struct ab_open_job *job, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_INBOX_LAST);
    bind_int(s, 1, (int64_t)job->n);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    job->inbox_k = (uint64_t)col_int(s, 0);
    if (!job->inbox_k)
        return 0;
    s = db_sql(db, SQL_INBOX_CANCEL);
    bind_int(s, 1, (int64_t)job->n);
    got = db_row(db, s, err);
    job->cancel = got > 0;
    if (got < 0 || (got = job_paused(db, job->n, err)) < 0)
        return got;
    job->paused = got;
    return 0;
}

static void open_job_of(sqlite3_stmt *s, struct ab_open_job *job)
{
    static const char *const states[] = {
        [OPEN_READY] = "ready", [OPEN_WAITING] = "waiting", [OPEN_RETRY] = "retry",
        [OPEN_TIMER] = "timer", [OPEN_BUDGET] = "budget",   [OPEN_WOKEN] = "ready"};
    *job = (struct ab_open_job){
        .n = (uint64_t)col_int(s, 0),
        .job = col_id(s, 1),
        .user = col_text(s, 2),
        .tenant = col_text(s, 3),
        .session = col_text(s, 4),
        .priority = col_int(s, 5),
        .not_before_ms = (uint64_t)col_int(s, 6),
        .deadline_ms = (uint64_t)col_int(s, 7),
        .key = col_text(s, 8),
        .pool = col_text(s, 9),
        .hash = col_blob(s, 10),
        .history = col_int(s, 11),
        .body_bytes = (uint64_t)col_int(s, 12),
        .state = ab_view_of(states[col_int(s, 13) % OPEN_STATES_N]),
        .wake_at_ms = (uint64_t)col_int(s, 14),
    };
}

/* What it is under; and if it waits for a budget, why. */
static int open_job_budget(struct db *db, sqlite3_stmt *row, struct ab_open_job *job, struct ab_buf *why,
                           struct ab_error *err)
{
    sqlite3_stmt *any = db_sql(db, SQL_BUDGETS_ANY);
    int got = db_row(db, any, err), bits = 0;
    if (got <= 0 || !col_int(any, 0))
        return got < 0 ? got : 0;
    if ((bits = budget_bits_read(db, col_int(row, 15), col_int(row, 16), job->n, err)) < 0)
        return bits;
    job->budget = (uint64_t)bits;
    if (col_int(row, 13) != OPEN_BUDGET)
        return 0;
    sqlite3_stmt *last = db_sql(db, SQL_EVENT_GET);
    bind_int(last, 1, (int64_t)job->n);
    bind_int(last, 2, (int64_t)job->seq);
    if ((got = db_row(db, last, err)) > 0) {
        struct ab_view text = ab_any_str(ab_map_get(col_blob(last, 1), "budget"));
        ab_buf_add(why, text.p ? text.p : "", text.n);
        job->why = text.n ? ab_buf_view(why) : (struct ab_view){0};
    }
    return got < 0 ? got : 0;
}

/* What the last started event says; the views are valid until the statement is used again. */
static int read_started(struct db *db, struct ab_open_job *job, int64_t event, bool got_on,
                        struct ab_error *err)
{
    struct ab_started started;
    sqlite3_stmt *s = db_sql(db, SQL_EVENT_BODY);
    bind_int(s, 1, event);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    if (ab_decode(&ab_started_schema, col_blob(s, 0), &started, NULL))
        return 0; /* damage is for the check to report; the job goes on without what it says */
    if (job->started)
        job->worker = started.worker;
    if (!got_on) {
        job->crashes = started.crashes;
        job->company = started.company;
    }
    return 0;
}

static int open_job_add(struct db *db, sqlite3_stmt *row, struct ab_buf *out, struct ab_error *err)
{
    struct ab_open_job job;
    int64_t started_event;
    bool got_on;
    open_job_of(row, &job);
    int code = fold_events(db, &job, &started_event, &got_on, err);
    if (!code)
        code = fold_inbox(db, &job, err);
    if (!code && started_event)
        code = read_started(db, &job, started_event, got_on, err);
    if (code)
        return code;
    struct ab_buf why = {0};
    if ((code = open_job_budget(db, row, &job, &why, err)) >= 0)
        ab_encode(out, &ab_open_job_schema, &job);
    ab_buf_finish(&why);
    return code;
}

int open_job_map(struct db *db, uint64_t n, struct ab_buf *out, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_OPEN_PAGE);
    bind_int(s, 1, (int64_t)n - 1);
    bind_int(s, 2, 0);
    int got = db_row(db, s, err);
    return got <= 0 || col_int(s, 0) != (int64_t)n ? got : open_job_add(db, s, out, err);
}

int op_open_jobs(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_open_jobs *r = request;
    struct ab_op_open_jobs_answer a = {0};
    struct list list;
    list_init(&list);
    sqlite3_stmt *s = db_sql(db, SQL_OPEN_PAGE);
    bind_int(s, 1, (int64_t)r->after);
    bind_int(s, 2, r->cancelled);
    uint64_t limit = limit_of(r->limit), last = 0;
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        if (list.n == limit || list_full(&list)) {
            a.next = last;
            break;
        }
        last = (uint64_t)col_int(s, 0);
        if ((got = open_job_add(db, s, &list.buf, err)))
            break;
        list.n++;
    }
    if (got >= 0) {
        a.jobs = list_done(&list);
        ab_encode(answer, &ab_op_open_jobs_answer_schema, &a);
    }
    list_finish(&list);
    return got < 0 ? got : 0;
}

/* ---- journals ---- */
struct page {
    struct list list;
    uint64_t seq;       /* of its last event */
    struct ab_view end; /* state, if that event ends the job */
    bool more;
};

/* Events after `after`: at most `limit`, and at most bytes_max unless one alone is longer. */
static int read_page(struct db *db, uint64_t n, uint64_t after, uint64_t limit, size_t bytes_max,
                     struct page *page, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_AFTER);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        struct ab_view body = col_blob(s, 2);
        if (page->list.n && (page->list.n == limit || page->list.buf.n + body.n > bytes_max)) {
            page->more = true;
            break;
        }
        ab_buf_add(&page->list.buf, body.p, body.n);
        page->list.n++;
        page->seq = (uint64_t)col_int(s, 0);
        if (col_int(s, 1) == AB_KIND_END)
            page->end = ab_view_of(end_names[end_of(ab_any_str(ab_map_get(body, "state")))]);
    }
    return got < 0 ? got : 0;
}

/* The job of an id, if it may be seen: any job without a user, else only that user's. */
static int job_visible(struct db *db, struct ab_id id, struct ab_view user, uint64_t *n, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_ID);
    bind_id(s, 1, &id);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    bool visible = got > 0;
    if (visible && user.n) {
        int64_t key = user_find(db, user, err);
        if (key < 0)
            return (int)key;
        visible = key == col_int(s, 1);
    }
    if (!visible)
        return ab_fail_at(err, AB_ENOTFOUND, "job", "there is no such job");
    *n = (uint64_t)col_int(s, 0);
    return 0;
}

/* Whether and where it ends: who is behind its end must not wait for more. */
static int read_end(struct db *db, uint64_t n, struct ab_op_journal_answer *a, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    a->ended = ab_view_of(end_names[col_int(s, 0) % END_N]);
    if (col_null(s, 2))
        return 0;
    sqlite3_stmt *last = db_sql(db, SQL_EVENT_LAST);
    bind_int(last, 1, (int64_t)n);
    got = db_row(db, last, err);
    a->last = got > 0 ? (uint64_t)col_int(last, 0) : 0;
    return got < 0 ? got : 0;
}

int op_journal(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_journal *r = request;
    uint64_t n = 0;
    int code = job_visible(db, r->job, r->user, &n, err);
    if (code)
        return code;
    struct page page = {.seq = r->after};
    list_init(&page.list);
    code = read_page(db, n, r->after, r->limit ? r->limit : AB_PAGE_MAX, AB_JOURNAL_PAGE_BYTES, &page, err);
    if (!code) {
        struct ab_op_journal_answer a = {
            .events = list_done(&page.list), .seq = page.seq, .end = page.end, .more = page.more};
        if (r->raw)
            a.raw = ab_view(a.events.p + LIST_HEAD, a.events.n - LIST_HEAD);
        if (!page.end.n)
            code = read_end(db, n, &a, err);
        else {
            a.ended = page.end;
            a.last = page.seq;
        }
        if (!code)
            ab_encode(answer, &ab_op_journal_answer_schema, &a);
    }
    list_finish(&page.list);
    return code;
}

/* ---- load ---- */
static int read_inbox(struct db *db, uint64_t n, struct list *list, struct ab_error *err)
{
    static const char *const keys[] = {"kind", "ask", "text"};
    sqlite3_stmt *s = db_sql(db, SQL_INBOX_ALL);
    bind_int(s, 1, (int64_t)n);
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        unsigned present = 1;
        for (int i = 0; i < 3; i++)
            present += !col_null(s, 1 + i);
        ab_pack_map(&list->buf, present);
        ab_pack_str(&list->buf, ab_view_of("k"));
        ab_pack_uint(&list->buf, (uint64_t)col_int(s, 0));
        for (int i = 0; i < 3; i++) {
            if (col_null(s, 1 + i))
                continue;
            ab_pack_str(&list->buf, ab_view_of(keys[i]));
            ab_pack_str(&list->buf, col_text(s, 1 + i));
        }
        list->n++;
    }
    return got;
}

static int load_into(struct db *db, uint64_t n, struct ab_op_load_answer *a, struct page *page,
                     struct list *inbox, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_SECRETS_GET);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    a->secrets = got ? col_blob(s, 0) : (struct ab_view){0};
    s = db_sql(db, SQL_EVENT_LAST);
    bind_int(s, 1, (int64_t)n);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    a->seq = got ? (uint64_t)col_int(s, 0) : 0;
    if ((got = read_page(db, n, 0, AB_PAGE_MAX, AB_JOURNAL_PAGE_BYTES, page, err)) ||
        (got = read_inbox(db, n, inbox, err)))
        return got;
    if (page->list.n)
        a->journal = list_done(&page->list);
    if (inbox->n)
        a->inbox = list_done(inbox);
    a->more = page->more;
    return 0;
}

int op_load(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_load *r = request;
    sqlite3_stmt *job = db_sql(db, SQL_JOB_BY_N);
    bind_int(job, 1, r->n > INT64_MAX ? 0 : (int64_t)r->n);
    int code = db_row(db, job, err);
    if (code < 0)
        return code;
    struct ab_op_load_answer a = {.input = code ? col_blob(job, 4) : (struct ab_view){0}};
    if (!a.input.p)
        return ab_fail_at(err, AB_ENOTFOUND, "n", "there is no such job, or its content was deleted");
    struct page page = {0};
    struct list inbox;
    list_init(&page.list);
    list_init(&inbox);
    code = load_into(db, r->n, &a, &page, &inbox, err);
    if (!code)
        ab_encode(answer, &ab_op_load_answer_schema, &a);
    list_finish(&inbox);
    list_finish(&page.list);
    return code;
}

/* ---- workflows and history ---- */
int op_workflow(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_workflow *r = request;
    sqlite3_stmt *s = db_sql(db, SQL_WORKFLOW_TEXT);
    bind_blob(s, 1, r->hash);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "hash", "there is no such workflow");
    struct ab_op_workflow_answer a = {.workflow = col_text(s, 0)};
    ab_encode(answer, &ab_op_workflow_answer_schema, &a);
    return 0;
}

int op_history(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_history *r = request;
    enum { HISTORY_DEFAULT = 200 };
    sqlite3_stmt *job = db_sql(db, SQL_JOB_BY_N);
    bind_int(job, 1, r->n > INT64_MAX ? 0 : (int64_t)r->n);
    int code = db_row(db, job, err);
    if (code <= 0)
        return code ? code : ab_fail_at(err, AB_ENOTFOUND, "n", "there is no such job");
    struct list list;
    list_init(&list);
    code = message_history(db, col_int(job, 2), r->n, r->limit ? r->limit : HISTORY_DEFAULT, &list, err);
    if (!code) {
        struct ab_op_history_answer a = {.messages = list_done(&list)};
        ab_encode(answer, &ab_op_history_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}
