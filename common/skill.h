/* Skills: Python or shell files that agents call as tools and import into their code.
 *
 * What a skill is stands in the file itself, in its header: the leading comment lines, or the docstring of a Python file, if
 * they begin with one of the keys below. The rest is YAML:
 *
 *   title        what it does, in a few words
 *   description  when to use it and what it answers, for the model
 *   name         how it is called and imported; else the file's name, else made of the title
 *   parameters   JSON Schema of its arguments, an object; else it takes none
 *   idempotent   true: the same call again does no harm
 *   timeout_s    seconds a call may take
 *
 * A file without a header is one too: its leading comment or docstring is the description then. What a request names beside the
 * content counts before the header.
 *
 * Called as a tool it gets its arguments as JSON on standard input, and what it writes to standard output is the result.
 */
#ifndef AB_COMMON_SKILL_H
#define AB_COMMON_SKILL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/tree.h"

enum {
    AB_SKILL_NAME_MAX = 64,
    AB_SKILL_TITLE_MAX = 256,
    AB_SKILL_DESCRIPTION_MAX = 4096,
    AB_SKILL_FILE_NAME_MAX = 255,
    AB_SKILL_CONTENT_MAX = 256 << 10,
    AB_SKILL_PARAMETERS_MAX = 32 << 10,
    AB_SKILL_TIMEOUT_S = 60, /* unless it says otherwise */
    AB_SKILL_TIMEOUT_S_MAX = 3600,
    AB_SKILL_HASH_BYTES = 32, /* BLAKE2b-256 */
};

/* What a request says; absent views are {NULL,0}. */
struct ab_skill_given {
    struct ab_view content; /* required */
    struct ab_view name, title, description, file_name, language;
    const json_t *parameters; /* NULL: not given */
    bool idempotent;          /* false: as the header says */
    uint64_t timeout_s;       /* 0: as the header says */
};

/* A skill that is right. */
struct ab_skill {
    char *name, *title, *description, *file_name; /* owned; description and file_name may be "" */
    const char *language;                         /* static: python, sh or bash */
    json_t *parameters;                           /* owned */
    bool idempotent;
    uint64_t timeout_s;
    struct ab_view content; /* borrowed from what was given */
    uint8_t hash[AB_SKILL_HASH_BYTES];
};

/* 0, or AB_EINVALID with all faults; paths are "$.parameters.type" and the like, also of what stands in the header, where
 * `places` (may be NULL) has its lines. *skill is empty then. */
int ab_skill_read(const struct ab_skill_given *given, struct ab_skill *skill, struct ab_places *places,
                  struct ab_faults *faults, struct ab_error *err);
void ab_skill_finish(struct ab_skill *skill);

/* 1 to 64 letters, digits and _, not beginning with a digit: so that Python can import it. */
bool ab_skill_name_ok(struct ab_view name);
/* "NAME" or "NAME@VERSION"; version 0: none named. False if it is neither. */
bool ab_skill_word(struct ab_view word, struct ab_view *name, uint64_t *version);
/* The name of its file in a sandbox: NAME.py or NAME.sh. The caller frees it. */
char *ab_skill_file(struct ab_view name, struct ab_view language);

/* ---- skill_header.c ---- */

/* The header of a file as YAML with the file's own line numbers; else `comment`, the leading comment or docstring as it is.
 * Either is empty if there is none. */
void ab_skill_header(struct ab_view content, bool python, struct ab_buf *yaml, struct ab_buf *comment);

#endif
