/* Jobs: taking them (submit), what an append must know of them, the broker's epoch, and removing what one held.
 */
#include "storage/sqlite/budgets.h"

#include <sodium.h>

#include "common/clock.h"

enum { SAME_BYTES = 16 };

int op_epoch(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_epoch *r = request;
    bool again = !ab_id_zero(r->id) && ab_id_eq(r->id, db->epoch_id); /* the batch was sent twice */
    sqlite3_stmt *s = db_sql(db, SQL_META_SET);
    bind_text(s, 1, ab_view_of("epoch"));
    bind_int(s, 2, (int64_t)db->epoch + !again);
    int code = db_run(db, s, err);
    if (code)
        return code;
    db->epoch += !again;
    db->epoch_id = r->id;
    struct list halts;
    list_init(&halts);
    if (!(code = queues_list(db, &halts, err))) {
        struct ab_op_epoch_answer a = {.epoch = db->epoch, .queues = list_done(&halts)};
        ab_encode(answer, &ab_op_epoch_answer_schema, &a);
    }
    list_finish(&halts);
    return code;
}

/* ---- submit ---- */

/* Hash of all that makes two requests the same job. Not the workflow's text (its hash is in), nor the sealed keys
 * (sealing the same key twice gives other bytes). */
static void same_hash(struct db *db, const struct ab_op_submit *r, uint8_t out[SAME_BYTES])
{
    struct ab_op_submit plain = *r;
    plain.workflow = plain.secrets = plain.if_busy = (struct ab_view){0};
    plain.answer_to = 0; /* what the broker found is not the client's wish */
    plain.interrupts = (struct ab_id){{0}};
    plain.known = false;
    ab_buf_clear(&db->scratch);
    ab_encode(&db->scratch, &ab_op_submit_schema, &plain);
    crypto_generichash(out, SAME_BYTES, (const unsigned char *)db->scratch.p, db->scratch.n, NULL, 0);
}

/* A fork is queued by what was made of it, not by its request; so is a job whose workflow named others. */
static int submit_answer(struct db *db, const struct ab_op_submit *r, struct ab_op_submit_answer *a,
                         struct ab_buf *answer, struct ab_error *err)
{
    struct ab_buf open = {0};
    int as_asked = ab_id_zero(r->fork_of) ? workflow_is_stored(db, r->hash, err) : 0, code = 0;
    if (as_asked < 0)
        return as_asked;
    if (!as_asked && !a->state.n)
        code = open_job_map(db, a->n, &open, err);
    if (open.n)
        a->open = ab_buf_view(&open);
    if (!code)
        ab_encode(answer, &ab_op_submit_answer_schema, a);
    ab_buf_finish(&open);
    return code;
}

/* The answer to a job that is there already: the same one, or conflict without details. */
static int submitted_before(struct db *db, const struct ab_op_submit *r, const uint8_t *same, sqlite3_stmt *row,
                            struct ab_buf *answer, struct ab_error *err)
{
    uint64_t n = (uint64_t)col_int(row, 0);
    int64_t session = col_int(row, 2);
    if (!ab_view_eq(col_blob(row, 4), ab_view(same, SAME_BYTES)))
        return ab_fail_at(err, AB_ECONFLICT, "job", "this job id is taken by another request");
    struct ab_op_submit_answer a = {.n = n, .history = col_int(row, 3)};
    sqlite3_stmt *end = db_sql(db, SQL_END_GET);
    bind_int(end, 1, (int64_t)n);
    int got = db_row(db, end, err);
    if (got < 0)
        return got;
    if (got)
        a.state = ab_view_of(end_names[col_int(end, 0) % END_N]);
    if (session) {
        sqlite3_stmt *name = db_sql(db, SQL_SESSION_ID);
        bind_int(name, 1, session);
        if ((got = db_row(db, name, err)) < 0)
            return got;
        a.session = got ? col_text(name, 0) : r->session;
    }
    return submit_answer(db, r, &a, answer, err);
}

/* The session the job goes into: found, made under its name, or made with a new name. */
static int submit_session(struct db *db, const struct ab_op_submit *r, int64_t user, int64_t workflow,
                          struct ab_op_submit_answer *a, int64_t *key, char made[AB_ID_TEXT],
                          struct ab_error *err)
{
    *key = 0;
    if (r->no_session)
        return 0;
    a->session = r->session;
    if (r->session.n) {
        if ((*key = session_find(db, user, r->session, err)) < 0)
            return (int)*key;
        if (*key) {
            sqlite3_stmt *any = db_sql(db, SQL_MESSAGE_ANY);
            bind_int(any, 1, *key);
            int got = db_row(db, any, err);
            a->history = got > 0;
            return got < 0 ? got : 0;
        }
    } else {
        a->session = ab_view_of(ab_id_text(ab_id_make(db->now_ms), made));
    }
    *key = session_make(db, user, a->session, workflow, err);
    return *key < 0 ? (int)*key : 0;
}

static int job_add(struct db *db, const struct ab_op_submit *r, uint64_t n, int64_t user, int64_t session,
                   int64_t workflow, const uint8_t *same, bool history, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_id(s, 2, &r->job);
    bind_int(s, 3, user);
    bind_opt(s, 4, session);
    bind_int(s, 5, workflow);
    bind_int(s, 6, db->now_ms);
    bind_blob(s, 7, ab_view(same, SAME_BYTES));
    bind_opt(s, 8, history);
    bind_text(s, 9, r->tenant);
    bind_opt(s, 10, r->priority);
    bind_opt(s, 11, (int64_t)r->not_before_ms);
    bind_opt(s, 12, (int64_t)r->deadline_ms);
    bind_text(s, 13, r->key);
    bind_text(s, 14, r->pool);
    bind_blob(s, 15, r->input);
    if (ab_id_zero(r->fork_of))
        bind_blob(s, 16, ab_view(NULL, 0));
    else
        bind_id(s, 16, &r->fork_of);
    bind_opt(s, 17, (int64_t)r->fork_seq);
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_OPEN_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, OPEN_READY);
    code = db_run(db, s, err);
    if (code || !r->secrets.p)
        return code;
    s = db_sql(db, SQL_SECRETS_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_blob(s, 2, r->secrets);
    return db_run(db, s, err);
}

/* The user's message: a row that points at the job, and the id that the client chose for it. */
static int question_add(struct db *db, uint64_t n, int64_t user, int64_t session, struct ab_view msg_id,
                        struct ab_error *err)
{
    int code = message_add(db, session, pos_of(n, POS_QUESTION), (struct ab_view){0}, err);
    if (code || !msg_id.n)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_ADD);
    bind_int(s, 1, user);
    bind_text(s, 2, msg_id);
    bind_int(s, 3, session);
    bind_int(s, 4, pos_of(n, POS_QUESTION));
    return db_run(db, s, err);
}

static int workflow_budget(struct db *db, int64_t workflow, sqlite3_stmt **row, struct ab_error *err)
{
    int got = 0;
    if (db->workflow_budgets_any < 0) {
        sqlite3_stmt *s = db_sql(db, SQL_WORKFLOW_BUDGETS_ANY);
        if ((got = db_row(db, s, err)) < 0)
            return got;
        db->workflow_budgets_any = (int)col_int(s, 0);
    }
    if (!db->workflow_budgets_any)
        return 0;
    *row = db_sql(db, SQL_WORKFLOW_BUDGET);
    bind_int(*row, 1, workflow);
    got = db_row(db, *row, err);
    return got > 0 ? !col_null(*row, 0) : got;
}

/* The limits of the workflow, then those of the request over them. */
static int submit_budget(struct db *db, const struct ab_op_submit *r, uint64_t n, int64_t workflow,
                         struct ab_error *err)
{
    sqlite3_stmt *row = NULL;
    int got = workflow_budget(db, workflow, &row, err), code = 0;
    if (got > 0)
        code = budget_set(db, BUDGET_JOB, (int64_t)n, PERIOD_TOTAL, col_text(row, 0), err);
    if (got >= 0 && !code && r->budget.n)
        code = budget_set(db, BUDGET_JOB, (int64_t)n, PERIOD_TOTAL, r->budget, err);
    return got < 0 ? got : code;
}

/* All that can refuse a new job, before anything is written. */
static int submit_check(struct db *db, const struct ab_op_submit *r, struct ab_input *input, int64_t *user,
                        int64_t *workflow, struct ab_error *err)
{
    if (!ab_id_ok(r->job))
        return ab_fail_at(err, AB_EINVALID, "job", "a job id is a UUID of version 7");
    if (r->no_session && r->session.n)
        return ab_fail_at(err, AB_EINVALID, "session", "no_session and a session at once");
    int code = ab_decode(&ab_input_schema, r->input, input, err);
    if (code || (code = content_check_parts(input->content, err)) ||
        (code = history_check(input->history, err)))
        return code;
    struct ab_budget budget;
    if (r->budget.n && ab_budget_read(r->budget, true, &budget, err))
        return err->code;
    if (db->retention_ms && ab_id_ms(r->job) < db->now_ms - db->retention_ms)
        return ab_fail_at(err, AB_EEXPIRED, "job", "this id is older than the retention: make a new job");
    if ((*workflow = workflow_key(db, r->hash, r->workflow, r->user, err)) < 0)
        return (int)*workflow;
    if ((*user = user_make(db, r->user, err)) < 0)
        return (int)*user;
    if (!input->msg_id.n || r->no_session)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_GET);
    bind_int(s, 1, *user);
    bind_text(s, 2, input->msg_id);
    int got = db_row(db, s, err);
    return got <= 0 ? got : ab_fail_at(err, AB_ECONFLICT, "msg_id", "this message id is taken");
}

/* 1: the id is taken and *row is its job. Ids begin with the time, so nearly every one is greater than all before, and
 * nothing needs to be read. */
static int find_taken(struct db *db, struct ab_id id, sqlite3_stmt **row, struct ab_error *err)
{
    if (!id_old(db, id))
        return 0;
    *row = db_sql(db, SQL_JOB_BY_ID);
    bind_id(*row, 1, &id);
    return db_row(db, *row, err);
}

/* r: with all that a fork takes from the other job. */
static int submit_new(struct db *db, const struct ab_op_submit *r, const uint8_t *same, const struct fork *fork,
                      struct ab_buf *answer, struct ab_error *err)
{
    struct ab_input input;
    int64_t user = 0, workflow = 0, session = 0;
    uint64_t seq = 0;
    int code = submit_check(db, r, &input, &user, &workflow, err);
    if (code)
        return code;
    struct ab_op_submit_answer a = {.n = db->n_last + 1, .created = true};
    char made[AB_ID_TEXT];
    if ((code = submit_session(db, r, user, workflow, &a, &session, made, err)) ||
        (code = job_add(db, r, a.n, user, session, workflow, same, a.history, err)) ||
        (session && (code = question_add(db, a.n, user, session, input.msg_id, err))) ||
        (fork->from && (code = fork_write(db, r, a.n, session, fork, &seq, err))) ||
        (code = submit_budget(db, r, a.n, workflow, err)))
        return code;
    if ((code = job_interrupt(db, r, user, err)))
        return code;
    db->n_last = a.n;
    id_note(db, r->job);
    heads_put(&db->heads,
              &(struct head){.n = a.n, .seq = seq, .session = session, .user = user, .secrets = r->secrets.p});
    return submit_answer(db, r, &a, answer, err);
}

int op_submit(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_submit *r = request;
    uint8_t same[SAME_BYTES];
    sqlite3_stmt *row = NULL;
    same_hash(db, r, same);
    int code = find_taken(db, r->job, &row, err);
    if (code)
        return code < 0 ? code : submitted_before(db, r, same, row, answer, err);
    if ((code = answered_before(db, r, answer, err)))
        return code < 0 ? code : 0;
    if (r->known)
        return ab_fail_at(err, AB_ENOTFOUND, "known", "there is no such job");
    if (r->answer_to)
        return answer_take(db, r, answer, err);
    struct ab_op_submit whole = *r;
    struct fork fork = {0};
    code = ab_id_zero(r->fork_of) ? 0 : fork_check(db, &whole, &fork, err);
    if (!code)
        code = queue_check(db, whole.pool, whole.user, err);
    if (!code)
        code = submit_new(db, &whole, same, &fork, answer, err);
    fork_finish(&fork);
    return code;
}

/* ---- heads ---- */
static int head_from_events(struct db *db, struct head *head, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENT_LAST);
    bind_int(s, 1, (int64_t)head->n);
    int got = db_row(db, s, err);
    if (got > 0) {
        head->seq = (uint64_t)col_int(s, 0);
        head->token = (uint64_t)col_int(s, 1);
    }
    if (got < 0)
        return got;
    s = db_sql(db, SQL_INBOX_SIZE);
    bind_int(s, 1, (int64_t)head->n);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    head->inbox_k = (uint64_t)col_int(s, 0);
    head->inbox_bytes = (uint64_t)col_int(s, 1);
    return 0;
}

int head_load(struct db *db, uint64_t n, struct head *head, struct ab_error *err)
{
    if (heads_get(&db->heads, n, head))
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_N);
    bind_int(s, 1, (int64_t)n);
    int got = n <= INT64_MAX ? db_row(db, s, err) : 0;
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "n", "there is no job %llu", (unsigned long long)n);
    *head =
        (struct head){.n = n, .session = col_int(s, 2), .user = col_int(s, 1), .secrets = true, .holds = true};
    int code = head_from_events(db, head, err);
    if (code)
        return code;
    s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, (int64_t)n);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    if (got) {
        head->end = (uint8_t)col_int(s, 0);
        return 0;
    }
    s = db_sql(db, SQL_OPEN_GET);
    bind_int(s, 1, (int64_t)n);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    head->state = got ? (uint8_t)col_int(s, 0) : OPEN_READY;
    heads_put(&db->heads, head);
    return 0;
}

/* ---- removing ---- */
int job_purge(struct db *db, uint64_t n, uint64_t seq, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_REMOVE);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, seq > INT64_MAX ? INT64_MAX : (int64_t)seq);
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_JOB_SET_INPUT);
    bind_int(s, 1, (int64_t)n);
    if ((code = db_run(db, s, err)))
        return code;
    s = db_sql(db, SQL_INBOX_REMOVE);
    bind_int(s, 1, (int64_t)n);
    code = db_run(db, s, err);
    return code ? code : job_remove_files(db, n, err);
}
