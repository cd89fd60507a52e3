/* Skills: each user's own, in versions, with their contents. common/skill.h says what they are, reads their headers and has
 * their limits. A version never changes; deleting a name takes all of them away at once, contents included.
 */
#include "common/clock.h"
#include "common/skill.h"
#include "common/wire/tree.h"
#include "storage/sqlite/named.h"
#include "storage/workflow_check.h"

enum { SKILLS_MAX = 10000 /* versions of all skills of one user */ };

/* Columns of SQL_SKILL_COLUMNS. */
enum {
    COL_ID,
    COL_NAME,
    COL_VERSION,
    COL_TITLE,
    COL_DESCRIPTION,
    COL_FILE_NAME,
    COL_LANGUAGE,
    COL_PARAMETERS,
    COL_IDEMPOTENT,
    COL_TIMEOUT,
    COL_HASH,
    COL_CREATED,
    COL_CONTENT
};

/* ---- records ---- */
static void record_add(struct ab_view user, sqlite3_stmt *row, bool content, struct ab_buf *out)
{
    char iso[AB_ISO8601_MAX];
    struct ab_skill_record r = {
        .id = col_id(row, COL_ID),
        .name = col_text(row, COL_NAME),
        .version = (uint64_t)col_int(row, COL_VERSION),
        .user_id = user,
        .title = col_text(row, COL_TITLE),
        .description = col_text(row, COL_DESCRIPTION),
        .file_name = col_text(row, COL_FILE_NAME),
        .language = col_text(row, COL_LANGUAGE),
        .parameters = col_blob(row, COL_PARAMETERS),
        .idempotent = col_int(row, COL_IDEMPOTENT),
        .timeout_s = (uint64_t)col_int(row, COL_TIMEOUT),
        .hash = col_blob(row, COL_HASH),
        .timestamp = ab_view_of(ab_iso8601(col_int(row, COL_CREATED), iso)),
    };
    if (content)
        r.content = col_text(row, COL_CONTENT);
    ab_encode(out, &ab_skill_record_schema, &r);
}

static const struct named skills = {.what = "skill",
                                    .last = SQL_SKILL_LAST,
                                    .get = SQL_SKILL_GET,
                                    .before = SQL_SKILL_BEFORE,
                                    .after = SQL_SKILLS_AFTER,
                                    .remove = SQL_SKILL_REMOVE,
                                    .col_name = COL_NAME,
                                    .col_version = COL_VERSION,
                                    .col_hash = COL_HASH,
                                    .gone = GONE_SKILL};

/* ---- saving ---- */
static int answer_saved(struct ab_view user, sqlite3_stmt *row, bool created, struct ab_buf *answer)
{
    struct ab_buf record = {0};
    record_add(user, row, false, &record);
    struct ab_op_save_skill_answer a = {.skill = ab_buf_view(&record), .created = created};
    ab_encode(answer, &ab_op_save_skill_answer_schema, &a);
    ab_buf_finish(&record);
    return 0;
}

static int check_room(struct db *db, int64_t user, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_SKILLS_COUNT);
    bind_int(s, 1, user);
    int got = db_row(db, s, err);
    if (got < 0 || col_int(s, 0) < SKILLS_MAX)
        return got < 0 ? got : 0;
    return ab_fail(err, AB_ETOOLARGE, "a user has at most %d versions of skills: delete some first",
                   SKILLS_MAX);
}

static int add_version(struct db *db, struct ab_id id, const struct ab_skill *skill, int64_t user,
                       int64_t version, struct ab_error *err)
{
    struct ab_buf parameters = {0};
    ab_tree_pack(&parameters, skill->parameters);
    sqlite3_stmt *s = db_sql(db, SQL_SKILL_ADD);
    bind_int(s, 1, user);
    bind_id(s, 2, &id);
    bind_text(s, 3, ab_view_of(skill->name));
    bind_int(s, 4, version);
    bind_text(s, 5, ab_view_of(skill->title));
    bind_text(s, 6, ab_view_of(skill->description));
    bind_text(s, 7, ab_view_of(skill->file_name));
    bind_text(s, 8, ab_view_of(skill->language));
    bind_blob(s, 9, ab_buf_view(&parameters));
    bind_int(s, 10, skill->idempotent);
    bind_int(s, 11, (int64_t)skill->timeout_s);
    bind_blob(s, 12, ab_view(skill->hash, sizeof skill->hash));
    bind_int(s, 13, db->now_ms);
    bind_text(s, 14, skill->content);
    int code = db_run(db, s, err);
    ab_buf_finish(&parameters);
    return code;
}

static int save(struct db *db, const struct ab_op_save_skill *r, const struct ab_skill *skill,
                struct ab_buf *answer, struct ab_error *err)
{
    sqlite3_stmt *row = NULL, *same = NULL;
    struct ab_view name = ab_view_of(skill->name);
    int64_t version = 0, user = user_make(db, r->user, err);
    if (user < 0)
        return (int)user;
    if (!ab_id_zero(r->id)) {
        same = db_sql(db, SQL_SKILL_BY_ID);
        bind_int(same, 1, user);
        bind_id(same, 2, &r->id);
    }
    int code = named_saved(db, &skills, same, user, name, ab_view(skill->hash, sizeof skill->hash), &row,
                           &version, err);
    if (code)
        return code < 0 ? code : answer_saved(r->user, row, false, answer);
    struct ab_id id = ab_id_zero(r->id) ? ab_id_make(db->now_ms) : r->id;
    if ((code = check_room(db, user, err)) || (code = add_version(db, id, skill, user, version + 1, err)))
        return code;
    code = named_find(db, &skills, user, name, 0, &row, err);
    return code < 0 ? code : answer_saved(r->user, row, true, answer);
}

int op_save_skill(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_save_skill *r = request;
    json_t *parameters = r->parameters.p ? ab_tree_unpack(r->parameters, err) : NULL;
    if (r->parameters.p && !parameters)
        return err->code;
    const struct ab_skill_given given = {.content = r->content,
                                         .name = r->name,
                                         .title = r->title,
                                         .description = r->description,
                                         .file_name = r->file_name,
                                         .language = r->language,
                                         .parameters = parameters,
                                         .idempotent = r->idempotent,
                                         .timeout_s = r->timeout_s};
    struct ab_faults faults = {0};
    struct ab_skill skill;
    int code = ab_skill_read(&given, &skill, NULL, &faults, err);
    if (code)
        faults_pack(&faults, db->faults);
    else
        code = save(db, r, &skill, answer, err);
    ab_skill_finish(&skill);
    ab_faults_finish(&faults);
    json_decref(parameters);
    return code;
}

/* ---- listing ---- */
static bool add_wanted(const void *request, sqlite3_stmt *row, struct ab_buf *out)
{
    const struct ab_op_list_skills *r = request;
    const struct ab_view texts[] = {col_text(row, COL_NAME), col_text(row, COL_TITLE),
                                    col_text(row, COL_DESCRIPTION)};
    if (r->search.n && !words_match(r->search, texts, sizeof texts / sizeof *texts))
        return false;
    record_add(r->user, row, false, out);
    return true;
}

int op_list_skills(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_skills *r = request;
    struct ab_buf next = {0};
    struct list list;
    list_init(&list);
    int64_t user = user_find(db, r->user, err);
    const struct named_page page = {user, r->name, r->after, r->limit, add_wanted, r};
    int code = user <= 0 ? (int)user : named_list(db, &skills, &page, &list, &next, err);
    if (!code) {
        struct ab_op_list_skills_answer a = {.skills = list_done(&list)};
        if (next.n)
            a.next = ab_buf_view(&next);
        ab_encode(answer, &ab_op_list_skills_answer_schema, &a);
    }
    list_finish(&list);
    ab_buf_finish(&next);
    return code;
}

/* ---- one ---- */
static int get(struct db *db, int64_t user, struct ab_view user_name, struct ab_view name, uint64_t version,
               struct ab_buf *answer, struct ab_error *err)
{
    sqlite3_stmt *s;
    int got = named_find(db, &skills, user, name, version, &s, err);
    if (got <= 0)
        return got ? got : named_missing(&skills, user_name, name, version, err);
    struct ab_buf record = {0};
    record_add(user_name, s, true, &record);
    struct ab_op_get_skill_answer a = {.skill = ab_buf_view(&record)};
    ab_encode(answer, &ab_op_get_skill_answer_schema, &a);
    ab_buf_finish(&record);
    return 0;
}

int op_get_skill(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_get_skill *r = request;
    int64_t user = user_find(db, r->user, err);
    return user < 0 ? (int)user : get(db, user, r->user, r->name, r->version, answer, err);
}

/* Workers name the job, so that no job gets at another user's. */
int op_load_skill(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_load_skill *r = request;
    sqlite3_stmt *s = db_sql(db, SQL_JOB_USER);
    bind_int(s, 1, (int64_t)r->n);
    int got = db_row(db, s, err);
    if (got <= 0)
        return got ? got : ab_fail_at(err, AB_ENOTFOUND, "n", "there is no such job");
    return get(db, col_int(s, 0), col_text(s, 1), r->name, r->version, answer, err);
}

int op_delete_skill(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_delete_skill *r = request;
    return named_delete(db, &skills, r->user, r->name, answer, err);
}
