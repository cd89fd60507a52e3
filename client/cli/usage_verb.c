/* `usage`: what models were used for, summed by storage; nothing is added up here. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/money.h"
#include "common/tree.h"

/* The columns fit 80 with what money is usually written as; a session's id is cut on a terminal that narrow. */
enum { KEY_WIDE = 36, KEY_NARROW = 12, NARROW_COLUMNS = 104 };

static int key_columns(void)
{
    size_t columns = term_columns(stdout);
    return columns && columns < NARROW_COLUMNS ? KEY_NARROW : KEY_WIDE;
}

static bool put_time(struct cli *cli, json_t *request, const char *field, const char *text, int *code)
{
    int64_t ms;
    if (!text)
        return true;
    if (!parse_since(text, ab_wall_ms(), &ms) || ms < 0) {
        *code =
            cli_failf(cli, CLI_USAGE, "%s is no time: 7d, 2h (ago), 2026-01-31 or 2026-01-31T12:00:00Z", text);
        return false;
    }
    json_object_set_new(request, field, json_integer(ms));
    return true;
}

/* The question without its cursor; NULL with the exit code. */
static json_t *question(struct cli *cli, int *code)
{
    const char *by = cli->option[OPT_by];
    json_t *request = json_object();
    const struct {
        const char *field, *value;
    } texts[] = {{"by", by}, {"session", cli->option[OPT_session]}, {"model", cli->option[OPT_model]}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].value)
            json_object_set_new(request, texts[i].field, json_string(texts[i].value));
    if (put_time(cli, request, "since_ms", cli->option[OPT_since], code) &&
        put_time(cli, request, "until_ms", cli->option[OPT_until], code))
        return request;
    json_decref(request);
    return NULL;
}

static void print_cost(const json_t *row)
{
    char usd[AB_USD_TEXT];
    int64_t calls = ab_tree_int(row, "calls", 0), unpriced = ab_tree_int(row, "unpriced_calls", 0);
    int64_t cost = ab_tree_int(row, "cost_pico_usd", 0);
    if (unpriced && unpriced == calls)
        fputs("  unpriced", stdout);
    else
        printf("  %s USD", ab_usd_text(cost > 0 ? (uint64_t)cost : 0, usd));
    if (unpriced && unpriced < calls)
        printf(" + %lld unpriced", (long long)unpriced);
}

/* The thoughts are among the reply's, and stand in --json. */
static const struct {
    const char *key, *title;
    int width;
} columns[] = {{"jobs", "jobs", 5},
               {"calls", "calls", 6},
               {"prompt_tokens", "prompt", 9},
               {"cached_tokens", "cached", 9},
               {"completion_tokens", "reply", 9}};

static void print_head(void)
{
    printf("%-*s", key_columns(), "");
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        printf("  %*s", columns[i].width, columns[i].title);
    printf("  %7s  cost\n", "seconds");
}

/* Of an agent or a model it is not told in how many jobs it was. */
static void print_row(const json_t *row, bool of_jobs)
{
    const char *key = ab_tree_str(row, "key");
    char *name = term_line(key && *key ? key : "total", (size_t)key_columns());
    printf("%-*s", key_columns(), name);
    if (!of_jobs)
        printf("  %*s", columns[0].width, "-");
    for (size_t i = !of_jobs; i < sizeof columns / sizeof *columns; i++)
        printf("  %*lld", columns[i].width, (long long)ab_tree_int(row, columns[i].key, 0));
    printf("  %7.1f", (double)ab_tree_int(row, "model_ms", 0) / 1000);
    print_cost(row);
    fputs("\n", stdout);
    free(name);
}

static void print_rows(struct cli *cli, const json_t *rows, bool first)
{
    size_t i;
    json_t *row;
    const char *by = cli->option[OPT_by];
    bool of_jobs = !by || (strcmp(by, "agent") && strcmp(by, "model"));
    if (!cli->json && first)
        print_head();
    json_array_foreach (rows, i, row) {
        if (cli->json)
            term_json(stdout, json_incref(row));
        else
            print_row(row, of_jobs);
    }
}

int verb_usage(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    const char *by = cli->option[OPT_by];
    bool all = by && !strcmp(by, "user") && !cli->option[OPT_user];
    json_t *request = bots ? question(cli, &code) : NULL;
    for (bool first = true, more = request; more; first = false) {
        json_t *answer = service_ask(cli, bots, all ? "usage_all" : "usage", json_incref(request), &code);
        print_rows(cli, json_object_get(answer, "usage"), first && answer);
        json_t *next = json_object_get(answer, "next");
        if (next)
            json_object_set(request, "after", next);
        more = next;
        json_decref(answer);
    }
    json_decref(request);
    autobots_close(bots);
    return code;
}
