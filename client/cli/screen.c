/* See screen.h. What of a piece is shown stream.h decides; whatever is missing when the whole turn arrives is shown then. */
#include "client/cli/screen.h"

#include <stdlib.h>
#include <string.h>

#include "common/money.h"
#include "common/tree.h"

void screen_reset(struct screen *screen)
{
    stream_close(&screen->stream);
    choices_finish(&screen->choices);
    screen->usage = (struct usage){0};
    screen->parked = false;
}

/* ---- pieces ---- */

void screen_close_line(struct screen *screen)
{
    if (stream_close(&screen->stream))
        fputs("\n", screen->out);
}

static void set_apart(struct screen *screen)
{
    if (screen->noted)
        fputs("\n", screen->out);
    screen->noted = false;
}

/* A step inside of a call of an agent or a workflow says in which: "chat/3.1/chat:2" is in the first one of chat:3. */
static void print_speaker(struct screen *screen, const char *agent, const char *to, const char *step)
{
    const char *call = step ? strrchr(step, '.') : NULL;
    char *from = term_line(agent, 60), *whom = to ? term_line(to, 60) : NULL;
    set_apart(screen);
    fprintf(screen->out, "%s%s%s", term_agent_colour(screen->colours, agent), from,
            term_reset(screen->colours));
    if (whom)
        fprintf(screen->out, "%s → %s%s", term_dim(screen->colours), whom, term_reset(screen->colours));
    if (call)
        fprintf(screen->out, "%s  in %.*s%s", term_dim(screen->colours),
                (int)(call + 1 + strcspn(call + 1, "/:") - step), step, term_reset(screen->colours));
    fputs("\n", screen->out);
    free(from);
    free(whom);
}

static void end_block(struct screen *screen)
{
    fputs("\n", screen->out);
    screen->noted = false;
}

void screen_delta(struct screen *screen, const struct autobots_delta *delta)
{
    size_t skip;
    enum stream_act act =
        stream_piece(&screen->stream, delta->step, delta->attempt, delta->offset, delta->text_bytes, &skip);
    if (act == STREAM_SKIP)
        return;
    if (act == STREAM_AGAIN)
        fputs("\n… once more\n", screen->out);
    if (act != STREAM_GO)
        print_speaker(screen, delta->agent, NULL, delta->step);
    term_text(screen->out, delta->text + skip, delta->text_bytes - skip);
    fflush(screen->out);
}

/* ---- events ---- */

static void print_content(struct screen *screen, const json_t *content, size_t skip)
{
    if (json_is_string(content)) {
        size_t bytes = json_string_length(content);
        if (skip < bytes)
            term_text(screen->out, json_string_value(content) + skip, bytes - skip);
        return;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *text = ab_tree_str(part, "text"), *type = ab_tree_str(part, "type");
        char *clean = text ? NULL : term_line(type ? type : "part", 40);
        if (text)
            term_text(screen->out, text, strlen(text));
        else
            fprintf(screen->out, "[%s]", clean);
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

static void print_call(struct screen *screen, const json_t *event)
{
    const char *model = ab_tree_str(event, "model");
    char *name = term_line(model ? model : "?", 60), text[USAGE_TEXT];
    int64_t latency = ab_tree_int(event, "latency_ms", 0);
    fprintf(screen->out, "%s  %s · %lld → %lld tokens%s", term_dim(screen->colours), name,
            (long long)ab_tree_int(event, "prompt_tokens", 0),
            (long long)ab_tree_int(event, "completion_tokens", 0),
            ab_tree_bool(event, "estimated", false) ? " (estimated)" : "");
    if (latency)
        fprintf(screen->out, " · %.1f s", (double)latency / 1000);
    if (ab_tree_int(event, "tries", 1) > 1)
        fprintf(screen->out, " · %lld tries", (long long)ab_tree_int(event, "tries", 1));
    fprintf(screen->out, "%s%s", ab_tree_bool(event, "offline", false) ? " · offline" : "",
            ab_tree_bool(event, "cached", false) ? " · from the cache, cost 0" : "");
    int64_t cost = ab_tree_int(event, "cost_pico_usd", 0);
    if (cost)
        fprintf(screen->out, " · cost %s USD", ab_usd_text((uint64_t)cost, text));
    if (chosen_by(event))
        fprintf(screen->out, " · %s", chosen_by(event));
    if (screen->usage.calls > 1)
        fprintf(screen->out, " · so far %lld calls, %lld tokens, %s", (long long)screen->usage.calls,
                (long long)screen->usage.tokens, usage_cost(&screen->usage, text));
    fprintf(screen->out, "%s\n", term_reset(screen->colours));
    free(name);
}

/* Who speaks in a groupchat, where the words of the one who chose do not say it. */
static void show_choice(struct screen *screen, const char *step, const char *agent)
{
    if (choices_made(&screen->choices, step ? step : "", agent ? agent : "") != CHOICE_IN_TURN)
        return;
    screen_note(screen, "nobody was named alone: %s is next in the list", agent ? agent : "?");
    screen->noted = false; /* see show_model_reply */
}

static void show_turn(struct screen *screen, const json_t *event)
{
    const char *step = ab_tree_str(event, "step"), *agent = ab_tree_str(event, "agent");
    const json_t *content = json_object_get(event, "content");
    size_t shown;
    show_choice(screen, step, agent);
    if (!stream_whole(&screen->stream, step, &shown)) {
        screen_close_line(screen);
        print_speaker(screen, agent ? agent : "?", ab_tree_str(event, "to"), step);
    }
    print_content(screen, content, shown);
    if (shown || json_string_length(content) || json_array_size(content)) /* else it only calls tools */
        fputs("\n", screen->out);
    if (!strcmp(ab_tree_str(event, "kind"), "model_reply"))
        print_call(screen, event);
    else if (chosen_by(event))
        screen_note(screen, "  %s", chosen_by(event));
    end_block(screen);
}

void screen_note(struct screen *screen, const char *format, ...)
{
    char *plain;
    va_list args;
    va_start(args, format);
    if (vasprintf(&plain, format, args) < 0)
        ab_out_of_memory();
    va_end(args);
    char *clean = term_line(plain, 0);
    screen_close_line(screen);
    fprintf(screen->out, "%s%s%s\n", term_dim(screen->colours), clean, term_reset(screen->colours));
    screen->noted = true;
    free(plain);
    free(clean);
}

/* What a model said that is no agent's turn. */
static void show_model_reply(struct screen *screen, const json_t *event)
{
    const char *purpose = ab_tree_str(event, "purpose"), *agent = ab_tree_str(event, "agent");
    const char *content = ab_tree_str(event, "content"), *step = ab_tree_str(event, "step");
    if (!purpose) {
        show_turn(screen, event);
        return;
    }
    bool speaker = !strcmp(purpose, "speaker");
    bool again = speaker && choices_asked(&screen->choices, step ? step : "", content ? content : "");
    screen_note(screen, "%s %s%s: %s", agent ? agent : "?",
                speaker                       ? "chooses who speaks"
                : !strcmp(purpose, "summary") ? "sums up"
                                              : purpose,
                again ? ", asked again as nobody was named alone" : "", content ? content : "");
    screen->noted = !speaker; /* the turn belongs to what chose it */
}

/* What code wrote, as the reply that comes of it says it. */
static void show_code_result(struct screen *screen, const json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *output = ab_tree_str(event, "output");
    const char *language = ab_tree_str(event, "language"), *stopped = ab_tree_str(event, "stopped");
    long long exit_code = ab_tree_int(event, "exit_code", 0);
    size_t shown;
    if (!stream_whole(&screen->stream, ab_tree_str(event, "step"), &shown)) {
        screen_close_line(screen);
        print_speaker(screen, agent ? agent : "?", ab_tree_str(event, "to"), ab_tree_str(event, "step"));
    }
    if (output && *output) {
        shown = shown < strlen(output) ? shown : strlen(output);
        term_text(screen->out, output + shown, strlen(output) - shown);
        if (output[strlen(output) - 1] != '\n')
            fputs("\n", screen->out);
    }
    size_t files = json_array_size(json_object_get(event, "files"));
    screen_note(screen, "  %s · exit code %lld (%s) · %.1f s · %zu file%s%s%s%s%s", language ? language : "?",
                exit_code, exit_code ? "failed" : "succeeded",
                (double)ab_tree_int(event, "duration_ms", 0) / 1000, files, files == 1 ? "" : "s",
                stopped ? " · stopped: " : "", stopped ? stopped : "", chosen_by(event) ? " · " : "",
                chosen_by(event) ? chosen_by(event) : "");
    end_block(screen);
}

/* The whole of both is in the journal: `autobots show JOB --json`. */
enum { TOOL_COLUMNS_MAX = 160 };

static void show_tool_started(struct screen *screen, const json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *tool = ab_tree_str(event, "tool");
    const char *arguments = ab_tree_str(event, "arguments");
    char *brief = term_line(arguments ? arguments : "", TOOL_COLUMNS_MAX);
    screen_note(screen, "%s calls %s %s", agent ? agent : "?", tool ? tool : "?", brief);
    free(brief);
}

static void show_tool_result(struct screen *screen, const json_t *event)
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
    screen_note(screen, "  %s%s: %s%s%s", tool ? tool : "?",
                ab_tree_bool(event, "failed", false) ? " failed" : "", brief, more, took);
    free(brief);
    free(took);
    free(more);
}

static void show_started(struct screen *screen, const json_t *event)
{
    const char *worker = ab_tree_str(event, "worker");
    bool parked = screen->parked;
    screen->parked = false;
    if (ab_tree_int(event, "attempt", 1) > 1 && !parked)
        screen_note(screen, "attempt %lld on %s", (long long)ab_tree_int(event, "attempt", 1),
                    worker ? worker : "?");
}

static void show_attempt_failed(struct screen *screen, const json_t *event)
{
    const char *text = ab_tree_str(event, "text");
    int64_t at_ms = ab_tree_int(event, "at_ms", 0), retry_ms = ab_tree_int(event, "retry_at_ms", 0) - at_ms;
    char *again = retry_ms > 0 ? ab_format("; the next one in %.1f s", (double)retry_ms / 1000) : ab_strdup("");
    screen_note(screen, "attempt %lld failed: %s%s", (long long)ab_tree_int(event, "attempt", 1),
                text ? text : "?", again);
    free(again);
}

static void show_waiting(struct screen *screen, const json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *prompt = ab_tree_str(event, "prompt");
    const char *reason = ab_tree_str(event, "reason");
    char until[48] = "", when[32];
    screen->parked = true;
    if (ab_tree_int(event, "until_ms", 0)) {
        term_time(ab_tree_int(event, "until_ms", 0), when);
        snprintf(until, sizeof until, " (until %s)", when);
    }
    if (prompt)
        screen_note(screen, "%s asks: %s%s", agent ? agent : "a question", prompt, until);
    else
        screen_note(screen, "waits: %s%s", reason ? reason : "?", until);
}

static void show_paused(struct screen *screen, const json_t *event)
{
    (void)event;
    screen->parked = true;
    screen_note(screen, "paused; `autobots resume %s` lets it go on", screen->job);
}

static void show_forked(struct screen *screen, const json_t *event)
{
    const char *job = ab_tree_str(event, "of");
    screen_note(screen, "up to here copied from %s", job ? job : "?");
    end_block(screen);
}

static void show_input(struct screen *screen, const json_t *event)
{
    const char *text = ab_tree_str(event, "text");
    bool late = ab_tree_bool(event, "timeout", false);
    screen_note(screen, "%s: %s", late ? "no answer in time" : "answer", text && *text ? text : "(empty)");
}

static void print_usage(struct screen *screen, const json_t *result)
{
    const json_t *total = json_object_get(json_object_get(result, "usage"), "total");
    if (!total)
        return;
    char *line = usage_line(total);
    fprintf(screen->out, "%s%s\n", line, ab_tree_bool(result, "offline", false) ? " · offline" : "");
    free(line);
}

static void print_files(struct screen *screen, const json_t *result)
{
    json_t *file, *files = json_object_get(result, "files");
    size_t i;
    json_array_foreach (files, i, file) {
        const char *path = ab_tree_str(file, "path"), *type = ab_tree_str(file, "type");
        char *clean = term_line(path ? path : "?", 80), *kind = term_line(type ? type : "?", 10);
        fprintf(screen->out, "file %s · %s · %lld bytes\n", clean, kind,
                (long long)ab_tree_int(file, "bytes", 0));
        free(clean);
        free(kind);
    }
}

static void print_times(struct screen *screen, const json_t *result)
{
    const char *start = ab_tree_str(result, "start_time"), *end = ab_tree_str(result, "end_time");
    if (start && end)
        fprintf(screen->out, "start %.32s · end %.32s · %.1f s\n", start, end,
                ab_tree_number(result, "duration_s", 0));
}

static void show_end(struct screen *screen, const json_t *event)
{
    const char *state = ab_tree_str(event, "state"), *why = ab_tree_str(event, "stop_reason");
    const char *content = ab_tree_str(event, "content"), *text = ab_tree_str(event, "text");
    const json_t *result = json_object_get(event, "result");
    screen_close_line(screen);
    if (content && *content) {
        set_apart(screen);
        fputs("answer\n", screen->out);
        term_text(screen->out, content, strlen(content));
        fputs("\n\n", screen->out);
    }
    char *line = ab_format("%s: %s%s%s", state ? state : "ended",
                           text && *text ? text
                           : why         ? why
                                         : "",
                           text && *text && why ? " · stopped by: " : "", text && *text && why ? why : "");
    char *clean = term_line(line, 0);
    fprintf(screen->out, "%s\n", clean);
    print_usage(screen, result);
    print_times(screen, result);
    print_files(screen, result);
    free(line);
    free(clean);
}

static const struct {
    const char *kind;
    void (*show)(struct screen *screen, const json_t *event);
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

void screen_event(struct screen *screen, const char *kind, const json_t *event)
{
    usage_add(&screen->usage, event);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].kind, kind))
            kinds[i].show(screen, event);
}
