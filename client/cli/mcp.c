/* `mcp`: the MCP servers of the configuration. The worker's program asks them; here it is shown, and approved. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/tree.h"

#define NONE "no MCP servers are configured; give --config FILE as the workers have it"
enum { LIST_BYTES_MAX = 256 << 20, COLUMNS = 100 };

json_t *mcp_servers(struct cli *cli, const char *only)
{
    char *flag = ab_format("--mcp-list%s%s", only ? "=" : "", only ? only : "");
    char *answer = worker_ask(cli, flag, NULL, LIST_BYTES_MAX), *rest = NULL;
    json_t *servers = json_array(), *one;
    for (char *line = answer ? strtok_r(answer, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        if (!ab_json_parse(ab_view_of(line), &one, NULL))
            json_array_append_new(servers, one);
    free(flag);
    free(answer);
    if (json_array_size(servers))
        return servers;
    json_decref(servers);
    return NULL;
}

/* The servers that a verb is about, or NULL with its exit code. */
static json_t *asked_for(struct cli *cli, int *code)
{
    const json_t *configured = ab_config_tree(cli->config, AB_CONF_MCP_SERVERS);
    const char *only = cli->n ? cli->words[0] : NULL;
    *code = CLI_DONE;
    if (only && !json_object_get(configured, only)) {
        *code = cli_failf(
            cli, CLI_USAGE,
            "no MCP server %s is configured here (--config FILE, mcp_servers); `autobots mcp` lists them",
            only);
        return NULL;
    }
    if (!json_object_size(configured)) {
        if (cli->verb->run == verb_mcp_pin)
            *code = cli_failf(cli, CLI_USAGE, NONE);
        else if (!cli->json)
            puts(NONE);
        return NULL;
    }
    json_t *servers = mcp_servers(cli, only);
    if (!servers)
        *code = cli_failf(cli, CLI_FAILED, "autobots-worker --mcp-list gives no answer");
    return servers;
}

/* ---- list ---- */

static void show_tool(const json_t *tool, bool fully)
{
    const char *why = ab_tree_str(tool, "why");
    bool ok = ab_tree_bool(tool, "ok", false);
    char *about = term_line(ab_tree_str(tool, "description"), fully ? 0 : COLUMNS);
    char *note = term_line(why ? why : "", 0);
    if (fully)
        printf("  %s\n      %s\n", ab_tree_str(tool, "called"), about);
    else
        term_row(stdout, "  %-30s %s", ab_tree_str(tool, "called"), about);
    if (*note)
        printf("      [%s: %s]\n", ok ? "changed" : "not used", note);
    free(about);
    free(note);
    if (!fully)
        return;
    char *parameters = json_dumps(json_object_get(tool, "parameters"), JSON_COMPACT | JSON_SORT_KEYS);
    fputs("      ", stdout);
    term_text(stdout, parameters, strlen(parameters));
    printf("\n      %s%s\n", ab_tree_bool(tool, "idempotent", false) ? "idempotent, " : "",
           ab_tree_str(tool, "digest"));
    free(parameters);
}

static void show_server(const json_t *server, bool fully)
{
    size_t i;
    json_t *tool;
    const char *name = ab_tree_str(server, "server"), *left_out = ab_tree_str(server, "left_out");
    if (!ab_tree_bool(server, "ok", false)) {
        char *why = term_line(ab_tree_str(server, "error"), 0);
        printf("%s: no answer\n  %s\n", name, why);
        free(why);
        return;
    }
    char *own = term_line(ab_tree_str(server, "name"), COLUMNS);
    printf("%s: %s, revision %s\n", name, *own ? own : "a server without a name",
           ab_tree_str(server, "revision"));
    free(own);
    json_array_foreach (json_object_get(server, "tools"), i, tool)
        show_tool(tool, fully);
    if (left_out && *left_out)
        puts("  left out:");
    for (const char *end; left_out && (end = strchr(left_out, '\n')); left_out = end + 1) {
        fputs("    ", stdout);
        term_text(stdout, left_out, (size_t)(end + 1 - left_out));
    }
}

int verb_mcp(struct cli *cli)
{
    int code;
    size_t i;
    json_t *server, *servers = asked_for(cli, &code);
    json_array_foreach (servers, i, server) {
        if (!ab_tree_bool(server, "ok", false))
            code = CLI_FAILED;
        if (cli->json)
            term_json(stdout, json_incref(server));
        else
            show_server(server, cli->n > 0);
    }
    json_decref(servers);
    return code;
}

/* ---- pin ---- */

static char *pins_path(const struct cli *cli)
{
    const char *path = ab_config_text(cli->config, AB_CONF_MCP_PINS);
    return *path ? ab_strdup(path) : ab_format("%s/mcp-pins.json", ab_config_text(cli->config, AB_CONF_DIR));
}

/* What is approved so far: an empty object if there is no file. NULL: it is none of ours. */
static json_t *read_pins(const char *path)
{
    if (access(path, F_OK))
        return json_object();
    json_t *pins = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(pins))
        return pins;
    json_decref(pins);
    return NULL;
}

static json_t *digests_of(const json_t *server)
{
    size_t i;
    json_t *tool, *digests = json_object();
    json_array_foreach (json_object_get(server, "tools"), i, tool)
        json_object_set(digests, ab_tree_str(tool, "name"), json_object_get(tool, "digest"));
    return digests;
}

/* Names each tool that is not as it was; gives how many. */
static size_t tell_changes(struct cli *cli, const char *server, const json_t *before, const json_t *now)
{
    size_t n = 0;
    const char *name;
    json_t *digest;
    json_object_foreach ((json_t *)(uintptr_t)now, name, digest) {
        const char *was = ab_tree_str(before, name);
        if (was && !strcmp(was, json_string_value(digest)))
            continue;
        n++;
        char *clean = term_line(name, 0);
        if (cli->json)
            term_json(stdout, json_pack("{ss ss ss}", "server", server, "tool", name, "change",
                                        was ? "changed" : "new"));
        else
            printf("%s: %s %s\n", server, was ? "changed" : "new", clean);
        free(clean);
    }
    json_object_foreach ((json_t *)(uintptr_t)before, name, digest) {
        if (json_object_get(now, name))
            continue;
        n++;
        char *clean = term_line(name, 0);
        if (cli->json)
            term_json(stdout, json_pack("{ss ss ss}", "server", server, "tool", name, "change", "gone"));
        else
            printf("%s: gone %s\n", server, clean);
        free(clean);
    }
    return n;
}

/* Appears whole or not at all. */
static int write_pins(struct cli *cli, const char *path, const json_t *pins)
{
    char *fresh = ab_format("%s.new", path);
    int code = CLI_DONE;
    if (json_dump_file(pins, fresh, JSON_INDENT(2) | JSON_SORT_KEYS) || rename(fresh, path))
        code = cli_failf(cli, CLI_FAILED, "cannot write %s: %s", path, strerror(errno));
    free(fresh);
    return code;
}

static int pin_all(struct cli *cli, const json_t *servers, json_t *pins, size_t *changes)
{
    int code = CLI_DONE;
    size_t i;
    json_t *server;
    json_array_foreach (servers, i, server) {
        const char *name = ab_tree_str(server, "server");
        if (!ab_tree_bool(server, "ok", false)) {
            code = cli_failf(cli, CLI_FAILED, "%s", ab_tree_str(server, "error"));
            continue; /* what was approved of it stays */
        }
        json_t *now = digests_of(server);
        *changes += tell_changes(cli, name, json_object_get(pins, name), now);
        json_object_set_new(pins, name, now);
    }
    return code;
}

int verb_mcp_pin(struct cli *cli)
{
    int code;
    size_t changes = 0;
    json_t *servers = asked_for(cli, &code);
    if (!servers)
        return code;
    char *path = pins_path(cli);
    json_t *pins = read_pins(path);
    if (pins) {
        code = pin_all(cli, servers, pins, &changes);
        int written = write_pins(cli, path, pins);
        code = code ? code : written;
        if (!written && !cli->json)
            printf("%zu changes approved in %s\n", changes, path);
    } else {
        code = cli_failf(cli, CLI_FAILED, "%s is no file of pins: remove it", path);
    }
    json_decref(pins);
    json_decref(servers);
    free(path);
    return code;
}
