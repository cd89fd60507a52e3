/* What the files of a run hold, for `export --files` and `import`: {hash: base64}, each content once. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/files.h"
#include "common/tree.h"

enum { HASH_BYTES = AB_FILE_HASH_TEXT / 2 };

/* ---- out ---- */

/* The bytes of one file, in base 16; false with *code. */
static bool read_hex(struct cli *cli, struct autobots *bots, const char *job, const json_t *file,
                     struct ab_buf *hex, int *code)
{
    uint64_t size = (uint64_t)ab_tree_int(file, "bytes", 0);
    for (size_t had = 1; hex->n / 2 < size && hex->n != had && !*code;) {
        had = hex->n;
        json_t *answer = service_ask(cli, bots, "get_file",
                                     json_pack("{s:s, s:O, s:I}", "job", job, "path",
                                               json_object_get(file, "path"), "at", (json_int_t)(hex->n / 2)),
                                     code);
        run_add_hex(hex, ab_tree_str(answer, "data"));
        json_decref(answer);
    }
    if (!*code && hex->n / 2 != size)
        *code =
            cli_failf(cli, CLI_FAILED, "%s: storage sent less than the whole file", ab_tree_str(file, "path"));
    return !*code;
}

static json_t *base64_of(struct ab_buf *hex)
{
    size_t n = 0, room = sodium_base64_ENCODED_LEN(hex->n / 2, sodium_base64_VARIANT_ORIGINAL);
    unsigned char *bytes = ab_alloc(hex->n / 2 + 1);
    char *text = ab_alloc(room);
    sodium_hex2bin(bytes, hex->n / 2 + 1, hex->p ? hex->p : "", hex->n, NULL, &n, NULL);
    sodium_bin2base64(text, room, bytes, n, sodium_base64_VARIANT_ORIGINAL);
    json_t *tree = json_string(text);
    free(bytes);
    free(text);
    return tree;
}

json_t *run_contents_read(struct cli *cli, struct autobots *bots, const char *job, int *code)
{
    json_t *answer = service_ask(cli, bots, "list_files", json_pack("{s:s}", "job", job), code);
    json_t *contents = json_object(), *file;
    size_t i;
    json_array_foreach (json_object_get(answer, "files"), i, file) {
        struct ab_buf hex = {0};
        const char *hash = ab_tree_str(file, "hash");
        if (!*code && hash && !json_object_get(contents, hash) && read_hex(cli, bots, job, file, &hex, code))
            json_object_set_new(contents, hash, base64_of(&hex));
        ab_buf_finish(&hex);
    }
    json_decref(answer);
    if (!*code)
        return contents;
    json_decref(contents);
    return NULL;
}

/* ---- in ---- */

/* malloc'ed bytes of a content that has its hash; NULL with *code. */
static unsigned char *decode(struct cli *cli, const char *hash, const json_t *content, size_t *n, int *code)
{
    const char *text = json_string_value(content);
    unsigned char *bytes = ab_alloc(json_string_length(content) + 1), made[HASH_BYTES];
    char hex[AB_FILE_HASH_TEXT + 1] = "";
    if (text && !sodium_base642bin(bytes, json_string_length(content) + 1, text, json_string_length(content),
                                   NULL, n, NULL, sodium_base64_VARIANT_ORIGINAL)) {
        crypto_generichash(made, sizeof made, bytes, *n, NULL, 0);
        sodium_bin2hex(hex, sizeof hex, made, sizeof made);
    }
    if (!strcmp(hex, hash))
        return bytes;
    *code = cli_failf(cli, CLI_FAILED, "contents.%.64s: does not have this hash", hash);
    free(bytes);
    return NULL;
}

static void put_piece(struct cli *cli, struct autobots *bots, const char *job, const char *hash,
                      const unsigned char *bytes, size_t at, size_t n, int *code)
{
    char *hex = ab_alloc(2 * n + 1);
    sodium_bin2hex(hex, 2 * n + 1, bytes + at, n);
    json_decref(service_ask(
        cli, bots, "put_run_file",
        json_pack("{s:s, s:s, s:I, s:s}", "job", job, "hash", hash, "at", (json_int_t)at, "data", hex), code));
    free(hex);
}

int run_contents_write(struct cli *cli, struct autobots *bots, const char *job, const json_t *contents)
{
    const char *hash;
    json_t *content;
    int code = CLI_DONE;
    json_object_foreach ((json_t *)(uintptr_t)contents, hash, content) {
        size_t n = 0;
        unsigned char *bytes = code ? NULL : decode(cli, hash, content, &n, &code);
        for (size_t at = 0; bytes && !code && at < n; at += AB_FILE_PIECE_MAX)
            put_piece(cli, bots, job, hash, bytes, at, n - at < AB_FILE_PIECE_MAX ? n - at : AB_FILE_PIECE_MAX,
                      &code);
        free(bytes);
    }
    return code;
}
