/* Words to jobs: rows of their inboxes, and messages to a session that are taken for such a word.
 */
#include "storage/sqlite/budgets.h"

/* An inbox is loaded whole, with its job: it must fit into one message beside the input. */
enum { INBOX_ROWS_MAX = 10000, INBOX_BYTES_MAX = 4 << 20 };

/* What may be said to a job. `always`: it has room in an inbox that is full, as it must be possible to end or go on. */
static const struct {
    const char *name;
    bool wakes, always;
} inbox_kinds[] = {{"cancel", true, true},
                   {"input", true, false},
                   {"pause", false, false},
                   {"resume", false, true},
                   {"budget", true, true}};
enum { INBOX_KINDS = sizeof inbox_kinds / sizeof inbox_kinds[0] };

/* INBOX_KINDS if it is none. */
static unsigned inbox_kind(struct ab_view name)
{
    unsigned kind = 0;
    while (kind < INBOX_KINDS && !ab_view_is(name, inbox_kinds[kind].name))
        kind++;
    return kind;
}

int job_paused(struct db *db, uint64_t n, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_INBOX_PAUSE);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    return got > 0 ? col_int(s, 0) != 0 : got;
}

static int inbox_add(struct db *db, struct head *head, const struct ab_op_inbox *r, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_INBOX_ADD);
    bind_int(s, 1, (int64_t)head->n);
    bind_int(s, 2, (int64_t)head->inbox_k + 1);
    bind_id(s, 3, &r->id);
    bind_text(s, 4, r->kind);
    bind_text(s, 5, r->ask);
    bind_text(s, 6, r->text);
    bind_int(s, 7, db->now_ms);
    int code = db_run(db, s, err);
    if (code)
        return code;
    if (open_waits(head->state) && inbox_kinds[inbox_kind(r->kind)].wakes) {
        s = db_sql(db, SQL_OPEN_SET);
        bind_int(s, 1, (int64_t)head->n);
        bind_int(s, 2, OPEN_READY);
        if ((code = db_run(db, s, err)) || (code = budget_unwait(db, head, err)))
            return code;
        head->state = OPEN_READY;
    }
    head->inbox_k++;
    head->inbox_bytes += r->text.n;
    heads_put(&db->heads, head);
    return head->state == OPEN_WOKEN && ab_view_is(r->kind, "pause") ? budget_wake_others(db, head, err) : 0;
}

/* The job named by id (and n, if given), if it is this user's. */
static int inbox_job(struct db *db, const struct ab_op_inbox *r, uint64_t *n, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_ID);
    bind_id(s, 1, &r->job);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    int64_t user = got ? user_find(db, r->user, err) : 0;
    if (user < 0)
        return (int)user;
    *n = got ? (uint64_t)col_int(s, 0) : 0;
    if (!got || col_int(s, 1) != user || (r->n && r->n != *n))
        return ab_fail_at(err, AB_ENOTFOUND, "job", "this user has no such job");
    return 0;
}

/* The row with this client-made id, if it is there: the same again, or conflict. 1: answered. */
static int inbox_before(struct db *db, uint64_t n, const struct ab_op_inbox *r, struct ab_buf *answer,
                        struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_INBOX_BY_ID);
    bind_int(s, 1, (int64_t)n);
    bind_id(s, 2, &r->id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    if (!ab_view_eq(col_text(s, 1), r->kind) || !ab_view_eq(col_text(s, 2), r->ask) ||
        !ab_view_eq(col_text(s, 3), r->text))
        return ab_fail_at(err, AB_ECONFLICT, "id", "this id is taken by another row of the inbox");
    struct ab_op_inbox_answer a = {.n = n, .k = (uint64_t)col_int(s, 0)};
    ab_encode(answer, &ab_op_inbox_answer_schema, &a);
    return 1;
}

static int inbox_room(const struct head *head, const struct ab_op_inbox *r, struct ab_error *err)
{
    bool always = inbox_kinds[inbox_kind(r->kind)].always && r->text.n <= AB_ERROR_TEXT_MAX;
    if (always && head->inbox_k < 2 * INBOX_ROWS_MAX)
        return 0;
    if (head->inbox_k >= INBOX_ROWS_MAX)
        return ab_fail(err, AB_EBUSY, "the job's inbox holds %d rows, the most it may", INBOX_ROWS_MAX);
    if (head->inbox_bytes + r->text.n > INBOX_BYTES_MAX)
        return ab_fail(err, AB_EBUSY, "the job's inbox holds %d bytes, the most it may", INBOX_BYTES_MAX);
    return 0;
}

/* A job's own limits; its waiting ends by the row itself. */
static int inbox_budget(struct db *db, struct head *head, const struct ab_op_inbox *r, struct ab_error *err)
{
    struct ab_budget budget;
    if (!ab_view_is(r->kind, "budget"))
        return 0;
    int code = ab_budget_read(r->text, true, &budget, err);
    if (!code)
        code = budget_set(db, BUDGET_JOB, (int64_t)head->n, PERIOD_TOTAL, r->text, err);
    if (code || (code = head_load(db, head->n, head, err))) /* it may have been woken */
        return code;
    head->budget_version = 0;
    return 0;
}

int op_inbox(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_inbox *r = request;
    uint64_t n = 0;
    struct head head;
    int code = inbox_job(db, r, &n, err);
    if (code || (code = inbox_before(db, n, r, answer, err)))
        return code > 0 ? 0 : code;
    if (inbox_kind(r->kind) == INBOX_KINDS)
        return ab_fail_at(err, AB_EINVALID, "kind", "is cancel, input, pause, resume or budget, not %.*s",
                          AB_VIEW_FMT(r->kind));
    if ((code = head_load(db, n, &head, err)))
        return code;
    if (head.end)
        return ab_fail(err, AB_EENDED, "the job has ended: %s", end_names[head.end % END_N]);
    if ((code = inbox_room(&head, r, err)) || (code = inbox_budget(db, &head, r, err)))
        return code;
    if ((code = inbox_add(db, &head, r, err)))
        return code;
    struct ab_op_inbox_answer a = {.n = n, .k = head.inbox_k, .created = true};
    ab_encode(answer, &ab_op_inbox_answer_schema, &a);
    return 0;
}

int job_notice(struct db *db, uint64_t n, uint64_t k, const char *kind, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_N);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    if (db->notices_n == db->notices_cap) {
        db->notices_cap = db->notices_cap ? db->notices_cap * 2 : 16;
        db->notices = ab_realloc(db->notices, db->notices_cap * sizeof *db->notices);
    }
    db->notices[db->notices_n++] = (struct store_notice){.job = col_id(s, 0), .k = k, .kind = kind};
    return 0;
}

int job_send_cancel(struct db *db, uint64_t n, const char *reason, struct ab_error *err)
{
    struct head head;
    int code = head_load(db, n, &head, err);
    if (code || head.end)
        return code;
    struct ab_op_inbox r = {
        .id = ab_id_make(db->now_ms), .kind = ab_view_of("cancel"), .text = ab_view_of(reason)};
    if ((code = inbox_add(db, &head, &r, err)))
        return code;
    return job_notice(db, n, head.inbox_k, "cancel", err);
}

/* ---- messages to a session whose job waits for a person, or is not wanted any more ---- */

/* The words of a message: text, or its text parts on a line each. A part of another kind is no answer. */
static int words_of(struct ab_view body, struct ab_buf *words, struct ab_error *err)
{
    struct ab_input input;
    int code = ab_decode(&ab_input_schema, body, &input, err);
    if (code || (code = content_check(input.content, err)))
        return code;
    struct ab_view text = ab_any_str(input.content), part;
    struct ab_reader reader = ab_reader(input.content);
    uint32_t n = 0;
    ab_buf_add(words, text.p, text.n);
    if (text.p || ab_read_array(&reader, &n))
        return 0;
    for (uint32_t i = 0; i < n && !ab_read_any(&reader, &part); i++) {
        text = ab_any_str(ab_map_get(part, "text"));
        if (!ab_view_is(ab_any_str(ab_map_get(part, "type")), "text") || !text.p)
            return ab_fail_at(
                err, AB_EINVALID, "content",
                "the session's job waits for a person's words: only text can be the answer (or give "
                "if_busy new_job)");
        ab_buf_text(words, i ? "\n" : "");
        ab_buf_add(words, text.p, text.n);
    }
    return 0;
}

static void say_taken(const struct ab_op_submit *r, uint64_t n, struct ab_id job, uint64_t k, uint64_t seq,
                      bool created, struct ab_buf *answer)
{
    const struct ab_op_submit_answer a = {
        .n = n, .session = r->session, .created = created, .job = job, .input = k, .seq = seq};
    ab_encode(answer, &ab_op_submit_answer_schema, &a);
}

/* Behind which event the answer is told: the last one before row k was consumed. */
static int seq_before(struct db *db, uint64_t n, uint64_t k, uint64_t *seq, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_ALL);
    bind_int(s, 1, (int64_t)n);
    int got;
    *seq = 0;
    while ((got = db_row(db, s, err)) > 0) {
        struct ab_input_event input;
        if (col_int(s, 1) == AB_KIND_INPUT &&
            !ab_decode(&ab_input_event_schema, col_blob(s, 2), &input, NULL) && input.k == k)
            break;
        ++*seq;
    }
    return got < 0 ? got : 0;
}

int answered_before(struct db *db, const struct ab_op_submit *r, struct ab_buf *answer, struct ab_error *err)
{
    if (!r->session.n || !id_old(db, r->job))
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_INBOX_OF_ID);
    bind_id(s, 1, &r->job);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    int64_t user = user_find(db, r->user, err);
    struct ab_buf words = {0};
    uint64_t n = (uint64_t)col_int(s, 0), k = (uint64_t)col_int(s, 1), seq = 0;
    int code = user < 0 ? (int)user : words_of(r->input, &words, err);
    if (!code && (user != col_int(s, 4) || !ab_view_eq(col_text(s, 3), ab_buf_view(&words))))
        code = ab_fail_at(err, AB_ECONFLICT, "job", "this job id is taken by another request");
    ab_buf_finish(&words);
    if (!code)
        code = seq_before(db, n, k, &seq, err);
    if (code)
        return code;
    say_taken(r, n, col_id(s, 2), k, seq, false, answer);
    return 1;
}

int answer_take(struct db *db, const struct ab_op_submit *r, struct ab_buf *answer, struct ab_error *err)
{
    struct head head;
    int code = head_load(db, r->answer_to, &head, err);
    if (!code && (head.end || head.state != OPEN_WAITING))
        code = ab_fail_at(err, AB_ECONFLICT, "answer_to", "that job does not wait for a person any more");
    if (code)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_N);
    bind_int(s, 1, (int64_t)head.n);
    if ((code = db_row(db, s, err)) < 0)
        return code;
    struct ab_buf words = {0};
    struct ab_op_inbox row = {.id = r->job, .kind = ab_view_of("input")};
    code = words_of(r->input, &words, err);
    row.text = ab_view(words.p ? words.p : "", words.n);
    if (!code && !(code = inbox_room(&head, &row, err)) && !(code = inbox_add(db, &head, &row, err))) {
        id_note(db, r->job);
        say_taken(r, head.n, col_id(s, 0), head.inbox_k, head.seq, true, answer);
    }
    ab_buf_finish(&words);
    return code;
}

int job_interrupt(struct db *db, const struct ab_op_submit *r, int64_t user, struct ab_error *err)
{
    if (ab_id_zero(r->interrupts))
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_ID);
    bind_id(s, 1, &r->interrupts);
    int got = db_row(db, s, err);
    if (got <= 0 || col_int(s, 1) != user)
        return got < 0 ? got : 0;
    return job_send_cancel(db, (uint64_t)col_int(s, 0), "a later message of its session took its place", err);
}
