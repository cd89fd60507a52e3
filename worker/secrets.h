/* The worker's secrets: its pool's key pair, and the API keys of its environment and files with the base URLs they
 * are bound to.
 *
 * Owns: every clear key of the process except those of running jobs. Keys are wiped when freed and never leave by
 * any other way than secrets_find(). Base URLs are compared in the normal form of worker/model/url.h: same origin,
 * the row's path or below. One thread only.
 */
#ifndef AB_WORKER_SECRETS_H
#define AB_WORKER_SECRETS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/seal.h"

enum {
    SECRETS_ROWS_MAX = 256,
    SECRETS_KEY_BYTES_MAX = 4096,
    SECRETS_SCRUB_BYTES_MIN = 8, /* a shorter "key" is not scrubbed: it would hit innocent text */
};

#define SECRETS_DEFAULT_BASE_URL "https://api.openai.com/v1"

struct secrets;

/* One row of the configuration. Everything is borrowed. */
struct secrets_row {
    const char *model_pattern; /* fnmatch(3) on a model's name: which models live here; NULL = none by name */
    const char *base_url;      /* required */
    const char *api_key_env;   /* name of the environment variable that has the key, or NULL */
    const char *api_key_file;  /* file that has the key, trailing white space ignored, or NULL */
};

struct secrets *secrets_create(void);
void secrets_destroy(struct secrets *secrets); /* wipes; NULL is allowed */

/* Adds a row. A variable that is not set is no error (the first call that needs it fails and names it); a file that
 * cannot be read, or that others may write, is. With neither the URL is listed without a key. */
int secrets_add(struct secrets *secrets, const struct secrets_row *row, struct ab_error *err);
/* The row of OPENAI_API_KEY, bound to OPENAI_BASE_URL or SECRETS_DEFAULT_BASE_URL, which becomes the default. */
int secrets_add_openai(struct secrets *secrets, struct ab_error *err);

/* The base URL of an endpoint that names none: of the first row whose pattern fits the model, else the default;
 * NULL if there is neither. Borrowed, in normal form. */
const char *secrets_base_url(const struct secrets *secrets, const char *model);

struct secrets_found {
    bool listed;          /* the configuration knows this URL */
    struct ab_view key;   /* borrowed; absent if there is none */
    const char *variable; /* the one that would have the key, NULL if none is configured; borrowed */
};
/* What is bound to base_url (normal form). The row with the longest matching URL wins; among equal ones, one with a
 * key. */
struct secrets_found secrets_find(const struct secrets *secrets, const char *base_url);

/* Replaces every known key in text, and `extra` (may be absent), by "***", in place. So is the beginning of
 * one at the very end of a text, which may have been cut there. */
void secrets_scrub(const struct secrets *secrets, struct ab_view extra, char *text);

/* --- the pool's key pair --------------------------------------------------------------------------------------- */

struct secrets_pair {
    uint8_t public_key[AB_SEAL_KEY_BYTES]; /* may be told to anybody */
    uint8_t private_key[AB_SEAL_KEY_BYTES];
};
/* Loads the private key (64 hexadecimal digits) from `path`, or makes one when the file is missing: mode 0600,
 * synced, appearing whole or not at all, and of two workers that start at once both get the same one. A file that
 * others may read is refused. */
int secrets_pair_load(struct secrets_pair *pair, const char *path, struct ab_error *err);
/* Opens what ab_seal() made for the same context. The caller wipes *out with secrets_wipe(). AB_EDENIED if it was not
 * sealed for this key or context. */
int secrets_open(const struct secrets_pair *pair, struct ab_view context, struct ab_view sealed,
                 struct ab_buf *out, struct ab_error *err);
void secrets_pair_finish(struct secrets_pair *pair);
void secrets_wipe(struct ab_buf *secret); /* zeroes and frees */

#endif
