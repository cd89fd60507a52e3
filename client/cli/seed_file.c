/* See seed_file.h. */
#include "client/cli/seed_file.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/tree.h"

enum { OUR_APPLICATION_ID = 0x6175626f, COLUMNS_MAX = 12 };

const char *const seed_table_names[SEED_TABLES] = {"sessions", "messages", "gallery"};

struct seed_file {
    sqlite3 *handle;
    char *path, *user;
    sqlite3_stmt *rows;
    enum seed_table table;
};

/* ---- columns: name, whether the table must have it, how it becomes a value ---- */

typedef json_t *value_fn(sqlite3_stmt *s, int at);
static value_fn text_value, json_value, time_value, bool_value, content_value;

struct column {
    const char *name;
    bool required;
    value_fn *value;
};

static const struct column columns[SEED_TABLES][COLUMNS_MAX] = {
    [SEED_SESSIONS] = {{"session_id", true, text_value},
                       {"timestamp", true, time_value},
                       {"flow_config", true, json_value}},
    [SEED_MESSAGES] = {{"msg_id", true, text_value},
                       {"session_id", true, text_value},
                       {"root_msg_id", false, text_value},
                       {"role", true, text_value},
                       {"content", true, content_value},
                       {"timestamp", true, time_value},
                       {"personalize", false, bool_value},
                       {"ra", false, text_value},
                       {"code", false, text_value},
                       {"metadata", false, json_value}},
    [SEED_GALLERY] = {{"id", true, text_value},
                      {"session", true, json_value},
                      {"messages", true, json_value},
                      {"tags", true, json_value},
                      {"timestamp", true, time_value}},
};

/* ?1 is the owner of what has none. */
#define OWNER "CAST(coalesce(nullif(user_id,''),?1) AS TEXT)"
#define GALLERY_OWNER                                                                                          \
    "CAST(coalesce(nullif(CASE WHEN json_valid(session) THEN json_extract(session,'$.user_id') END,''),?1) "   \
    "AS TEXT)"
static const char *const owners[SEED_TABLES] = {OWNER, OWNER, GALLERY_OWNER};

/* The text of a column; NULL if it is none (NULL, or bytes that are no UTF-8). */
static json_t *text_value(sqlite3_stmt *s, int at)
{
    if (sqlite3_column_type(s, at) == SQLITE_NULL)
        return NULL;
    const void *text = sqlite3_column_text(s, at);
    return text ? json_stringn(text, (size_t)sqlite3_column_bytes(s, at)) : NULL;
}

/* A JSON column; one that holds no JSON is a text. */
static json_t *json_value(sqlite3_stmt *s, int at)
{
    json_t *text = text_value(s, at), *tree = NULL;
    if (!text || ab_json_parse(ab_view(json_string_value(text), json_string_length(text)), &tree, NULL))
        return text;
    json_decref(text);
    return tree;
}

/* What an array of parts was written as, is one again; every other content is a text. */
static json_t *content_value(sqlite3_stmt *s, int at)
{
    json_t *tree = json_value(s, at);
    const json_t *first = json_array_get(tree, 0);
    if (json_is_string(tree) || ab_tree_str(first, "type"))
        return tree;
    json_decref(tree);
    return text_value(s, at);
}

static json_t *time_value(sqlite3_stmt *s, int at)
{
    char text[AB_ISO8601_MAX];
    int type = sqlite3_column_type(s, at);
    if (type == SQLITE_INTEGER || type == SQLITE_FLOAT)
        return json_string(ab_iso8601((int64_t)(sqlite3_column_double(s, at) * 1000), text));
    return text_value(s, at);
}

static json_t *bool_value(sqlite3_stmt *s, int at)
{
    return sqlite3_column_type(s, at) == SQLITE_NULL ? NULL : json_boolean(sqlite3_column_int(s, at));
}

/* ---- keys ---- */

static void note_key(struct seed_row *row, const struct ab_buf *path, const char *key)
{
    if (!row->keys++) {
        struct ab_buf whole = {0};
        ab_buf_add(&whole, path->p, path->n);
        ab_path_key(&whole, key);
        row->keys_path = ab_buf_detach(&whole);
    }
}

static bool is_key(const char *name, const json_t *value)
{
    size_t n = strlen(name);
    return n >= 7 && !strcasecmp(name + n - 7, "api_key") && !json_is_null(value) &&
           !(json_is_string(value) && !json_string_length(value));
}

/* A flow_config, or a message's metadata, that was stored as text inside of JSON. */
static void unfold(json_t *object, const char *key)
{
    json_t *tree = NULL, *value = json_object_get(object, key);
    if (json_is_string(value) &&
        !ab_json_parse(ab_view(json_string_value(value), json_string_length(value)), &tree, NULL))
        json_object_set_new(object, key, tree);
}

/* A flow_config that is no object may hold a key that nobody can find: it stays behind. */
static void drop_odd_flow(struct seed_row *row, json_t *object)
{
    const json_t *flow = json_object_get(object, "flow_config");
    if (!flow || json_is_object(flow))
        return;
    if (!json_is_null(flow))
        snprintf(row->why, sizeof row->why, "its flow_config is no JSON object and was left out");
    json_object_del(object, "flow_config");
}

static void remove_keys(struct seed_row *row, json_t *tree, struct ab_buf *path)
{
    size_t i, was = path->n;
    const char *key;
    void *next;
    json_t *value;
    unfold(tree, "flow_config");
    unfold(tree, "metadata");
    drop_odd_flow(row, tree);
    json_object_foreach_safe (tree, next, key, value) {
        if (is_key(key, value)) {
            note_key(row, path, key);
            json_object_del(tree, key);
            continue;
        }
        ab_path_key(path, key);
        remove_keys(row, value, path);
        path->n = was;
    }
    json_array_foreach (tree, i, value) {
        ab_path_index(path, i);
        remove_keys(row, value, path);
        path->n = was;
    }
}

/* ---- opening ---- */

static int fault(struct seed_file *file, int rc, struct ab_error *err)
{
    bool damaged = rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB;
    return ab_fail_at(err, damaged ? AB_EDAMAGED : AB_ESYSTEM, file->path, "%s%s",
                      rc == SQLITE_NOTADB ? "is no SQLite database: " : "", sqlite3_errmsg(file->handle));
}

static sqlite3_stmt *prepare(struct seed_file *file, const char *text, struct ab_error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(file->handle, text, -1, &s, NULL);
    if (rc == SQLITE_OK)
        return s;
    fault(file, rc, err);
    return NULL;
}

/* The first value of a statement without parameters, as a text; NULL on failure. malloc'ed. */
static char *first_text(struct seed_file *file, const char *text, struct ab_error *err)
{
    sqlite3_stmt *s = prepare(file, text, err);
    int rc = s ? sqlite3_step(s) : SQLITE_ERROR;
    char *value = rc == SQLITE_ROW ? ab_strdup((const char *)sqlite3_column_text(s, 0)) : NULL;
    if (s && rc != SQLITE_ROW)
        fault(file, rc, err);
    sqlite3_finalize(s);
    return value;
}

static int has_column(struct seed_file *file, enum seed_table table, const char *name, struct ab_error *err)
{
    sqlite3_stmt *s = prepare(file, "SELECT 1 FROM pragma_table_info(?1) WHERE name=?2", err);
    if (!s)
        return err->code;
    sqlite3_bind_text(s, 1, seed_table_names[table], -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    sqlite3_finalize(s);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : fault(file, rc, err);
}

static int require_column(struct seed_file *file, enum seed_table table, const char *name, struct ab_error *err)
{
    int has = has_column(file, table, name, err);
    if (has)
        return has < 0 ? has : 0;
    return ab_fail_at(err, AB_EUSAGE, file->path,
                      "is no database of the seed: it has no column %s in a table %s", name,
                      seed_table_names[table]);
}

static int check_tables(struct seed_file *file, struct ab_error *err)
{
    char *id = first_text(file, "SELECT application_id FROM pragma_application_id", err);
    if (!id)
        return err->code;
    bool ours = strtol(id, NULL, 10) == OUR_APPLICATION_ID;
    free(id);
    if (ours)
        return ab_fail_at(err, AB_EUSAGE, file->path,
                          "is a database of this autobots: `up` in its folder serves it as it is");
    int code = 0;
    for (int table = 0; table < SEED_TABLES && !code; table++) {
        if (table != SEED_GALLERY)
            code = require_column(file, table, "user_id", err);
        for (const struct column *c = columns[table]; c->name && !code; c++)
            if (c->required)
                code = require_column(file, table, c->name, err);
    }
    return code;
}

/* One snapshot for all that is read, and SQLite's own look at it. */
static int begin_reading(struct seed_file *file, struct ab_error *err)
{
    int rc = sqlite3_exec(file->handle, "BEGIN", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return fault(file, rc, err);
    char *said = first_text(file, "PRAGMA quick_check(1)", err);
    if (!said)
        return err->code;
    int code =
        !strcmp(said, "ok") ? 0 : ab_fail_at(err, AB_EDAMAGED, file->path, "the database is damaged: %s", said);
    free(said);
    return code;
}

int seed_file_open(const char *path, const char *user, struct seed_file **out, struct ab_error *err)
{
    *out = NULL;
    if (access(path, R_OK))
        return ab_fail_at(err, AB_EUSAGE, path, "%s", strerror(errno));
    struct seed_file *file = ab_calloc(1, sizeof *file);
    file->path = ab_strdup(path);
    file->user = ab_strdup(user);
    int rc = sqlite3_open_v2(path, &file->handle, SQLITE_OPEN_READONLY, NULL);
    int code = rc == SQLITE_OK ? 0 : fault(file, rc, err);
    if (!code) {
        sqlite3_busy_timeout(file->handle, 5000);
        code = begin_reading(file, err);
    }
    if (!code)
        code = check_tables(file, err);
    if (code)
        seed_file_close(file);
    else
        *out = file;
    return code;
}

void seed_file_close(struct seed_file *file)
{
    if (!file)
        return;
    sqlite3_finalize(file->rows);
    sqlite3_close(file->handle);
    free(file->path);
    free(file->user);
    free(file);
}

/* ---- reading ---- */

json_t *seed_file_users(struct seed_file *file, struct ab_error *err)
{
    sqlite3_stmt *s = prepare(file,
                              "SELECT " OWNER " FROM sessions UNION SELECT " OWNER " FROM messages UNION "
                              "SELECT " GALLERY_OWNER " FROM gallery ORDER BY 1",
                              err);
    if (!s)
        return NULL;
    sqlite3_bind_text(s, 1, file->user, -1, SQLITE_STATIC);
    json_t *users = json_array();
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && !json_array_append_new(users, text_value(s, 0)))
        ;
    if (rc != SQLITE_DONE) {
        if (rc == SQLITE_ROW)
            ab_fail_at(err, AB_EDAMAGED, file->path, "a user_id in it is no text in UTF-8");
        else
            fault(file, rc, err);
        json_decref(users);
        users = NULL;
    }
    sqlite3_finalize(s);
    return users;
}

int seed_file_begin(struct seed_file *file, enum seed_table table, const char *user, struct ab_error *err)
{
    struct ab_buf text = {0};
    ab_buf_text(&text, "SELECT rowid");
    for (const struct column *c = columns[table]; c->name; c++) {
        int has = c->required ? 1 : has_column(file, table, c->name, err);
        if (has < 0) {
            ab_buf_finish(&text);
            return has;
        }
        ab_buf_format(&text, ",%s", has ? c->name : "NULL");
    }
    ab_buf_format(&text, " FROM %s WHERE %s=?2 ORDER BY %stimestamp,rowid", seed_table_names[table],
                  owners[table], table == SEED_MESSAGES ? "session_id," : "");
    sqlite3_finalize(file->rows);
    file->table = table;
    file->rows = prepare(file, ab_buf_cstr(&text), err);
    ab_buf_finish(&text);
    if (!file->rows)
        return err->code;
    sqlite3_bind_text(file->rows, 1, file->user, -1, SQLITE_STATIC);
    sqlite3_bind_text(file->rows, 2, user, -1, SQLITE_TRANSIENT);
    return 0;
}

/* The row's id, which is its first column; one that has none is known by its place in the file. */
static char *id_of(struct seed_file *file, json_t *record)
{
    const char *name = columns[file->table][0].name, *id = ab_tree_str(record, name);
    if (!id || !*id) {
        char *made = ab_format("seed-row-%lld", (long long)sqlite3_column_int64(file->rows, 0));
        json_object_set_new(record, name, json_string(made));
        free(made);
    }
    return ab_strdup(ab_tree_str(record, name));
}

/* Sessions and items are kept with a time that can be read. */
static void check_time(struct seed_row *row, enum seed_table table)
{
    char now[AB_ISO8601_MAX];
    int64_t at_ms;
    struct ab_view time = ab_tree_view(row->record, "timestamp");
    if (table == SEED_MESSAGES || ab_iso8601_read(time.p, time.n, &at_ms))
        return;
    if (time.n)
        snprintf(row->why, sizeof row->why, "its timestamp is no ISO 8601 time; it has that of the import");
    json_object_set_new(row->record, "timestamp", json_string(ab_iso8601(ab_wall_ms(), now)));
}

/* What our record of an item must have. */
static void complete_item(json_t *record)
{
    static const char *const lists[] = {"messages", "tags"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!json_object_get(record, lists[i]))
            json_object_set_new(record, lists[i], json_array());
    if (!json_object_get(record, "session"))
        json_object_set_new(record, "session", json_object());
}

/* True if a value got lost: it is there, but it is no text. */
static bool unreadable(sqlite3_stmt *s, int at, const json_t *value)
{
    return !value && sqlite3_column_type(s, at) != SQLITE_NULL;
}

/* False if a value cannot be read. */
static bool read_columns(struct seed_file *file, struct seed_row *row)
{
    for (int i = 0; columns[file->table][i].name; i++) {
        const struct column *column = &columns[file->table][i];
        json_t *value = column->value(file->rows, i + 1);
        if (unreadable(file->rows, i + 1, value)) {
            snprintf(row->why, sizeof row->why, "its %s is no text in UTF-8", column->name);
            return false;
        }
        if (json_is_null(value))
            json_decref(value);
        else if (value)
            json_object_set_new(row->record, column->name, value);
    }
    return true;
}

int seed_file_next(struct seed_file *file, struct seed_row *row, struct ab_error *err)
{
    struct ab_buf path = {0};
    *row = (struct seed_row){0};
    int rc = sqlite3_step(file->rows);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? 0 : fault(file, rc, err);
    row->record = json_object();
    bool whole = read_columns(file, row);
    row->id = id_of(file, row->record);
    if (!whole) {
        json_decref(row->record);
        row->record = NULL;
        return 1;
    }
    ab_buf_text(&path, "$");
    remove_keys(row, row->record, &path);
    ab_buf_finish(&path);
    if (file->table == SEED_GALLERY)
        complete_item(row->record);
    check_time(row, file->table);
    return 1;
}

void seed_row_finish(struct seed_row *row)
{
    free(row->id);
    free(row->keys_path);
    json_decref(row->record);
    *row = (struct seed_row){0};
}
