/* The table of API keys of secrets.h. The key pair is in secrets_pair.c. */
#include "worker/secrets.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/model/url.h"

struct row {
    char *model_pattern; /* NULL: none */
    char *base_url;      /* normal form */
    char *variable;      /* NULL: none */
    char *key;           /* NULL: none */
};

struct secrets {
    struct row *rows;
    size_t n;
    const char *default_base_url; /* of a row; NULL: none */
};

struct secrets *secrets_create(void)
{
    return ab_calloc(1, sizeof(struct secrets));
}

static void wipe_text(char *text)
{
    if (text)
        sodium_memzero(text, strlen(text));
    free(text);
}

static void row_finish(struct row *row)
{
    free(row->model_pattern);
    free(row->base_url);
    free(row->variable);
    wipe_text(row->key);
}

void secrets_destroy(struct secrets *secrets)
{
    if (!secrets)
        return;
    for (size_t i = 0; i < secrets->n; i++)
        row_finish(&secrets->rows[i]);
    free(secrets->rows);
    free(secrets);
}

/* A key goes into a header line: printable ASCII only. */
static int check_key(const char *key, const char *where, struct ab_error *err)
{
    for (const char *p = key; *p; p++)
        if (*p <= ' ' || *p > '~')
            return ab_fail_at(err, AB_EUSAGE, where,
                              "the API key has a blank or a character that is not ASCII");
    if (strlen(key) > SECRETS_KEY_BYTES_MAX)
        return ab_fail_at(err, AB_EUSAGE, where, "the API key is longer than %d bytes", SECRETS_KEY_BYTES_MAX);
    return 0;
}

static int read_key(int fd, const char *path, char **out, struct ab_error *err)
{
    char text[SECRETS_KEY_BYTES_MAX + 64];
    struct stat st;
    if (fstat(fd, &st))
        return ab_fail_at(err, AB_ESYSTEM, path, "cannot look at the key file: %s", strerror(errno));
    if (st.st_mode & 022) /* who may read it is the operator's choice: mounted secrets are often 0444 */
        return ab_fail_at(err, AB_EUSAGE, path, "others may write this key file; chmod go-w it");
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return ab_fail_at(err, AB_ESYSTEM, path, "cannot read the key file: %s", strerror(errno));
    text[n] = 0;
    n = (ssize_t)strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    int rc = n ? check_key(text, path, err) : ab_fail_at(err, AB_EUSAGE, path, "the key file is empty");
    if (!rc)
        *out = ab_strdup(text);
    sodium_memzero(text, sizeof text);
    return rc;
}

static int key_from_file(const char *path, char **out, struct ab_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ab_fail_at(err, AB_EUSAGE, path, "cannot open the key file: %s", strerror(errno));
    int rc = read_key(fd, path, out, err);
    close(fd);
    return rc;
}

static int key_from_environment(const char *name, char **out, struct ab_error *err)
{
    const char *value = getenv(name);
    if (!value || !*value)
        return 0;
    int rc = check_key(value, name, err);
    if (!rc)
        *out = ab_strdup(value);
    return rc;
}

int secrets_add(struct secrets *secrets, const struct secrets_row *source, struct ab_error *err)
{
    struct row row = {0};
    if (secrets->n == SECRETS_ROWS_MAX)
        return ab_fail(err, AB_ETOOLARGE, "more than %d rows of model endpoints", SECRETS_ROWS_MAX);
    int rc = url_normalise(ab_view_of(source->base_url), &row.base_url, err);
    if (!rc && source->api_key_env)
        rc = key_from_environment(source->api_key_env, &row.key, err);
    if (!rc && !row.key && source->api_key_file)
        rc = key_from_file(source->api_key_file, &row.key, err);
    if (rc) {
        row_finish(&row);
        return rc;
    }
    row.model_pattern = source->model_pattern ? ab_strdup(source->model_pattern) : NULL;
    row.variable = source->api_key_env ? ab_strdup(source->api_key_env) : NULL;
    secrets->rows = ab_realloc(secrets->rows, (secrets->n + 1) * sizeof row);
    secrets->rows[secrets->n++] = row;
    return 0;
}

int secrets_add_openai(struct secrets *secrets, struct ab_error *err)
{
    const char *base_url = getenv("OPENAI_BASE_URL");
    struct secrets_row row = {.base_url = base_url && *base_url ? base_url : SECRETS_DEFAULT_BASE_URL,
                              .api_key_env = "OPENAI_API_KEY"};
    int rc = secrets_add(secrets, &row, err);
    if (!rc)
        secrets->default_base_url = secrets->rows[secrets->n - 1].base_url;
    return rc;
}

const char *secrets_base_url(const struct secrets *secrets, const char *model)
{
    for (size_t i = 0; secrets && model && i < secrets->n; i++)
        if (secrets->rows[i].model_pattern && !fnmatch(secrets->rows[i].model_pattern, model, 0))
            return secrets->rows[i].base_url;
    return secrets ? secrets->default_base_url : NULL;
}

struct secrets_found secrets_find(const struct secrets *secrets, const char *base_url)
{
    const struct row *best = NULL;
    for (size_t i = 0; secrets && i < secrets->n; i++) {
        const struct row *row = &secrets->rows[i];
        if (!url_is_below(base_url, row->base_url))
            continue;
        size_t n = strlen(row->base_url), best_n = best ? strlen(best->base_url) : 0;
        if (!best || n > best_n || (n == best_n && !best->key && row->key))
            best = row;
    }
    if (!best)
        return (struct secrets_found){0};
    return (struct secrets_found){.listed = true, .key = ab_view_of(best->key), .variable = best->variable};
}

/* A text that was cut may end in the beginning of the key. */
static void scrub_tail(struct ab_view key, char *text)
{
    enum { TAIL_BYTES_MIN = 4 };
    size_t bytes = strlen(text), n = key.n - 1 < bytes ? key.n - 1 : bytes;
    for (; n >= TAIL_BYTES_MIN; n--) {
        if (memcmp(text + bytes - n, key.p, n))
            continue;
        memcpy(text + bytes - n, "***", 4);
        return;
    }
}

static void scrub_one(struct ab_view key, char *text)
{
    if (key.n < SECRETS_SCRUB_BYTES_MIN)
        return;
    for (char *at; (at = memmem(text, strlen(text), key.p, key.n));) {
        memcpy(at, "***", 3);
        memmove(at + 3, at + key.n, strlen(at + key.n) + 1);
        text = at + 3;
    }
    scrub_tail(key, text);
}

void secrets_scrub(const struct secrets *secrets, struct ab_view extra, char *text)
{
    scrub_one(extra, text);
    for (size_t i = 0; secrets && i < secrets->n; i++)
        scrub_one(ab_view_of(secrets->rows[i].key), text);
}
