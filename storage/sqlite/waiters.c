/* Jobs parked for a budget, and who of them goes on when there is room; see budgets.h.
 *
 * One row for each in budget_waiters, with what its call needs of the budget that had no room. All is done in the transaction
 * that made the room, so no crash comes between the two, and costs as much as it wakes: if there is too little for the one
 * who needs least, that is all that is read. Else the oldest first, past those who need more than there is; behind
 * WAKE_MISSES_MAX of these, which may be there for good, those who need least.
 */
#include <string.h>

#include "storage/sqlite/budgets.h"

enum { WAKE_MISSES_MAX = 256 };

int budget_unwait(struct db *db, const struct head *head, struct ab_error *err)
{
    if (head->state != OPEN_BUDGET)
        return 0;
    sqlite3_stmt *s = db_sql(db, SQL_WAITER_REMOVE);
    bind_int(s, 1, (int64_t)head->n);
    return db_run(db, s, err);
}

/* One of budget_waiters, so its state is OPEN_BUDGET; a head that nobody has asked for since the start is not read for it. */
static int wake_job(struct db *db, uint64_t n, struct ab_error *err)
{
    struct head head;
    sqlite3_stmt *s = db_sql(db, SQL_WAITER_REMOVE);
    bind_int(s, 1, (int64_t)n);
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_OPEN_SET);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, OPEN_WOKEN);
    if ((code = db_run(db, s, err)))
        return code;
    if (heads_get(&db->heads, n, &head)) {
        head.state = OPEN_WOKEN;
        heads_put(&db->heads, &head);
    }
    return job_notice(db, n, 0, "budget", err);
}

/* What is free of a budget while it is given to those who wait. */
struct room {
    int64_t key;
    uint64_t free;
    bool endless; /* the limit is lifted: nobody takes anything from the others */
};

/* Those who fit beside each other, in the query's order, until `misses_max` did not. One that is paused takes nothing from
 * the others, as it will not make its call soon. *found is the caller's. */
static int pick_waiting(struct db *db, enum sql_id query, struct room *room, uint64_t least,
                        unsigned misses_max, struct ab_buf *found, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, query);
    bind_int(s, 1, room->key);
    unsigned misses = 0;
    int got = 0;
    while (misses < misses_max && least <= room->free && (got = db_row(db, s, err)) > 0) {
        uint64_t n = (uint64_t)col_int(s, 0), need = (uint64_t)col_int(s, 1);
        if (need > room->free) {
            misses++;
            continue;
        }
        int paused = job_paused(db, n, err);
        if (paused < 0)
            return paused;
        room->free -= paused || room->endless ? 0 : need;
        ab_buf_add(found, &n, sizeof n);
    }
    return got < 0 ? got : 0;
}

/* 1: somebody waits, and *least is the smallest need. */
static int least_need(struct db *db, int64_t key, uint64_t *least, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_WAITERS_LEAST);
    bind_int(s, 1, key);
    int got = db_row(db, s, err);
    *least = got > 0 ? (uint64_t)col_int(s, 0) : 0;
    return got;
}

static int wake_in_order(struct db *db, enum sql_id query, struct room *room, unsigned misses_max,
                         struct ab_error *err)
{
    struct ab_buf found = {0};
    uint64_t least, n;
    int got = least_need(db, room->key, &least, err);
    if (got <= 0)
        return got;
    int code = pick_waiting(db, query, room, least, misses_max, &found, err);
    for (size_t at = 0; at < found.n && !code; at += sizeof n) {
        memcpy(&n, found.p + at, sizeof n);
        code = wake_job(db, n, err);
    }
    ab_buf_finish(&found);
    return code;
}

/* The room of the budget; 1: there may be some. */
static int room_of(struct db *db, int64_t key, struct room *room, struct ab_error *err)
{
    struct budget_row b;
    uint64_t reserved;
    sqlite3_stmt *s = db_sql(db, SQL_BUDGET_GET);
    bind_int(s, 1, key);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    budget_row_read(db, s, &b);
    int code = budget_reserved(db, key, 0, ab_view("", 0), &reserved, err);
    if (code || b.settled >= b.cap)
        return code;
    uint64_t left = b.cap - b.settled;
    *room =
        (struct room){.key = key, .free = reserved < left ? left - reserved : 0, .endless = b.cap >= INT64_MAX};
    return 1;
}

int budget_wake(struct db *db, int64_t key, struct ab_error *err)
{
    struct room room;
    uint64_t least;
    int got = least_need(db, key, &least, err);
    if (got <= 0 || (got = room_of(db, key, &room, err)) <= 0)
        return got;
    int code = wake_in_order(db, SQL_WAITERS_BY_AGE, &room, WAKE_MISSES_MAX, err);
    return code ? code : wake_in_order(db, SQL_WAITERS_BY_NEED, &room, 1, err);
}
