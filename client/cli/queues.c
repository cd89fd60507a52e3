/* `queues`: what waits in each pool, and halting it. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/tree.h"

static void print_row(const json_t *row)
{
    const char *of = ab_tree_str(row, "of"), *by = ab_tree_str(row, "by"), *reason = ab_tree_str(row, "reason");
    char *pool = term_line(ab_tree_str(row, "pool"), 16), *user = term_line(of && *of ? of : "all", 10);
    printf("%-16s  %-10s  %-8s", pool, user, ab_tree_str(row, "state"));
    printf(" %7lld %7lld %7lld %8.1f", (long long)ab_tree_int(row, "open", 0),
           (long long)ab_tree_int(row, "ready", 0), (long long)ab_tree_int(row, "running", 0),
           (double)ab_tree_int(row, "oldest_ready_ms", 0) / 1000);
    if (!of || !*of)
        printf(" %7lld", (long long)ab_tree_int(row, "workers", 0));
    fputs("\n", stdout);
    if (ab_tree_int(row, "at_ms", 0)) {
        char when[32], *who = term_line(by ? by : "?", 20), *why = term_line(reason ? reason : "", 0);
        term_time(ab_tree_int(row, "at_ms", 0), when);
        printf("    since %s by %s%s%s\n", when, who, *why ? ": " : "", why);
        free(who);
        free(why);
    }
    free(pool);
    free(user);
}

static void print_rows(struct cli *cli, const json_t *rows)
{
    size_t i;
    json_t *row;
    if (!cli->json)
        printf("%-16s  %-10s  %-8s %7s %7s %7s %8s %7s\n", "pool", "users", "state", "open", "ready", "running",
               "oldest,s", "workers");
    json_array_foreach (rows, i, row) {
        if (cli->json)
            term_json(stdout, json_incref(row));
        else
            print_row(row);
    }
}

int verb_queues(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_BROKER, &code);
    json_t *answer = bots ? service_ask(cli, bots, "queues", json_pack("{s:b}", "all", 1), &code) : NULL;
    if (answer)
        print_rows(cli, json_object_get(answer, "queues"));
    if (ab_tree_bool(answer, "more", false))
        fprintf(stderr, "and more\n");
    json_decref(answer);
    autobots_close(bots);
    return code;
}

int verb_queues_control(struct cli *cli)
{
    static const struct {
        const char *verb, *state;
    } states[] = {{"queues pause", "paused"}, {"queues drain", "draining"}, {"queues resume", "running"}};
    int code = CLI_DONE;
    const char *state = NULL, *of = cli->option[OPT_of];
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (!strcmp(cli->verb->name, states[i].verb))
            state = states[i].state;
    struct autobots *bots = service_open(cli, SERVICE_BROKER, &code);
    if (!bots)
        return code;
    json_t *request = json_pack("{s:s, s:s}", "pool", cli->words[0], "state", state);
    if (of)
        json_object_set_new(request, "of", json_string(of));
    if (cli->n > 1)
        json_object_set_new(request, "reason", json_string(cli->words[1]));
    json_t *answer = service_ask(cli, bots, "control_queue", request, &code);
    if (answer && cli->json)
        term_json(stdout, json_pack("{s:s, s:s*, s:s}", "pool", cli->words[0], "of", of, "state", state));
    else if (answer)
        fprintf(stderr, "%s%s%s: %s\n", cli->words[0], of ? ", jobs of " : "", of ? of : "", state);
    json_decref(answer);
    autobots_close(bots);
    return code;
}
