/* Images and files beside a message: files of this machine, read and encoded, and addresses, which the model's endpoint reads.
 * --attach is for the models and for code, --file for code only. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/cli/cli.h"
#include "common/tree.h"

enum { ATTACHED_BYTES_MAX = 16 << 20 /* of one file; the service's message_bytes_max bounds them all */ };

static const struct {
    const char *ending, *type, *media;
} kinds[] = {
    {".png", "image", "image/png"},   {".jpg", "image", "image/jpeg"},
    {".jpeg", "image", "image/jpeg"}, {".gif", "image", "image/gif"},
    {".webp", "image", "image/webp"}, {".pdf", "file", "application/pdf"},
    {".txt", "file", "text/plain"},   {".md", "file", "text/markdown"},
    {".csv", "file", "text/csv"},     {".json", "file", "application/json"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static size_t kind_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    size_t i = 0;
    while (i < KINDS && (!dot || strcasecmp(kinds[i].ending, dot)))
        i++;
    return i;
}

static bool is_address(const char *name)
{
    return !strncmp(name, "https://", 8) || !strncmp(name, "http://", 7);
}

static json_t *encoded(const struct ab_buf *bytes)
{
    size_t n = sodium_base64_ENCODED_LEN(bytes->n, sodium_base64_VARIANT_ORIGINAL);
    char *text = ab_alloc(n);
    sodium_bin2base64(text, n, (const unsigned char *)bytes->p, bytes->n, sodium_base64_VARIANT_ORIGINAL);
    json_t *tree = json_string(text);
    free(text);
    return tree;
}

static bool read_all(const char *path, struct ab_buf *bytes)
{
    FILE *file = fopen(path, "rb");
    size_t n = 1;
    while (file && n && bytes->n <= ATTACHED_BYTES_MAX) {
        ab_buf_reserve(bytes, 65536);
        n = fread(bytes->p + bytes->n, 1, 65536, file);
        bytes->n += n;
    }
    bool failed = !file || ferror(file);
    int error = errno;
    if (file)
        fclose(file);
    errno = error;
    return !failed;
}

static json_t *file_part(struct cli *cli, const char *path, bool for_code, int *code)
{
    struct ab_buf bytes = {0};
    const char *slash = strrchr(path, '/'), *flag = for_code ? "--file" : "--attach";
    size_t kind = kind_of(path);
    json_t *part = NULL;
    if (!read_all(path, &bytes))
        *code = cli_failf(cli, CLI_USAGE, "%s %s: %s", flag, path, strerror(errno));
    else if (bytes.n > ATTACHED_BYTES_MAX)
        *code = cli_failf(cli, CLI_USAGE, "%s %s: a file has at most %d bytes", flag, path, ATTACHED_BYTES_MAX);
    else if (!bytes.n && !for_code)
        *code = cli_failf(cli, CLI_USAGE, "%s %s: the file is empty", flag, path);
    else
        part = json_pack("{ss so ss}", "type", for_code || kind == KINDS ? "file" : kinds[kind].type, "data",
                         encoded(&bytes), "media_type",
                         kind < KINDS ? kinds[kind].media : "application/octet-stream");
    if (part && json_object_set_new(part, "name", json_string(slash ? slash + 1 : path))) {
        json_decref(part);
        part = NULL;
        *code = cli_failf(cli, CLI_USAGE, "%s: this name is not UTF-8", flag);
    }
    if (part && for_code)
        json_object_set_new(part, "for", json_string("code"));
    ab_buf_finish(&bytes);
    return part;
}

/* Each with commas between them. An address is an image's: endpoints read nothing else. */
static void add_attached(struct cli *cli, json_t *parts, const char *names, int *code)
{
    for (size_t n; !*code && *names; names += n + (names[n] == ',')) {
        n = strcspn(names, ",");
        char *name = ab_strndup(names, n);
        json_t *part = is_address(name) ? json_pack("{ss ss}", "type", "image", "url", name)
                                        : file_part(cli, name, false, code);
        if (part)
            json_array_append_new(parts, part);
        else if (!*code)
            *code = cli_failf(cli, CLI_USAGE, "--attach: this name is not UTF-8");
        free(name);
    }
}

/* In the directory it would get another name than the models are told. */
static void add_file(struct cli *cli, json_t *parts, const char *path, int *code)
{
    json_t *part = file_part(cli, path, true, code), *other;
    size_t i;
    json_array_foreach (parts, i, other)
        if (part && json_equal(json_object_get(other, "name"), json_object_get(part, "name")))
            *code = cli_failf(cli, CLI_USAGE, "--file %s: another file with this name is given too", path);
    if (part)
        json_array_append_new(parts, part);
}

char *content_with(struct cli *cli, const char *text, int *code)
{
    json_t *parts = text && *text ? json_pack("[{ss ss}]", "type", "text", "text", text) : json_array();
    char *content = NULL;
    if (!parts)
        *code = cli_failf(cli, CLI_USAGE, "a message is UTF-8 text");
    for (size_t i = 0; !*code && i < cli->given_n; i++) {
        if (cli->given[i].option == OPT_attach)
            add_attached(cli, parts, cli->given[i].value, code);
        else if (cli->given[i].option == OPT_file)
            add_file(cli, parts, cli->given[i].value, code);
    }
    if (!*code)
        content = json_dumps(parts, JSON_COMPACT);
    json_decref(parts);
    return content;
}
