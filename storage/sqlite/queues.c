/* Halted queues: rows that outlive brokers. The broker, who orders jobs, keeps those of them from workers; that a draining
 * queue takes no new jobs is decided here, in the transaction of the submit, where a fork's pool is known too. */
#include "storage/sqlite/db.h"

/* Codes in the file: never renumbered. */
enum { QUEUE_RUNNING, QUEUE_PAUSED, QUEUE_DRAINING, QUEUE_STATES_N };
static const char *const state_names[QUEUE_STATES_N] = {"running", "paused", "draining"};
enum { DRAIN_RETRY_MS = 60000 }; /* told to who submits: drains are people's doing, and last */

static struct ab_view not_null(struct ab_view text)
{
    return text.p ? text : ab_view("", 0);
}

static int check_room(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_QUEUES_COUNT);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    if (col_int(s, 0) < AB_QUEUES_MAX)
        return 0;
    return ab_fail(err, AB_ETOOLARGE, "%d queues are halted, which is the most: let some go on first",
                   AB_QUEUES_MAX);
}

int op_set_queue(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_queue_halt *r = request;
    int state = 0;
    while (state < QUEUE_STATES_N && !ab_view_is(r->state, state_names[state]))
        state++;
    if (state == QUEUE_STATES_N)
        return ab_fail_at(err, AB_EINVALID, "state", "is running, paused or draining, not %.*s",
                          AB_VIEW_FMT(r->state));
    int code = state == QUEUE_RUNNING ? 0 : check_room(db, err);
    if (code)
        return code;
    sqlite3_stmt *s = db_sql(db, state == QUEUE_RUNNING ? SQL_QUEUE_REMOVE : SQL_QUEUE_PUT);
    bind_text(s, 1, r->pool);
    bind_text(s, 2, not_null(r->of));
    if (state != QUEUE_RUNNING) {
        bind_int(s, 3, state);
        bind_text(s, 4, r->by);
        bind_text(s, 5, r->reason);
        bind_int(s, 6, (int64_t)r->at_ms);
    }
    db->drains_any = -1;
    if ((code = db_run(db, s, err)))
        return code;
    ab_encode(answer, &ab_op_empty_schema, &(struct ab_op_empty){0});
    return 0;
}

static void halt_add(sqlite3_stmt *s, struct list *list)
{
    const struct ab_queue_halt halt = {
        .pool = col_text(s, 0),
        .of = col_text(s, 1),
        .state = ab_view_of(state_names[col_int(s, 2) % QUEUE_STATES_N]),
        .by = col_text(s, 3),
        .reason = col_text(s, 4),
        .at_ms = (uint64_t)col_int(s, 5),
    };
    ab_encode(&list->buf, &ab_queue_halt_schema, &halt);
    list->n++;
}

int queues_list(struct db *db, struct list *list, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_QUEUES);
    int got;
    while ((got = db_row(db, s, err)) > 0)
        halt_add(s, list);
    return got;
}

/* Without any draining queue nobody asks further. */
static int any_drains(struct db *db, struct ab_error *err)
{
    if (db->drains_any < 0) {
        sqlite3_stmt *s = db_sql(db, SQL_DRAINS_ANY);
        int got = db_row(db, s, err);
        if (got < 0)
            return got;
        db->drains_any = (int)col_int(s, 0);
    }
    return db->drains_any;
}

int queue_check(struct db *db, struct ab_view pool, struct ab_view user, struct ab_error *err)
{
    int got = any_drains(db, err);
    if (got <= 0)
        return got;
    sqlite3_stmt *s = db_sql(db, SQL_DRAIN_OF);
    bind_text(s, 1, pool.n ? pool : ab_view_of("default"));
    bind_text(s, 2, user);
    if ((got = db_row(db, s, err)) <= 0)
        return got;
    struct ab_view of = col_text(s, 0), reason = col_text(s, 1), name = pool.n ? pool : ab_view_of("default");
    ab_fail_at(err, AB_EUNAVAILABLE, "pool",
               "the queue of pool %.*s is being drained%s%s%.*s; it takes no new jobs, and nothing was stored: "
               "send it "
               "again later",
               AB_VIEW_FMT(name), of.n ? " for this user" : "", reason.n ? ": " : "", AB_VIEW_FMT(reason));
    err->retry_after_ms = DRAIN_RETRY_MS;
    return err->code;
}
