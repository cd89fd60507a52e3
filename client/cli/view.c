/* A job that is followed on a terminal (screen.h), or with --json: one event per line. Knows when there is nothing more to
 * follow, and asks why nothing happens.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/screen.h"
#include "common/clock.h"
#include "common/tree.h"

enum { PATIENCE_MS = 1000 }; /* without an event until it is asked why the job does not run */

/* A query under way. Its answer may come when the view follows another job, or never. */
struct asked {
    struct view *view;
    struct asked *next;
    unsigned round;
};

struct view {
    struct cli *cli;
    struct autobots *bots;
    FILE *out;
    bool json, deltas;
    bool moved; /* an event was seen, or it was asked why there is none */
    char job[AUTOBOTS_ID_TEXT];
    bool done;
    int code;
    uint64_t seq;         /* of the last event */
    uint64_t waiting_seq; /* of the last `waiting` event */
    char *ask;            /* the question it asks; NULL: none */
    unsigned round;       /* calls of view_follow */
    struct asked *asked;
    struct screen screen;
};

struct view *view_create(struct cli *cli, FILE *out, bool json)
{
    struct view *view = ab_calloc(1, sizeof *view);
    *view = (struct view){.cli = cli,
                          .out = out,
                          .json = json,
                          .deltas = !json && isatty(fileno(out)),
                          .screen = {.out = out, .colours = term_colours(out), .job = view->job}};
    return view;
}

void view_destroy(struct view *view)
{
    if (!view)
        return;
    while (view->asked) {
        struct asked *asked = view->asked;
        view->asked = asked->next;
        free(asked);
    }
    screen_reset(&view->screen);
    free(view->ask);
    free(view);
}

const char *view_ask(const struct view *view)
{
    return view->ask;
}

uint64_t view_seq(const struct view *view)
{
    return view->seq;
}

/* ---- why does nothing happen? ---- */

static void ask(struct view *view, const char *operation, autobots_done *done)
{
    struct asked *asked = ab_alloc(sizeof *asked);
    char *request = ab_format("{\"job\":\"%s\"}", view->job);
    *asked = (struct asked){view, view->asked, view->round};
    view->asked = asked;
    if (autobots_start_query(view->bots, operation, request, done, asked, NULL)) {
        view->asked = asked->next;
        free(asked);
    }
    free(request);
}

/* The view that still wants this answer, or NULL. */
static struct view *answered(struct asked *asked)
{
    struct view *view = asked->view;
    struct asked **at = &view->asked;
    bool wanted = asked->round == view->round && !view->done;
    while (*at != asked)
        at = &(*at)->next;
    *at = asked->next;
    free(asked);
    return wanted ? view : NULL;
}

static void on_status(void *context, const struct autobots_answer *answer)
{
    struct view *view = answered(context);
    json_t *tree = NULL;
    if (view && !answer->error)
        ab_json_parse(ab_view_of(answer->json), &tree, NULL);
    const char *why = ab_tree_str(tree, "why");
    if (why && !view->json) {
        bool session = !strncmp(why, "session", 7);
        screen_note(&view->screen, "not running yet: %s%s", why,
                    session ? "; see `autobots jobs --state open`" : "");
        fflush(view->out);
    }
    json_decref(tree);
}

static void ask_why_not(struct view *view)
{
    view->moved = true;
    ask(view, "job_status", on_status);
}

/* ---- does it really wait? A replayed journal may hold questions that were answered long ago. ---- */

static void on_record(void *context, const struct autobots_answer *answer)
{
    struct view *view = answered(context);
    json_t *tree = NULL;
    if (!view)
        return;
    if (!answer->error)
        ab_json_parse(ab_view_of(answer->json), &tree, NULL);
    const json_t *job = json_object_get(tree, "job");
    const char *state = ab_tree_str(job, "state");
    if (answer->error ||
        (state && !strcmp(state, "waiting") && (uint64_t)ab_tree_int(job, "seq", 0) == view->waiting_seq)) {
        view->done = true;
        view->code = CLI_WAITING;
    }
    json_decref(tree);
}

static void ask_whether_waiting(struct view *view)
{
    ask(view, "get_job", on_record);
}

static void on_end(struct view *view, json_t *tree)
{
    const char *state = ab_tree_str(tree, "state");
    view->done = true;
    view->code = state && !strcmp(state, "succeeded") ? CLI_DONE : CLI_FAILED;
}

static void on_delta(void *context, const struct autobots_delta *delta)
{
    struct view *view = context;
    screen_delta(&view->screen, delta);
}

static void on_event(void *context, const struct autobots_event *event)
{
    struct view *view = context;
    char *text = autobots_event_json(event);
    view->moved = true;
    view->seq = event->seq;
    json_t *tree = NULL;
    if (view->json)
        term_json_text(view->out, text);
    if (!ab_json_parse(ab_view_of(text), &tree, NULL) && !view->json)
        screen_event(&view->screen, event->kind, tree);
    const char *reason = ab_tree_str(tree, "reason");
    if (!strcmp(event->kind, "waiting") && (!reason || !strcmp(reason, "person"))) {
        view->waiting_seq = event->seq;
        free(view->ask);
        view->ask = ab_tree_str(tree, "ask") ? ab_strdup(ab_tree_str(tree, "ask")) : NULL;
        ask_whether_waiting(view);
    }
    if (event->end)
        on_end(view, tree);
    fflush(view->out);
    json_decref(tree);
    free(text);
}

static void on_error(void *context, const struct autobots_error *error)
{
    struct view *view = context;
    screen_close_line(&view->screen);
    view->done = true;
    view->code = cli_fail(view->cli, error);
}

/* ---- following ---- */

/* What was of the job before stays only if it is the same one. */
static void begin_round(struct view *view, struct autobots *bots, const char *job, uint64_t after)
{
    if (strcmp(view->job, job))
        screen_reset(&view->screen);
    snprintf(view->job, sizeof view->job, "%s", job);
    view->bots = bots;
    view->seq = after;
    view->done = view->moved = false;
    view->code = CLI_DONE;
    view->round++;
}

int view_follow(struct view *view, struct autobots *bots, const char *job, uint64_t after)
{
    struct autobots_error err;
    struct autobots_watch watch = {.after = after,
                                   .deltas = view->deltas,
                                   .on_event = on_event,
                                   .on_delta = view->deltas ? on_delta : NULL,
                                   .on_error = on_error,
                                   .context = view};
    begin_round(view, bots, job, after);
    if (autobots_start_watch(bots, job, &watch, &err))
        return cli_fail(view->cli, &err);
    int64_t ask_ms = ab_mono_ms() + PATIENCE_MS;
    while (!view->done) {
        struct pollfd items[] = {{.fd = autobots_fd(bots), .events = POLLIN},
                                 {.fd = view_signal_fd(), .events = POLLIN}};
        poll(items, 2, autobots_deadline_ms(bots));
        autobots_run(bots);
        if (!view->moved && ab_mono_ms() >= ask_ms)
            ask_why_not(view);
        if (!view->done && view_interrupted()) {
            screen_close_line(&view->screen);
            autobots_stop_watch(bots, job);
            return CLI_DETACHED;
        }
    }
    if (view->code != CLI_DONE)
        screen_close_line(&view->screen);
    autobots_stop_watch(bots, job);
    return view->code;
}
