/* `tokens`: who may use the HTTP gateway. A token is made here and shown once; the service gets its hash. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/auth.h"
#include "common/clock.h"
#include "common/tree.h"

static void hash_hex(const char *token, char hex[2 * AB_TOKEN_HASH_BYTES + 1])
{
    uint8_t hash[AB_TOKEN_HASH_BYTES];
    ab_token_hash(ab_view_of(token), hash);
    for (int i = 0; i < AB_TOKEN_HASH_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
}

/* ---- create ---- */

/* The request for this token; NULL with *code after a message. */
static json_t *creation(struct cli *cli, const char *token, int *code)
{
    const char *scope = cli->option[OPT_scope] ? cli->option[OPT_scope] : ab_scope_names[AB_SCOPE_WRITE];
    const char *expires = cli->option[OPT_expires];
    char id[AB_ID_TEXT], hex[2 * AB_TOKEN_HASH_BYTES + 1];
    int64_t ms = 0, now = ab_wall_ms();
    if (!ab_scope_of(ab_view_of(scope))) {
        *code = cli_failf(cli, CLI_USAGE, "--scope %s is none: read, write or admin", scope);
        return NULL;
    }
    if (expires && (!parse_duration(expires, &ms) || !ms)) {
        *code = cli_failf(cli, CLI_USAGE, "--expires %s is no duration such as 12h or 30d", expires);
        return NULL;
    }
    hash_hex(token, hex);
    json_t *request = json_pack("{s:s, s:s, s:s, s:s}", "id", ab_id_text(ab_id_make(now), id), "user",
                                cli->user, "hash", hex, "scope", scope);
    if (expires)
        json_object_set_new(request, "expires_ms", json_integer(now + ms));
    if (cli->option[OPT_name])
        json_object_set_new(request, "name", json_string(cli->option[OPT_name]));
    return request;
}

static void show_created(struct cli *cli, const char *token, const json_t *record)
{
    const char *id = ab_tree_str(record, "id");
    if (cli->json) {
        json_t *tree = json_deep_copy(record);
        json_object_set_new(tree, "token", json_string(token));
        term_json(stdout, tree);
        return;
    }
    char *user = term_line(cli->user, 0);
    printf("%s\n", token);
    fprintf(stderr, "acts for %s (%s); it is not shown again. `autobots tokens revoke %s` ends it\n", user,
            ab_tree_str(record, "scope"), id ? id : "ID");
    free(user);
}

int verb_tokens_create(struct cli *cli)
{
    char token[AB_TOKEN_TEXT];
    struct ab_error err;
    int code = CLI_DONE;
    if (ab_token_make(token, &err))
        return cli_failf(cli, CLI_FAILED, "%s", err.text);
    json_t *request = creation(cli, token, &code), *answer = NULL;
    if (!request)
        return code;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        answer = service_ask(cli, bots, "create_token", json_incref(request), &code);
    if (answer)
        show_created(cli, token, json_object_get(answer, "token"));
    json_decref(request);
    json_decref(answer);
    autobots_close(bots);
    return code;
}

/* ---- revoke ---- */

int verb_tokens_revoke(struct cli *cli)
{
    int code = CLI_DONE;
    struct ab_id id;
    if (!ab_id_parse(ab_view_of(cli->words[0]), &id))
        return cli_failf(cli, CLI_USAGE, "%s is no id; `autobots tokens` lists them", cli->words[0]);
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer =
        bots ? service_ask(cli, bots, "revoke_token", json_pack("{s:s}", "id", cli->words[0]), &code) : NULL;
    if (answer && cli->json)
        term_json(stdout, json_incref(json_object_get(answer, "token")));
    else if (answer)
        printf("revoked %s\n", cli->words[0]);
    json_decref(answer);
    autobots_close(bots);
    return code;
}

/* ---- list ---- */

static const char *when(const json_t *record, const char *key, char text[32])
{
    int64_t ms = ab_tree_int(record, key, 0);
    if (!ms)
        return "-";
    term_time(ms, text);
    return text;
}

static const char *state_of(const json_t *record)
{
    int64_t expires = ab_tree_int(record, "expires_ms", 0);
    return ab_tree_int(record, "revoked_ms", 0) ? "revoked"
           : expires && expires <= ab_wall_ms() ? "expired"
                                                : "valid";
}

static void print_token(const json_t *record)
{
    char times[3][32];
    const char *id = ab_tree_str(record, "id"), *name = ab_tree_str(record, "name");
    const char *whose = ab_tree_str(record, "user"), *scope = ab_tree_str(record, "scope");
    char *user = term_line(whose ? whose : "?", 20), *what = term_line(name ? name : "", 40);
    term_row(stdout, "%-36s  %-7s  %-5s  %-12s  %-19s  %-16s  %-19s  %-19s", id ? id : "?", state_of(record),
             scope ? scope : "?", user, when(record, "expires_ms", times[0]), what,
             when(record, "used_ms", times[1]), when(record, "created_ms", times[2]));
    free(user);
    free(what);
}

static void print_page(struct cli *cli, const json_t *rows, bool first)
{
    json_t *row;
    size_t i;
    if (first && !cli->json && !json_array_size(rows))
        fprintf(stderr, "no tokens; see `autobots tokens create --help`\n");
    else if (first && !cli->json)
        term_row(stdout, "%-36s  %-7s  %-5s  %-12s  %-19s  %-16s  %-19s  %-19s", "id", "state", "scope", "user",
                 "expires", "name", "last used", "created");
    json_array_foreach (rows, i, row) {
        if (cli->json)
            term_json(stdout, json_incref(row));
        else
            print_token(row);
    }
}

int verb_tokens(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *request = json_object(), *answer = NULL;
    bool first = true;
    if (cli->option[OPT_user])
        json_object_set_new(request, "of", json_string(cli->option[OPT_user]));
    while (bots && (answer = service_ask(cli, bots, "list_tokens", json_deep_copy(request), &code))) {
        json_t *next = json_object_get(answer, "next");
        print_page(cli, json_object_get(answer, "tokens"), first);
        first = false;
        bool more = next;
        if (more)
            json_object_set(request, "after", next);
        json_decref(answer);
        if (!more)
            break;
    }
    json_decref(request);
    autobots_close(bots);
    return code;
}
