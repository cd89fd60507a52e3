/* server.h. The shape of the entry was checked when the configuration was read (common/config_tree.c). */
#include "worker/mcp/server.h"

#include <sodium.h>
#include <stdlib.h>

#include "common/tree.h"

enum {
    START_MS = 30000,
    PROBE_MS = 3000,
    CALL_MS = 60000,
    CALL_MS_MAX = 600000,
};

/* What a program finds in its environment even if nothing is named: no secrets, nothing of the service. */
static const char *const plain_variables[] = {"PATH", "HOME",   "USER",     "LOGNAME", "SHELL",
                                              "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR",  "TZ"};

/* --- the entry ------------------------------------------------------------------------------------------------ */

static int word_of(const json_t *config, const char *key, const char *const *words, size_t n)
{
    const char *text = ab_tree_str(config, key);
    for (size_t i = 0; text && i < n; i++)
        if (!strcmp(words[i], text))
            return (int)i;
    return 0;
}

void mcp_server_read(struct mcp_server *server, const char *name, const json_t *config)
{
    static const char *const per[] = {"job", "user", "worker"}, *const pin[] = {"first", "strict", "report"};
    int64_t call_ms = ab_tree_int(config, "timeout_ms", CALL_MS);
    int64_t otherwise_ms = call_ms > CALL_MS_MAX ? call_ms : CALL_MS_MAX;
    *server =
        (struct mcp_server){.name = name,
                            .url = ab_tree_str(config, "url"),
                            .cwd = ab_tree_str(config, "cwd"),
                            .config = config,
                            .per = (enum mcp_per)word_of(config, "per", per, 3),
                            .pin = (enum mcp_pin)word_of(config, "pin", pin, 3),
                            .times = {.start_ms = ab_tree_int(config, "start_ms", START_MS),
                                      .call_ms = call_ms,
                                      .call_max_ms = ab_tree_int(config, "timeout_max_ms", otherwise_ms)}};
    server->times.probe_ms = server->times.start_ms / 3 < PROBE_MS ? server->times.start_ms / 3 : PROBE_MS;
}

/* --- a start -------------------------------------------------------------------------------------------------- */

static void add(char ***list, size_t *n, char *text)
{
    *list = ab_realloc(*list, (*n + 2) * sizeof **list);
    (*list)[(*n)++] = text;
    (*list)[*n] = NULL;
}

/* Whatever comes from the environment is taken for one, but for what every program is told. */
static void add_secret(struct mcp_launch *launch, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof plain_variables / sizeof *plain_variables; i++)
        if (!strcmp(plain_variables[i], name))
            return;
    if (strlen(value) >= MCP_SECRET_BYTES_MIN)
        add(&launch->secrets, &launch->secrets_n, ab_strdup(value));
}

static int missing(const struct mcp_server *server, const char *variable, struct ab_error *err)
{
    return ab_fail(err, AB_EUSAGE, "the worker's environment has no %.60s, which mcp_servers.%s names",
                   variable, server->name);
}

/* Appends text with each ${NAME} replaced by that variable of the worker's environment. */
static int expand(const struct mcp_server *server, const char *text, struct mcp_launch *launch,
                  struct ab_buf *out, struct ab_error *err)
{
    for (const char *at; (at = strstr(text, "${"));) {
        size_t n = strcspn(at + 2, "}");
        char *name = ab_strndup(at + 2, n);
        const char *value = getenv(name);
        int code = value ? 0 : missing(server, name, err);
        if (!code)
            add_secret(launch, name, value);
        free(name);
        if (code)
            return code;
        ab_buf_add(out, text, (size_t)(at - text));
        ab_buf_text(out, value);
        text = at + 2 + n + (at[2 + n] == '}');
    }
    ab_buf_text(out, text);
    return 0;
}

/* "NAME" + between + value, for each member. */
static int add_expanded(const struct mcp_server *server, const char *key, const char *between, char ***list,
                        size_t *n, struct mcp_launch *launch, struct ab_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)json_object_get(server->config, key), name, value) {
        struct ab_buf text = {0};
        ab_buf_format(&text, "%s%s", name, between);
        int code = expand(server, json_string_value(value), launch, &text, err);
        if (code) {
            ab_buf_finish(&text);
            return code;
        }
        add(list, n, ab_buf_detach(&text));
    }
    return 0;
}

static int make_env(const struct mcp_server *server, struct mcp_launch *launch, struct ab_error *err)
{
    size_t n = 0, i;
    json_t *name;
    const json_t *own = json_object_get(server->config, "env");
    for (i = 0; i < sizeof plain_variables / sizeof *plain_variables; i++) {
        const char *value = getenv(plain_variables[i]);
        if (value && !json_object_get(own, plain_variables[i]))
            add(&launch->env, &n, ab_format("%s=%s", plain_variables[i], value));
    }
    json_array_foreach (json_object_get(server->config, "env_from"), i, name) {
        const char *value = getenv(json_string_value(name));
        if (!value)
            return missing(server, json_string_value(name), err);
        add(&launch->env, &n, ab_format("%s=%s", json_string_value(name), value));
        add_secret(launch, json_string_value(name), value);
    }
    return add_expanded(server, "env", "=", &launch->env, &n, launch, err);
}

static int make_command(const struct mcp_server *server, struct mcp_launch *launch, struct ab_error *err)
{
    size_t n = 0, i;
    json_t *word;
    json_array_foreach (json_object_get(server->config, "command"), i, word) {
        struct ab_buf text = {0};
        int code = expand(server, json_string_value(word), launch, &text, err);
        add(&launch->command, &n, ab_buf_detach(&text));
        if (code)
            return code;
    }
    return 0;
}

static char **empty_list(void)
{
    return ab_calloc(1, sizeof(char *));
}

int mcp_launch_make(const struct mcp_server *server, struct mcp_launch *launch, struct ab_error *err)
{
    size_t n = 0;
    *launch = (struct mcp_launch){empty_list(), empty_list(), empty_list(), empty_list(), 0};
    int code = make_command(server, launch, err);
    if (!code)
        code = make_env(server, launch, err);
    if (!code)
        code = add_expanded(server, "headers", ": ", &launch->headers, &n, launch, err);
    return code;
}

static void list_finish(char **list)
{
    for (size_t i = 0; list && list[i]; i++) {
        sodium_memzero(list[i], strlen(list[i]));
        free(list[i]);
    }
    free(list);
}

void mcp_launch_finish(struct mcp_launch *launch)
{
    list_finish(launch->command);
    list_finish(launch->env);
    list_finish(launch->headers);
    list_finish(launch->secrets);
    *launch = (struct mcp_launch){0};
}

/* Bytes at the text's beginning that are a secret; where the text ends within one, also what there is of it. */
static size_t secret_at(const struct mcp_launch *launch, struct ab_view text)
{
    size_t found = 0;
    for (size_t i = 0; i < launch->secrets_n; i++) {
        const char *secret = launch->secrets[i];
        size_t n = *secret == *text.p ? strlen(secret) : 0;
        n = n < text.n ? n : text.n;
        if (n > found && n >= MCP_SECRET_BYTES_MIN && !memcmp(text.p, secret, n))
            found = n;
    }
    return found;
}

/* In one go: a server can write as many of them as it likes. */
void mcp_launch_scrub(const struct mcp_launch *launch, struct ab_buf *text)
{
    static const char stars[] = "***";
    size_t to = 0, n;
    if (!launch->secrets_n)
        return;
    for (size_t from = 0; from < text->n; from += n ? n : 1) {
        n = secret_at(launch, ab_view(text->p + from, text->n - from));
        if (n) {
            memcpy(text->p + to, stars, sizeof stars - 1);
            to += sizeof stars - 1;
        } else {
            text->p[to++] = text->p[from];
        }
    }
    text->n = to;
}
