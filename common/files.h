/* Files that code made, as they are listed: a `code_result` names them, storage keeps them, clients fetch them. */
#ifndef AB_COMMON_FILES_H
#define AB_COMMON_FILES_H

#include <jansson.h>

#include "common/wire/operations.h"

enum {
    AB_FILE_HASH_TEXT = 64,             /* BLAKE2b-256 in hex */
    AB_FILE_PIECE_MAX = 512 << 10,      /* of a file's content in one message */
    AB_FILE_PATH_MAX = 600,             /* folder included */
    AB_FILES_MAX = 1000,                /* of one conversation of a job */
    AB_JOB_FILES_BYTES_MAX = 256 << 20, /* kept of one job, all versions of its files */
    AB_JOB_FILES_PIECES_MAX = 20000,
};

/* By its name: code, csv, image, pdf, text or unknown. */
const char *ab_file_type(struct ab_view path);

/* A file as clients see it: what the worker wrote down, its folder in front, and what its name says. The record's path is
 * in `path`; its other views point there, into the entry, or are static. */
void ab_file_describe(struct ab_view folder, const struct ab_file_entry *entry, char path[AB_FILE_PATH_MAX],
                      struct ab_file_record *record);
/* All of a code_result's `files` as JSON, appended to the array. What is no entry is left out. */
void ab_files_tree(struct ab_view folder, struct ab_view files, json_t *array);

#endif
