/* Runs of another service: a job that ended there comes here with its id, state and journal, byte by byte. It never is
 * open here; from then on it is an ended job like any other.
 */
#include "storage/sqlite/db.h"

#include <sodium.h>
#include <stdlib.h>

enum { SAME_BYTES = 16 };

/* A run, read. */
struct run {
    const struct ab_op_import_run *r;
    struct ab_input input;
    uint64_t seq; /* of its end */
    int end;      /* END_… */
    bool answered;
    struct ab_forked forked; /* the last one: its own, of a fork; else zero */
};

/* ---- what it must be ---- */

/* Each event is one that this version knows and can read. */
static int check_event(struct ab_view event, uint64_t seq, void *room, struct ab_error *err)
{
    struct ab_error why = {0};
    enum ab_event_kind kind = ab_event_kind(event);
    if (kind == AB_KIND_UNKNOWN)
        return ab_fail_at(err, AB_EINVALID, "events",
                          "event %llu is damaged, or of a kind that a newer version writes",
                          (unsigned long long)seq);
    if (ab_decode(ab_event_rows[kind].schema, event, room, &why))
        return ab_fail_at(err, AB_EINVALID, "events", "event %llu: %s", (unsigned long long)seq, why.text);
    return 0;
}

static size_t room_bytes(void)
{
    size_t most = 0;
    for (int kind = 1; kind < AB_KINDS; kind++)
        if (ab_event_rows[kind].schema->size > most)
            most = ab_event_rows[kind].schema->size;
    return most;
}

/* One event after the other; the last one, and only that, is an end. */
static int read_events(struct run *run, void *room, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(run->r->events);
    struct ab_view event;
    while (reader.at < reader.end) {
        if (run->end)
            return ab_fail_at(err, AB_EINVALID, "events", "event %llu stands behind the job's end",
                              (unsigned long long)run->seq + 1);
        if (ab_read_any(&reader, &event))
            return ab_fail_at(err, AB_EINVALID, "events", "event %llu is damaged or cut off",
                              (unsigned long long)run->seq + 1);
        int code = check_event(event, ++run->seq, room, err);
        if (code)
            return code;
        if (ab_event_kind(event) == AB_KIND_FORKED)
            memcpy(&run->forked, room, sizeof run->forked);
        if (ab_event_kind(event) != AB_KIND_END)
            continue;
        run->end = end_of(ab_any_str(ab_map_get(event, "state")));
        run->answered = run->end == END_SUCCEEDED || ab_map_get(event, "content").p;
        if (!run->end)
            return ab_fail_at(err, AB_EINVALID, "events", "the end has no state that is known");
    }
    return run->end
               ? 0
               : ab_fail_at(err, AB_EINVALID, "events", "the job has not ended: export it again when it has");
}

static int read_run(struct run *run, const struct ab_op_import_run *r, struct ab_error *err)
{
    *run = (struct run){.r = r};
    if (!ab_id_ok(r->job))
        return ab_fail_at(err, AB_EINVALID, "job", "a job id is a UUID of version 7");
    if (r->created_ms > INT64_MAX || r->ended_ms > INT64_MAX || r->ended_ms < r->created_ms)
        return ab_fail_at(err, AB_EINVALID, "ended_ms", "is before created_ms, or no time");
    if (!ab_any_ok(r->input))
        return ab_fail_at(err, AB_EINVALID, "input", "is not one msgpack map");
    int code = ab_decode(&ab_input_schema, r->input, &run->input, err);
    if (code || (code = content_check(run->input.content, err)))
        return code;
    void *room = ab_alloc(room_bytes());
    code = read_events(run, room, err);
    free(room);
    return code;
}

/* ---- the same run again ---- */

/* Whether job n holds these very events. */
static int same_events(struct db *db, uint64_t n, struct ab_view events, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_AFTER);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, 0);
    int got;
    while ((got = db_row(db, s, err)) > 0) {
        struct ab_view body = col_blob(s, 2);
        if (body.n > events.n || memcmp(body.p, events.p, body.n))
            return 0;
        events = ab_view(events.p + body.n, events.n - body.n);
    }
    return got < 0 ? got : !events.n;
}

/* 1: answered; 0: there is no job with this id. */
static int imported_before(struct db *db, const struct run *run, struct ab_buf *answer, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_ID);
    bind_id(s, 1, &run->r->job);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    uint64_t n = (uint64_t)col_int(s, 0);
    int64_t user = user_find(db, run->r->user, err), session = col_int(s, 2);
    int same = user < 0 ? (int)user : user != col_int(s, 1) ? 0 : same_events(db, n, run->r->events, err);
    if (same < 0)
        return same;
    if (!same)
        return ab_fail_at(err, AB_ECONFLICT, "job", "this job id is taken by another run");
    struct ab_op_import_run_answer a = {.n = n, .seq = run->seq};
    s = db_sql(db, SQL_SESSION_ID);
    bind_int(s, 1, session);
    if (session && (got = db_row(db, s, err)) < 0)
        return got;
    if (session && got)
        a.session = col_text(s, 0);
    ab_encode(answer, &ab_op_import_run_answer_schema, &a);
    return 1;
}

/* ---- writing it ---- */
static int add_job(struct db *db, const struct run *run, uint64_t n, int64_t user, int64_t session,
                   int64_t workflow, struct ab_error *err)
{
    const struct ab_op_import_run *r = run->r;
    uint8_t same[SAME_BYTES]; /* of no SUBMIT: one with this id is a conflict */
    crypto_generichash(same, sizeof same, (const unsigned char *)r->events.p, r->events.n, NULL, 0);
    sqlite3_stmt *s = db_sql(db, SQL_JOB_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_id(s, 2, &r->job);
    bind_int(s, 3, user);
    bind_opt(s, 4, session);
    bind_int(s, 5, workflow);
    bind_int(s, 6, (int64_t)r->created_ms);
    bind_blob(s, 7, ab_view(same, sizeof same));
    bind_blob(s, 15, r->input);
    if (!ab_id_zero(run->forked.of)) {
        bind_id(s, 16, &run->forked.of);
        bind_opt(s, 17, (int64_t)run->forked.of_seq);
    }
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_IMPORT_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, db->now_ms);
    return db_run(db, s, err);
}

/* The events with token 0, which no lease has, and the end that names the last of them. */
static int add_events(struct db *db, const struct run *run, uint64_t n, struct ab_error *err)
{
    struct ab_reader reader = ab_reader(run->r->events);
    struct ab_view event;
    for (uint64_t seq = 1; !ab_read_any(&reader, &event); seq++) {
        sqlite3_stmt *s = db_sql(db, SQL_EVENT_ADD);
        bind_int(s, 1, (int64_t)n);
        bind_int(s, 2, (int64_t)seq);
        bind_int(s, 3, 0);
        bind_int(s, 4, ab_event_kind(event));
        bind_int(s, 5, crc32c(event));
        bind_blob(s, 6, event);
        int code = db_run(db, s, err);
        if (code)
            return code;
    }
    int64_t last = sqlite3_last_insert_rowid(db->handle);
    sqlite3_stmt *s = db_sql(db, SQL_END_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, run->end);
    bind_int(s, 3, (int64_t)run->r->ended_ms);
    bind_int(s, 4, last);
    return db_run(db, s, err);
}

/* Question and answer stand behind what the session holds already. */
static int add_messages(struct db *db, const struct run *run, uint64_t n, int64_t user, int64_t session,
                        struct ab_error *err)
{
    const struct ab_view none = {0};
    int code = message_add(db, session, pos_of(n, POS_QUESTION), none, err);
    if (!code && run->answered)
        code = message_add(db, session, pos_of(n, POS_ANSWER), none, err);
    if (code || !run->input.msg_id.n)
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_MESSAGE_ID_GET);
    bind_int(s, 1, user);
    bind_text(s, 2, run->input.msg_id);
    if ((code = db_row(db, s, err)))
        return code < 0 ? code
                        : ab_fail_at(err, AB_ECONFLICT, "msg_id",
                                     "the id of its message is taken here: import it without a session");
    s = db_sql(db, SQL_MESSAGE_ID_ADD);
    bind_int(s, 1, user);
    bind_text(s, 2, run->input.msg_id);
    bind_int(s, 3, session);
    bind_int(s, 4, pos_of(n, POS_QUESTION));
    return db_run(db, s, err);
}

static int add_run(struct db *db, const struct run *run, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_import_run *r = run->r;
    uint64_t n = db->n_last + 1;
    int64_t user, session = 0, workflow = workflow_key(db, r->hash, r->workflow, (struct ab_view){0}, err);
    if (workflow < 0)
        return (int)workflow;
    if ((user = user_make(db, r->user, err)) < 0)
        return (int)user;
    if (r->session.n && !(session = session_find(db, user, r->session, err)))
        session = session_make(db, user, r->session, workflow, err);
    if (session < 0)
        return (int)session;
    int code = add_job(db, run, n, user, session, workflow, err);
    if (!code)
        code = add_events(db, run, n, err);
    if (!code && session)
        code = add_messages(db, run, n, user, session, err);
    if (code)
        return code;
    db->n_last = n;
    id_note(db, r->job);
    struct ab_op_import_run_answer a = {.n = n, .seq = run->seq, .session = r->session, .created = true};
    ab_encode(answer, &ab_op_import_run_answer_schema, &a);
    return 0;
}

int op_import_run(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    struct run run;
    int code = read_run(&run, request, err);
    if (code || (code = imported_before(db, &run, answer, err)))
        return code > 0 ? 0 : code;
    return add_run(db, &run, answer, err);
}
