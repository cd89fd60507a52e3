/* Charging budgets as a job's events are appended; see budgets.h. Everything happens in the transaction of the append. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/sqlite/budgets.h"

enum { DAY_MS = 86400000, ROWS_MAX = 3 * AB_BUDGET_UNITS_N * PERIODS_N };

/* ---- periods ---- */

static int64_t month_start(int64_t now_ms, int months)
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    struct tm first = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + months, .tm_mday = 1};
    return (int64_t)timegm(&first) * 1000;
}

int64_t budget_period_start(unsigned period, int64_t start_ms, int64_t now_ms)
{
    return period == PERIOD_DAY     ? now_ms - now_ms % DAY_MS
           : period == PERIOD_MONTH ? month_start(now_ms, 0)
                                    : start_ms;
}

int64_t budget_period_next(unsigned period, int64_t now_ms)
{
    return period == PERIOD_DAY     ? now_ms - now_ms % DAY_MS + DAY_MS
           : period == PERIOD_MONTH ? month_start(now_ms, 1)
                                    : 0;
}

/* ---- rows ---- */

void budget_row_read(const struct db *db, sqlite3_stmt *row, struct budget_row *b)
{
    *b = (struct budget_row){.key = col_int(row, 0),
                             .scope = (uint8_t)col_int(row, 1),
                             .unit = (uint8_t)(col_int(row, 2) % AB_BUDGET_UNITS_N),
                             .period = (uint8_t)(col_int(row, 3) % PERIODS_N),
                             .cap = (uint64_t)col_int(row, 4),
                             .settled = (uint64_t)col_int(row, 5)};
    int64_t began_ms = col_int(row, 6);
    b->start_ms = budget_period_start(b->period, began_ms, db->now_ms);
    if (began_ms < b->start_ms)
        b->settled = 0;
}

int budget_reserved(struct db *db, int64_t key, uint64_t n, struct ab_view step, uint64_t *sum,
                    struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_HELD);
    bind_int(s, 1, key);
    bind_int(s, 2, (int64_t)n);
    bind_text(s, 3, step.p ? step : ab_view("", 0));
    int got = db_row(db, s, err);
    *sum = got > 0 ? (uint64_t)col_int(s, 0) : 0;
    return got < 0 ? got : 0;
}

/* All limits the job is under; their number, negative on failure. */
static int rows_of(struct db *db, int64_t user, int64_t session, uint64_t n, struct budget_row rows[ROWS_MAX],
                   struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_BUDGETS_OF);
    bind_int(s, 1, user);
    bind_int(s, 2, session);
    bind_int(s, 3, (int64_t)n);
    int got, count = 0;
    while (count < ROWS_MAX && (got = db_row(db, s, err))) {
        if (got < 0)
            return got;
        budget_row_read(db, s, &rows[count++]);
    }
    return count;
}

int budget_bits_read(struct db *db, int64_t user, int64_t session, uint64_t n, struct ab_error *err)
{
    struct budget_row rows[ROWS_MAX];
    int count = rows_of(db, user, session, n, rows, err), bits = 0;
    for (int i = 0; i < count; i++)
        bits |= AB_UNDER_BUDGET | (rows[i].unit == AB_BUDGET_USD      ? AB_UNDER_USD | AB_UNDER_TOKENS
                                   : rows[i].unit == AB_BUDGET_TOKENS ? AB_UNDER_TOKENS
                                                                      : 0);
    return count < 0 ? count : bits;
}

/* Without any budget in the database nobody asks further. */
static int any_budget(struct db *db, struct ab_error *err)
{
    if (db->budgets_any < 0) {
        sqlite3_stmt *s = db_sql(db, SQL_BUDGETS_ANY);
        int got = db_row(db, s, err);
        if (got < 0)
            return got;
        db->budgets_any = (int)col_int(s, 0);
    }
    return db->budgets_any;
}

int budget_bits(struct db *db, struct head *head, struct ab_error *err)
{
    int any = any_budget(db, err);
    if (any <= 0)
        return any;
    if (head->budget_version != db->budget_version) {
        int bits = budget_bits_read(db, head->user, head->session, head->n, err);
        if (bits < 0)
            return bits;
        head->budget = (uint8_t)bits;
        head->budget_version = db->budget_version;
    }
    return head->budget;
}

/* ---- is there room? ---- */

static int name_owner(struct db *db, const struct head *head, unsigned scope, char name[AB_WHY_MAX],
                      struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, scope == BUDGET_SESSION ? SQL_SESSION_ID : SQL_USER_NAME);
    bind_int(s, 1, scope == BUDGET_SESSION ? head->session : head->user);
    int got = scope == BUDGET_JOB ? 0 : db_row(db, s, err);
    if (got < 0)
        return got;
    struct ab_view text = got ? col_text(s, 0) : (struct ab_view){"", 0};
    snprintf(name, AB_WHY_MAX, "%s%.*s",
             scope == BUDGET_SESSION ? "session "
             : scope == BUDGET_USER  ? "user "
                                     : "the job",
             AB_VIEW_FMT(text));
    return 0;
}

static int no_room(struct db *db, const struct head *head, const struct budget_row *b, uint64_t reserved,
                   const struct budget_amounts *wanted, struct ab_error *err)
{
    static const char *const periods[] = {"", " per day", " per month"};
    char owner[AB_WHY_MAX], cap[AB_BUDGET_AMOUNT_TEXT], spent[AB_BUDGET_AMOUNT_TEXT];
    char held[AB_BUDGET_AMOUNT_TEXT], more[AB_BUDGET_AMOUNT_TEXT];
    int code = name_owner(db, head, b->scope, owner, err);
    if (code)
        return code;
    if (b->unit == AB_BUDGET_USD && wanted->unpriced)
        return ab_fail(err, AB_EBUDGET, "%.100s has a budget in USD, and the model has no price", owner);
    bool later = b->settled <= b->cap && wanted->of[b->unit] <= b->cap - b->settled && reserved;
    return ab_fail_at(err, AB_EBUDGET, later ? "later" : "",
                      "%.100s: %s%s; spent %s, reserved %s, this call up to %s", owner,
                      ab_budget_amount(b->unit, b->cap, cap), periods[b->period],
                      ab_budget_amount(b->unit, b->settled, spent), ab_budget_amount(b->unit, reserved, held),
                      ab_budget_amount(b->unit, wanted->of[b->unit], more));
}

/* Seconds are known only afterwards: one that is not yet spent may be begun. */
static bool fits(const struct budget_row *b, uint64_t reserved, const struct budget_amounts *wanted)
{
    uint64_t left = b->settled < b->cap ? b->cap - b->settled : 0;
    if (b->unit == AB_BUDGET_SECONDS)
        return left;
    if (b->unit == AB_BUDGET_USD && wanted->unpriced)
        return false;
    return !wanted->of[b->unit] || (reserved <= left && wanted->of[b->unit] <= left - reserved);
}

/* AB_EBUDGET with the budget that has none in *full. */
static int find_room(struct db *db, const struct head *head, struct ab_view step,
                     const struct budget_amounts *wanted, struct budget_row *full, struct ab_error *err)
{
    struct budget_row rows[ROWS_MAX];
    int count = rows_of(db, head->user, head->session, head->n, rows, err);
    for (int i = 0; i < count; i++) {
        uint64_t reserved;
        int code = budget_reserved(db, rows[i].key, head->n, step, &reserved, err);
        if (code)
            return code;
        if (!fits(&rows[i], reserved, wanted)) {
            *full = rows[i];
            return no_room(db, head, &rows[i], reserved, wanted, err);
        }
    }
    return count < 0 ? count : 0;
}

static struct budget_amounts amounts_of(uint64_t tokens, struct ab_maybe cost_pico_usd, bool turn)
{
    struct budget_amounts amounts = {.unpriced = !cost_pico_usd.is};
    amounts.of[AB_BUDGET_TOKENS] = tokens;
    amounts.of[AB_BUDGET_USD] = cost_pico_usd.value;
    amounts.of[AB_BUDGET_CALLS] = 1;
    amounts.of[AB_BUDGET_TURNS] = turn;
    return amounts;
}

static int check_wait(struct db *db, const struct head *head, struct ab_view event, struct ab_error *err)
{
    struct ab_waiting waiting;
    struct budget_row full;
    if (ab_decode(&ab_waiting_schema, event, &waiting, NULL) || !ab_view_is(waiting.reason, "budget"))
        return 0;
    struct budget_amounts wanted = amounts_of(waiting.tokens, waiting.cost_pico_usd, waiting.turn);
    int code = find_room(db, head, ab_view("", 0), &wanted, &full, err);
    if (!code)
        return ab_fail(err, AB_ECONFLICT, "there is room for the call now: do not wait");
    return code == AB_EBUDGET ? 0 : code;
}

static int check_call(struct db *db, const struct head *head, struct ab_view event, struct ab_error *err)
{
    struct ab_call_started call;
    struct budget_row full;
    int code = ab_decode(&ab_call_started_schema, event, &call, err);
    if (code)
        return code;
    struct budget_amounts wanted = amounts_of(call.tokens, call.cost_pico_usd, call.turn);
    return find_room(db, head, call.step, &wanted, &full, err);
}

int budget_check(struct db *db, const struct head *head, enum ab_event_kind kind, struct ab_view event,
                 struct ab_error *err)
{
    return kind == AB_KIND_CALL_STARTED ? check_call(db, head, event, err)
           : kind == AB_KIND_WAITING    ? check_wait(db, head, event, err)
                                        : 0;
}

int budget_wake_others(struct db *db, const struct head *head, struct ab_error *err)
{
    struct budget_row rows[ROWS_MAX];
    int code = 0, count = rows_of(db, head->user, head->session, head->n, rows, err);
    for (int i = 0; i < count && !code; i++)
        code = budget_wake(db, rows[i].key, err);
    return count < 0 ? count : code;
}

/* ---- reserving, settling, releasing ---- */

static int hold(struct db *db, struct head *head, struct ab_view event, struct ab_error *err)
{
    struct ab_call_started call;
    struct budget_row rows[ROWS_MAX];
    int code = ab_decode(&ab_call_started_schema, event, &call, err);
    if (code)
        return code;
    struct budget_amounts wanted = amounts_of(call.tokens, call.cost_pico_usd, call.turn);
    int count = rows_of(db, head->user, head->session, head->n, rows, err);
    for (int i = 0; i < count; i++) {
        sqlite3_stmt *s = db_sql(db, SQL_HOLD_PUT);
        bind_int(s, 1, rows[i].key);
        bind_int(s, 2, (int64_t)head->n);
        bind_text(s, 3, call.step);
        bind_int(s, 4, (int64_t)wanted.of[rows[i].unit]);
        if ((code = db_run(db, s, err)))
            return code;
        head->holds = true;
    }
    return count < 0 ? count : 0;
}

/* What was reserved for this step, if anything. */
static int held_for(struct db *db, int64_t key, uint64_t n, struct ab_view step, struct ab_maybe *amount,
                    struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_HOLD_GET);
    bind_int(s, 1, key);
    bind_int(s, 2, (int64_t)n);
    bind_text(s, 3, step);
    int got = db_row(db, s, err);
    *amount = got > 0 ? ab_some((uint64_t)col_int(s, 0)) : (struct ab_maybe){0};
    return got < 0 ? got : 0;
}

static int charge(struct db *db, const struct budget_row *b, uint64_t amount, struct ab_maybe held,
                  struct ab_error *err)
{
    bool over = held.is && amount > held.value && b->unit != AB_BUDGET_SECONDS;
    uint64_t room = (uint64_t)INT64_MAX - b->settled;
    sqlite3_stmt *s = db_sql(db, SQL_BUDGET_CHARGE);
    bind_int(s, 1, b->key);
    bind_int(s, 2, (int64_t)(b->settled + (amount < room ? amount : room)));
    bind_int(s, 3, b->start_ms);
    bind_int(s, 4, over ? (int64_t)(amount - held.value) : 0);
    bind_int(s, 5, over);
    return db_run(db, s, err);
}

/* A step's reservation becomes what it really took; without one (the limit is newer than the call) it is only charged. Money
 * that nobody can tell is taken for what was reserved. */
static int settle(struct db *db, const struct head *head, struct ab_view step,
                  const struct budget_amounts *spent, struct ab_error *err)
{
    struct budget_row rows[ROWS_MAX];
    int code = 0, count = rows_of(db, head->user, head->session, head->n, rows, err);
    bool any = false;
    for (int i = 0; i < count && !code; i++) {
        struct ab_maybe held;
        if ((code = held_for(db, rows[i].key, head->n, step, &held, err)))
            break;
        uint64_t amount =
            rows[i].unit == AB_BUDGET_USD && spent->unpriced ? held.value : spent->of[rows[i].unit];
        any |= held.is;
        code = charge(db, &rows[i], amount, held, err);
    }
    if (!code && any) {
        sqlite3_stmt *s = db_sql(db, SQL_HOLDS_REMOVE_STEP);
        bind_int(s, 1, (int64_t)head->n);
        bind_text(s, 2, step);
        code = db_run(db, s, err);
    }
    if (count < 0 || code)
        return count < 0 ? count : code;
    return budget_wake_others(db, head, err);
}

static uint64_t sum_of(uint64_t a, uint64_t b)
{
    return a > INT64_MAX || b > INT64_MAX - a ? INT64_MAX : a + b;
}

/* What a worker's memory answered cost nobody anything; it is a turn all the same. One that calls tools is none: the turn
 * is the reply after their results. */
static int settle_reply(struct db *db, const struct head *head, struct ab_view event, struct ab_error *err)
{
    struct ab_model_reply reply;
    if (ab_decode(&ab_model_reply_schema, event, &reply, NULL))
        return 0; /* it is written already, and says nothing */
    struct budget_amounts spent = {.unpriced = !reply.cost_pico_usd.is && !reply.cached};
    spent.of[AB_BUDGET_TURNS] = !reply.purpose.n && !reply.tool_calls.n;
    if (!reply.cached) {
        spent.of[AB_BUDGET_TOKENS] = sum_of(reply.prompt_tokens, reply.completion_tokens);
        spent.of[AB_BUDGET_USD] = reply.cost_pico_usd.value;
        spent.of[AB_BUDGET_CALLS] = 1;
        spent.of[AB_BUDGET_SECONDS] = reply.latency_ms < INT64_MAX ? reply.latency_ms : INT64_MAX;
    }
    return settle(db, head, reply.step, &spent, err);
}

static int settle_turn(struct db *db, const struct head *head, struct ab_view event, struct ab_error *err)
{
    struct ab_turn turn;
    struct budget_amounts spent = {0};
    spent.of[AB_BUDGET_TURNS] = 1;
    return ab_decode(&ab_turn_schema, event, &turn, NULL) ? 0 : settle(db, head, turn.step, &spent, err);
}

/* No call of the job is under way any more. */
static int release(struct db *db, struct head *head, struct ab_error *err)
{
    int bits = budget_bits(db, head, err);
    if (bits < 0 || (!bits && !head->holds))
        return bits;
    if (head->holds) {
        sqlite3_stmt *s = db_sql(db, SQL_HOLDS_REMOVE);
        bind_int(s, 1, (int64_t)head->n);
        int code = db_run(db, s, err);
        if (code)
            return code;
    }
    head->holds = false;
    return bits ? budget_wake_others(db, head, err) : 0;
}

static int park(struct db *db, const struct head *head, struct ab_view event, uint64_t *wake_at_ms,
                struct ab_error *err)
{
    struct ab_waiting waiting;
    struct budget_row full;
    struct ab_error why = {0};
    if (ab_decode(&ab_waiting_schema, event, &waiting, NULL) || !ab_view_is(waiting.reason, "budget"))
        return 0;
    struct budget_amounts wanted = amounts_of(waiting.tokens, waiting.cost_pico_usd, waiting.turn);
    int code = find_room(db, head, ab_view("", 0), &wanted, &full, &why);
    if (!code) /* only what a call of its own had reserved was in the way, one that no worker has any more: it goes on at once */
        *wake_at_ms = (uint64_t)db->now_ms;
    if (code != AB_EBUDGET)
        return code ? ab_fail(err, code, "%s", why.text) : 0;
    *wake_at_ms = (uint64_t)budget_period_next(full.period, db->now_ms);
    sqlite3_stmt *s = db_sql(db, SQL_WAITER_PUT);
    bind_int(s, 1, (int64_t)head->n);
    bind_int(s, 2, full.key);
    bind_int(s, 3, (int64_t)wanted.of[full.unit]);
    return db_run(db, s, err);
}

int budget_take(struct db *db, struct head *head, enum ab_event_kind kind, struct ab_view event,
                uint64_t *wake_at_ms, struct ab_error *err)
{
    int bits, code;
    switch (kind) {
    case AB_KIND_MODEL_REPLY:
        return (bits = budget_bits(db, head, err)) > 0 ? settle_reply(db, head, event, err) : bits;
    case AB_KIND_TURN:
        return (bits = budget_bits(db, head, err)) > 0 ? settle_turn(db, head, event, err) : bits;
    case AB_KIND_CALL_STARTED:
        return hold(db, head, event, err);
    case AB_KIND_WAITING:
        code = release(db, head, err);
        return code ? code : park(db, head, event, wake_at_ms, err);
    case AB_KIND_ATTEMPT_FAILED:
    case AB_KIND_PAUSED:
    case AB_KIND_END:
        return release(db, head, err);
    default:
        return 0;
    }
}
