/* Setting budgets and showing them; see budgets.h. */
#include "storage/sqlite/budgets.h"

static const char *const period_names[PERIODS_N] = {"total", "day", "month"};
static const char *const scope_names[] = {
    [BUDGET_USER] = "user", [BUDGET_SESSION] = "session", [BUDGET_JOB] = "job"};

/* ---- setting ---- */

/* The key of the row; 0 if there is none. */
static int64_t find_row(struct db *db, unsigned scope, int64_t owner, unsigned unit, unsigned period,
                        struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_BUDGET_KEY);
    bind_int(s, 1, scope);
    bind_int(s, 2, owner);
    bind_int(s, 3, unit);
    bind_int(s, 4, period);
    int got = db_row(db, s, err);
    return got > 0 ? col_int(s, 0) : got;
}

static int run_key(struct db *db, enum sql_id id, int64_t key, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, id);
    bind_int(s, 1, key);
    return db_run(db, s, err);
}

/* Whoever waits for it may be under others too, and finds out by trying. */
static int drop_row(struct db *db, int64_t key, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_BUDGET_LIFT);
    bind_int(s, 1, key);
    int code = db_run(db, s, err);
    if (code || (code = run_key(db, SQL_HOLDS_DROP, key, err)) || (code = budget_wake(db, key, err)))
        return code;
    return run_key(db, SQL_BUDGET_DROP, key, err);
}

static int put_row(struct db *db, unsigned scope, int64_t owner, unsigned unit, unsigned period, uint64_t cap,
                   struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_BUDGET_PUT);
    bind_int(s, 1, scope);
    bind_int(s, 2, owner);
    bind_int(s, 3, unit);
    bind_int(s, 4, period);
    bind_int(s, 5, (int64_t)cap);
    bind_int(s, 6, budget_period_start(period, db->now_ms, db->now_ms));
    int code = db_run(db, s, err);
    int64_t key = code ? 0 : find_row(db, scope, owner, unit, period, err);
    return code ? code : key < 0 ? (int)key : budget_wake(db, key, err);
}

int budget_set(struct db *db, unsigned scope, int64_t owner, unsigned period, struct ab_view text,
               struct ab_error *err)
{
    struct ab_budget budget;
    int code = ab_budget_read(text, true, &budget, err);
    for (unsigned unit = 0; !code && unit < AB_BUDGET_UNITS_N; unit++) {
        if (budget.limit[unit].is)
            code = put_row(db, scope, owner, unit, period, budget.limit[unit].value, err);
        if (!budget.none[unit])
            continue;
        int64_t key = find_row(db, scope, owner, unit, period, err);
        code = key > 0 ? drop_row(db, key, err) : (int)key;
    }
    db->budgets_any = -1;
    db->budget_version += scope != BUDGET_JOB; /* of a job: its own head is told by the caller */
    return code;
}

int budget_forget(struct db *db, unsigned scope, int64_t owner, struct ab_error *err)
{
    int code = 0;
    for (unsigned unit = 0; !code && unit < AB_BUDGET_UNITS_N; unit++)
        for (unsigned period = 0; !code && period < PERIODS_N; period++) {
            int64_t key = find_row(db, scope, owner, unit, period, err);
            code = key > 0 ? drop_row(db, key, err) : (int)key;
        }
    db->budget_version++;
    return code;
}

static int period_of(struct ab_view name, unsigned *period, struct ab_error *err)
{
    for (*period = 0; name.n && *period < PERIODS_N; ++*period)
        if (ab_view_is(name, period_names[*period]))
            return 0;
    return name.n
               ? ab_fail_at(err, AB_EINVALID, "period", "is total, day or month, not %.*s", AB_VIEW_FMT(name))
               : 0;
}

int op_set_budget(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_set_budget *r = request;
    struct ab_op_changed_answer a = {.changed = 1};
    unsigned period;
    int code = period_of(r->period, &period, err);
    if (code)
        return code;
    if (r->session.n && period)
        return ab_fail_at(err, AB_EINVALID, "period", "only the budget of a user may start again");
    int64_t owner = r->session.n ? session_require(db, r->user, r->session, err) : user_make(db, r->user, err);
    if (owner < 0)
        return (int)owner;
    code = budget_set(db, r->session.n ? BUDGET_SESSION : BUDGET_USER, owner, period, r->limits, err);
    if (!code)
        ab_encode(answer, &ab_op_changed_answer_schema, &a);
    return code;
}

/* ---- showing ---- */

/* Behind the columns of budget_row_read: */
enum { COL_OVER = 7, COL_OVERS, COL_WAITING, COL_OWNER, COL_JOB };

static int record_add(struct db *db, sqlite3_stmt *row, struct list *list, struct ab_error *err)
{
    struct budget_row b;
    char job[AB_ID_TEXT];
    budget_row_read(db, row, &b);
    struct ab_budget_record r = {
        .scope = ab_view_of(scope_names[b.scope <= BUDGET_JOB ? b.scope : BUDGET_JOB]),
        .name = b.scope == BUDGET_JOB ? ab_view_of(ab_id_text(col_id(row, COL_JOB), job))
                                      : col_text(row, COL_OWNER),
        .unit = ab_view_of(ab_budget_unit_name(b.unit)),
        .period = ab_view_of(period_names[b.period]),
        .limit = b.cap,
        .settled = b.settled,
        .overshoot = (uint64_t)col_int(row, COL_OVER),
        .overshoots = (uint64_t)col_int(row, COL_OVERS),
        .waiting = (uint64_t)col_int(row, COL_WAITING),
        .since_ms = (uint64_t)b.start_ms,
    };
    int code = budget_reserved(db, b.key, 0, ab_view("", 0), &r.reserved, err);
    if (code)
        return code;
    ab_encode(&list->buf, &ab_budget_record_schema, &r);
    list->n++;
    return 0;
}

static int add_rows(struct db *db, enum sql_id id, int64_t owner, struct list *list, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, id);
    bind_int(s, 1, owner);
    int got, code = 0;
    while (!code && !list_full(list) && (got = db_row(db, s, err)))
        code = got < 0 ? got : record_add(db, s, list, err);
    return code;
}

/* Its commit number. */
static int64_t job_of_user(struct db *db, struct ab_view text, int64_t user, struct ab_error *err)
{
    struct ab_id id;
    if (!ab_id_parse(text, &id))
        return ab_fail_at(err, AB_EINVALID, "job", "is no id of a job (36 characters)");
    sqlite3_stmt *s = db_sql(db, SQL_JOB_BY_ID);
    bind_id(s, 1, &id);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    return got && col_int(s, 1) == user ? col_int(s, 0)
                                        : ab_fail_at(err, AB_ENOTFOUND, "job", "this user has no such job");
}

static int list_into(struct db *db, const struct ab_op_list_budgets *r, int64_t user, struct list *list,
                     struct ab_error *err)
{
    if (r->job.n || r->session.n) {
        int64_t key =
            r->job.n ? job_of_user(db, r->job, user, err) : session_require(db, r->user, r->session, err);
        return key < 0 ? (int)key
                       : add_rows(db, r->job.n ? SQL_BUDGETS_OF_JOB : SQL_BUDGETS_OF_SESSION, key, list, err);
    }
    int code;
    if ((code = add_rows(db, SQL_BUDGETS_OF_USER, user, list, err)) ||
        (code = add_rows(db, SQL_BUDGETS_OF_SESSIONS, user, list, err)))
        return code;
    return add_rows(db, SQL_BUDGETS_OF_JOBS, user, list, err);
}

int op_list_budgets(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_budgets *r = request;
    int64_t user = user_find(db, r->user, err);
    struct list list;
    if (user < 0)
        return (int)user;
    list_init(&list);
    int code = list_into(db, r, user, &list, err);
    if (!code) {
        struct ab_op_list_budgets_answer a = {.budgets = list_done(&list)};
        ab_encode(answer, &ab_op_list_budgets_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}
