/* Finding the service and asking it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/id.h"
#include "common/tree.h"

enum { CONNECT_MS = 5000, STARTING_MS = 15000, STALE_MS = 2000 };

/* ---- errors ---- */

static int exit_code(int code)
{
    return code == AUTOBOTS_EUSAGE ? CLI_USAGE : CLI_FAILED;
}

static void print_error(struct cli *cli, const char *name, const char *path, const char *text)
{
    char *clean_text = term_line(text, 0), *clean_path = term_line(path, 0);
    fflush(stdout);
    fprintf(stderr, "autobots: %s%s%s\n", clean_path, *path ? ": " : "", clean_text);
    if (cli->json)
        term_json(stdout, json_pack("{s:{s:s, s:s, s:s}}", "error", "code", name, "text", clean_text, "path",
                                    clean_path));
    free(clean_text);
    free(clean_path);
}

int cli_fail(struct cli *cli, const struct autobots_error *err)
{
    print_error(cli, autobots_error_name(err->code), err->path, err->text);
    return exit_code(err->code);
}

int cli_failf(struct cli *cli, int code, const char *format, ...)
{
    static const char *const names[] = {
        [CLI_FAILED] = "failed", [CLI_USAGE] = "usage", [CLI_NO_SERVICE] = "unavailable"};
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error(cli, code > 0 && code <= CLI_NO_SERVICE ? names[code] : "failed", "", text);
    return code;
}

/* ---- is it there? ---- */

char *service_lock_path(const char *dir)
{
    return ab_format("%s/up.lock", dir);
}

int service_supervisor(const char *dir, bool *offline)
{
    char *path = service_lock_path(dir), text[64] = "", word[16] = "";
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDONLY | O_CLOEXEC), pid = 0;
    free(path);
    if (fd < 0)
        return 0;
    bool held =
        !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK; /* asks only: it cannot get in an `up`'s way */
    ssize_t n = held ? read(fd, text, sizeof text - 1) : 0;
    close(fd);
    if (n <= 0 || sscanf(text, "%d %15s", &pid, word) < 1 || pid <= 0)
        return 0;
    if (offline)
        *offline = !strcmp(word, "offline");
    return pid;
}

enum presence { ABSENT, STALE, LISTENS };

/* What is no ipc:// address is found out by connecting. STALE: a socket without a listener, left by a service that was
 * killed and may be on its way back. */
static enum presence presence_of(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strncmp(endpoint, "ipc://", 6) || strlen(endpoint + 6) >= sizeof address.sun_path)
        return LISTENS;
    memcpy(address.sun_path, endpoint + 6, strlen(endpoint + 6));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there = fd >= 0 && !connect(fd, (const struct sockaddr *)&address, sizeof address);
    int error = errno;
    if (fd >= 0)
        close(fd);
    return there ? LISTENS : error == ECONNREFUSED ? STALE : ABSENT;
}

static bool answers(const struct autobots_options *options, const char *operation)
{
    struct autobots_options brief = *options;
    char *answer = NULL;
    brief.timeout_ms = STALE_MS;
    struct autobots *bots = autobots_open(&brief, NULL);
    bool ok = bots && !autobots_query(bots, operation, NULL, &answer, NULL);
    free(answer);
    autobots_close(bots);
    return ok;
}

static bool is_there(const struct autobots_options *options, const char *endpoint, const char *operation)
{
    enum presence presence = presence_of(endpoint);
    return presence == LISTENS || (presence == STALE && answers(options, operation));
}

static bool endpoint_given(const struct cli *cli, enum ab_config_key key)
{
    return strcmp(ab_config_source(cli->config, key), "default");
}

static int no_service(struct cli *cli)
{
    const char *dir = ab_config_text(cli->config, AB_CONF_DIR);
    if (endpoint_given(cli, AB_CONF_ENDPOINT))
        return cli_failf(cli, CLI_NO_SERVICE, "no service at %s",
                         ab_config_text(cli->config, AB_CONF_ENDPOINT));
    return cli_failf(cli, CLI_NO_SERVICE, "no service in %s; start one: autobots up -d", dir);
}

struct autobots *service_open(struct cli *cli, unsigned needs, int *code)
{
    const char *dir = ab_config_text(cli->config, AB_CONF_DIR);
    bool remote = endpoint_given(cli, AB_CONF_ENDPOINT), starting = service_supervisor(dir, NULL) > 0;
    struct autobots_options options = {.endpoint = ab_config_text(cli->config, AB_CONF_ENDPOINT),
                                       .storage = ab_config_text(cli->config, AB_CONF_STORAGE_ENDPOINT),
                                       .user = cli->user,
                                       .program = "autobots"};
    if (remote && !endpoint_given(cli, AB_CONF_STORAGE_ENDPOINT))
        options.storage = NULL; /* the broker names it */
    if (!options.storage)
        needs |= SERVICE_BROKER;
    bool there = starting || ((!(needs & SERVICE_BROKER) || is_there(&options, options.endpoint, "status")) &&
                              (!(needs & SERVICE_STORAGE) || !options.storage ||
                               is_there(&options, options.storage, "storage_status")));
    if (!there) {
        *code = no_service(cli);
        return NULL;
    }
    struct autobots_error err;
    struct autobots *bots = autobots_open(&options, &err);
    if (!bots) {
        *code = cli_fail(cli, &err);
        return NULL;
    }
    if (!(needs & SERVICE_BROKER) || !autobots_connect(bots, starting ? STARTING_MS : CONNECT_MS, &err))
        return bots;
    autobots_close(bots);
    *code = err.code == AUTOBOTS_EUNAVAILABLE ? no_service(cli) : cli_fail(cli, &err);
    return NULL;
}

json_t *service_ask(struct cli *cli, struct autobots *bots, const char *operation, json_t *request, int *code)
{
    struct autobots_error err;
    char *text = json_dumps(request, JSON_COMPACT), *answer = NULL;
    json_t *tree = NULL;
    struct ab_error fault;
    json_decref(request);
    if (autobots_query(bots, operation, text, &answer, &err))
        *code = cli_fail(cli, &err);
    else if (ab_json_parse(ab_view_of(answer), &tree, &fault))
        *code = cli_failf(cli, CLI_FAILED, "the answer of %s is no JSON: %s", operation, fault.text);
    free(text);
    free(answer);
    return tree;
}

bool service_job(struct cli *cli, struct autobots *bots, const char *word, char id[AUTOBOTS_ID_TEXT], int *code)
{
    struct ab_id parsed;
    if (strlen(word) == AUTOBOTS_ID_TEXT - 1 && ab_id_parse(ab_view_of(word), &parsed)) {
        ab_id_text(parsed, id);
        return true;
    }
    json_t *answer = service_ask(cli, bots, "get_job", json_pack("{s:s}", "job", word), code);
    const char *found = ab_tree_str(json_object_get(answer, "job"), "id");
    bool ok = found && strlen(found) == AUTOBOTS_ID_TEXT - 1;
    if (ok)
        memcpy(id, found, AUTOBOTS_ID_TEXT);
    else if (answer)
        *code = cli_failf(cli, CLI_FAILED, "the service's answer about %s has no id", word);
    json_decref(answer);
    return ok;
}
