/* Price rows: what models cost, for the whole service. Storage only keeps them; the worker that makes a call prices it.
 *
 * A version in `meta` grows with each change, so that workers may ask often and are told little.
 */
#include "storage/sqlite/db.h"

static int64_t price_version(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_META_GET);
    bind_text(s, 1, ab_view_of("prices"));
    int got = db_row(db, s, err);
    return got <= 0 ? got : col_int(s, 0);
}

static int price_changed(struct db *db, struct ab_error *err)
{
    int64_t version = price_version(db, err);
    if (version < 0)
        return (int)version;
    sqlite3_stmt *s = db_sql(db, SQL_META_RAISE);
    bind_text(s, 1, ab_view_of("prices"));
    bind_int(s, 2, version + 1);
    return db_run(db, s, err);
}

static void bind_maybe(sqlite3_stmt *s, int at, struct ab_maybe value)
{
    if (value.is)
        bind_int(s, at, (int64_t)value.value);
    else
        sqlite3_bind_null(s, at);
}

static struct ab_maybe col_maybe(sqlite3_stmt *s, int at)
{
    struct ab_maybe value = {0};
    if (!col_null(s, at))
        value = ab_some((uint64_t)col_int(s, at));
    return value;
}

static struct ab_view not_null(struct ab_view text)
{
    return text.p ? text : ab_view("", 0);
}

static int price_put(struct db *db, const struct ab_price *p, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_PRICE_PUT);
    bind_text(s, 1, p->model);
    bind_text(s, 2, not_null(p->provider));
    bind_int(s, 3, (int64_t)p->from_ms);
    bind_int(s, 4, (int64_t)p->input_pico_usd);
    bind_maybe(s, 5, p->cached_input_pico_usd);
    bind_int(s, 6, (int64_t)p->output_pico_usd);
    bind_maybe(s, 7, p->reasoning_pico_usd);
    bind_text(s, 8, p->source);
    bind_text(s, 9, p->note);
    return db_run(db, s, err);
}

static int count_prices(struct db *db, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_PRICES_COUNT);
    int got = db_row(db, s, err);
    if (got < 0)
        return got;
    if (col_int(s, 0) > AB_PRICES_MAX)
        return ab_fail(err, AB_ETOOLARGE, "there would be more than %d price rows: delete old ones first",
                       AB_PRICES_MAX);
    return 0;
}

static int read_price(struct ab_view raw, uint32_t i, struct ab_price *p, struct ab_error *err)
{
    char path[48];
    snprintf(path, sizeof path, "prices[%u]", i);
    if (ab_decode(&ab_price_schema, raw, p, err)) {
        char text[AB_ERROR_TEXT_MAX];
        memcpy(text, err->text, sizeof text);
        return ab_fail_at(err, AB_EINVALID, path, "%s", text);
    }
    if (!p->model.n)
        return ab_fail_at(err, AB_EINVALID, path, "the model's pattern is empty; * stands for all models");
    return 0;
}

int op_set_prices(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_set_prices *r = request;
    struct ab_op_changed_answer a = {0};
    struct ab_reader reader = ab_reader(r->prices);
    struct ab_view raw;
    uint32_t n;
    if (ab_read_array(&reader, &n) || !n || n > AB_PRICES_MAX)
        return ab_fail_at(err, AB_EINVALID, "prices", "is an array of 1 to %d price maps", AB_PRICES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct ab_price price;
        int code = ab_read_any(&reader, &raw) ? ab_fail_at(err, AB_EINVALID, "prices", "row %u is malformed", i)
                                              : read_price(raw, i, &price, err);
        if (code || (code = price_put(db, &price, err)))
            return code;
        a.changed++;
    }
    int code = count_prices(db, err);
    if (code || (code = price_changed(db, err)))
        return code;
    ab_encode(answer, &ab_op_changed_answer_schema, &a);
    return 0;
}

static struct ab_view not_empty(struct ab_view text)
{
    return text.n ? text : (struct ab_view){0};
}

int op_list_prices(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_prices *r = request;
    int64_t version = price_version(db, err);
    if (version < 0)
        return (int)version;
    struct ab_op_list_prices_answer a = {.version = (uint64_t)version};
    struct list list;
    int got = 0;
    list_init(&list);
    sqlite3_stmt *s = db_sql(db, SQL_PRICES);
    while ((!r->version || r->version != a.version) && (got = db_row(db, s, err)) > 0) {
        struct ab_price price = {.model = col_text(s, 0),
                                 .provider = not_empty(col_text(s, 1)),
                                 .from_ms = (uint64_t)col_int(s, 2),
                                 .input_pico_usd = (uint64_t)col_int(s, 3),
                                 .cached_input_pico_usd = col_maybe(s, 4),
                                 .output_pico_usd = (uint64_t)col_int(s, 5),
                                 .reasoning_pico_usd = col_maybe(s, 6),
                                 .source = col_text(s, 7),
                                 .note = col_text(s, 8)};
        ab_encode(&list.buf, &ab_price_schema, &price);
        list.n++;
    }
    if (!got) {
        if (!r->version || r->version != a.version)
            a.prices = list_done(&list);
        ab_encode(answer, &ab_op_list_prices_answer_schema, &a);
    }
    list_finish(&list);
    return got;
}

int op_delete_price(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_delete_price *r = request;
    sqlite3_stmt *s = db_sql(db, SQL_PRICE_REMOVE);
    bind_text(s, 1, r->model);
    bind_text(s, 2, not_null(r->provider));
    bind_maybe(s, 3, r->from_ms);
    int code = db_run(db, s, err);
    if (code)
        return code;
    struct ab_op_changed_answer a = {.changed = (uint64_t)sqlite3_changes(db->handle)};
    if (a.changed && (code = price_changed(db, err)))
        return code;
    ab_encode(answer, &ab_op_changed_answer_schema, &a);
    return 0;
}
