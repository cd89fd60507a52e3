/* A database of the seed (the Python service this project follows), read-only: its three tables as the records of our
 * own operations. The file is never changed; all rows come from one snapshot.
 *
 * What our records cannot hold is made to fit here: JSON columns become values, numbers that stand for a time become
 * ISO 8601, and no api_key leaves this file: it is removed wherever it stands and counted.
 */
#ifndef AUTOBOTS_CLI_SEED_FILE_H
#define AUTOBOTS_CLI_SEED_FILE_H

#include <jansson.h>
#include <stddef.h>

#include "common/error.h"

struct seed_file;

enum seed_table { SEED_SESSIONS, SEED_MESSAGES, SEED_GALLERY, SEED_TABLES };
extern const char *const seed_table_names[SEED_TABLES];

/* One row. */
struct seed_row {
    char *id;        /* of the session, message or item; owned by the row */
    json_t *record;  /* NULL: it cannot be taken over, see why */
    char why[160];   /* the reason, or what of it stays behind; "" if nothing does */
    size_t keys;     /* api_keys that were removed */
    char *keys_path; /* of the first of them; NULL: none */
};
void seed_row_finish(struct seed_row *row);

/* Opens and checks the file. `user`: owner of rows that name none. AB_EUSAGE: not there, or no database of the seed;
 * AB_EDAMAGED: SQLite finds it damaged. */
int seed_file_open(const char *path, const char *user, struct seed_file **out, struct ab_error *err);
void seed_file_close(struct seed_file *file); /* NULL is allowed */
/* An array of the names of all owners, sorted; NULL on failure. */
json_t *seed_file_users(struct seed_file *file, struct ab_error *err);
/* The rows of a table that belong to `user`, messages by session, all in the order of their time: begin, then next until it gives 0. 1: *row is
 * filled, finish it. Negative: reading failed. */
int seed_file_begin(struct seed_file *file, enum seed_table table, const char *user, struct ab_error *err);
int seed_file_next(struct seed_file *file, struct seed_row *row, struct ab_error *err);

#endif
