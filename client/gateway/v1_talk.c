/* See v1_talk.h. */
#include "client/gateway/v1_talk.h"

#include <stdlib.h>
#include <string.h>

#include "common/wire/schema.h"

void v1_text_of(const json_t *content, struct ab_buf *out)
{
    size_t i, begun = out->n;
    json_t *part;
    if (json_is_string(content))
        ab_buf_add(out, json_string_value(content), json_string_length(content));
    json_array_foreach (content, i, part) {
        struct ab_view text = ab_tree_view(part, "text");
        if (text.n && out->n > begun)
            ab_buf_char(out, '\n');
        ab_buf_add(out, text.p, text.n);
    }
}

/* ---- what is being written ---- */

static void writing_clear(struct v1_writing *writing)
{
    free(writing->step);
    writing->step = NULL;
    writing->told = 0;
    ab_buf_clear(&writing->said);
}

static bool is_step(const struct v1_writing *writing, const char *step)
{
    return writing->step && !strcmp(writing->step, step);
}

static void writing_begin(struct v1_writing *writing, const char *step, uint64_t attempt)
{
    writing_clear(writing);
    writing->step = ab_strdup(step);
    writing->attempt = attempt;
}

static void interrupt(struct v1_talk *talk, enum v1_end end, json_t *event)
{
    talk->end = end;
    json_decref(talk->last);
    talk->last = json_incref(event);
}

static void broken(struct v1_talk *talk)
{
    talk->end = V1_BROKEN;
    talk->code = "attempt_restarted";
    ab_fail(&talk->error, AB_EMODEL,
            "the answer began anew after a part of it was sent: ask again, or read it when the job has ended");
}

/* What an agent says that is called as a tool is told to its caller: such steps lie below a call, "3.1". */
static bool is_answer(const struct v1_talk *talk, const char *step, const char *agent)
{
    return talk->output && agent && !strcmp(talk->output, agent) && !strchr(step, '.');
}

/* ---- saying ---- */

static struct ab_view stripped(struct ab_view text)
{
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    return text;
}

static bool ends_with(struct ab_view text, const char *word, size_t n)
{
    return text.n >= n && !memcmp(text.p + text.n - n, word, n);
}

struct ab_view v1_cut(struct ab_view text, const char *stop)
{
    struct ab_view bare = stripped(text);
    size_t n = stop ? strlen(stop) : 0;
    if (!n || !ends_with(bare, stop, n))
        return text;
    bare.n -= n;
    return stripped(bare);
}

/* The same of a text that is still being written: also without what may become the stop word. */
static struct ab_view surely(struct ab_view text, const char *stop)
{
    struct ab_view bare = stripped(text);
    size_t most = stop ? strlen(stop) : 0;
    if (!most)
        return text;
    for (size_t n = most; n; n--)
        if ((n == most || bare.n == text.n) && ends_with(bare, stop, n)) {
            bare.n -= n;
            return stripped(bare);
        }
    return bare;
}

/* As much of what was said as is sure. */
static void tell_answer(struct v1_talk *talk, struct ab_view sure)
{
    size_t from = talk->answer.told;
    if (sure.n <= from)
        return;
    talk->answer.told = sure.n;
    talk->on_text(talk->owner, talk->turns, from, ab_view(sure.p + from, sure.n - from));
}

static void say_answer(struct v1_talk *talk, struct ab_view text)
{
    if (!text.n)
        return;
    ab_buf_add(&talk->answer.said, text.p, text.n);
    tell_answer(talk, surely(ab_buf_view(&talk->answer.said), talk->stop));
}

static void say_thought(struct v1_talk *talk, const char *agent, struct ab_view text)
{
    struct ab_buf out = {0};
    if (!text.n)
        return;
    if (!talk->thought.said.n)
        ab_buf_format(&out, "%s%s: ", talk->thought_any ? "\n\n" : "", agent);
    ab_buf_add(&talk->thought.said, text.p, text.n);
    ab_buf_add(&out, text.p, text.n);
    talk->thought_any = true;
    talk->on_thought(talk->owner, ab_buf_view(&out));
    ab_buf_finish(&out);
}

/* ---- pieces ---- */

/* What is new of a piece; nothing if there is a gap before it (the whole text will come) or half a character in it. */
static struct ab_view news(const struct v1_writing *writing, uint64_t offset, struct ab_view text)
{
    uint64_t have = writing->said.n;
    if (offset > have || offset + text.n <= have || !ab_utf8_ok(text))
        return ab_view(NULL, 0);
    return ab_view(text.p + (have - offset), text.n - (size_t)(have - offset));
}

void v1_talk_delta(struct v1_talk *talk, const char *step, const char *agent, uint64_t attempt, uint64_t offset,
                   struct ab_view text)
{
    bool answer = is_answer(talk, step, agent);
    struct v1_writing *writing = answer ? &talk->answer : &talk->thought;
    if (talk->end != V1_GOES_ON)
        return;
    bool same = is_step(writing, step) && writing->attempt == attempt;
    if (!same && (answer ? writing->told : writing->said.n)) {
        if (answer)
            broken(talk);
        else if (is_step(writing, step)) /* thought again: told as another one */
            writing_begin(writing, step, attempt);
        return; /* two at once: the other one is told when it is complete */
    }
    if (!same)
        writing_begin(writing, step, attempt);
    if (answer)
        say_answer(talk, news(writing, offset, text));
    else
        say_thought(talk, agent, news(writing, offset, text));
}

/* ---- the journal ---- */

static bool begins_with(struct ab_view text, const struct ab_buf *said)
{
    return text.n >= said->n && (!said->n || !memcmp(text.p, said->p, said->n));
}

static void answer_turn(struct v1_talk *talk, struct ab_view whole)
{
    struct ab_view told = v1_cut(whole, talk->stop);
    if (talk->answer.told && !begins_with(whole, &talk->answer.said)) {
        broken(talk);
        return;
    }
    tell_answer(talk, told);
    if (told.n || !whole.n) /* else nothing but the stop word was said */
        talk->on_turn(talk->owner, talk->turns++, told);
    writing_clear(&talk->answer);
}

/* A whole thought. If another one is being told, that goes on behind it. */
static void say_between(struct v1_talk *talk, const char *agent, struct ab_view whole)
{
    struct v1_writing *writing = &talk->thought, other = *writing;
    *writing = (struct v1_writing){0};
    say_thought(talk, agent, whole);
    writing_clear(writing);
    ab_buf_finish(&writing->said);
    *writing = other;
}

static void thought_turn(struct v1_talk *talk, const char *step, const char *agent, struct ab_view whole)
{
    struct v1_writing *writing = &talk->thought;
    if (!is_step(writing, step)) {
        say_between(talk, agent, whole);
        return;
    }
    size_t said = begins_with(whole, &writing->said) ? writing->said.n : 0;
    if (!said)
        ab_buf_clear(&writing->said);
    say_thought(talk, agent, ab_view(whole.p + said, whole.n - said));
    writing_clear(writing);
}

static void turn(struct v1_talk *talk, json_t *event)
{
    const char *step = ab_tree_str(event, "step"), *agent = ab_tree_str(event, "agent"),
               *reason = ab_tree_str(event, "finish_reason");
    struct ab_buf text = {0};
    if (!step || !agent || ab_tree_str(event, "purpose"))
        return;
    v1_text_of(json_object_get(event, "content"), &text);
    bool answer = is_answer(talk, step, agent);
    if (answer) {
        talk->cut = reason && !strcmp(reason, "length");
        talk->filtered = reason && !strcmp(reason, "content_filter");
    }
    if (!text.n)
        ;
    else if (!answer) {
        thought_turn(talk, step, agent, ab_buf_view(&text));
        ab_buf_clear(&talk->latest);
        ab_buf_add(&talk->latest, text.p, text.n);
    } else if (talk->answer.told && !is_step(&talk->answer, step))
        broken(talk);
    else
        answer_turn(talk, ab_buf_view(&text));
    ab_buf_finish(&text);
}

enum { TOOL_BYTES_MAX = 200 /* of a call's arguments and of its result, as thoughts */ };

static void add_brief(struct ab_buf *out, const char *text)
{
    size_t n = text ? strlen(text) : 0, cut = n < TOOL_BYTES_MAX ? n : TOOL_BYTES_MAX;
    while (cut && cut < n && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--;
    ab_buf_add(out, text, cut);
    ab_buf_text(out, cut < n ? "…" : "");
}

/* What is asked of tools, and what comes of it, is not said to anybody. */
static void tool_started(struct v1_talk *talk, json_t *event)
{
    const char *agent = ab_tree_str(event, "agent"), *tool = ab_tree_str(event, "tool");
    struct ab_buf text = {0};
    ab_buf_format(&text, "calls %s ", tool ? tool : "?");
    add_brief(&text, ab_tree_str(event, "arguments"));
    say_between(talk, agent ? agent : "?", ab_buf_view(&text));
    ab_buf_finish(&text);
}

static void tool_result(struct v1_talk *talk, json_t *event)
{
    const char *tool = ab_tree_str(event, "tool"), *content = ab_tree_str(event, "content");
    struct ab_buf text = {0};
    ab_buf_text(&text, ab_tree_bool(event, "failed", false) ? "failed: " : "");
    add_brief(&text, content);
    say_between(talk, tool ? tool : "?", ab_buf_view(&text));
    ab_buf_finish(&text);
}

/* Whatever was being written was lost with its attempt. */
static void attempt_over(struct v1_talk *talk, json_t *event)
{
    (void)event;
    if (talk->answer.told)
        broken(talk);
    writing_clear(&talk->answer);
    writing_clear(&talk->thought);
}

static void waiting(struct v1_talk *talk, json_t *event)
{
    const char *reason = ab_tree_str(event, "reason"), *which = ab_tree_str(event, "budget");
    if ((uint64_t)ab_tree_int(event, "seq", 0) <= talk->known)
        return;
    if (reason && !strcmp(reason, "person"))
        interrupt(talk, V1_ASKS, event);
    else if (reason && !strcmp(reason, "budget")) {
        interrupt(talk, V1_BUDGET, event);
        talk->code = "budget";
        ab_fail(&talk->error, AB_EBUDGET, "a budget is spent: %s", which ? which : "raise it, then ask again");
    }
}

static void end(struct v1_talk *talk, json_t *event)
{
    const char *state = ab_tree_str(event, "state"), *code = ab_tree_str(event, "code"),
               *text = ab_tree_str(event, "text"), *path = ab_tree_str(event, "path");
    if (!state || strcmp(state, "succeeded")) {
        interrupt(talk, state && !strcmp(state, "cancelled") ? V1_CANCELLED : V1_FAILED, event);
        talk->code = code ? code : state && !strcmp(state, "cancelled") ? "cancelled" : "internal";
        ab_fail_at(&talk->error, ab_code_of(talk->code, strlen(talk->code)), path ? path : "", "%s",
                   text    ? text
                   : state ? state
                           : "the job has failed");
        return;
    }
    if (talk->answer.told) { /* of a turn that the run's end has cut off */
        broken(talk);
        return;
    }
    if (!talk->turns)
        answer_turn(talk, ab_tree_view(event, "content").p ? ab_tree_view(event, "content") : ab_view_of(""));
    interrupt(talk, V1_DONE, event);
}

static const struct {
    const char *kind;
    void (*apply)(struct v1_talk *talk, json_t *event);
} kinds[] = {
    {"model_reply", turn}, {"turn", turn}, {"started", attempt_over},      {"attempt_failed", attempt_over},
    {"waiting", waiting},  {"end", end},   {"tool_started", tool_started}, {"tool_result", tool_result},
};

void v1_talk_event(struct v1_talk *talk, const char *kind, json_t *event)
{
    for (size_t i = 0; talk->end == V1_GOES_ON && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].kind, kind))
            kinds[i].apply(talk, event);
}

void v1_talk_question(const struct v1_talk *talk, struct ab_buf *out)
{
    struct ab_view prompt = ab_tree_view(talk->last, "prompt");
    if (!talk->turns && talk->latest.n)
        ab_buf_format(out, "%.*s\n\n", (int)talk->latest.n, talk->latest.p);
    ab_buf_add(out, prompt.p, prompt.n);
}

void v1_talk_finish(struct v1_talk *talk)
{
    ab_buf_finish(&talk->latest);
    writing_clear(&talk->answer);
    writing_clear(&talk->thought);
    ab_buf_finish(&talk->answer.said);
    ab_buf_finish(&talk->thought.said);
    json_decref(talk->last);
    talk->last = NULL;
}
