/* Budgets inside the store: limits of users, sessions and jobs, what was spent, what calls under way have reserved.
 *
 * A row of `budgets` is one limit of one unit. What is reserved is the sum of its rows in `holds`, one per call under way
 * (job and step), so that nothing can be reserved twice or forgotten: a step that is called again replaces its row, and
 * whatever ends an attempt removes all of its job. A job that found no room is a row of `budget_waiters`, under the budget that
 * refused it; room that becomes free wakes those that fit (waiters.c).
 *
 * Always, when a reservation is accepted: settled + reserved + the new one <= limit. What is reported later may be more:
 * that is the overshoot, and it counts as spent.
 */
#ifndef STORAGE_SQLITE_BUDGETS_H
#define STORAGE_SQLITE_BUDGETS_H

#include "common/budget.h"
#include "storage/sqlite/db.h"

/* Codes in the file: never renumbered. */
enum { BUDGET_USER = 1, BUDGET_SESSION = 2, BUDGET_JOB = 3 };
enum { PERIOD_TOTAL, PERIOD_DAY, PERIOD_MONTH, PERIODS_N };

/* What a call may take, or did. */
struct budget_amounts {
    uint64_t of[AB_BUDGET_UNITS_N];
    bool unpriced; /* of[AB_BUDGET_USD] is not known */
};

/* A row of SQL_BUDGETS_OF or SQL_BUDGET_GET. */
struct budget_row {
    int64_t key, start_ms;
    uint64_t cap, settled; /* settled: in the period that runs now */
    uint8_t scope, unit, period;
};
void budget_row_read(const struct db *db, sqlite3_stmt *row, struct budget_row *b);
int budget_reserved(struct db *db, int64_t key, uint64_t n, struct ab_view step, uint64_t *sum,
                    struct ab_error *err);

/* Pure: when the period that runs at now_ms began, and when the next one begins; start_ms, 0 without periods. */
int64_t budget_period_start(unsigned period, int64_t start_ms, int64_t now_ms);
int64_t budget_period_next(unsigned period, int64_t now_ms);

/* ---- charges.c: what appends do ---- */

/* AB_UNDER_… of the job, kept in its head. Negative: the database failed. */
int budget_bits(struct db *db, struct head *head, struct ab_error *err);
/* The same on a reader's connection. */
int budget_bits_read(struct db *db, int64_t user, int64_t session, uint64_t n, struct ab_error *err);
/* Before an append is written: whether its call_started has room (AB_EBUDGET; path "later" if it will have some when calls
 * under way are settled), and whether a wait for a budget has to be (AB_ECONFLICT: there is room). */
int budget_check(struct db *db, const struct head *head, enum ab_event_kind kind, struct ab_view event,
                 struct ab_error *err);
/* After it was written; once for each event. *wake_at_ms: of a wait, when to try again; else untouched. */
int budget_take(struct db *db, struct head *head, enum ab_event_kind kind, struct ab_view event,
                uint64_t *wake_at_ms, struct ab_error *err);
/* What this job reserves no more, took less of than it could have, or was woken for and does not take now, others may. */
int budget_wake_others(struct db *db, const struct head *head, struct ab_error *err);

/* ---- waiters.c: who goes on ---- */

/* The job, whose head still says that it waits for a budget, waits no more; nothing happens if it does not. */
int budget_unwait(struct db *db, const struct head *head, struct ab_error *err);
/* Room may have become free in it: nobody who fits is left waiting. */
int budget_wake(struct db *db, int64_t key, struct ab_error *err);

/* ---- budgets.c: setting and showing ---- */

/* The limits of `text` become those of the owner; `none` takes one away. */
int budget_set(struct db *db, unsigned scope, int64_t owner, unsigned period, struct ab_view text,
               struct ab_error *err);
/* The owner is gone. */
int budget_forget(struct db *db, unsigned scope, int64_t owner, struct ab_error *err);

#endif
