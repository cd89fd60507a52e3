/* A job as it is seen on a terminal: turns with the speaker's name in colour, pieces of a turn in place while it is
 * written, one footer at the end. With --json: one event per line.
 * What of a piece is shown stream.h decides; whatever is missing when the whole turn arrives is shown then.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/choices.h"
#include "client/cli/cli.h"
#include "client/cli/stream.h"
#include "client/cli/usage.h"
#include "common/clock.h"
#include "common/money.h"
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
    bool json, colours, deltas;
    bool moved; /* an event was seen, or it was asked why there is none */
    bool noted; /* a note stands in the last line: who speaks next is set apart from it */
    char job[AUTOBOTS_ID_TEXT];
    bool done;
    int code;
    bool parked;          /* the last attempt ended with a question: the next one is no repetition */
    uint64_t seq;         /* of the last event */
    uint64_t waiting_seq; /* of the last `waiting` event */
    char *ask;            /* the question it asks; NULL: none */
    unsigned round;       /* calls of view_follow */
    struct asked *asked;
    struct stream stream;
    struct usage usage;     /* of the events that were seen */
    struct choices choices; /* of groupchats whose next speaker a model is choosing */
};

struct view *view_create(struct cli *cli, FILE *out, bool json)
{
    struct view *view = ab_calloc(1, sizeof *view);
    *view = (struct view){.cli = cli,
                          .out = out,
                          .json = json,
                          .colours = term_colours(out),
                          .deltas = !json && isatty(fileno(out))};
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
    stream_close(&view->stream);
    choices_finish(&view->choices);
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

/* ---- pieces ---- */

static void close_line(struct view *view)
{
    if (stream_close(&view->stream))
        fputs("\n", view->out);
}

static void set_apart(struct view *view)
{
    if (view->noted)
        fputs("\n", view->out);
    view->noted = false;
}

/* A step inside of a call of an agent or a workflow says in which: "chat/3.1/chat:2" is in the first one of chat:3. */
static void print_speaker(struct view *view, const char *agent, const char *to, const char *step)
{
    const char *call = step ? strrchr(step, '.') : NULL;
    char *from = term_line(agent, 60), *whom = to ? term_line(to, 60) : NULL;
    set_apart(view);
    fprintf(view->out, "%s%s%s", term_agent_colour(view->colours, agent), from, term_reset(view->colours));
    if (whom)
        fprintf(view->out, "%s → %s%s", term_dim(view->colours), whom, term_reset(view->colours));
    if (call)
        fprintf(view->out, "%s  in %.*s%s", term_dim(view->colours),
                (int)(call + 1 + strcspn(call + 1, "/:") - step), step, term_reset(view->colours));
    fputs("\n", view->out);
    free(from);
    free(whom);
}

static void end_block(struct view *view)
{
    fputs("\n", view->out);
    view->noted = false;
}

static void on_delta(void *context, const struct autobots_delta *delta)
{
    struct view *view = context;
    size_t skip;
    enum stream_act act =
        stream_piece(&view->stream, delta->step, delta->attempt, delta->offset, delta->text_bytes, &skip);
    if (act == STREAM_SKIP)
        return;
    if (act == STREAM_AGAIN)
        fputs("\n… once more\n", view->out);
    if (act != STREAM_GO)
        print_speaker(view, delta->agent, NULL, delta->step);
    term_text(view->out, delta->text + skip, delta->text_bytes - skip);
    fflush(view->out);
}

/* ---- events ---- */

static void print_content(struct view *view, const json_t *content, size_t skip)
{
    if (json_is_string(content)) {
        size_t bytes = json_string_length(content);
        if (skip < bytes)
            term_text(view->out, json_string_value(content) + skip, bytes - skip);
        return;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *text = ab_tree_str(part, "text"), *type = ab_tree_str(part, "type");
        char *clean = text ? NULL : term_line(type ? type : "part", 40);
        if (text)
            term_text(view->out, text, strlen(text));
        else
            fprintf(view->out, "[%s]", clean);
        free(clean);
    }
}

/* By which rule the speaker of a groupchat was chosen; NULL: a model or a person did, who is shown, or there is no groupchat. */
static const char *chosen_by(const json_t *event)
{
    static const char *const rules[][2] = {
        {"round_robin", "in turn"}, {"random", "chosen at random"}, {"only", "nobody else might speak"}};
    const char *chosen = ab_tree_str(event, "chosen");
    for (size_t i = 0; chosen && i < sizeof rules / sizeof *rules; i++)
        if (!strcmp(chosen, rules[i][0]))
            return rules[i][1];
    return NULL;
}

static void print_call(struct view *view, const json_t *event)
{
    const char *model = ab_tree_str(event, "model");
    char *name = term_line(model ? model : "?", 60), text[USAGE_TEXT];
    int64_t latency = ab_tree_int(event, "latency_ms", 0);
    fprintf(view->out, "%s  %s · %lld → %lld tokens%s", term_dim(view->colours), name,
            (long long)ab_tree_int(event, "prompt_tokens", 0),
            (long long)ab_tree_int(event, "completion_tokens", 0),
            ab_tree_bool(event, "estimated", false) ? " (estimated)" : "");
    if (latency)
        fprintf(view->out, " · %.1f s", (double)latency / 1000);
    if (ab_tree_int(event, "tries", 1) > 1)
        fprintf(view->out, " · %lld tries", (long long)ab_tree_int(event, "tries", 1));
    fprintf(view->out, "%s%s", ab_tree_bool(event, "offline", false) ? " · offline" : "",
            ab_tree_bool(event, "cached", false) ? " · from the cache, cost 0" : "");
    int64_t cost = ab_tree_int(event, "cost_pico_usd", 0);
    if (cost)
        fprintf(view->out, " · cost %s USD", ab_usd_text((uint64_t)cost, text));
    if (chosen_by(event))
        fprintf(view->out, " · %s", chosen_by(event));
    if (view->usage.calls > 1)
        fprintf(view->out, " · so far %lld calls, %lld tokens, %s", (long long)view->usage.calls,
                (long long)view->usage.tokens, usage_cost(&view->usage, text));
    fprintf(view->out, "%s\n", term_reset(view->colours));
    free(name);
}

static void note(struct view *view, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Who speaks in a groupchat, where the words of the one who chose do not say it. */
static void show_choice(struct view *view, const char *step, const char *agent)
{
    if (choices_made(&view->choices, step ? step : "", agent ? agent : "") != CHOICE_IN_TURN)
        return;
    note(view, "nobody was named alone: %s is next in the list", agent ? agent : "?");
    view->noted = false; /* see show_model_reply */
}

static void show_turn(struct view *view, const json_t *event)
{
    const char *step = ab_tree_str(event, "step"), *agent = ab_tree_str(event, "agent");
    const json_t *content = json_object_get(event, "content");
    size_t shown;
    show_choice(view, step, agent);
    if (!stream_whole(&view->stream, step, &shown)) {
        close_line(view);
        print_speaker(view, agent ? agent : "?", ab_tree_str(event, "to"), step);
    }
    print_content(view, content, shown);
    if (shown || json_string_length(content) || json_array_size(content)) /* else it only calls tools */
        fputs("\n", view->out);
    if (!strcmp(ab_tree_str(event, "kind"), "model_reply"))
        print_call(view, event);
    else if (chosen_by(event))
        note(view, "  %s", chosen_by(event));
    end_block(view);
}

static void note(struct view *view, const char *format, ...)
{
    char *plain;
    va_list args;
    va_start(args, format);
    if (vasprintf(&plain, format, args) < 0)
        ab_out_of_memory();
    va_end(args);
    char *clean = term_line(plain, 0);
    close_line(view);
    fprintf(view->out, "%s%s%s\n", term_dim(view->colours), clean, term_reset(view->colours));
    view->noted = true;
    free(plain);
    free(clean);
}

/* What a model said that is no agent's turn. */
static void show_model_reply(struct view *view, const json_t *event)
{
    const char *purpose = ab_tree_str(event, "purpose"), *agent = ab_tree_str(event, "agent");
    const char *content = ab_tree_str(event, "content"), *step = ab_tree_str(event, "step");
    if (!purpose) {
        show_turn(view, event);
        return;
    }
    bool speaker = !strcmp(purpose, "speaker");
    bool again = speaker && choices_asked(&view->choices, step ? step : "", content ? content : "");
    note(view, "%s %s%s: %s", agent ? agent : "?",
         speaker                       ? "chooses who speaks"
         : !strcmp(purpose, "summary") ? "sums up"
                                       : purpose,
         again ? ", asked again as nobody was named alone" : "", content ? content : "");
    view->noted = !speaker; /* the turn belongs to what chose it */
}

/* What code wrote, as the reply that comes of it says it. */
static void show_code_result(struct view *view, const json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *output = ab_tree_str(event, "output");
    const char *language = ab_tree_str(event, "language"), *stopped = ab_tree_str(event, "stopped");
    long long exit_code = ab_tree_int(event, "exit_code", 0);
    size_t shown;
    if (!stream_whole(&view->stream, ab_tree_str(event, "step"), &shown)) {
        close_line(view);
        print_speaker(view, agent ? agent : "?", ab_tree_str(event, "to"), ab_tree_str(event, "step"));
    }
    if (output && *output) {
        shown = shown < strlen(output) ? shown : strlen(output);
        term_text(view->out, output + shown, strlen(output) - shown);
        if (output[strlen(output) - 1] != '\n')
            fputs("\n", view->out);
    }
    size_t files = json_array_size(json_object_get(event, "files"));
    note(view, "  %s · exit code %lld (%s) · %.1f s · %zu file%s%s%s%s%s", language ? language : "?", exit_code,
         exit_code ? "failed" : "succeeded", (double)ab_tree_int(event, "duration_ms", 0) / 1000, files,
         files == 1 ? "" : "s", stopped ? " · stopped: " : "", stopped ? stopped : "",
         chosen_by(event) ? " · " : "", chosen_by(event) ? chosen_by(event) : "");
    end_block(view);
}

/* The whole of both is in the journal: `autobots show JOB --json`. */
enum { TOOL_COLUMNS_MAX = 160 };

static void show_tool_started(struct view *view, const json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *tool = ab_tree_str(event, "tool");
    const char *arguments = ab_tree_str(event, "arguments");
    char *brief = term_line(arguments ? arguments : "", TOOL_COLUMNS_MAX);
    note(view, "%s calls %s %s", agent ? agent : "?", tool ? tool : "?", brief);
    free(brief);
}

static void show_tool_result(struct view *view, const json_t *event)
{
    const char *tool = ab_tree_str(event, "tool"), *content = ab_tree_str(event, "content");
    double seconds = (double)ab_tree_int(event, "duration_ms", 0) / 1000;
    size_t parts = json_array_size(json_object_get(event, "parts"));
    const json_t *files = json_object_get(event, "files");
    char *brief = term_line(content ? content : "", TOOL_COLUMNS_MAX);
    char *took = seconds >= 0.1 ? ab_format(" · %.1f s", seconds) : ab_strdup("");
    size_t made = json_array_size(files);
    char *more =
        parts ? ab_format(" · and %zu image%s or file%s", parts, parts == 1 ? "" : "s", parts == 1 ? "" : "s")
        : files ? ab_format(" · %zu file%s", made, made == 1 ? "" : "s")
                : ab_strdup("");
    note(view, "  %s%s: %s%s%s", tool ? tool : "?", ab_tree_bool(event, "failed", false) ? " failed" : "",
         brief, more, took);
    free(brief);
    free(took);
    free(more);
}

static void show_started(struct view *view, const json_t *event)
{
    const char *worker = ab_tree_str(event, "worker");
    bool parked = view->parked;
    view->parked = false;
    if (ab_tree_int(event, "attempt", 1) > 1 && !parked)
        note(view, "attempt %lld on %s", (long long)ab_tree_int(event, "attempt", 1), worker ? worker : "?");
}

static void show_attempt_failed(struct view *view, const json_t *event)
{
    const char *text = ab_tree_str(event, "text");
    int64_t at_ms = ab_tree_int(event, "at_ms", 0), retry_ms = ab_tree_int(event, "retry_at_ms", 0) - at_ms;
    char *again = retry_ms > 0 ? ab_format("; the next one in %.1f s", (double)retry_ms / 1000) : ab_strdup("");
    note(view, "attempt %lld failed: %s%s", (long long)ab_tree_int(event, "attempt", 1), text ? text : "?",
         again);
    free(again);
}

static void show_waiting(struct view *view, const json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *prompt = ab_tree_str(event, "prompt");
    const char *reason = ab_tree_str(event, "reason");
    char until[48] = "", when[32];
    view->parked = true;
    if (ab_tree_int(event, "until_ms", 0)) {
        term_time(ab_tree_int(event, "until_ms", 0), when);
        snprintf(until, sizeof until, " (until %s)", when);
    }
    if (prompt)
        note(view, "%s asks: %s%s", agent ? agent : "a question", prompt, until);
    else
        note(view, "waits: %s%s", reason ? reason : "?", until);
}

static void show_paused(struct view *view, const json_t *event)
{
    (void)event;
    view->parked = true;
    note(view, "paused; `autobots resume %s` lets it go on", view->job);
}

static void show_forked(struct view *view, const json_t *event)
{
    const char *job = ab_tree_str(event, "of");
    note(view, "up to here copied from %s", job ? job : "?");
    end_block(view);
}

static void show_input(struct view *view, const json_t *event)
{
    const char *text = ab_tree_str(event, "text");
    bool late = ab_tree_bool(event, "timeout", false);
    note(view, "%s: %s", late ? "no answer in time" : "answer", text && *text ? text : "(empty)");
}

static void print_usage(struct view *view, const json_t *result)
{
    const json_t *total = json_object_get(json_object_get(result, "usage"), "total");
    if (!total)
        return;
    char *line = usage_line(total);
    fprintf(view->out, "%s%s\n", line, ab_tree_bool(result, "offline", false) ? " · offline" : "");
    free(line);
}

static void print_files(struct view *view, const json_t *result)
{
    json_t *file, *files = json_object_get(result, "files");
    size_t i;
    json_array_foreach (files, i, file) {
        const char *path = ab_tree_str(file, "path"), *type = ab_tree_str(file, "type");
        char *clean = term_line(path ? path : "?", 80), *kind = term_line(type ? type : "?", 10);
        fprintf(view->out, "file %s · %s · %lld bytes\n", clean, kind,
                (long long)ab_tree_int(file, "bytes", 0));
        free(clean);
        free(kind);
    }
}

static void print_times(struct view *view, const json_t *result)
{
    const char *start = ab_tree_str(result, "start_time"), *end = ab_tree_str(result, "end_time");
    if (start && end)
        fprintf(view->out, "start %.32s · end %.32s · %.1f s\n", start, end,
                ab_tree_number(result, "duration_s", 0));
}

static void show_end(struct view *view, const json_t *event)
{
    const char *state = ab_tree_str(event, "state"), *why = ab_tree_str(event, "stop_reason");
    const char *content = ab_tree_str(event, "content"), *text = ab_tree_str(event, "text");
    const json_t *result = json_object_get(event, "result");
    close_line(view);
    if (content && *content) {
        set_apart(view);
        fputs("answer\n", view->out);
        term_text(view->out, content, strlen(content));
        fputs("\n\n", view->out);
    }
    char *line = ab_format("%s: %s%s%s", state ? state : "ended",
                           text && *text ? text
                           : why         ? why
                                         : "",
                           text && *text && why ? " · stopped by: " : "", text && *text && why ? why : "");
    char *clean = term_line(line, 0);
    fprintf(view->out, "%s\n", clean);
    print_usage(view, result);
    print_times(view, result);
    print_files(view, result);
    free(line);
    free(clean);
}

static const struct {
    const char *kind;
    void (*show)(struct view *view, const json_t *event);
} kinds[] = {
    {"started", show_started},
    {"turn", show_turn},
    {"model_reply", show_model_reply},
    {"attempt_failed", show_attempt_failed},
    {"waiting", show_waiting},
    {"input", show_input},
    {"paused", show_paused},
    {"forked", show_forked},
    {"code_result", show_code_result},
    {"end", show_end},
    {"tool_started", show_tool_started},
    {"tool_result", show_tool_result},
};

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
        note(view, "not running yet: %s%s", why, session ? "; see `autobots jobs --state open`" : "");
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

static void on_event(void *context, const struct autobots_event *event)
{
    struct view *view = context;
    char *text = autobots_event_json(event);
    view->moved = true;
    view->seq = event->seq;
    json_t *tree = NULL;
    if (view->json)
        term_json_text(view->out, text);
    if (!ab_json_parse(ab_view_of(text), &tree, NULL))
        usage_add(&view->usage, tree);
    if (tree && !view->json)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (!strcmp(kinds[i].kind, event->kind))
                kinds[i].show(view, tree);
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
    close_line(view);
    view->done = true;
    view->code = cli_fail(view->cli, error);
}

/* ---- following ---- */

/* What was of the job before stays only if it is the same one. */
static void begin_round(struct view *view, struct autobots *bots, const char *job, uint64_t after)
{
    if (strcmp(view->job, job)) {
        stream_close(&view->stream);
        choices_finish(&view->choices);
        view->usage = (struct usage){0};
        view->parked = false;
    }
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
            close_line(view);
            autobots_stop_watch(bots, job);
            return CLI_DETACHED;
        }
    }
    if (view->code != CLI_DONE)
        close_line(view);
    autobots_stop_watch(bots, job);
    return view->code;
}
