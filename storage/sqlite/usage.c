/* See usage.h. */
#include "storage/sqlite/usage.h"

#include <stdlib.h>

enum {
    DAY_MS = 86400000,
    SUMS_MAX = 1024, /* gathered before they are written */
    BUCKETS = 1024,  /* a power of two */
    NAMES_MAX = 4 * 1024 * 1024,
};
/* Of one reply: what a broken worker reports cannot wrap a sum. */
#define PART_MAX (UINT64_C(1) << 50)

/* In the order of the columns of the table. */
enum { CALLS, CACHED_CALLS, PROMPT, COMPLETION, CACHED, REASONING, COST, UNPRICED, MODEL_MS, JOBS, PARTS_N };

struct sum {
    int64_t owner, day;
    uint32_t next; /* of its bucket; 0: none, else an index + 1 */
    uint8_t scope, agent_n;
    uint16_t model_n;
    size_t names; /* agent, then model, in the buffer of names */
    uint64_t parts[PARTS_N];
};

struct usage {
    uint32_t buckets[BUCKETS], n;
    struct sum sums[SUMS_MAX];
    struct ab_buf names;
};

struct usage *usage_create(void)
{
    return ab_calloc(1, sizeof(struct usage));
}

void usage_destroy(struct usage *usage)
{
    if (usage)
        ab_buf_finish(&usage->names);
    free(usage);
}

void usage_drop(struct usage *usage)
{
    if (!usage->n)
        return;
    memset(usage->buckets, 0, sizeof usage->buckets);
    usage->n = 0;
    ab_buf_clear(&usage->names);
}

/* ---- gathering ---- */

static struct ab_view name_of(const struct usage *usage, const struct sum *sum, bool model)
{
    const char *names = (usage->names.p ? usage->names.p : "") + sum->names; /* an empty one is no NULL */
    return model ? ab_view(names + sum->agent_n, sum->model_n) : ab_view(names, sum->agent_n);
}

static bool is_sum(const struct usage *usage, const struct sum *sum, const struct sum *of, struct ab_view agent,
                   struct ab_view model)
{
    return sum->owner == of->owner && sum->day == of->day && sum->scope == of->scope &&
           ab_view_eq(name_of(usage, sum, false), agent) && ab_view_eq(name_of(usage, sum, true), model);
}

static uint32_t *bucket_of(struct usage *usage, const struct sum *of, struct ab_view agent,
                           struct ab_view model)
{
    uint64_t h = (uint64_t)of->owner * UINT64_C(0x9e3779b97f4a7c15) + of->scope;
    for (size_t i = 0; i < agent.n; i++)
        h = (h ^ (uint8_t)agent.p[i]) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < model.n; i++)
        h = (h ^ (uint8_t)model.p[i]) * UINT64_C(0x100000001b3);
    return &usage->buckets[(h ^ h >> 32) & (BUCKETS - 1)];
}

static int add(struct db *db, uint8_t scope, int64_t owner, struct ab_view agent, struct ab_view model,
               const uint64_t parts[PARTS_N], struct ab_error *err)
{
    struct usage *usage = db->usage;
    int code = usage->n == SUMS_MAX || usage->names.n > NAMES_MAX ? usage_write(db, err) : 0;
    if (code)
        return code;
    struct sum of = {.owner = owner, .day = db->now_ms / DAY_MS, .scope = scope};
    uint32_t *first = bucket_of(usage, &of, agent, model), at = *first;
    while (at && !is_sum(usage, &usage->sums[at - 1], &of, agent, model))
        at = usage->sums[at - 1].next;
    if (!at) {
        of.next = *first;
        of.names = usage->names.n;
        of.agent_n = (uint8_t)agent.n;
        of.model_n = (uint16_t)model.n;
        ab_buf_add(&usage->names, agent.p, agent.n);
        ab_buf_add(&usage->names, model.p, model.n);
        usage->sums[usage->n] = of;
        *first = at = ++usage->n;
    }
    for (int i = 0; i < PARTS_N; i++)
        usage->sums[at - 1].parts[i] += parts[i];
    return 0;
}

/* Once for the user, once for the session if there is one. */
static int add_both(struct db *db, const struct head *head, struct ab_view agent, struct ab_view model,
                    const uint64_t parts[PARTS_N], struct ab_error *err)
{
    int code = add(db, USAGE_USER, head->user, agent, model, parts, err);
    return code || !head->session ? code : add(db, USAGE_SESSION, head->session, agent, model, parts, err);
}

static uint64_t part(uint64_t amount)
{
    return amount < PART_MAX ? amount : PART_MAX;
}

int usage_take(struct db *db, const struct head *head, enum ab_event_kind kind, struct ab_view event,
               struct ab_error *err)
{
    static const uint64_t one_job[PARTS_N] = {[JOBS] = 1};
    const struct ab_view none = ab_view("", 0);
    struct ab_model_reply r;
    if (kind == AB_KIND_END)
        return add_both(db, head, none, none, one_job, err);
    if (kind != AB_KIND_MODEL_REPLY || ab_decode(&ab_model_reply_schema, event, &r, NULL))
        return 0; /* it is written already; damage is for the check to report */
    const uint64_t parts[PARTS_N] = {
        [CALLS] = 1,
        [CACHED_CALLS] = r.cached,
        [PROMPT] = part(r.prompt_tokens),
        [COMPLETION] = part(r.completion_tokens),
        [CACHED] = part(r.cached_tokens),
        [REASONING] = part(r.reasoning_tokens),
        [COST] = part(r.cost_pico_usd.value),
        [UNPRICED] = !r.cost_pico_usd.is && !r.cached,
        [MODEL_MS] = part(r.latency_ms),
    };
    return add_both(db, head, r.agent, r.model, parts, err);
}

/* ---- writing ---- */

int usage_write(struct db *db, struct ab_error *err)
{
    struct usage *usage = db->usage;
    int code = 0;
    for (uint32_t i = 0; i < usage->n && !code; i++) {
        const struct sum *sum = &usage->sums[i];
        sqlite3_stmt *s = db_sql(db, SQL_USAGE_ADD);
        bind_int(s, 1, sum->scope);
        bind_int(s, 2, sum->owner);
        bind_int(s, 3, sum->day);
        bind_text(s, 4, name_of(usage, sum, false));
        bind_text(s, 5, name_of(usage, sum, true));
        for (int p = 0; p < PARTS_N; p++)
            bind_int(s, 6 + p, (int64_t)sum->parts[p]);
        code = db_run(db, s, err);
    }
    if (!code)
        usage_drop(usage);
    return code;
}

int usage_forget(struct db *db, int64_t session, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_USAGE_FORGET);
    bind_int(s, 1, session);
    return db_run(db, s, err);
}

/* ---- asking ---- */

/* Codes in SQL_USAGE_KEY. */
enum { BY_TOTAL, BY_USER, BY_SESSION, BY_MODEL, BY_AGENT, BY_DAY, BY_N };
static const char *const by_names[BY_N] = {"total", "user", "session", "model", "agent", "day"};

struct question {
    int by;
    int64_t user, session; /* keys; 0: all */
    int64_t since, until;  /* days */
};

static int read_question(struct db *db, const struct ab_op_usage *r, struct question *q, struct ab_error *err)
{
    *q = (struct question){.since = (int64_t)(r->since_ms / DAY_MS), .until = INT32_MAX};
    while (r->by.n && q->by < BY_N && !ab_view_is(r->by, by_names[q->by]))
        q->by++;
    if (q->by == BY_N)
        return ab_fail_at(err, AB_EINVALID, "by", "is total, user, session, model, agent or day, not %.*s",
                          AB_VIEW_FMT(r->by));
    if (r->until_ms)
        q->until = (int64_t)(r->until_ms - 1) / DAY_MS;
    if (r->user.n && (q->user = user_find(db, r->user, err)) < 0)
        return (int)q->user;
    if (r->session.n && (q->session = session_require(db, r->user, r->session, err)) < 0)
        return (int)q->session;
    if (r->user.n && !q->user)
        q->user = INT64_MAX; /* one who is not known has used nothing */
    return 0;
}

static sqlite3_stmt *ask(struct db *db, const struct ab_op_usage *r, const struct question *q, uint64_t limit)
{
    bool sessions = q->session || q->by == BY_SESSION;
    sqlite3_stmt *s = db_sql(db, sessions ? SQL_USAGE_OF_SESSIONS : SQL_USAGE_OF_USERS);
    bind_int(s, 1, q->by);
    bind_int(s, 2, q->user);
    bind_int(s, 3, q->user ? q->user : INT64_MAX);
    bind_int(s, 4, q->since);
    bind_int(s, 5, q->until);
    bind_text(s, 6, r->model);
    bind_text(s, 7, r->agent);
    bind_text(s, 8, r->after);
    bind_int(s, 9, (int64_t)limit + 1);
    if (sessions)
        bind_opt(s, 10, q->session);
    return s;
}

static void record_add(sqlite3_stmt *row, struct list *list)
{
    const struct ab_usage_record record = {
        .key = col_text(row, 0),
        .calls = (uint64_t)col_int(row, 1 + CALLS),
        .cached_calls = (uint64_t)col_int(row, 1 + CACHED_CALLS),
        .prompt_tokens = (uint64_t)col_int(row, 1 + PROMPT),
        .completion_tokens = (uint64_t)col_int(row, 1 + COMPLETION),
        .cached_tokens = (uint64_t)col_int(row, 1 + CACHED),
        .reasoning_tokens = (uint64_t)col_int(row, 1 + REASONING),
        .cost_pico_usd = (uint64_t)col_int(row, 1 + COST),
        .unpriced_calls = (uint64_t)col_int(row, 1 + UNPRICED),
        .model_ms = (uint64_t)col_int(row, 1 + MODEL_MS),
        .jobs = (uint64_t)col_int(row, 1 + JOBS),
    };
    ab_encode(&list->buf, &ab_usage_record_schema, &record);
    list->n++;
}

static int answer_usage(struct db *db, const struct ab_op_usage *r, struct ab_buf *answer, struct ab_error *err)
{
    struct ab_op_usage_answer a = {0};
    struct question q;
    struct list list;
    int got = read_question(db, r, &q, err);
    if (got)
        return got;
    struct ab_buf last = {0};
    uint64_t limit = limit_of(r->limit);
    list_init(&list);
    sqlite3_stmt *s = ask(db, r, &q, limit);
    while ((got = db_row(db, s, err)) > 0) {
        if (list.n == limit || list_full(&list)) {
            a.next = ab_buf_view(&last);
            break;
        }
        struct ab_view key = col_text(s, 0);
        ab_buf_clear(&last);
        ab_buf_add(&last, key.p, key.n);
        record_add(s, &list);
    }
    if (!got && q.by == BY_TOTAL && !list.n && !r->after.n) { /* a sum of nothing is one */
        ab_encode(&list.buf, &ab_usage_record_schema, &(struct ab_usage_record){.key = ab_view("", 0)});
        list.n++;
    }
    if (got >= 0) {
        a.usage = list_done(&list);
        ab_encode(answer, &ab_op_usage_answer_schema, &a);
    }
    list_finish(&list);
    ab_buf_finish(&last);
    return got < 0 ? got : 0;
}

int op_usage(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_usage *r = request;
    if (!r->user.n)
        return ab_fail_at(err, AB_EINVALID, "user", "the user's name is empty");
    return answer_usage(db, r, answer, err);
}

int op_usage_all(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_usage_all *r = request;
    const struct ab_op_usage of_user = {.user = r->of, /* empty: of all */
                                        .by = r->by,
                                        .since_ms = r->since_ms,
                                        .until_ms = r->until_ms,
                                        .model = r->model,
                                        .agent = r->agent,
                                        .after = r->after,
                                        .limit = r->limit};
    return answer_usage(db, &of_user, answer, err);
}
