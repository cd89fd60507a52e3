/* `budget`: limits of a user, a session or a job, what of them is spent, and raising them. A job's own go through its inbox,
 * so that one that waits goes on; the others are storage's. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/budget.h"
#include "common/clock.h"
#include "common/tree.h"

/* Whose: a job (its full id), a session, or the user. */
struct owner {
    char job[AUTOBOTS_ID_TEXT]; /* "" if none */
    const char *session, *period;
};

static int read_owner(struct cli *cli, struct autobots *bots, struct owner *owner)
{
    int code = CLI_DONE;
    *owner = (struct owner){.session = cli->option[OPT_session], .period = cli->option[OPT_per]};
    if (cli->option[OPT_job] && owner->session)
        return cli_failf(cli, CLI_USAGE, "--job and --session at once: a budget is of one of them");
    if (cli->option[OPT_job])
        service_job(cli, bots, cli->option[OPT_job], owner->job, &code);
    return code;
}

/* ---- asking ---- */

static json_t *ask_rows(struct cli *cli, struct autobots *bots, const struct owner *owner, int *code)
{
    json_t *request = json_object();
    if (*owner->job)
        json_object_set_new(request, "job", json_string(owner->job));
    if (owner->session)
        json_object_set_new(request, "session", json_string(owner->session));
    json_t *answer = service_ask(cli, bots, "list_budgets", request, code);
    json_t *rows = answer ? json_incref(json_object_get(answer, "budgets")) : NULL;
    json_decref(answer);
    return rows;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = ab_tree_str(row, key);
    return text ? text : "";
}

/* What the row says of `key`, as a person reads it. */
static const char *amount_of(const json_t *row, int64_t amount, char text[AB_BUDGET_AMOUNT_TEXT])
{
    enum ab_budget_unit unit = ab_budget_unit_of(ab_view_of(text_of(row, "unit")));
    return unit == AB_BUDGET_UNITS_N ? "?" : ab_budget_amount(unit, (uint64_t)(amount < 0 ? 0 : amount), text);
}

/* A narrow terminal shows the beginning of a session's or a job's id. */
enum { NAME_WIDE = 36, NAME_NARROW = 14, NARROW_COLUMNS = 102, AMOUNT_COLUMNS = 9 };

static int name_columns(void)
{
    size_t columns = term_columns(stdout);
    return columns && columns < NARROW_COLUMNS ? NAME_NARROW : NAME_WIDE;
}

/* "12 tokens" without its unit, which has a column of its own. */
static void print_number(const char *amount)
{
    printf(" %*.*s", AMOUNT_COLUMNS, (int)strcspn(amount, " "), amount);
}

static void print_row(const json_t *row)
{
    static const char *const columns[] = {"limit", "settled", "reserved"};
    char text[AB_BUDGET_AMOUNT_TEXT];
    int64_t left =
        ab_tree_int(row, "limit", 0) - ab_tree_int(row, "settled", 0) - ab_tree_int(row, "reserved", 0);
    char *name = term_line(text_of(row, "name"), (size_t)name_columns()),
         *scope = term_line(text_of(row, "scope"), 8);
    char *period = term_line(text_of(row, "period"), 6);
    printf("%-7s  %-*s  %-5s  %-7s", scope, name_columns(), name, period, text_of(row, "unit"));
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        print_number(amount_of(row, ab_tree_int(row, columns[i], 0), text));
    print_number(amount_of(row, left, text));
    if (ab_tree_int(row, "overshoots", 0))
        printf("  over what was reserved: %s in %lld replies",
               amount_of(row, ab_tree_int(row, "overshoot", 0), text),
               (long long)ab_tree_int(row, "overshoots", 0));
    if (ab_tree_int(row, "waiting", 0))
        printf("  %lld jobs wait", (long long)ab_tree_int(row, "waiting", 0));
    fputs("\n", stdout);
    free(name);
    free(scope);
    free(period);
}

static void print_rows(struct cli *cli, const json_t *rows)
{
    size_t i;
    json_t *row;
    if (!cli->json && json_array_size(rows))
        printf("%-7s  %-*s  %-5s  %-7s %*s %*s %*s %*s\n", "of", name_columns(), "", "per", "", AMOUNT_COLUMNS,
               "limit", AMOUNT_COLUMNS, "spent", AMOUNT_COLUMNS, "reserved", AMOUNT_COLUMNS, "left");
    json_array_foreach (rows, i, row) {
        if (cli->json)
            term_json(stdout, json_incref(row));
        else
            print_row(row);
    }
    if (!cli->json && !json_array_size(rows))
        fprintf(stderr, "no budgets\n");
}

/* ---- verbs ---- */

int verb_budget(struct cli *cli)
{
    int code = CLI_DONE;
    struct owner owner;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        code = read_owner(cli, bots, &owner);
    json_t *rows = bots && !code ? ask_rows(cli, bots, &owner, &code) : NULL;
    if (rows)
        print_rows(cli, rows);
    json_decref(rows);
    autobots_close(bots);
    return code;
}

static int send_limits(struct cli *cli, struct autobots *bots, const struct owner *owner, const char *limits)
{
    int code = CLI_DONE;
    struct autobots_error err;
    if (*owner->job)
        return autobots_budget(bots, owner->job, limits, &err) ? cli_fail(cli, &err) : CLI_DONE;
    json_t *request = json_pack("{s:s}", "limits", limits);
    if (owner->session)
        json_object_set_new(request, "session", json_string(owner->session));
    if (owner->period)
        json_object_set_new(request, "period", json_string(owner->period));
    json_decref(service_ask(cli, bots, "set_budget", request, &code));
    return code;
}

/* "tokens,usd" → "tokens=none,usd=none" */
static int none_of(struct cli *cli, const char *units, char text[AB_BUDGET_TEXT_MAX])
{
    struct ab_budget budget = {0};
    for (size_t n; *units; units += n + (units[n] == ',')) {
        n = strcspn(units, ",");
        enum ab_budget_unit unit = ab_budget_unit_of(ab_view(units, n));
        if (unit == AB_BUDGET_UNITS_N)
            return cli_failf(cli, CLI_USAGE, "%.*s is none of tokens, usd, calls, turns, seconds", (int)n,
                             units);
        budget.none[unit] = true;
    }
    ab_budget_text(&budget, text);
    return CLI_DONE;
}

static const json_t *row_of(const json_t *rows, const char *scope, const char *period, const char *unit)
{
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (!strcmp(text_of(row, "scope"), scope) && !strcmp(text_of(row, "period"), period) &&
            !strcmp(text_of(row, "unit"), unit))
            return row;
    return NULL;
}

/* What is there, and so much more: the request names the sum, so that sending it twice raises once. */
static int raised(struct cli *cli, struct autobots *bots, const struct owner *owner, struct ab_budget *more)
{
    const char *scope = *owner->job ? "job" : owner->session ? "session" : "user";
    int code = CLI_DONE;
    json_t *rows = ask_rows(cli, bots, owner, &code);
    for (int unit = 0; !code && unit < AB_BUDGET_UNITS_N; unit++) {
        const char *name = ab_budget_unit_name((enum ab_budget_unit)unit);
        const json_t *row = row_of(rows, scope, owner->period ? owner->period : "total", name);
        if (!more->limit[unit].is)
            continue;
        if (!row)
            code = cli_failf(cli, CLI_FAILED, "there is no such limit of %s: set one with `budget set`", name);
        else
            more->limit[unit].value += (uint64_t)ab_tree_int(row, "limit", 0);
    }
    json_decref(rows);
    return code;
}

static int change(struct cli *cli, struct autobots *bots, char limits[AB_BUDGET_TEXT_MAX], bool raise)
{
    struct owner owner;
    struct ab_budget budget;
    int code = read_owner(cli, bots, &owner);
    if (!code && raise) {
        ab_budget_read(ab_view_of(limits), false, &budget, NULL); /* it was read before */
        code = raised(cli, bots, &owner, &budget);
        ab_budget_text(&budget, limits);
    }
    if (!code)
        code = send_limits(cli, bots, &owner, limits);
    json_t *rows = code ? NULL : ask_rows(cli, bots, &owner, &code);
    if (rows)
        print_rows(cli, rows);
    json_decref(rows);
    return code;
}

int verb_budget_set(struct cli *cli)
{
    bool rm = !strcmp(cli->verb->name, "budget rm"), raise = !strcmp(cli->verb->name, "budget raise");
    char limits[AB_BUDGET_TEXT_MAX];
    struct ab_budget budget;
    struct ab_error err;
    int code = rm ? none_of(cli, cli->words[0], limits) : CLI_DONE;
    if (!rm && ab_budget_read(ab_view_of(cli->words[0]), !raise, &budget, &err))
        code = cli_failf(cli, CLI_USAGE, "%s", err.text);
    else if (!rm)
        ab_budget_text(&budget, limits);
    unsigned needs = cli->option[OPT_job] ? SERVICE_BROKER | SERVICE_STORAGE : SERVICE_STORAGE;
    struct autobots *bots = code ? NULL : service_open(cli, needs, &code);
    if (bots)
        code = change(cli, bots, limits, raise);
    autobots_close(bots);
    return code;
}
