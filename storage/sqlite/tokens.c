/* Tokens of the HTTP gateway: hash, user, scope, expiry. The tokens themselves are made by the client and come by nowhere.
 *
 * A version in `meta` grows when one is made or revoked, so that gateways may ask every second whether anything changed.
 * Revoked and expired rows stay for the retention, so that the list still tells of them.
 */
#include "common/auth.h"
#include "storage/sqlite/db.h"

/* Places of SQL_TOKEN_COLUMNS. */
enum {
    COL_KEY,
    COL_ID,
    COL_USER,
    COL_NAME,
    COL_SCOPE,
    COL_CREATED,
    COL_EXPIRES,
    COL_USED,
    COL_REVOKED,
    COL_HASH
};

static int64_t token_version(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_GET);
    bind_text(s, 1, ab_view_of("tokens"));
    int got = db_row(db, s, err);
    return got <= 0 ? got : col_int(s, 0);
}

static int tokens_changed(struct db *db, struct ab_error *err)
{
    int64_t version = token_version(db, err);
    if (version < 0)
        return (int)version;
    sqlite3_stmt *s = db_sql(db, SQL_META_RAISE);
    bind_text(s, 1, ab_view_of("tokens"));
    bind_int(s, 2, version + 1);
    return db_run(db, s, err);
}

static int64_t count_tokens(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_TOKENS_COUNT);
    int got = db_row(db, s, err);
    return got < 0 ? got : col_int(s, 0);
}

static void add_record(sqlite3_stmt *s, struct ab_buf *out)
{
    int64_t scope = col_int(s, COL_SCOPE);
    struct ab_token_record record = {
        .id = col_id(s, COL_ID),
        .user = col_text(s, COL_USER),
        .name = col_text(s, COL_NAME),
        .scope = ab_view_of(ab_scope_names[scope > 0 && scope < AB_SCOPE_N ? scope : AB_SCOPE_NONE]),
        .created_ms = (uint64_t)col_int(s, COL_CREATED),
        .expires_ms = (uint64_t)col_int(s, COL_EXPIRES),
        .used_ms = (uint64_t)col_int(s, COL_USED),
        .revoked_ms = (uint64_t)col_int(s, COL_REVOKED)};
    ab_encode(out, &ab_token_record_schema, &record);
}

/* The token as the answer; not_found if it is not there. */
static int answer_token(struct db *db, const struct ab_id *id, struct ab_buf *answer, struct ab_error *err)
{
    struct ab_buf record = {0};
    sqlite3_stmt *s = db_sql(db, SQL_TOKEN_BY_ID);
    bind_id(s, 1, id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "id", "there is no token with this id");
    add_record(s, &record);
    struct ab_op_token_answer a = {.token = ab_buf_view(&record)};
    ab_encode(answer, &ab_op_token_answer_schema, &a);
    ab_buf_finish(&record);
    return 0;
}

/* ---- writing ---- */

static int check_new(struct db *db, const struct ab_op_create_token *r, struct ab_error *err)
{
    if (!r->user.n)
        return ab_fail_at(err, AB_EINVALID, "user", "a token is of a user");
    if (!ab_scope_of(r->scope))
        return ab_fail_at(err, AB_EINVALID, "scope", "is read, write or admin");
    if (r->hash.n != AB_TOKEN_HASH_BYTES)
        return ab_fail_at(err, AB_EINVALID, "hash", "has %d bytes", AB_TOKEN_HASH_BYTES);
    if (r->expires_ms && (int64_t)r->expires_ms <= db->now_ms)
        return ab_fail_at(err, AB_EINVALID, "expires_ms", "is in the past");
    sqlite3_stmt *s = db_sql(db, SQL_TOKENS_TRIM);
    bind_int(s, 1, db->now_ms - db->retention_ms);
    int code = db_run(db, s, err);
    int64_t n = code ? code : count_tokens(db, err);
    if (n < 0)
        return (int)n;
    if (n >= AB_TOKENS_MAX)
        return ab_fail(err, AB_ETOOLARGE, "there are %d tokens, the most there may be", AB_TOKENS_MAX);
    return 0;
}

/* 1: this very request was carried out before; 0: its id is new. */
static int created_before(struct db *db, const struct ab_op_create_token *r, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_TOKEN_BY_ID);
    bind_id(s, 1, &r->id);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got;
    if (ab_view_eq(col_blob(s, COL_HASH), r->hash) && ab_view_eq(col_text(s, COL_USER), r->user) &&
        col_int(s, COL_SCOPE) == ab_scope_of(r->scope))
        return 1;
    return ab_fail_at(err, AB_ECONFLICT, "id", "this id is taken by another token");
}

static int insert(struct db *db, const struct ab_op_create_token *r, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_TOKEN_ADD);
    bind_id(s, 1, &r->id);
    bind_blob(s, 2, r->hash);
    bind_text(s, 3, r->user);
    bind_text(s, 4, r->name);
    bind_int(s, 5, ab_scope_of(r->scope));
    bind_int(s, 6, db->now_ms);
    bind_opt(s, 7, (int64_t)r->expires_ms);
    int code = db_run(db, s, err);
    if (!code && !sqlite3_changes(db->handle))
        code = ab_fail_at(err, AB_ECONFLICT, "hash", "this token is there already");
    return code ? code : tokens_changed(db, err);
}

int op_create_token(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_create_token *r = request;
    int before = created_before(db, r, err), code = before < 0 ? before : 0;
    if (!before && !(code = check_new(db, r, err)))
        code = insert(db, r, err);
    return code ? code : answer_token(db, &r->id, answer, err);
}

int op_revoke_token(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_revoke_token *r = request;
    sqlite3_stmt *s = db_sql(db, SQL_TOKEN_REVOKE);
    bind_id(s, 1, &r->id);
    bind_int(s, 2, db->now_ms);
    int code = db_run(db, s, err);
    if (!code && sqlite3_changes(db->handle))
        code = tokens_changed(db, err);
    return code ? code : answer_token(db, &r->id, answer, err);
}

int op_token_used(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_token_used *r = request;
    struct ab_op_empty a = {0};
    sqlite3_stmt *s = db_sql(db, SQL_TOKEN_USED);
    bind_id(s, 1, &r->id);
    bind_int(s, 2, db->now_ms);
    int code = db_run(db, s, err);
    if (!code)
        ab_encode(answer, &ab_op_empty_schema, &a);
    return code;
}

/* ---- reading ---- */

static bool valid(const struct db *db, sqlite3_stmt *s)
{
    return col_null(s, COL_REVOKED) && (col_null(s, COL_EXPIRES) || col_int(s, COL_EXPIRES) > db->now_ms);
}

int op_check_token(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_check_token *r = request;
    struct ab_buf record = {0};
    int64_t version = token_version(db, err), n = version < 0 ? version : count_tokens(db, err);
    int got = 0;
    if (n < 0)
        return (int)n;
    if (r->hash.p) {
        sqlite3_stmt *s = db_sql(db, SQL_TOKEN_BY_HASH);
        bind_blob(s, 1, r->hash);
        got = db_row(db, s, err);
        if (got > 0 && valid(db, s))
            add_record(s, &record);
    }
    if (got >= 0) {
        struct ab_op_check_token_answer a = {.version = (uint64_t)version, .tokens = (uint64_t)n};
        if (record.n)
            a.token = ab_buf_view(&record);
        ab_encode(answer, &ab_op_check_token_answer_schema, &a);
    }
    ab_buf_finish(&record);
    return got < 0 ? got : 0;
}

int op_list_tokens(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_tokens *r = request;
    struct ab_op_list_tokens_answer a = {0};
    int64_t after, key = 0;
    char next[24];
    struct list list;
    int got = cursor_read(r->after, &after, err);
    if (got)
        return got;
    list_init(&list);
    sqlite3_stmt *s = db_sql(db, SQL_TOKENS_AFTER);
    bind_int(s, 1, after);
    bind_text(s, 2, r->of);
    while ((got = db_row(db, s, err)) > 0) {
        if (list.n == limit_of(r->limit) || list_full(&list)) {
            a.next = ab_view(next, (size_t)snprintf(next, sizeof next, "%lld", (long long)key));
            break;
        }
        key = col_int(s, COL_KEY);
        add_record(s, &list.buf);
        list.n++;
    }
    if (got >= 0) {
        a.tokens = list_done(&list);
        ab_encode(answer, &ab_op_list_tokens_answer_schema, &a);
    }
    list_finish(&list);
    return got < 0 ? got : 0;
}
