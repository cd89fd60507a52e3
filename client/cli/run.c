/* A whole run: its journal, read page by page from storage, and drawn as a timeline. */
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/timeline.h"
#include "common/clock.h"
#include "common/tree.h"

enum { PAGE_MAX = 1000, COLUMNS_DEFAULT = 80 };

/* ---- events ---- */

/* Moves a page's events over, each with its seq; `last` is that of the last one. */
static void add_page(json_t *events, const json_t *page, int64_t last)
{
    size_t i, n = json_array_size(page);
    json_t *event;
    json_array_foreach (page, i, event) {
        json_object_set_new(event, "seq", json_integer(last - (int64_t)(n - 1 - i)));
        json_array_append(events, event);
    }
}

void run_add_hex(struct ab_buf *out, const char *hex)
{
    for (; hex && *hex; hex++)
        if (*hex != '-')
            ab_buf_char(out, *hex);
}

json_t *run_events(struct cli *cli, struct autobots *bots, const char *id, struct ab_buf *bytes, int *code)
{
    json_t *events = json_array();
    int64_t after = 0;
    for (bool more = true; more;) {
        json_t *answer =
            service_ask(cli, bots, "journal",
                        json_pack("{s:s, s:s, s:I, s:i, s:b}", "job", id, "user", cli->user, "after",
                                  (json_int_t)after, "limit", PAGE_MAX, "raw", bytes != NULL),
                        code);
        if (!answer) {
            json_decref(events);
            return NULL;
        }
        int64_t last = ab_tree_int(answer, "seq", after);
        add_page(events, json_object_get(answer, "events"), last);
        if (bytes)
            run_add_hex(bytes, ab_tree_str(answer, "raw"));
        more = ab_tree_bool(answer, "more", false) && last > after;
        after = last;
        json_decref(answer);
    }
    return events;
}

/* ---- the timeline ---- */

static unsigned timeline_columns(void)
{
    uint64_t number;
    const char *given = getenv("COLUMNS");
    if (term_columns(stdout))
        return (unsigned)term_columns(stdout);
    if (given && parse_number(given, &number) && number >= 1 && number <= TIMELINE_COLUMNS_MAX)
        return (unsigned)number;
    return COLUMNS_DEFAULT;
}

int run_timeline(struct cli *cli, struct autobots *bots, const json_t *job)
{
    int code = CLI_DONE;
    const char *id = ab_tree_str(job, "id"), *state = ab_tree_str(job, "state");
    json_t *events = run_events(cli, bots, id ? id : "", NULL, &code);
    if (!events)
        return code;
    json_t *timeline = timeline_of(events, ab_wall_ms());
    json_object_set_new(timeline, "id", json_string(id));
    json_object_set_new(timeline, "state", json_string(state ? state : "?"));
    if (cli->json) {
        term_json(stdout, json_incref(timeline));
    } else {
        bool fancy = isatty(STDOUT_FILENO) && !strcmp(nl_langinfo(CODESET), "UTF-8");
        printf("%s  %s\n", id, state ? state : "?");
        timeline_draw(stdout, timeline, timeline_columns(), fancy, term_colours(stdout));
    }
    json_decref(timeline);
    json_decref(events);
    return CLI_DONE;
}
