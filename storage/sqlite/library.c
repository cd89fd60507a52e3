/* Workflows by name: each user's own, in versions. A version is a name for a stored workflow, which jobs name by its
 * hash: deleting a name takes nothing away from them.
 */
#include "storage/sqlite/db.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/workflow/workflow.h"
#include "storage/workflow_check.h"

enum { DESCRIPTION_BYTES_MAX = 4096 };

/* Columns of SQL_SAVED_COLUMNS. */
enum { COL_NAME, COL_VERSION, COL_HASH, COL_DESCRIPTION, COL_CREATED, COL_TEXT };

/* ---- records ---- */
static void record_add(struct ab_view user, sqlite3_stmt *row, struct ab_buf *out)
{
    char iso[AB_ISO8601_MAX];
    struct ab_workflow_record r = {
        .name = col_text(row, COL_NAME),
        .user_id = user,
        .version = (uint64_t)col_int(row, COL_VERSION),
        .hash = col_blob(row, COL_HASH),
        .description = col_text(row, COL_DESCRIPTION),
        .timestamp = ab_view_of(ab_iso8601(col_int(row, COL_CREATED), iso)),
    };
    ab_encode(out, &ab_workflow_record_schema, &r);
}

static void builtin_add(struct ab_buf *out)
{
    struct ab_workflow_record r = {.name = ab_view_of(AB_WORKFLOW_BUILTIN_NAME),
                                   .description = ab_view_of(AB_WORKFLOW_BUILTIN_DESCRIPTION),
                                   .builtin = true};
    ab_encode(out, &ab_workflow_record_schema, &r);
}

static bool is_builtin(struct ab_view name)
{
    return ab_view_is(name, AB_WORKFLOW_BUILTIN_NAME);
}

static int no_such_workflow(struct ab_view user, struct ab_view name, uint64_t version, struct ab_error *err)
{
    if (version)
        return ab_fail_at(err, AB_ENOTFOUND, "version", "user %.*s has no version %llu of a workflow %.*s",
                          AB_VIEW_FMT(user), (unsigned long long)version, AB_VIEW_FMT(name));
    return ab_fail_at(err, AB_ENOTFOUND, "name", "user %.*s has no workflow %.*s", AB_VIEW_FMT(user),
                      AB_VIEW_FMT(name));
}

/* ---- saving ---- */

/* What a client writes where a file or a name may stand must not be taken for a file. */
static int check_name(struct ab_view name, struct ab_error *err)
{
    if (!ab_workflow_name_ok(name))
        return ab_fail_at(err, AB_EINVALID, "name",
                          "a workflow's name has 1 to %d letters, digits, \"_\", \".\", \"-\" or spaces",
                          AB_WORKFLOW_NAME_MAX);
    if (ab_workflow_is_file_name(name))
        return ab_fail_at(err, AB_EINVALID, "name",
                          "ends as a file's name does: leave .json, .yaml or .yml away");
    if (is_builtin(name))
        return ab_fail_at(err, AB_EINVALID, "name", "%.*s is the built-in workflow: give another name",
                          AB_VIEW_FMT(name));
    return 0;
}

static int answer_saved(struct ab_view user, sqlite3_stmt *row, bool created, struct ab_buf *answer)
{
    struct ab_buf record = {0};
    record_add(user, row, &record);
    struct ab_op_save_workflow_answer a = {.workflow = ab_buf_view(&record), .created = created};
    ab_encode(answer, &ab_op_save_workflow_answer_schema, &a);
    ab_buf_finish(&record);
    return 0;
}

/* Whole characters of it only. */
static struct ab_view cut(const char *text)
{
    struct ab_view view = text ? ab_view_of(text) : (struct ab_view){0};
    if (view.n <= DESCRIPTION_BYTES_MAX)
        return view;
    view.n = DESCRIPTION_BYTES_MAX;
    while (view.n && (view.p[view.n] & 0xc0) == 0x80)
        view.n--;
    return view;
}

static int add_version(struct db *db, const struct ab_op_save_workflow *r, struct ab_view name, int64_t user,
                       int64_t version, const struct ab_workflow *workflow, struct ab_error *err)
{
    int64_t key = workflow_key(db, ab_view(workflow->hash, sizeof workflow->hash),
                               ab_view(workflow->text, workflow->text_bytes), (struct ab_view){0}, err);
    if (key < 0)
        return (int)key;
    sqlite3_stmt *s = db_sql(db, SQL_SAVED_ADD);
    bind_int(s, 1, user);
    bind_text(s, 2, name);
    bind_int(s, 3, version);
    bind_int(s, 4, key);
    if (!ab_id_zero(r->id))
        bind_id(s, 5, &r->id);
    bind_text(s, 6, cut(workflow->description));
    bind_int(s, 7, db->now_ms);
    return db_run(db, s, err);
}

/* The same request again, or the content that the newest version has already: 1, with *row. */
static int saved_before(struct db *db, const struct ab_op_save_workflow *r, struct ab_view name, int64_t user,
                        struct ab_view hash, sqlite3_stmt **row, int64_t *newest, struct ab_error *err)
{
    int got = 0;
    if (!ab_id_zero(r->id)) {
        *row = db_sql(db, SQL_SAVED_BY_ID);
        bind_int(*row, 1, user);
        bind_text(*row, 2, name);
        bind_id(*row, 3, &r->id);
        if ((got = db_row(db, *row, err)) < 0)
            return got;
        if (got && !ab_view_eq(col_blob(*row, COL_HASH), hash))
            return ab_fail_at(err, AB_ECONFLICT, "id", "this id is taken by another content");
        if (got)
            return 1;
    }
    *row = db_sql(db, SQL_SAVED_LAST);
    bind_int(*row, 1, user);
    bind_text(*row, 2, name);
    if ((got = db_row(db, *row, err)) <= 0)
        return got;
    *newest = col_int(*row, COL_VERSION);
    return ab_view_eq(col_blob(*row, COL_HASH), hash);
}

static int save(struct db *db, const struct ab_op_save_workflow *r, const struct ab_workflow *workflow,
                struct ab_buf *answer, struct ab_error *err)
{
    struct ab_view name = r->name.n ? r->name : ab_view_of(workflow->name);
    sqlite3_stmt *row = NULL;
    int64_t newest = 0, user = 0;
    int code = check_name(name, err);
    if (code || (user = user_make(db, r->user, err)) < 0)
        return code ? code : (int)user;
    code = saved_before(db, r, name, user, ab_view(workflow->hash, sizeof workflow->hash), &row, &newest, err);
    if (code)
        return code < 0 ? code : answer_saved(r->user, row, false, answer);
    if ((code = add_version(db, r, name, user, newest + 1, workflow, err)))
        return code;
    row = db_sql(db, SQL_SAVED_LAST);
    bind_int(row, 1, user);
    bind_text(row, 2, name);
    code = db_row(db, row, err);
    return code < 0 ? code : answer_saved(r->user, row, true, answer);
}

int op_save_workflow(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_save_workflow *r = request;
    struct ab_workflow *workflow = NULL;
    struct saved_names saved = {db, r->user};
    struct workflow_names names = {workflow_named, &saved};
    int code = workflow_check_saved(r->workflow, &names, &workflow, db->faults, err);
    if (!code)
        code = save(db, r, workflow, answer, err);
    ab_workflow_destroy(workflow);
    return code;
}

/* ---- listing ---- */

/* The newest of each name behind `after`, or the versions of one name below it. */
static int list_rows(struct db *db, const struct ab_op_list_workflows *r, int64_t user, struct list *list,
                     struct ab_buf *next, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, r->name.n ? SQL_SAVED_BEFORE : SQL_SAVED_AFTER);
    int64_t below = 0;
    int got = r->name.n ? cursor_read(r->after, &below, err) : 0;
    if (got)
        return got;
    bind_int(s, 1, user);
    bind_text(s, 2, r->name.n ? r->name : r->after.p ? r->after : ab_view_of(""));
    if (r->name.n)
        bind_int(s, 3, below ? below : INT64_MAX);
    struct ab_buf last = {0};
    while ((got = db_row(db, s, err)) > 0) {
        if (list->n >= limit_of(r->limit) || list_full(list)) {
            ab_buf_add(next, last.p, last.n);
            got = 0;
            break;
        }
        record_add(r->user, s, &list->buf);
        list->n++;
        ab_buf_clear(&last);
        struct ab_view at =
            col_text(s, r->name.n ? COL_VERSION : COL_NAME); /* a number as text, if it is one */
        ab_buf_add(&last, at.p, at.n);
    }
    ab_buf_finish(&last);
    return got;
}

int op_list_workflows(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_workflows *r = request;
    struct ab_buf next = {0};
    struct list list;
    list_init(&list);
    if (!r->after.n && (!r->name.n || is_builtin(r->name))) {
        builtin_add(&list.buf);
        list.n++;
    }
    int64_t user = user_find(db, r->user, err);
    int code = user <= 0 ? (int)user : list_rows(db, r, user, &list, &next, err);
    if (!code) {
        struct ab_op_list_workflows_answer a = {.workflows = list_done(&list)};
        if (next.n)
            a.next = ab_buf_view(&next);
        ab_encode(answer, &ab_op_list_workflows_answer_schema, &a);
    }
    list_finish(&list);
    ab_buf_finish(&next);
    return code;
}

/* ---- one ---- */
static int get_builtin(const struct ab_op_get_workflow *r, struct ab_buf *answer, struct ab_error *err)
{
    if (r->version)
        return no_such_workflow(r->user, r->name, r->version, err);
    if (!r->model.n)
        return ab_fail_at(err, AB_EINVALID, "model", "the built-in workflow needs a model: name one");
    struct ab_workflow *workflow = NULL;
    char *model = ab_view_dup(r->model), *text = ab_workflow_builtin(model);
    struct ab_buf record = {0};
    int code = ab_workflow_read(ab_view_of(text), NULL, 0, &workflow, NULL, NULL, NULL, err);
    if (!code) {
        builtin_add(&record);
        struct ab_op_get_workflow_answer a = {.record = ab_buf_view(&record),
                                              .workflow = ab_view(workflow->text, workflow->text_bytes)};
        ab_encode(answer, &ab_op_get_workflow_answer_schema, &a);
    }
    ab_buf_finish(&record);
    ab_workflow_destroy(workflow);
    free(text);
    free(model);
    return code;
}

/* 1 and *row, or 0. version 0: the newest. */
static int find_saved(struct db *db, struct ab_view user_name, struct ab_view name, uint64_t version,
                      sqlite3_stmt **row, struct ab_error *err)
{
    int64_t user = user_find(db, user_name, err);
    if (user < 0)
        return (int)user;
    *row = db_sql(db, version ? SQL_SAVED_GET : SQL_SAVED_LAST);
    bind_int(*row, 1, user);
    bind_text(*row, 2, name);
    if (version)
        bind_int(*row, 3, version > INT64_MAX ? 0 : (int64_t)version);
    return db_row(db, *row, err);
}

int workflow_named(void *context, struct ab_view name, uint64_t *version, json_t **out, struct ab_error *err)
{
    const struct saved_names *saved = context;
    sqlite3_stmt *row;
    int got = find_saved(saved->db, saved->user, name, *version, &row, err);
    if (got <= 0)
        return got ? got : no_such_workflow(saved->user, name, *version, err);
    *version = (uint64_t)col_int(row, COL_VERSION);
    return ab_json_parse(col_text(row, COL_TEXT), out, err);
}

int op_get_workflow(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_get_workflow *r = request;
    if (is_builtin(r->name))
        return get_builtin(r, answer, err);
    sqlite3_stmt *s;
    int got = find_saved(db, r->user, r->name, r->version, &s, err);
    if (got <= 0)
        return got ? got : no_such_workflow(r->user, r->name, r->version, err);
    struct ab_buf record = {0};
    record_add(r->user, s, &record);
    struct ab_op_get_workflow_answer a = {.record = ab_buf_view(&record), .workflow = col_text(s, COL_TEXT)};
    ab_encode(answer, &ab_op_get_workflow_answer_schema, &a);
    ab_buf_finish(&record);
    return 0;
}

int op_delete_workflow(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_delete_workflow *r = request;
    int64_t user = user_find(db, r->user, err);
    if (is_builtin(r->name))
        return ab_fail_at(err, AB_EINVALID, "name", "the built-in workflow cannot be deleted");
    if (user < 0)
        return (int)user;
    sqlite3_stmt *s = db_sql(db, SQL_SAVED_REMOVE);
    bind_int(s, 1, user);
    bind_text(s, 2, r->name);
    int code = db_run(db, s, err);
    if (code)
        return code;
    struct ab_op_deleted_answer a = {.deleted = (uint64_t)sqlite3_changes(db->handle)};
    code = a.deleted ? gone_add(db, user, GONE_WORKFLOW, r->name, 0, err)
                     : gone_is(db, user, GONE_WORKFLOW, r->name, NULL, err);
    if (code < 0 || (!a.deleted && !code))
        return code ? code : no_such_workflow(r->user, r->name, 0, err);
    ab_encode(answer, &ab_op_deleted_answer_schema, &a);
    return 0;
}
