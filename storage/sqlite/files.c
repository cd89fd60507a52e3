/* Files that jobs' code made: their contents in pieces, known by hash within their job; which paths a job has now is in the
 * last code_result or tool_result of each of its conversations that has any. */
#include <sodium.h>
#include <stdlib.h>

#include "common/files.h"
#include "storage/sqlite/db.h"

/* ---- contents ---- */
static int check_hash(struct ab_view hash, struct ab_error *err)
{
    size_t good = 0;
    while (good < hash.n &&
           ((hash.p[good] >= '0' && hash.p[good] <= '9') || (hash.p[good] >= 'a' && hash.p[good] <= 'f')))
        good++;
    return good == hash.n && hash.n == AB_FILE_HASH_TEXT
               ? 0
               : ab_fail_at(err, AB_EINVALID, "hash", "is %d hexadecimal digits", AB_FILE_HASH_TEXT);
}

static int read_piece(struct db *db, uint64_t n, struct ab_view hash, uint64_t at, struct ab_view *data,
                      struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_FILE_GET);
    bind_int(s, 1, (int64_t)n);
    bind_text(s, 2, hash);
    bind_int(s, 3, at > INT64_MAX ? INT64_MAX : (int64_t)at);
    int got = db_row(db, s, err);
    if (got > 0)
        *data = col_blob(s, 0);
    return got;
}

static int check_room(struct db *db, uint64_t n, size_t more, struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_FILES_OF_JOB);
    bind_int(s, 1, (int64_t)n);
    int got = db_row(db, s, err);
    uint64_t bytes = got > 0 ? (uint64_t)col_int(s, 0) : 0, pieces = got > 0 ? (uint64_t)col_int(s, 1) : 0;
    if (got < 0)
        return got;
    if (bytes + more > AB_JOB_FILES_BYTES_MAX || pieces >= AB_JOB_FILES_PIECES_MAX)
        return ab_fail(
            err, AB_ETOOLARGE,
            "the files that this job's code made, with those it changed since, are over %d MiB or %d pieces",
            AB_JOB_FILES_BYTES_MAX >> 20, AB_JOB_FILES_PIECES_MAX);
    return 0;
}

static int add_piece(struct db *db, uint64_t n, struct ab_view hash, uint64_t at, struct ab_view data,
                     struct ab_error *err)
{
    sqlite3_stmt *s = db_sql(db, SQL_FILE_ADD);
    bind_int(s, 1, (int64_t)n);
    bind_text(s, 2, hash);
    bind_int(s, 3, (int64_t)at);
    bind_blob(s, 4, data);
    int code = db_run(db, s, err);
    if (code)
        return code;
    s = db_sql(db, SQL_FILES_COUNT);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, (int64_t)data.n);
    return db_run(db, s, err);
}

/* The broker's rule for writes: all is checked before the first one. */
int op_put_file(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_put_file *r = request;
    struct head head;
    struct ab_view there;
    int code = check_hash(r->hash, err);
    if (!code)
        code = head_load(db, r->n, &head, err);
    if (!code && head.end)
        code = ab_fail(err, AB_EENDED, "job %llu has ended", (unsigned long long)r->n);
    int got = code ? code : read_piece(db, r->n, r->hash, r->at, &there, err);
    if (got < 0)
        return got;
    if (!got && (code = check_room(db, r->n, r->data.n, err)))
        return code;
    ab_encode(answer, &ab_op_empty_schema, &(struct ab_op_empty){0});
    return got ? 0 : add_piece(db, r->n, r->hash, r->at, r->data, err);
}

int op_load_file(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_load_file *r = request;
    struct ab_op_file_piece a = {.data = ab_view("", 0)};
    int got = read_piece(db, r->n, r->hash, r->at, &a.data, err);
    if (got < 0)
        return got;
    if (!got && !r->at)
        return ab_fail_at(err, AB_ENOTFOUND, "hash", "job %llu has no such file", (unsigned long long)r->n);
    ab_encode(answer, &ab_op_file_piece_schema, &a);
    return 0;
}

int job_copy_files(struct db *db, uint64_t from, uint64_t to, struct ab_error *err)
{
    static const enum sql_id both[] = {SQL_FILES_COPY, SQL_FILES_COPY_COUNT};
    int code = 0;
    for (size_t i = 0; !code && i < sizeof both / sizeof *both; i++) {
        sqlite3_stmt *s = db_sql(db, both[i]);
        bind_int(s, 1, (int64_t)from);
        bind_int(s, 2, (int64_t)to);
        code = db_run(db, s, err);
    }
    return code;
}

int job_remove_files(struct db *db, uint64_t n, struct ab_error *err)
{
    static const enum sql_id both[] = {SQL_FILES_REMOVE, SQL_FILES_UNCOUNT};
    int code = 0;
    for (size_t i = 0; !code && i < sizeof both / sizeof *both; i++) {
        sqlite3_stmt *s = db_sql(db, both[i]);
        bind_int(s, 1, (int64_t)n);
        code = db_run(db, s, err);
    }
    return code;
}

/* ---- what a job has ---- */

/* A reader's callback for each file, by folder and path. Returns > 0 to stop. */
typedef int file_fn(void *context, const struct ab_file_record *record);

static int each_entry(struct ab_view folder, struct ab_view files, file_fn *fn, void *context)
{
    struct ab_reader reader = ab_reader(files);
    struct ab_file_entry entry;
    struct ab_file_record record;
    struct ab_view raw;
    char path[AB_FILE_PATH_MAX];
    uint32_t n;
    int stop = 0;
    if (!files.n || ab_read_array(&reader, &n))
        return 0;
    for (uint32_t i = 0; !stop && i < n && !ab_read_any(&reader, &raw); i++) {
        if (ab_decode(&ab_file_entry_schema, raw, &entry, NULL))
            continue;
        ab_file_describe(folder, &entry, path, &record);
        stop = fn(context, &record);
    }
    return stop;
}

enum { FOLDERS_MAX = 256 };

/* Whether this folder was met before; it is remembered. */
static bool met(char *folders[FOLDERS_MAX], size_t *n, struct ab_view folder)
{
    for (size_t i = 0; i < *n; i++)
        if (ab_view_is(folder, folders[i]))
            return true;
    if (*n < FOLDERS_MAX)
        folders[(*n)++] = ab_strndup(folder.p ? folder.p : "", folder.n);
    return false;
}

/* The newest list of each folder; a job of one conversation has one folder without a name. */
static int each_file(struct db *db, uint64_t n, file_fn *fn, void *context, struct ab_error *err)
{
    char *folders[FOLDERS_MAX];
    size_t folders_n = 0;
    int got, stop = 0;
    sqlite3_stmt *s = db_sql(db, SQL_EVENTS_OF_KINDS);
    bind_int(s, 1, (int64_t)n);
    bind_int(s, 2, AB_KIND_CODE_RESULT);
    bind_int(s, 3, AB_KIND_TOOL_RESULT);
    while (!stop && (got = db_row(db, s, err)) > 0) {
        struct ab_view files = ab_map_get(col_blob(s, 0), "files"); /* both kinds have them alike */
        struct ab_view folder = ab_any_str(ab_map_get(col_blob(s, 0), "folder"));
        if (!files.p || met(folders, &folders_n, folder))
            continue;
        stop = each_entry(folder, files, fn, context);
        if (!folder.n)
            break;
    }
    for (size_t i = 0; i < folders_n; i++)
        free(folders[i]);
    return !stop && got < 0 ? got : stop;
}

static int add_record(void *context, const struct ab_file_record *record)
{
    struct list *list = context;
    ab_encode(&list->buf, &ab_file_record_schema, record);
    list->n++;
    return 0;
}

int op_list_files(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_list_files *r = request;
    struct list list;
    uint64_t n;
    int code = job_find(db, r->user, r->job, &n, err);
    if (code)
        return code;
    list_init(&list);
    code = each_file(db, n, add_record, &list, err);
    if (code >= 0) {
        struct ab_op_list_files_answer a = {.files = list_done(&list)};
        ab_encode(answer, &ab_op_list_files_answer_schema, &a);
    }
    list_finish(&list);
    return code;
}

struct wanted {
    struct ab_view path;
    struct ab_buf record; /* encoded; empty: not found */
    char hash[AB_FILE_HASH_TEXT];
    uint64_t bytes;
};

static int take_wanted(void *context, const struct ab_file_record *record)
{
    struct wanted *wanted = context;
    if (!ab_view_eq(record->path, wanted->path) || record->hash.n != AB_FILE_HASH_TEXT)
        return 0;
    ab_encode(&wanted->record, &ab_file_record_schema, record);
    memcpy(wanted->hash, record->hash.p, AB_FILE_HASH_TEXT);
    wanted->bytes = record->bytes;
    return 1;
}

int op_get_file(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_get_file *r = request;
    struct wanted wanted = {.path = r->path};
    struct ab_op_get_file_answer a = {.data = ab_view("", 0)};
    uint64_t n;
    int code = job_find(db, r->user, r->job, &n, err);
    if (!code)
        code = each_file(db, n, take_wanted, &wanted, err);
    if (!code)
        code = ab_fail_at(err, AB_ENOTFOUND, "path", "the job has no file %.*s", AB_VIEW_FMT(r->path));
    if (code > 0 && r->at < wanted.bytes)
        code = read_piece(db, n, ab_view(wanted.hash, sizeof wanted.hash), r->at, &a.data, err);
    if (!code && !r->at && wanted.bytes)
        code = ab_fail_at(err, AB_ENOTFOUND, "path", "the content of %.*s is not here: its job was imported",
                          AB_VIEW_FMT(r->path));
    if (!code)
        code = ab_fail_at(err, AB_EINVALID, "at", "no piece of this file begins there; pieces have %d bytes",
                          AB_FILE_PIECE_MAX);
    if (code > 0) {
        a.file = ab_buf_view(&wanted.record);
        ab_encode(answer, &ab_op_get_file_answer_schema, &a);
    }
    ab_buf_finish(&wanted.record);
    return code > 0 ? 0 : code;
}

/* ---- files of imported jobs ---- */

/* The first file with this content. */
static int take_hash(void *context, const struct ab_file_record *record)
{
    struct wanted *wanted = context;
    if (!ab_view_eq(record->hash, ab_view(wanted->hash, sizeof wanted->hash)))
        return 0;
    wanted->bytes = record->bytes;
    return 1;
}

static int find_imported(struct db *db, const struct ab_op_put_run_file *r, uint64_t *n, uint64_t *bytes,
                         struct ab_error *err)
{
    struct wanted wanted = {0};
    char id[AB_ID_TEXT];
    int code = check_hash(r->hash, err);
    if (code || (code = job_find(db, r->user, ab_view_of(ab_id_text(r->job, id)), n, err)))
        return code;
    sqlite3_stmt *s = db_sql(db, SQL_IMPORT_GET);
    bind_int(s, 1, (int64_t)*n);
    if ((code = db_row(db, s, err)) <= 0)
        return code ? code
                    : ab_fail_at(err, AB_ECONFLICT, "job", "this job ran here: its files are what it made");
    memcpy(wanted.hash, r->hash.p, sizeof wanted.hash);
    code = each_file(db, *n, take_hash, &wanted, err);
    *bytes = wanted.bytes;
    return code > 0   ? 0
           : code < 0 ? code
                      : ab_fail_at(err, AB_ENOTFOUND, "hash", "the job has no file with this content");
}

/* All of it is there: is it what its name says? */
static int check_content(struct db *db, uint64_t n, struct ab_view hash, struct ab_error *err)
{
    crypto_generichash_state state;
    unsigned char made[AB_FILE_HASH_TEXT / 2];
    char text[AB_FILE_HASH_TEXT + 1];
    sqlite3_stmt *s = db_sql(db, SQL_FILE_PIECES);
    bind_int(s, 1, (int64_t)n);
    bind_text(s, 2, hash);
    crypto_generichash_init(&state, NULL, 0, sizeof made);
    int got;
    while ((got = db_row(db, s, err)) > 0)
        crypto_generichash_update(&state, (const unsigned char *)col_blob(s, 0).p, col_blob(s, 0).n);
    crypto_generichash_final(&state, made, sizeof made);
    sodium_bin2hex(text, sizeof text, made, sizeof made);
    return got < 0 ? got
           : ab_view_is(hash, text)
               ? 0
               : ab_fail_at(err, AB_EINVALID, "data", "the content does not have this hash");
}

int op_put_run_file(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_put_run_file *r = request;
    uint64_t n = 0, bytes = 0;
    struct ab_view there;
    int code = find_imported(db, r, &n, &bytes, err);
    if (code)
        return code;
    uint64_t left = r->at < bytes ? bytes - r->at : 0;
    if (r->at % AB_FILE_PIECE_MAX || !left ||
        r->data.n != (left < AB_FILE_PIECE_MAX ? left : AB_FILE_PIECE_MAX))
        return ab_fail_at(err, AB_EINVALID, "data", "is no piece of a file of %llu bytes",
                          (unsigned long long)bytes);
    int got = read_piece(db, n, r->hash, r->at, &there, err);
    if (got < 0 || (!got && (code = check_room(db, n, r->data.n, err))) ||
        (!got && (code = add_piece(db, n, r->hash, r->at, r->data, err))))
        return got < 0 ? got : code;
    sqlite3_stmt *s = db_sql(db, SQL_FILE_BYTES);
    bind_int(s, 1, (int64_t)n);
    bind_text(s, 2, r->hash);
    if (!got && (got = db_row(db, s, err)) > 0 && (uint64_t)col_int(s, 0) == bytes)
        code = check_content(db, n, r->hash, err);
    if (got < 0 || code)
        return got < 0 ? got : code;
    ab_encode(answer, &ab_op_empty_schema, &(struct ab_op_empty){0});
    return 0;
}
