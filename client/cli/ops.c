/* Verbs of whoever runs the service: status, config, doctor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/tree.h"

/* ---- status ---- */

static void print_numbers(const json_t *tree, const char *title, const char *const *keys)
{
    printf("%-8s", title);
    for (; *keys; keys++)
        printf("  %s %lld", *keys, (long long)ab_tree_int(tree, *keys, 0));
    fputs("\n", stdout);
}

static void print_status(const json_t *broker, const json_t *storage)
{
    static const char *const queue[] = {"ready", "running", "waiting", "paused", "scheduled", NULL};
    static const char *const since[] = {"accepted", "ended", "watchers", NULL};
    static const char *const stored[] = {"jobs", "open", "unindexed", NULL};
    static const char *const written[] = {"commits", "operations", "wal_bytes", NULL};
    const json_t *workers = json_object_get(broker, "workers");
    if (broker) {
        char *build = term_line(ab_tree_str(broker, "build") ? ab_tree_str(broker, "build") : "?", 60);
        printf("broker    up %lld s, epoch %lld, %s%s\n", (long long)ab_tree_int(broker, "uptime_ms", 0) / 1000,
               (long long)ab_tree_int(broker, "epoch", 0), build,
               ab_tree_bool(broker, "storage", false) ? "" : ", WITHOUT STORAGE");
        free(build);
        print_numbers(broker, "queue", queue);
        print_numbers(broker, "so far", since);
    } else
        puts("broker    does not answer");
    if (storage) {
        const char *broken = ab_tree_str(storage, "writable");
        print_numbers(storage, "storage", stored);
        print_numbers(storage, "", written);
        if (broken && *broken)
            printf("          NOT WRITABLE: %s\n", broken);
    } else
        puts("storage   does not answer");
    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *w = json_array_get(workers, i);
        char *name = term_line(ab_tree_str(w, "name") ? ab_tree_str(w, "name") : "?", 40);
        char *pool = term_line(ab_tree_str(w, "pool") ? ab_tree_str(w, "pool") : "default", 20);
        printf("worker    %-24s pool %-10s %lld of %lld slots busy\n", name, pool,
               (long long)ab_tree_int(w, "running", 0), (long long)ab_tree_int(w, "slots", 0));
        free(name);
        free(pool);
    }
    if (broker && !json_array_size(workers))
        puts("worker    none: no job can run");
}

/* What people halted: without it a queue that grows would be a riddle. */
static void print_halts(const json_t *queues)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(queues, "queues"), i, row) {
        const char *reason = ab_tree_str(row, "reason"), *by = ab_tree_str(row, "by"),
                   *of = ab_tree_str(row, "of"), *state = ab_tree_str(row, "state");
        if (!by || !state)
            continue;
        char *text = ab_format("pool %s%s%s %s by %s%s%s", ab_tree_str(row, "pool"), of ? ", jobs of " : "",
                               of ? of : "", state, by, reason ? ": " : "", reason ? reason : "");
        char *line = term_line(text, 0);
        printf("halted    %s\n", line);
        free(line);
        free(text);
    }
}

/* Without a message if it fails. */
static json_t *ask_quietly(struct autobots *bots, const char *operation)
{
    char *answer = NULL;
    json_t *tree = NULL;
    if (!autobots_query(bots, operation, NULL, &answer, NULL))
        ab_json_parse(ab_view_of(answer), &tree, NULL);
    free(answer);
    return tree;
}

int verb_status(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_BROKER, &code);
    if (!bots)
        return code;
    json_t *broker = ask_quietly(bots, "status"), *storage = ask_quietly(bots, "storage_status");
    bool offline = false;
    const char *dir = ab_config_text(cli->config, AB_CONF_DIR);
    int pid = service_supervisor(dir, &offline);
    if (cli->json)
        term_json(stdout, json_pack("{s:O?, s:O?, s:s, s:i, s:b}", "broker", broker, "storage", storage, "dir",
                                    dir, "supervisor", pid, "offline", offline));
    else {
        if (pid)
            printf("service   %s, supervisor %d%s\n", dir, pid, offline ? ", offline" : "");
        print_status(broker, storage);
        json_t *queues = broker ? ask_quietly(bots, "queues") : NULL;
        print_halts(queues);
        json_decref(queues);
    }
    code = broker && storage ? CLI_DONE : CLI_FAILED;
    json_decref(broker);
    json_decref(storage);
    autobots_close(bots);
    return code;
}

/* ---- config ---- */

int verb_config(struct cli *cli)
{
    ab_config_print(cli->config, stdout, cli->json);
    return CLI_DONE;
}

/* ---- doctor ---- */

enum { DISK_BYTES_MIN = 256 << 20, CLOCK_S_MIN = 1700000000 };

enum health { OK, WARN, FAIL };

struct patient {
    struct cli *cli;
    const char *dir;
    int worst;
};

static void report(struct patient *p, enum health health, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void report(struct patient *p, enum health health, const char *what, const char *format, ...)
{
    enum { REPORT_AT = 17 };
    static const char *const names[] = {"ok", "warn", "fail"};
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *clean = term_line(text, 0);
    if (p->cli->json)
        term_json(stdout, json_pack("{s:s, s:s, s:s}", "check", what, "result", names[health], "text", clean));
    else {
        printf("%-5s %-10s ", names[health], what);
        term_wrapped(stdout, clean, REPORT_AT, REPORT_AT, term_columns(stdout));
    }
    free(clean);
    if ((int)health > p->worst)
        p->worst = health;
}

static void check_programs(struct patient *p)
{
    static const char *const programs[] = {"autobots-storage", "autobots-broker", "autobots-worker"};
    char *folder = own_folder();
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        char *path = ab_format("%s/%s", folder, programs[i]);
        if (access(path, X_OK))
            report(p, FAIL, "programs", "%s: %s; build or install all programs together", path,
                   strerror(errno));
        else
            report(p, OK, "programs", "%s", path);
        free(path);
    }
    free(folder);
}

static void check_folder(struct patient *p)
{
    struct stat st;
    if (stat(p->dir, &st))
        report(p, WARN, "folder", "%s: %s; `autobots up` makes it", p->dir, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        report(p, FAIL, "folder", "%s is no folder; choose another --dir", p->dir);
    else if (st.st_uid != geteuid())
        report(p, FAIL, "folder", "%s belongs to user %d, not to you; choose another --dir", p->dir,
               (int)st.st_uid);
    else if (st.st_mode & 077)
        report(p, FAIL, "folder", "%s may be entered by others: chmod 700 %s", p->dir, p->dir);
    else
        report(p, OK, "folder", "%s, private", p->dir);
}

static void check_disk(struct patient *p)
{
    struct statvfs vfs;
    char *at = ab_strdup(p->dir);
    while (statvfs(at, &vfs) && strrchr(at, '/') > at)
        *strrchr(at, '/') = 0;
    unsigned long long free_bytes = statvfs(at, &vfs) ? 0 : (unsigned long long)vfs.f_bavail * vfs.f_frsize;
    if (free_bytes < DISK_BYTES_MIN)
        report(p, FAIL, "disk", "%llu MiB free at %s; below %d MiB the service may refuse jobs: make room",
               free_bytes >> 20, at, DISK_BYTES_MIN >> 20);
    else
        report(p, OK, "disk", "%llu MiB free at %s", free_bytes >> 20, at);
    free(at);
}

static void check_sockets(struct patient *p)
{
    static const enum ab_config_key keys[] = {AB_CONF_ENDPOINT, AB_CONF_WORKER_ENDPOINT,
                                              AB_CONF_STORAGE_ENDPOINT};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *endpoint = ab_config_text(p->cli->config, keys[i]);
        bool there = strncmp(endpoint, "ipc://", 6) || !access(endpoint + 6, R_OK | W_OK);
        if (there)
            report(p, OK, "sockets", "%s", endpoint);
        else
            report(p, WARN, "sockets", "%s: %s; no service there: autobots up -d", endpoint, strerror(errno));
    }
}

static void check_workers(struct patient *p, const json_t *broker)
{
    size_t workers = json_array_size(json_object_get(broker, "workers"));
    if (!ab_tree_bool(broker, "storage", false))
        report(p, FAIL, "service", "the broker has no connection to storage: see `autobots logs`");
    else if (!workers)
        report(p, FAIL, "service", "no worker is connected, no job can run: see `autobots logs`");
    else
        report(p, OK, "service", "answers; %zu workers, %lld jobs ready, %lld running", workers,
               (long long)ab_tree_int(broker, "ready", 0), (long long)ab_tree_int(broker, "running", 0));
}

static void check_service(struct patient *p)
{
    struct autobots_options options = {.endpoint = ab_config_text(p->cli->config, AB_CONF_ENDPOINT),
                                       .storage = ab_config_text(p->cli->config, AB_CONF_STORAGE_ENDPOINT),
                                       .user = p->cli->user,
                                       .timeout_ms = 2000};
    struct autobots *bots = autobots_open(&options, NULL);
    json_t *broker = bots ? ask_quietly(bots, "status") : NULL,
           *storage = bots ? ask_quietly(bots, "storage_status") : NULL;
    const char *broken = ab_tree_str(storage, "writable");
    if (broker)
        check_workers(p, broker);
    else
        report(p, FAIL, "service", "the broker does not answer; start the service: autobots up -d");
    if (!storage)
        report(p, FAIL, "storage", "does not answer; see `autobots logs`");
    else if (broken && *broken)
        report(p, FAIL, "storage", "cannot write: %s", broken);
    else
        report(p, OK, "storage", "answers, schema %lld", (long long)ab_tree_int(storage, "schema", 0));
    json_decref(broker);
    json_decref(storage);
    autobots_close(bots);
}

/* Whether a variable was set where the supervisor was started, whose environment its workers have. */
static bool is_set_for(int pid, const char *name)
{
    char *path = ab_format("/proc/%d/environ", pid), *item = NULL;
    FILE *in = fopen(path, "re");
    size_t n = strlen(name), cap = 0;
    bool found = false;
    while (in && !found && getdelim(&item, &cap, 0, in) > 0)
        found = !strncmp(item, name, n) && item[n] == '=' && item[n + 1];
    if (item)
        explicit_bzero(item, cap); /* it may have been a key */
    if (in)
        fclose(in);
    free(item);
    free(path);
    return found;
}

/* Names of variables and files only, never what is in them. */
static void check_key(struct patient *p)
{
    const json_t *models = ab_config_tree(p->cli->config, AB_CONF_MODELS);
    const char *key = getenv("OPENAI_API_KEY");
    bool offline = ab_config_bool(p->cli->config, AB_CONF_OFFLINE);
    int pid = service_supervisor(p->dir, &offline);
    bool there = pid && is_set_for(pid, "OPENAI_API_KEY"), any = there || (key && *key);
    if (there)
        report(p, OK, "models", "OPENAI_API_KEY is set for the running service");
    else if (any && pid && !offline)
        report(p, WARN, "models",
               "OPENAI_API_KEY is set here, but was not when the service was started: start it again");
    else if (any)
        report(p, OK, "models", "OPENAI_API_KEY is set here (what counts is the worker's environment)");
    for (size_t i = 0; i < json_array_size(models); i++) {
        const json_t *row = json_array_get(models, i);
        const char *variable = ab_tree_str(row, "api_key_env"), *file = ab_tree_str(row, "api_key_file");
        const char *name = ab_tree_str(row, "name");
        const char *value = variable ? getenv(variable) : NULL;
        any = true;
        if (variable && !(value && *value))
            report(p, WARN, "models", "%s needs the variable %s, which is not set here", name ? name : "?",
                   variable);
        else if (file && access(file, R_OK))
            report(p, WARN, "models", "%s needs the file %s: %s", name ? name : "?", file, strerror(errno));
        else
            report(p, OK, "models", "%s is configured", name ? name : "?");
    }
    if (!any && offline)
        report(p, OK, "models", "offline: no key is needed");
    else if (!any)
        report(
            p, WARN, "models",
            "no model key: set OPENAI_API_KEY before `autobots up`, or configure `models`, or use --offline");
}

static void check_code(struct patient *p)
{
    char *text;
    bool good = worker_check(p->cli, "local", &text);
    report(p, good ? OK : WARN, "code", "%s", text);
    free(text);
    if (access(ab_config_text(p->cli->config, AB_CONF_DOCKER_SOCKET), F_OK))
        return;
    good = worker_check(p->cli, "docker", &text);
    report(p, good ? OK : WARN, "code", "%s", text);
    free(text);
}

static void check_mcp(struct patient *p)
{
    size_t i;
    json_t *server;
    if (!json_object_size(ab_config_tree(p->cli->config, AB_CONF_MCP_SERVERS)))
        return;
    json_t *servers = mcp_servers(p->cli, NULL);
    if (!servers)
        report(p, WARN, "mcp", "autobots-worker --mcp-list gives no answer");
    json_array_foreach (servers, i, server) {
        const char *name = ab_tree_str(server, "server"), *why = ab_tree_str(server, "error");
        if (ab_tree_bool(server, "ok", false))
            report(p, OK, "mcp", "%s answers, %zu tools", name,
                   json_array_size(json_object_get(server, "tools")));
        else
            report(p, WARN, "mcp", "%s", why ? why : "?");
    }
    json_decref(servers);
}

static void check_clock(struct patient *p)
{
    char text[AB_ISO8601_MAX];
    if (ab_wall_ms() / 1000 < CLOCK_S_MIN)
        report(p, FAIL, "clock", "%s is in the past; ids and deadlines need the right time",
               ab_iso8601(ab_wall_ms(), text));
    else
        report(p, OK, "clock", "%s", ab_iso8601(ab_wall_ms(), text));
}

int verb_doctor(struct cli *cli)
{
    static void (*const checks[])(struct patient *) = {check_programs, check_folder,  check_disk,
                                                       check_sockets,  check_service, check_key,
                                                       check_code,     check_mcp,     check_clock};
    struct patient p = {.cli = cli, .dir = ab_config_text(cli->config, AB_CONF_DIR)};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        checks[i](&p);
    return p.worst == FAIL ? CLI_FAILED : CLI_DONE;
}
