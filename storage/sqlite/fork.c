/* Forks: a new job that goes on from a copy of another one's journal. All is done inside the submit that makes the job.
 *
 * What concerned the attempts of the other job (started, attempt_failed, paused, end, forked, call_started) is not copied, nor a
 * question at the end that nobody has answered: the new job has attempts and questions of its own. The copies are
 * numbered 1, 2, 3 … with token 0, below every lease; a `forked` event behind them says whose they are.
 */
#include "storage/sqlite/db.h"

_Static_assert(AB_KIND_STARTED == 1 && AB_KIND_ATTEMPT_FAILED == 5 && AB_KIND_WAITING == 6 &&
                   AB_KIND_END == 8 && AB_KIND_PAUSED == 9 && AB_KIND_FORKED == 10 &&
                   AB_KIND_CALL_STARTED == 12,
               "SQL_KINDS_OF_ATTEMPTS names them");

/* Columns of JOB_SOURCE. */
enum {
    COL_N,
    COL_USER,
    COL_SESSION,
    COL_WORKFLOW,
    COL_HASH,
    COL_TEXT,
    COL_INPUT,
    COL_TENANT,
    COL_PRIORITY,
    COL_KEY,
    COL_POOL
};

/* ---- what is asked for ---- */

/* Sealed keys are bound to the job they came with. In canonical JSON a quote inside a text is escaped, so this can only
 * be a member's name. */
static bool wants_keys(struct ab_view workflow)
{
    static const char mark[] = "\"$secret\":";
    return memmem(workflow.p, workflow.n, mark, sizeof mark - 1) != NULL;
}

/* A request that names stored workflows has another hash than the job's, in whose workflow they were put. */
static int check_same(struct db *db, const struct ab_op_submit *r, struct ab_view hash, struct ab_error *err)
{
    if (!r->hash.n || ab_view_eq(r->hash, hash))
        return 0;
    int64_t key = workflow_key(db, r->hash, r->workflow, r->user, err);
    int64_t own = key < 0 ? key : workflow_key(db, hash, (struct ab_view){0}, (struct ab_view){0}, err);
    if (own < 0)
        return (int)own;
    return key == own ? 0
                      : ab_fail_at(err, AB_EINVALID, "hash",
                                   "is another workflow than that job's, whose journal would not fit it");
}

static int check_source(struct db *db, const struct ab_op_submit *r, sqlite3_stmt *s, struct ab_error *err)
{
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    int64_t user = got ? user_find(db, r->user, err) : 0;
    if (user < 0)
        return (int)user;
    if (!got || col_int(s, COL_USER) != user)
        return ab_fail_at(err, AB_ENOTFOUND, "fork_of", "this user has no such job");
    if (col_null(s, COL_INPUT))
        return ab_fail_at(err, AB_EEXPIRED, "fork_of", "the content of that job was deleted");
    int code = check_same(db, r, col_blob(s, COL_HASH), err);
    if (code)
        return code;
    if (!r->secrets.p && wants_keys(col_text(s, COL_TEXT)))
        return ab_fail_at(err, AB_EINVALID, "secrets",
                          "that job's workflow has keys in it, which were sealed to that job alone: give the "
                          "workflow with its keys again");
    return 0;
}

/* Its journal reaches from 1 to what is asked for. */
static int check_journal(struct db *db, const struct ab_op_submit *r, struct fork *fork, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_RANGE);
    bind_int(s, 1, (int64_t)fork->from);
    int got = db_row(db, s, err);
    if (got < 0 || !r->fork_seq)
        return got < 0 ? got : 0;
    if (col_int(s, 0) > 1)
        return ab_fail_at(err, AB_EEXPIRED, "fork_seq",
                          "the beginning of that job's journal was removed by the retention");
    if (r->fork_seq > (uint64_t)col_int(s, 1))
        return ab_fail_at(err, AB_EINVALID, "fork_seq", "that job has %lld events so far",
                          (long long)col_int(s, 1));
    s = db_sql(db, SQL_EVENTS_LAST_COPIED);
    bind_int(s, 1, (int64_t)fork->from);
    bind_int(s, 2, (int64_t)r->fork_seq);
    if ((got = db_row(db, s, err)) < 0)
        return got;
    fork->last = (uint64_t)col_int(s, 0);
    return 0;
}

/* ---- an event with another text ---- */

static int edit_turn(struct ab_view raw, struct ab_view text, struct ab_buf *out, struct ab_error *err)
{
    struct ab_turn turn;
    struct ab_buf content = {0};
    int code = ab_decode(&ab_turn_schema, raw, &turn, err);
    ab_pack_str(&content, text);
    turn.content = ab_buf_view(&content);
    turn.edited = true;
    if (!code)
        ab_event_encode(out, AB_KIND_TURN, &turn);
    ab_buf_finish(&content);
    return code;
}

static int edit_reply(struct ab_view raw, struct ab_view text, struct ab_buf *out, struct ab_error *err)
{
    struct ab_model_reply reply;
    int code = ab_decode(&ab_model_reply_schema, raw, &reply, err);
    reply.content = text;
    reply.tool_calls = (struct ab_view){0}; /* said instead of calling */
    reply.edited = true;
    if (!code)
        ab_event_encode(out, AB_KIND_MODEL_REPLY, &reply);
    return code;
}

static int edit_input(struct ab_view raw, struct ab_view text, struct ab_buf *out, struct ab_error *err)
{
    struct ab_input_event input;
    int code = ab_decode(&ab_input_event_schema, raw, &input, err);
    input.text = text;
    input.edited = true;
    if (!code)
        ab_event_encode(out, AB_KIND_INPUT, &input);
    return code;
}

static int edit(struct db *db, const struct ab_op_submit *r, struct fork *fork, struct ab_error *err)
{
    static int (*const edits[AB_KINDS])(struct ab_view raw, struct ab_view text, struct ab_buf * out,
                                        struct ab_error * err) = {
        [AB_KIND_TURN] = edit_turn, [AB_KIND_MODEL_REPLY] = edit_reply, [AB_KIND_INPUT] = edit_input};
    if (!r->fork_text.p)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_EVENT_GET);
    bind_int(s, 1, (int64_t)fork->from);
    bind_int(s, 2, r->fork_seq > INT64_MAX ? INT64_MAX : (int64_t)r->fork_seq);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    enum ab_event_kind kind = got ? ab_event_kind(col_blob(s, 1)) : AB_KIND_UNKNOWN;
    if (!edits[kind])
        return ab_fail_at(
            err, AB_EINVALID, "fork_seq",
            "only the text of a turn, a model_reply or an input can be another one; event %llu is %s",
            (unsigned long long)r->fork_seq, kind ? ab_event_rows[kind].kind : "none of them");
    return edits[kind](col_blob(s, 1), r->fork_text, &fork->edited, err);
}

/* ---- before and after the job is made ---- */

/* The input of the other job, under a message id of its own. */
static int copy_input(struct ab_view from, struct fork *fork, struct ab_error *err)
{
    struct ab_input input;
    int code = ab_decode(&ab_input_schema, from, &input, err);
    input.msg_id = (struct ab_view){0};
    if (!code)
        ab_encode(&fork->input, &ab_input_schema, &input);
    return code;
}

int fork_check(struct db *db, struct ab_op_submit *r, struct fork *fork, struct ab_error *err)
{
    *fork = (struct fork){0};
    sqlite3_stmt *s = db_sql(db, SQL_JOB_SOURCE);
    bind_id(s, 1, &r->fork_of);
    int code = check_source(db, r, s, err);
    if (code)
        return code;
    fork->from = (uint64_t)col_int(s, COL_N);
    fork->session = col_int(s, COL_SESSION);
    if ((code = check_journal(db, r, fork, err)) || (code = edit(db, r, fork, err)))
        return code;
    r->hash = col_blob(s, COL_HASH);
    if (!r->tenant.p)
        r->tenant = col_text(s, COL_TENANT);
    if (!r->priority)
        r->priority = col_int(s, COL_PRIORITY);
    if (!r->key.p)
        r->key = col_text(s, COL_KEY);
    if (!r->pool.p)
        r->pool = col_text(s, COL_POOL);
    if (r->input.p)
        return 0;
    code = copy_input(col_blob(s, COL_INPUT), fork, err);
    r->input = ab_buf_view(&fork->input);
    return code;
}

static int event_add(struct db *db, uint64_t n, uint64_t seq, enum ab_event_kind kind, struct ab_view body,
                     struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENT_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, (int64_t)seq);
    bind_int(s, 3, 0);
    bind_int(s, 4, kind);
    bind_int(s, 5, crc32c(body));
    bind_blob(s, 6, body);
    return db_run(db, s, err);
}

/* *copies is how many events were copied. */
static int copy_events(struct db *db, uint64_t n, const struct fork *fork, uint64_t *copies,
                       struct ab_error *err)
{
    *copies = 0;
    if (!fork->last)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_COPY);
    bind_int(s, 1, (int64_t)fork->from);
    bind_int(s, 2, (int64_t)fork->last);
    bind_int(s, 3, (int64_t)n);
    int code = db_run(db, s, err);
    if (code)
        return code;
    *copies = (uint64_t)sqlite3_changes(db->handle);
    int64_t last = sqlite3_last_insert_rowid(db->handle);
    if ((code = job_copy_files(db, fork->from, n, err)) || !fork->edited.n)
        return code;
    s = db_sql(db, SQL_EVENT_SET); /* the last one that was copied */
    bind_int(s, 1, last);
    bind_blob(s, 2, ab_buf_view(&fork->edited));
    bind_int(s, 3, crc32c(ab_buf_view(&fork->edited)));
    return db_run(db, s, err);
}

/* A question that is asked again in its own session, and had no answer, is shown once. */
static int hide_question(struct db *db, const struct fork *fork, int64_t session, struct ab_error *err)
{
    if (!session || session != fork->session)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_END_GET);
    bind_int(s, 1, (int64_t)fork->from);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    s = db_sql(db, SQL_MESSAGE_GET);
    bind_int(s, 1, session);
    bind_int(s, 2, pos_of(fork->from, POS_ANSWER));
    if ((got = db_row(db, s, err)))
        return got < 0 ? got : 0;
    return message_hide(db, session, pos_of(fork->from, POS_QUESTION), err);
}

int fork_write(struct db *db, const struct ab_op_submit *r, uint64_t n, int64_t session,
               const struct fork *fork, uint64_t *seq, struct ab_error *err)
{
    const struct ab_forked forked = {.of = r->fork_of, .of_seq = r->fork_seq, .at_ms = (uint64_t)db->now_ms};
    struct ab_buf body = {0};
    ab_event_encode(&body, AB_KIND_FORKED, &forked);
    int code = copy_events(db, n, fork, seq, err);
    if (!code)
        code = event_add(db, n, ++*seq, AB_KIND_FORKED, ab_buf_view(&body), err);
    ab_buf_finish(&body);
    return code ? code : hide_question(db, fork, session, err);
}

void fork_finish(struct fork *fork)
{
    ab_buf_finish(&fork->input);
    ab_buf_finish(&fork->edited);
}
