/* Workflows by name: each user's own, in versions. A version is a name for a stored workflow, which jobs name by its
 * hash: deleting a name takes nothing away from them.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/workflow/workflow.h"
#include "storage/sqlite/named.h"
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

static const struct named workflows = {.what = "workflow",
                                       .last = SQL_SAVED_LAST,
                                       .get = SQL_SAVED_GET,
                                       .before = SQL_SAVED_BEFORE,
                                       .after = SQL_SAVED_AFTER,
                                       .remove = SQL_SAVED_REMOVE,
                                       .col_name = COL_NAME,
                                       .col_version = COL_VERSION,
                                       .col_hash = COL_HASH,
                                       .gone = GONE_WORKFLOW};

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

static int save(struct db *db, const struct ab_op_save_workflow *r, const struct ab_workflow *workflow,
                struct ab_buf *answer, struct ab_error *err)
{
    struct ab_view name = r->name.n ? r->name : ab_view_of(workflow->name);
    sqlite3_stmt *row = NULL, *same = NULL;
    int64_t newest = 0, user = 0;
    int code = check_name(name, err);
    if (code || (user = user_make(db, r->user, err)) < 0)
        return code ? code : (int)user;
    if (!ab_id_zero(r->id)) {
        same = db_sql(db, SQL_SAVED_BY_ID);
        bind_int(same, 1, user);
        bind_text(same, 2, name);
        bind_id(same, 3, &r->id);
    }
    code = named_saved(db, &workflows, same, user, name, ab_view(workflow->hash, sizeof workflow->hash), &row,
                       &newest, err);
    if (code)
        return code < 0 ? code : answer_saved(r->user, row, false, answer);
    if ((code = add_version(db, r, name, user, newest + 1, workflow, err)))
        return code;
    code = named_find(db, &workflows, user, name, 0, &row, err);
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

static bool add_any(const void *request, sqlite3_stmt *row, struct ab_buf *out)
{
    record_add(((const struct ab_op_list_workflows *)request)->user, row, out);
    return true;
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
    const struct named_page page = {user, r->name, r->after, r->limit, add_any, r};
    int code = user <= 0 ? (int)user : named_list(db, &workflows, &page, &list, &next, err);
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
        return named_missing(&workflows, r->user, r->name, r->version, err);
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

/* 1 and *row; not_found if there is none. version 0: the newest. */
static int find_saved(struct db *db, struct ab_view user_name, struct ab_view name, uint64_t version,
                      sqlite3_stmt **row, struct ab_error *err)
{
    int64_t user = user_find(db, user_name, err);
    int got = user < 0 ? (int)user : named_find(db, &workflows, user, name, version, row, err);
    return got ? got : named_missing(&workflows, user_name, name, version, err);
}

int workflow_named(void *context, struct ab_view name, uint64_t *version, json_t **out, struct ab_error *err)
{
    const struct saved_names *saved = context;
    sqlite3_stmt *row;
    int got = find_saved(saved->db, saved->user, name, *version, &row, err);
    if (got < 0)
        return got;
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
    if (got < 0)
        return got;
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
    if (is_builtin(r->name))
        return ab_fail_at(err, AB_EINVALID, "name", "the built-in workflow cannot be deleted");
    return named_delete(db, &workflows, r->user, r->name, answer, err);
}
