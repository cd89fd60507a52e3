/* The verbs of jobs: watch, jobs, show. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/usage.h"
#include "common/clock.h"
#include "common/tree.h"

enum { JOBS_SHOWN = 20, PAGE_MAX = 1000 };

/* How the service was named on this command line, for commands that are printed: " --dir X" or "". */
static char *where(const struct cli *cli)
{
    static const struct {
        enum ab_config_key key;
        const char *flag;
    } rows[] = {{AB_CONF_DIR, "--dir"}, {AB_CONF_ENDPOINT, "--endpoint"}};
    struct ab_buf text = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strncmp(ab_config_source(cli->config, rows[i].key), "flag", 4))
            ab_buf_format(&text, " %s %s", rows[i].flag, ab_config_text(cli->config, rows[i].key));
    if (cli->option[OPT_user])
        ab_buf_format(&text, " --user %s", cli->user);
    return ab_buf_detach(&text);
}

int say_what_next(struct cli *cli, int code, const char *job)
{
    char *more = where(cli);
    fflush(stdout);
    if (code == CLI_DETACHED)
        fprintf(stderr,
                "\ndetached; the job goes on.\n  watch:  autobots watch %s%s\n  cancel: autobots cancel %s%s\n",
                job, more, job, more);
    else if (code == CLI_WAITING)
        fprintf(
            stderr,
            "the job waits for an answer.\n  answer: autobots input %s TEXT%s\n  watch:  autobots watch %s%s\n",
            job, more, job, more);
    free(more);
    return code;
}

/* ---- watch ---- */

/* A full id needs no look-up, hence no storage. */
struct autobots *open_for_job(struct cli *cli, char id[AUTOBOTS_ID_TEXT], int *code)
{
    unsigned needs =
        strlen(cli->words[0]) == AUTOBOTS_ID_TEXT - 1 ? SERVICE_BROKER : SERVICE_BROKER | SERVICE_STORAGE;
    struct autobots *bots = service_open(cli, needs, code);
    if (bots && service_job(cli, bots, cli->words[0], id, code))
        return bots;
    autobots_close(bots);
    return NULL;
}

int verb_watch(struct cli *cli)
{
    int code;
    uint64_t after = 0;
    char id[AUTOBOTS_ID_TEXT];
    if (cli->option[OPT_after] && !parse_number(cli->option[OPT_after], &after))
        return cli_failf(cli, CLI_USAGE, "--after %s is no event number", cli->option[OPT_after]);
    struct autobots *bots = open_for_job(cli, id, &code);
    if (!bots)
        return code;
    view_catch_signals();
    struct view *view = view_create(cli, stdout, cli->json);
    code = view_follow(view, bots, id, after);
    view_destroy(view);
    autobots_close(bots);
    return say_what_next(cli, code, id);
}

/* ---- jobs ---- */

/* What a job without a result waits for and has used, from its journal: {"usage_so_far": {calls, tokens, cost},
 * "waiting"}. It is open, or was ended while no worker had it. One page is read; what goes on beyond it is not summed up. */
static int add_used(struct cli *cli, struct autobots *bots, json_t *job)
{
    int code = CLI_DONE;
    int64_t seq = ab_tree_int(job, "seq", 0);
    const char *state = ab_tree_str(job, "state");
    bool waits = state && !strcmp(state, "waiting");
    if (json_object_get(json_object_get(job, "end"), "result") || !seq)
        return CLI_DONE;
    struct usage usage = {0};
    char cost[USAGE_TEXT];
    json_t *answer =
        service_ask(cli, bots, "journal",
                    json_pack("{s:s, s:s, s:I, s:i}", "job", ab_tree_str(job, "id"), "user", cli->user, "after",
                              (json_int_t)(seq > PAGE_MAX ? seq - 1 : 0), "limit", PAGE_MAX),
                    &code);
    json_t *events = json_object_get(answer, "events"), *event;
    size_t i;
    json_array_foreach (events, i, event)
        usage_add(&usage, event);
    event = json_array_get(events, json_array_size(events) - 1);
    if (waits && ab_tree_str(event, "kind") && !strcmp(ab_tree_str(event, "kind"), "waiting"))
        json_object_set(job, "waiting", event);
    if (seq <= PAGE_MAX && !ab_tree_bool(answer, "more", false))
        json_object_set_new(job, "usage_so_far",
                            json_pack("{s:I, s:I, s:s}", "calls", (json_int_t)usage.calls, "tokens",
                                      (json_int_t)usage.tokens, "cost", usage_cost(&usage, cost)));
    json_decref(answer);
    return code;
}

static void print_waiting(const json_t *job)
{
    const json_t *waiting = json_object_get(job, "waiting");
    const char *agent = ab_tree_str(waiting, "agent"), *prompt = ab_tree_str(waiting, "prompt");
    char *budget = term_line(ab_tree_str(waiting, "budget") ? ab_tree_str(waiting, "budget") : "", 0);
    if (*budget)
        printf("    waits for room in a budget: %s\n", budget);
    free(budget);
    if (!prompt)
        return;
    char *who = term_line(agent ? agent : "it", 40), *what = term_line(prompt, 100);
    printf("    %s asks: %s\n", who, what);
    free(who);
    free(what);
}

/* A narrower terminal shows the beginning of the id, which is enough to name the job, day and minute, and the message. */
enum { WIDE_COLUMNS = 130, ID_SHOWN = 18, YEAR_CHARS = sizeof "2026-" - 1 };

static void print_job_row(const json_t *job)
{
    const json_t *total = json_object_get(
        json_object_get(json_object_get(json_object_get(job, "end"), "result"), "usage"), "total");
    const json_t *so_far = json_object_get(job, "usage_so_far");
    char tokens[USAGE_TEXT], cost[USAGE_TEXT];
    usage_texts(total, tokens, cost);
    if (so_far)
        snprintf(tokens, sizeof tokens, "%lld", (long long)ab_tree_int(so_far, "tokens", 0));
    if (so_far && ab_tree_int(so_far, "calls", 0))
        snprintf(cost, sizeof cost, "%s", ab_tree_str(so_far, "cost"));
    const char *state = ab_tree_str(job, "state"), *id = ab_tree_str(job, "id");
    const json_t *content = json_object_get(job, "content");
    char when[32], *text = term_line(json_is_string(content) ? json_string_value(content) : "[parts]", 48);
    char *name = term_line(ab_tree_str(job, "workflow") ? ab_tree_str(job, "workflow") : "", 16);
    term_time(ab_tree_int(job, "created_ms", 0), when);
    if (term_columns(stdout) && term_columns(stdout) < WIDE_COLUMNS)
        term_row(stdout, "%.*s  %-9s  %.11s  %s", ID_SHOWN, id ? id : "?", state ? state : "?",
                 when + YEAR_CHARS, text);
    else
        term_row(stdout, "%s  %-9s  %s  %8s tokens  %-8s  %-16s  %s", id ? id : "?", state ? state : "?", when,
                 tokens, cost, name, text);
    print_waiting(job);
    free(text);
    free(name);
}

/* Page by page, until `limit` rows are shown or there are no more. A page may be short, even empty, and yet have a next one:
 * storage looks at so many rows for each. */
static int show_jobs(struct cli *cli, struct autobots *bots, json_t *request, uint64_t limit)
{
    int code = CLI_DONE;
    uint64_t shown = 0;
    json_int_t next = 0;
    do {
        uint64_t page = limit - shown < PAGE_MAX ? limit - shown : PAGE_MAX;
        json_object_set_new(request, "limit", json_integer((json_int_t)page));
        if (next)
            json_object_set_new(request, "after", json_integer(next));
        json_t *answer = service_ask(cli, bots, "list_jobs", json_incref(request), &code);
        const json_t *jobs = json_object_get(answer, "jobs");
        for (size_t i = 0; i < json_array_size(jobs) && !code; i++, shown++) {
            code = add_used(cli, bots, json_array_get(jobs, i));
            if (cli->json)
                term_json(stdout, json_incref(json_array_get(jobs, i)));
            else
                print_job_row(json_array_get(jobs, i));
        }
        next = ab_tree_int(answer, "next", 0);
        json_decref(answer);
    } while (next && shown < limit && !code);
    if (!code && !cli->json && !shown)
        fprintf(stderr, "no jobs\n");
    return code;
}

int verb_jobs(struct cli *cli)
{
    int code = CLI_DONE;
    uint64_t limit = JOBS_SHOWN;
    int64_t since;
    json_t *request = json_object();
    if (cli->option[OPT_limit] && (!parse_number(cli->option[OPT_limit], &limit) || !limit))
        code = cli_failf(cli, CLI_USAGE, "--limit is a number from 1 on");
    if (cli->option[OPT_since] && !parse_since(cli->option[OPT_since], ab_wall_ms(), &since))
        code = cli_failf(cli, CLI_USAGE, "--since %s is neither a duration (2h) nor a date (2026-01-31)",
                         cli->option[OPT_since]);
    else if (cli->option[OPT_since])
        json_object_set_new(request, "since_ms", json_integer(since < 0 ? 0 : since));
    if (cli->option[OPT_state])
        json_object_set_new(request, "state", json_string(cli->option[OPT_state]));
    if (cli->option[OPT_session])
        json_object_set_new(request, "session", json_string(cli->option[OPT_session]));
    struct autobots *bots = code ? NULL : service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        code = show_jobs(cli, bots, request, limit);
    json_decref(request);
    autobots_close(bots);
    return code;
}

/* ---- show ---- */

static json_t *value_or_null(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return value ? json_incref(value) : json_null();
}

/* What the broker knows better than storage while the job is open; absent if there is no broker. */
static json_t *live_status(struct cli *cli, const char *id)
{
    struct autobots_error err;
    char *answer = NULL, *request = ab_format("{\"job\":\"%s\"}", id);
    json_t *tree = NULL;
    struct autobots *bots = autobots_open(
        &(struct autobots_options){
            .endpoint = ab_config_text(cli->config, AB_CONF_ENDPOINT), .user = cli->user, .timeout_ms = 2000},
        NULL);
    if (bots && !autobots_query(bots, "job_status", request, &answer, &err))
        ab_json_parse(ab_view_of(answer), &tree, NULL);
    autobots_close(bots);
    free(answer);
    free(request);
    return tree;
}

static json_t *shown_error(const json_t *end)
{
    if (!ab_tree_str(end, "code"))
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "code", value_or_null(end, "code"), "text", value_or_null(end, "text"),
                     "path", value_or_null(end, "path"));
}

/* One object: id, state, attempt, result, error, and more. */
static json_t *shown_job(struct cli *cli, struct autobots *bots, json_t *job)
{
    add_used(cli, bots, job); /* if it fails, the rest is shown */
    const json_t *end = json_object_get(job, "end");
    json_t *shown = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", value_or_null(job, "id"), "state",
                              value_or_null(job, "state"), "attempt", value_or_null(job, "attempt"), "result",
                              value_or_null(end, "result"), "error", shown_error(end), "content",
                              value_or_null(end, "content"), "stop_reason", value_or_null(end, "stop_reason"));
    static const char *const more[] = {"n",        "user",     "session",      "seq",     "created_ms",
                                       "ended_ms", "workflow", "usage_so_far", "fork_of", "fork_seq"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        json_object_set_new(shown, more[i], value_or_null(job, more[i]));
    json_object_set_new(shown, "message", value_or_null(job, "content"));
    if (json_is_null(json_object_get(shown, "attempt")))
        json_object_set_new(shown, "attempt", json_integer(0));
    json_t *live = end ? NULL : live_status(cli, ab_tree_str(job, "id"));
    const char *state = ab_tree_str(live, "state");
    if (state && strcmp(state, "not_found"))
        json_object_update(shown, live);
    json_decref(live);
    return shown;
}

static void print_field(const json_t *shown, const char *key)
{
    const json_t *value = json_object_get(shown, key);
    if (!value || json_is_null(value))
        return;
    char *text = json_is_string(value) ? ab_strdup(json_string_value(value))
                                       : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    printf("%-12s ", key);
    term_text(stdout, text, strlen(text));
    fputs("\n", stdout);
    free(text);
}

static void print_error(const json_t *error)
{
    const char *text = ab_tree_str(error, "text"), *path = ab_tree_str(error, "path");
    if (!text)
        return;
    printf("%-12s ", "error");
    term_text(stdout, text, strlen(text));
    char *where = term_line(path && *path ? path : "", 0);
    printf(" (%s%s%s)\n", ab_tree_str(error, "code"), *where ? ", at " : "", where);
    free(where);
}

static void print_shown(const json_t *shown)
{
    static const char *const keys[] = {"id",       "state",   "why",         "position", "attempt",
                                       "worker",   "user",    "session",     "workflow", "fork_of",
                                       "fork_seq", "message", "stop_reason", "content"};
    char when[32];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        print_field(shown, keys[i]);
    print_error(json_object_get(shown, "error"));
    term_time(ab_tree_int(shown, "created_ms", 0), when);
    printf("%-12s %s\n", "accepted", when);
    if (ab_tree_int(shown, "wake_at_ms", 0)) {
        term_time(ab_tree_int(shown, "wake_at_ms", 0), when);
        printf("%-12s %s\n", "goes on at", when);
    }
    if (ab_tree_int(shown, "ended_ms", 0)) {
        term_time(ab_tree_int(shown, "ended_ms", 0), when);
        printf("%-12s %s\n", "ended", when);
    }
    const json_t *usage = json_object_get(json_object_get(shown, "result"), "usage");
    const json_t *total = json_object_get(usage, "total"), *so_far = json_object_get(shown, "usage_so_far");
    char *line = total ? usage_line(total) : NULL;
    if (line)
        printf("%-12s %s\n", "usage", line);
    else if (json_is_object(so_far))
        printf("%-12s %lld calls, %lld tokens, %s, so far\n", "usage",
               (long long)ab_tree_int(so_far, "calls", 0), (long long)ab_tree_int(so_far, "tokens", 0),
               ab_tree_str(so_far, "cost"));
    free(line);
}

int verb_show(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer =
        bots ? service_ask(cli, bots, "get_job", json_pack("{s:s}", "job", cli->words[0]), &code) : NULL;
    json_t *job = json_object_get(answer, "job");
    if (answer && !json_is_object(job))
        code = cli_failf(cli, CLI_FAILED, "the service's answer has no job");
    else if (answer && cli->option[OPT_timeline])
        code = run_timeline(cli, bots, job);
    else if (answer) {
        json_t *shown = shown_job(cli, bots, job);
        if (cli->json)
            term_json(stdout, json_incref(shown));
        else
            print_shown(shown);
        json_decref(shown);
    }
    json_decref(answer);
    autobots_close(bots);
    return code;
}
