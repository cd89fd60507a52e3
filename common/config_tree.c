/* The inside of the configuration's nested values, models, limits and mcp_servers: every member is known and of its type. */
#include "common/config_value.h"

#include <ctype.h>
#include <stdlib.h>

#include "common/workflow/tools.h"

enum { RUNNING_MAX = 1000000 };

struct inside {
    const struct config_row *row;
    const struct config_origin *origin;
    struct ab_buf path;
    struct ab_error *err;
};

static int wrong(struct inside *in, const char *what)
{
    const char *path = ab_buf_cstr(&in->path);
    return config_fail(in->origin, path, in->err, "%s%s: %s", in->row->key,
                       path + (strncmp(path, "$.", 2) ? 1 : 2 + strlen(in->row->key)), what);
}

static int unknown_member(struct inside *in, const char *const *names, size_t n, const char *member)
{
    struct ab_buf legal = {0};
    for (size_t i = 0; i < n; i++)
        ab_buf_format(&legal, "%s%s", i ? ", " : "", names[i]);
    const char *near = ab_nearest(member, names, n);
    char *what = near ? ab_format("is not known; did you mean \"%s\"?", near)
                      : ab_format("is not known; there are %s", ab_buf_cstr(&legal));
    int code = wrong(in, what);
    free(what);
    ab_buf_finish(&legal);
    return code;
}

static bool is_one_of(const char *const *names, size_t n, const char *member)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], member))
            return true;
    return false;
}

/* ---- models ---------------------------------------------------------------------------------------------- */

static const char *const model_members[] = {"name", "base_url", "api_key_env", "api_key_file"};
enum { MODEL_MEMBERS = sizeof model_members / sizeof *model_members };

static int check_model_member(struct inside *in, const char *member, const json_t *value)
{
    if (!strcmp(member, "api_key"))
        return wrong(
            in, "a key does not belong into the configuration: name the environment variable (api_key_env) or "
                "the file (api_key_file) that has it");
    if (!is_one_of(model_members, MODEL_MEMBERS, member))
        return unknown_member(in, model_members, MODEL_MEMBERS, member);
    if (!json_is_string(value) || !json_string_length(value))
        return wrong(in, "must be text");
    return 0;
}

static int check_model(struct inside *in, json_t *model)
{
    if (!json_is_object(model))
        return wrong(in, "must be a mapping with base_url, and name, api_key_env or api_key_file");
    const char *member;
    json_t *value;
    json_object_foreach (model, member, value) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, member);
        int code = check_model_member(in, member, value);
        if (code)
            return code;
        in->path.n = mark;
    }
    if (!json_object_get(model, "base_url"))
        return wrong(in, "needs a base_url");
    if (json_object_get(model, "api_key_env") && json_object_get(model, "api_key_file"))
        return wrong(in, "has both api_key_env and api_key_file: keep one");
    return 0;
}

static int check_models(struct inside *in, json_t *models)
{
    if (!json_is_array(models))
        return wrong(in, "must be a list of endpoints");
    size_t i;
    json_t *model;
    json_array_foreach (models, i, model) {
        size_t mark = in->path.n;
        ab_path_index(&in->path, i);
        int code = check_model(in, model);
        if (code)
            return code;
        in->path.n = mark;
    }
    return 0;
}

/* ---- limits ---------------------------------------------------------------------------------------------- */

static const char *const limit_kinds[] = {"tenant", "pool", "concurrency_key"};
enum { LIMIT_KINDS = sizeof limit_kinds / sizeof *limit_kinds };

static int check_limit_names(struct inside *in, json_t *names)
{
    if (!json_is_object(names))
        return wrong(in, "must be a mapping of names to numbers of jobs, \"*\" for those not named");
    const char *name;
    json_t *value;
    json_object_foreach (names, name, value) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, name);
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > RUNNING_MAX)
            return wrong(in, "must be a number of jobs from 1 to 1000000");
        in->path.n = mark;
    }
    return 0;
}

static int check_limits(struct inside *in, json_t *limits)
{
    if (!json_is_object(limits))
        return wrong(in, "must be a mapping with tenant, pool or concurrency_key");
    const char *kind;
    json_t *names;
    json_object_foreach (limits, kind, names) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, kind);
        int code = is_one_of(limit_kinds, LIMIT_KINDS, kind)
                       ? check_limit_names(in, names)
                       : unknown_member(in, limit_kinds, LIMIT_KINDS, kind);
        if (code)
            return code;
        in->path.n = mark;
    }
    return 0;
}

/* ---- mcp_servers ----------------------------------------------------------------------------------------- */

enum { SERVERS_MAX = 64, WAIT_MS_MAX = 86400000 };

/* Names whose values are secrets as a rule. */
static bool sounds_secret(const char *name)
{
    static const char *const words[] = {"key", "token", "secret", "password", "authorization", "cookie"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

static bool is_variable(const char *name)
{
    size_t n = 0;
    while (isalnum((unsigned char)name[n]) || name[n] == '_')
        n++;
    return n && !name[n] && !isdigit((unsigned char)*name);
}

static bool is_field_name(const char *name)
{
    size_t n = 0;
    while (isalnum((unsigned char)name[n]) || name[n] == '-' || name[n] == '_')
        n++;
    return n && !name[n];
}

static bool is_line(const json_t *value)
{
    const char *text = json_string_value(value);
    while (text && (*text == '\t' || !iscntrl((unsigned char)*text)) && *text)
        text++;
    return text && !*text;
}

/* A mapping of names to lines of text. */
static int check_lines(struct inside *in, json_t *lines, bool (*ok)(const char *), const char *wanted)
{
    const char *name;
    json_t *value;
    if (!json_is_object(lines))
        return wrong(in, "must be a mapping of names to texts");
    json_object_foreach (lines, name, value) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, name);
        if (!ok(name))
            return wrong(in, wanted);
        if (!is_line(value))
            return wrong(in, "must be text on one line");
        if (sounds_secret(name) && !strstr(json_string_value(value), "${"))
            return wrong(
                in,
                "a secret does not belong into the configuration: write ${NAME}, the name of a variable of the "
                "worker's environment that has it");
        in->path.n = mark;
    }
    return 0;
}

static int check_env(struct inside *in, json_t *value)
{
    return check_lines(in, value, is_variable, "is no name of an environment variable");
}

static int check_headers(struct inside *in, json_t *value)
{
    return check_lines(in, value, is_field_name, "is no name of an HTTP header");
}

static int check_texts(struct inside *in, json_t *list, bool (*ok)(const char *), const char *wanted)
{
    size_t i;
    json_t *value;
    if (!json_is_array(list) || !json_array_size(list))
        return wrong(in, wanted);
    json_array_foreach (list, i, value) {
        const char *text = json_string_value(value);
        if (!text || strlen(text) != json_string_length(value) || (ok && !ok(text)))
            return wrong(in, wanted);
    }
    return 0;
}

static int check_command(struct inside *in, json_t *value)
{
    int code = check_texts(in, value, NULL, "must be a list: a program and its arguments");
    if (!code && !json_string_length(json_array_get(value, 0)))
        code = wrong(in, "must begin with a program");
    return code;
}

static int check_env_from(struct inside *in, json_t *value)
{
    return check_texts(in, value, is_variable,
                       "must be a list of names of variables of the worker's environment");
}

static int check_cwd(struct inside *in, json_t *value)
{
    const char *text = json_string_value(value);
    return text && *text == '/' ? 0 : wrong(in, "must be the absolute path of a folder");
}

static int check_url(struct inside *in, json_t *value)
{
    const char *text = json_string_value(value), *host = text ? strstr(text, "://") : NULL;
    if (!is_line(value) || !host || (strncmp(text, "http://", 7) && strncmp(text, "https://", 8)) || !host[3])
        return wrong(in, "must be an http:// or https:// address");
    if (memchr(host + 3, '@', strcspn(host + 3, "/?#")))
        return wrong(in, "has a user or password in it: use `headers`");
    return 0;
}

static int check_word(struct inside *in, const json_t *value, const char *const *words, size_t n,
                      const char *wanted)
{
    return json_is_string(value) && is_one_of(words, n, json_string_value(value)) ? 0 : wrong(in, wanted);
}

static int check_per(struct inside *in, json_t *value)
{
    static const char *const words[] = {"job", "user", "worker"};
    return check_word(in, value, words, 3, "must be job, user or worker: whom one process or session is for");
}

static int check_pin(struct inside *in, json_t *value)
{
    static const char *const words[] = {"first", "strict", "report"};
    return check_word(in, value, words, 3,
                      "must be first, strict or report: what becomes of tools that change");
}

static int check_wait(struct inside *in, json_t *value)
{
    bool good =
        json_is_integer(value) && json_integer_value(value) >= 10 && json_integer_value(value) <= WAIT_MS_MAX;
    return good ? 0 : wrong(in, "must be a number of milliseconds from 10 to 86400000");
}

enum { PROCESS = 1, REMOTE = 2 };
static const struct {
    const char *name;
    int (*check)(struct inside *in, json_t *value);
    unsigned goes_with; /* command, url */
} server_members[] = {
    {"command", check_command, PROCESS},
    {"url", check_url, REMOTE},
    {"env", check_env, PROCESS},
    {"env_from", check_env_from, PROCESS},
    {"cwd", check_cwd, PROCESS},
    {"headers", check_headers, REMOTE},
    {"per", check_per, PROCESS | REMOTE},
    {"pin", check_pin, PROCESS | REMOTE},
    {"timeout_ms", check_wait, PROCESS | REMOTE},
    {"timeout_max_ms", check_wait, PROCESS | REMOTE},
    {"start_ms", check_wait, PROCESS | REMOTE},
};
enum { SERVER_MEMBERS = sizeof server_members / sizeof *server_members };

static int check_server_member(struct inside *in, const char *member, json_t *value, unsigned kind)
{
    const char *names[SERVER_MEMBERS];
    for (size_t i = 0; i < SERVER_MEMBERS; i++) {
        names[i] = server_members[i].name;
        if (strcmp(names[i], member))
            continue;
        if (!(server_members[i].goes_with & kind))
            return wrong(in, kind == REMOTE ? "belongs to a server with `command`, not `url`"
                                            : "belongs to a server with `url`, not `command`");
        return server_members[i].check(in, value);
    }
    return unknown_member(in, names, SERVER_MEMBERS, member);
}

static int check_server(struct inside *in, json_t *server)
{
    bool process = json_object_get(server, "command"), remote = json_object_get(server, "url");
    const char *member;
    json_t *value;
    if (!json_is_object(server) || process == remote)
        return wrong(in, "must be a mapping with either command or url");
    json_object_foreach (server, member, value) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, member);
        int code = check_server_member(in, member, value, process ? PROCESS : REMOTE);
        if (code)
            return code;
        in->path.n = mark;
    }
    if (json_object_get(server, "timeout_max_ms") &&
        ab_tree_int(server, "timeout_max_ms", 0) < ab_tree_int(server, "timeout_ms", 0))
        return wrong(in, "has a timeout_max_ms below its timeout_ms");
    return 0;
}

static int check_servers(struct inside *in, json_t *servers)
{
    const char *name;
    json_t *server;
    if (!json_is_object(servers) || json_object_size(servers) > SERVERS_MAX)
        return wrong(in, "must be a mapping of at most 64 names to MCP servers");
    json_object_foreach (servers, name, server) {
        size_t mark = in->path.n;
        ab_path_key(&in->path, name);
        if (!ab_tool_server_ok(ab_view_of(name)))
            return wrong(in, "is no name of a server: at most 32 of A-Z a-z 0-9 - and single _ between them");
        int code = check_server(in, server);
        if (code)
            return code;
        in->path.n = mark;
    }
    return 0;
}

static const struct {
    enum ab_config_key key;
    int (*check)(struct inside *in, json_t *tree);
} checks[] = {
    {AB_CONF_MODELS, check_models}, {AB_CONF_LIMITS, check_limits}, {AB_CONF_MCP_SERVERS, check_servers}};

int config_check_tree(const struct config_row *row, json_t *tree, const struct config_origin *origin,
                      const char *json_path, struct ab_error *err)
{
    struct inside in = {.row = row, .origin = origin, .err = err};
    ab_buf_text(&in.path, json_path);
    int code = 0;
    for (size_t i = 0; i < sizeof checks / sizeof *checks && !code; i++)
        if (checks[i].key == row->id)
            code = checks[i].check(&in, tree);
    ab_buf_finish(&in.path);
    return code;
}
