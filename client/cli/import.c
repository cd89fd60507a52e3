/* `autobots import FILE`: takes over a database of the seed, through the operations of storage that everybody has. What
 * is there already is left as it is, so a second run changes nothing, and a run that was broken off goes on.
 */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/seed_file.h"
#include "common/tree.h"

enum { NOTES_MAX = 1000, PAGE_MAX = 1000 };

/* Where messages go that name no session. */
static const char no_session[] = "seed-messages";

struct count {
    json_int_t imported, present, skipped;
};

struct import {
    struct cli *cli;
    struct seed_file *file;
    struct autobots *bots;
    const char *user;
    json_t *there;     /* of this user: the ids of sessions, or of one session's messages */
    char *messages_of; /* the session whose messages `there` has; NULL: sessions */
    struct count counts[SEED_TABLES];
    json_int_t keys, notes_n;
    json_t *notes; /* array of {table, id, what}, at most NOTES_MAX */
    int code;      /* the exit code of what broke the import off; 0: nothing did */
};

static void note(struct import *im, enum seed_table table, const char *id, const char *what)
{
    if (im->notes_n++ < NOTES_MAX)
        json_array_append_new(
            im->notes, json_pack("{s:s, s:s, s:s}", "table", seed_table_names[table], "id", id, "what", what));
}

/* ---- asking ---- */

/* Refusals that concern this row alone. All others end the import. */
static bool refused(int code)
{
    return code == AUTOBOTS_EINVALID || code == AUTOBOTS_ECONFLICT || code == AUTOBOTS_ETOOLARGE ||
           code == AUTOBOTS_EDENIED;
}

/* The answer; NULL with err filled if the row was refused, or with im->code if the import is over. */
static json_t *ask(struct import *im, const char *operation, json_t *request, struct autobots_error *err)
{
    char *text = json_dumps(request, JSON_COMPACT), *answer = NULL;
    json_t *tree = NULL;
    json_decref(request);
    if (autobots_query(im->bots, operation, text, &answer, err)) {
        if (!refused(err->code))
            im->code = cli_fail(im->cli, err);
    } else if (ab_json_parse(ab_view_of(answer), &tree, NULL)) {
        im->code = cli_failf(im->cli, CLI_FAILED, "the answer of %s is no JSON", operation);
    }
    free(text);
    free(answer);
    return tree;
}

/* Fills `there` with the ids in all pages of a listing; takes the request. */
static void list_ids(struct import *im, const char *operation, const char *list, const char *id,
                     json_t *request)
{
    struct autobots_error err;
    json_decref(im->there);
    im->there = json_object();
    json_object_set_new(request, "user", json_string(im->user));
    json_object_set_new(request, "limit", json_integer(PAGE_MAX));
    for (bool more = true; more;) {
        json_t *answer = ask(im, operation, json_incref(request), &err), *item;
        size_t i;
        if (!answer && !im->code)
            im->code = cli_fail(im->cli, &err);
        json_array_foreach (json_object_get(answer, list), i, item)
            if (ab_tree_str(item, id))
                json_object_set_new(im->there, ab_tree_str(item, id), json_true());
        const char *next = ab_tree_str(answer, "next");
        more = next;
        if (next)
            json_object_set_new(request, "after", json_string(next));
        json_decref(answer);
    }
    json_decref(request);
}

/* ---- one row of each table: 1 imported, 0 there already, -1 refused (err) or over (im->code) ---- */

static int done(json_t *answer)
{
    int result = answer ? 1 : -1;
    json_decref(answer);
    return result;
}

static int import_session(struct import *im, const struct seed_row *row, struct autobots_error *err)
{
    if (!im->there)
        list_ids(im, "get_sessions", "sessions", "session_id", json_object());
    if (im->code || json_object_get(im->there, row->id))
        return im->code ? -1 : 0;
    return done(
        ask(im, "create_session", json_pack("{s:s, s:O}", "user", im->user, "session", row->record), err));
}

static int import_message(struct import *im, const struct seed_row *row, struct autobots_error *err)
{
    const char *session = ab_tree_str(row->record, "session_id");
    if (!session || !*session) {
        json_object_set_new(row->record, "session_id", json_string(no_session));
        session = no_session;
    }
    if (!im->messages_of || strcmp(im->messages_of, session)) {
        free(im->messages_of);
        im->messages_of = ab_strdup(session);
        list_ids(im, "load_messages", "messages", "msg_id", json_pack("{s:s}", "session", session));
    }
    if (im->code || json_object_get(im->there, row->id))
        return im->code ? -1 : 0;
    int result = done(ask(im, "save_message", json_pack("{s:O}", "message", row->record), err));
    if (result > 0)
        json_object_set_new(im->there, row->id, json_true());
    return result;
}

static int import_item(struct import *im, const struct seed_row *row, struct autobots_error *err)
{
    json_t *answer =
        ask(im, "import_gallery", json_pack("{s:s, s:O}", "user", im->user, "gallery", row->record), err);
    bool created = ab_tree_bool(answer, "created", false);
    return done(answer) < 0 ? -1 : created;
}

static int (*const import_row[SEED_TABLES])(struct import *, const struct seed_row *,
                                            struct autobots_error *) = {
    [SEED_SESSIONS] = import_session, [SEED_MESSAGES] = import_message, [SEED_GALLERY] = import_item};

/* ---- rows, tables, users ---- */

static void note_keys(struct import *im, enum seed_table table, const struct seed_row *row)
{
    if (!row->keys)
        return;
    im->keys += (json_int_t)row->keys;
    char *what = ab_format("%zu api_key%s removed, the first at %s", row->keys, row->keys > 1 ? "s" : "",
                           row->keys_path);
    note(im, table, row->id, what);
    free(what);
}

static void take_row(struct import *im, enum seed_table table, const struct seed_row *row)
{
    struct count *count = &im->counts[table];
    struct autobots_error err = {0};
    int result = -1;
    if (row->record) {
        json_object_set_new(row->record, "user_id", json_string(im->user));
        result = import_row[table](im, row, &err);
    }
    if (im->code)
        return;
    *(result > 0 ? &count->imported : result ? &count->skipped : &count->present) += 1;
    if (result < 0) {
        char *what =
            ab_format("skipped: %s%s%s", err.path, *err.path ? " " : "", row->record ? err.text : row->why);
        note(im, table, row->id, what);
        free(what);
    } else if (result > 0) {
        note_keys(im, table, row);
        if (*row->why)
            note(im, table, row->id, row->why);
    }
}

static void take_table(struct import *im, enum seed_table table)
{
    struct ab_error err = {0};
    struct seed_row row;
    int got = seed_file_begin(im->file, table, im->user, &err);
    json_decref(im->there);
    im->there = NULL;
    while (got >= 0 && !im->code && (got = seed_file_next(im->file, &row, &err)) > 0) {
        take_row(im, table, &row);
        seed_row_finish(&row);
    }
    free(im->messages_of);
    im->messages_of = NULL;
    if (got < 0) {
        struct autobots_error shown;
        memcpy(&shown, &err, sizeof shown);
        im->code = cli_fail(im->cli, &shown);
    }
}

static void take_users(struct import *im, const json_t *users)
{
    for (size_t i = 0; i < json_array_size(users); i++)
        for (int table = 0; table < SEED_TABLES && !im->code; table++) {
            im->user = json_string_value(json_array_get(users, i));
            take_table(im, table);
        }
}

/* ---- what is said at the end ---- */

static void print_text(const struct import *im, size_t users)
{
    json_int_t imported = 0, skipped = 0, present = 0;
    for (int t = 0; t < SEED_TABLES; t++) {
        const struct count *c = &im->counts[t];
        printf("%-9s %lld imported, %lld there already, %lld skipped\n", seed_table_names[t],
               (long long)c->imported, (long long)c->present, (long long)c->skipped);
        imported += c->imported;
        present += c->present;
        skipped += c->skipped;
    }
    for (size_t i = 0; i < json_array_size(im->notes); i++) {
        const json_t *n = json_array_get(im->notes, i);
        char *id = term_line(ab_tree_str(n, "id"), 80), *what = term_line(ab_tree_str(n, "what"), 300);
        printf("  %s %s: %s\n", ab_tree_str(n, "table"), id, what);
        free(id);
        free(what);
    }
    if (im->notes_n > NOTES_MAX)
        printf("  … and %lld more\n", (long long)im->notes_n - NOTES_MAX);
    if (im->keys)
        printf(
            "Keys are never stored: set OPENAI_API_KEY where the workers run, or send one with a request.\n");
    if (imported)
        printf("taken over: %zu user%s\n", users, users == 1 ? "" : "s");
    else
        printf("nothing was changed%s\n", skipped   ? ""
                                          : present ? ": all of it is there already"
                                                    : ": the file has nothing of this user");
}

static int report(const struct import *im, const char *path, json_t *users)
{
    json_int_t skipped = 0;
    json_t *tree = json_pack("{s:s, s:O}", "file", path, "users", users);
    for (int t = 0; t < SEED_TABLES; t++) {
        const struct count *c = &im->counts[t];
        skipped += c->skipped;
        json_object_set_new(tree, seed_table_names[t],
                            json_pack("{s:I, s:I, s:I}", "imported", c->imported, "present", c->present,
                                      "skipped", c->skipped));
    }
    json_object_set_new(tree, "keys_removed", json_integer(im->keys));
    json_object_set(tree, "notes", im->notes);
    json_object_set_new(tree, "notes_left_out",
                        json_integer(im->notes_n > NOTES_MAX ? im->notes_n - NOTES_MAX : 0));
    if (im->cli->json)
        term_json(stdout, json_incref(tree));
    else
        print_text(im, json_array_size(users));
    json_decref(tree);
    return skipped ? CLI_FAILED : CLI_DONE;
}

/* Only the user who was asked for on the command line; else all that the file has. */
static json_t *users_of(struct cli *cli, struct seed_file *file, struct ab_error *err)
{
    return cli->option[OPT_user] ? json_pack("[s]", cli->user) : seed_file_users(file, err);
}

static int import_database(struct cli *cli)
{
    struct import im = {.cli = cli, .notes = json_array()};
    struct ab_error err = {0};
    json_t *users = NULL;
    /* A faulty file is told before a missing service. */
    if (!seed_file_open(cli->words[0], cli->user, &im.file, &err))
        users = users_of(cli, im.file, &err);
    if (users) {
        im.bots = service_open(cli, SERVICE_STORAGE, &im.code);
    } else {
        struct autobots_error shown;
        memcpy(&shown, &err, sizeof shown);
        im.code = cli_fail(cli, &shown);
    }
    if (im.bots) {
        take_users(&im, users);
        if (!im.code)
            im.code = report(&im, cli->words[0], users);
    }
    seed_file_close(im.file);
    autobots_close(im.bots);
    json_decref(users);
    json_decref(im.notes);
    json_decref(im.there);
    return im.code;
}

int verb_import(struct cli *cli)
{
    if (run_file_is(cli->words[0]))
        return run_file_import(cli);
    if (cli->option[OPT_session])
        return cli_failf(cli, CLI_USAGE,
                         "--session goes with an exported run; a database has sessions of its own");
    return import_database(cli);
}
