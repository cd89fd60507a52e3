/* What was said and what it cost: plain lists that nodes add to. Owns the content trees of its lines, nothing else. */
#include "worker/engine/node.h"

#include <stdlib.h>

void transcript_add(struct transcript *transcript, const struct ab_agent *from, const struct ab_agent *to,
                    json_t *content, int64_t at_ms, bool filler)
{
    if (transcript->n == transcript->cap) {
        transcript->cap = transcript->cap ? transcript->cap * 2 : 4;
        transcript->lines = ab_realloc(transcript->lines, transcript->cap * sizeof *transcript->lines);
    }
    transcript->lines[transcript->n++] = (struct line){from, to, json_incref(content), at_ms, filler, NULL};
}

void transcript_finish(struct transcript *transcript)
{
    for (size_t i = 0; i < transcript->n; i++) {
        json_decref(transcript->lines[i].content);
        json_decref(transcript->lines[i].work);
    }
    free(transcript->lines);
    *transcript = (struct transcript){0};
}

void content_text(const json_t *content, struct ab_buf *out)
{
    size_t i;
    json_t *part;
    if (json_is_string(content))
        ab_buf_add(out, json_string_value(content), json_string_length(content));
    json_array_foreach (content, i, part) {
        struct ab_view text = ab_tree_view(part, "text");
        if (!text.n)
            continue;
        if (out->n)
            ab_buf_char(out, '\n');
        ab_buf_add(out, text.p, text.n);
    }
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct ab_view trim_end(struct ab_view text)
{
    while (text.n && is_space(text.p[text.n - 1]))
        text.n--;
    return text;
}

bool text_ends_with(struct ab_view text, const char *word)
{
    struct ab_view end = ab_view_of(word);
    text = trim_end(text);
    return end.n && text.n >= end.n && !memcmp(text.p + text.n - end.n, end.p, end.n);
}

struct ab_view text_without(struct ab_view text, const char *word)
{
    text = trim_end(text);
    if (text_ends_with(text, word))
        text = trim_end(ab_view(text.p, text.n - strlen(word)));
    while (text.n && is_space(*text.p)) {
        text.p++;
        text.n--;
    }
    return text;
}

/* Without the word of the one it was said to, and without the usual one. */
static struct ab_view line_words(const struct line *line, struct ab_buf *text)
{
    content_text(line->content, text);
    struct ab_view words = text_without(ab_buf_view(text), line->to->termination_word);
    return text_without(words, "TERMINATE");
}

const struct line *transcript_answer(const struct transcript *transcript)
{
    for (size_t i = transcript->n; i-- > 0;) {
        const struct line *line = &transcript->lines[i];
        struct ab_buf text = {0};
        bool says = !line->filler && line_words(line, &text).n;
        ab_buf_finish(&text);
        if (says)
            return line;
    }
    return NULL;
}

char *line_answer(const struct line *line)
{
    struct ab_buf text = {0};
    char *answer = line ? ab_view_dup(line_words(line, &text)) : ab_strdup("");
    ab_buf_finish(&text);
    return answer;
}

void line_text(const struct line *line, struct ab_buf *out)
{
    struct ab_buf text = {0};
    content_text(line->content, &text);
    if (text.n)
        ab_buf_format(out, "%s: ", line->from->name);
    ab_buf_add(out, text.p, text.n);
    ab_buf_finish(&text);
}

void transcript_text(const struct transcript *transcript, struct ab_buf *out)
{
    for (size_t i = 0; i < transcript->n; i++) {
        struct ab_buf text = {0};
        line_text(&transcript->lines[i], &text);
        if (text.n && out->n)
            ab_buf_text(out, "\n\n");
        ab_buf_add(out, text.p, text.n);
        ab_buf_finish(&text);
    }
}

json_t *transcript_content(const struct transcript *transcript)
{
    struct ab_buf text = {0};
    json_t *others = json_array(), *part;
    size_t k;
    transcript_text(transcript, &text);
    json_t *content = json_of_buf(&text);
    for (size_t i = 0; i < transcript->n; i++)
        json_array_foreach (transcript->lines[i].content, k, part) {
            if (!ab_tree_view(part, "text").p)
                json_array_append(others, part);
        }
    if (json_array_size(others)) {
        content = json_pack("[{ss so}]", "type", "text", "text", content);
        json_array_extend(content, others);
    }
    json_decref(others);
    return content;
}

struct usage *usage_of(struct usage_table *table, const char *agent)
{
    for (size_t i = 0; i < table->n; i++)
        if (!strcmp(table->rows[i].agent, agent))
            return &table->rows[i];
    if (table->n == table->cap) {
        table->cap = table->cap ? table->cap * 2 : 2;
        table->rows = ab_realloc(table->rows, table->cap * sizeof *table->rows);
    }
    table->rows[table->n] = (struct usage){.agent = agent};
    return &table->rows[table->n++];
}

uint64_t usage_calls(const struct usage_table *table, const char *agent)
{
    for (size_t i = 0; i < table->n; i++)
        if (!strcmp(table->rows[i].agent, agent))
            return table->rows[i].calls;
    return 0;
}

void usage_add_cost(struct usage *usage, uint64_t calls, uint64_t cost_pico_usd)
{
    usage->priced_calls += calls;
    if (__builtin_add_overflow(usage->cost_pico_usd, cost_pico_usd, &usage->cost_pico_usd) ||
        usage->cost_pico_usd > INT64_MAX)
        usage->cost_pico_usd = INT64_MAX;
}

uint64_t usage_trimmed(const struct usage_table *table, const char *agent)
{
    for (size_t i = 0; i < table->n; i++)
        if (!strcmp(table->rows[i].agent, agent))
            return table->rows[i].trimmed;
    return 0;
}

void usage_merge(struct usage_table *into, const struct usage_table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct usage *from = &table->rows[i];
        struct usage *to = usage_of(into, from->agent);
        to->calls += from->calls;
        to->cached_calls += from->cached_calls;
        to->prompt += from->prompt;
        to->completion += from->completion;
        to->cached += from->cached;
        to->reasoning += from->reasoning;
        to->estimated |= from->estimated;
        usage_add_cost(to, from->priced_calls, from->cost_pico_usd);
    }
}

static void take_off(uint64_t *from, uint64_t part)
{
    *from -= part < *from ? part : *from;
}

void usage_subtract(struct usage_table *from, const struct usage_table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct usage *part = &table->rows[i];
        struct usage *row = usage_of(from, part->agent);
        take_off(&row->calls, part->calls);
        take_off(&row->cached_calls, part->cached_calls);
        take_off(&row->prompt, part->prompt);
        take_off(&row->completion, part->completion);
        take_off(&row->cached, part->cached);
        take_off(&row->reasoning, part->reasoning);
        take_off(&row->priced_calls, part->priced_calls);
        take_off(&row->cost_pico_usd, part->cost_pico_usd);
        row->estimated &= row->calls > 0;
    }
}

struct usage usage_total(const struct usage_table *table)
{
    struct usage total = {0};
    for (size_t i = 0; i < table->n; i++) {
        const struct usage *row = &table->rows[i];
        total.calls += row->calls;
        total.cached_calls += row->cached_calls;
        total.prompt += row->prompt;
        total.completion += row->completion;
        total.cached += row->cached;
        total.reasoning += row->reasoning;
        total.estimated |= row->estimated;
        usage_add_cost(&total, row->priced_calls, row->cost_pico_usd);
    }
    return total;
}

/* The cost in USD and exactly; null, "unpriced", unless it is known of all calls. If of some, known_cost is theirs. */
static void add_cost(json_t *tree, const struct usage *row)
{
    bool all = row->calls && row->priced_calls == row->calls, some = !all && row->cost_pico_usd;
    double usd = (double)row->cost_pico_usd / 1e12;
    json_object_set_new(tree, "cost", all ? json_real(usd) : json_null());
    if (all)
        json_object_set_new(tree, "cost_pico_usd", json_integer((json_int_t)row->cost_pico_usd));
    if (some)
        json_object_set_new(tree, "known_cost", json_real(usd));
    if (some)
        json_object_set_new(tree, "unpriced_calls", json_integer((json_int_t)(row->calls - row->priced_calls)));
}

static json_t *row_tree(const struct usage *row)
{
    json_t *tree =
        json_pack("{sI sI sI sI sI sb}", "prompt_tokens", (json_int_t)row->prompt, "completion_tokens",
                  (json_int_t)row->completion, "cached_tokens", (json_int_t)row->cached, "reasoning_tokens",
                  (json_int_t)row->reasoning, "calls", (json_int_t)row->calls, "estimated", row->estimated);
    add_cost(tree, row);
    if (row->cached_calls)
        json_object_set_new(tree, "cached_calls", json_integer((json_int_t)row->cached_calls));
    return tree;
}

json_t *usage_tree(const struct usage_table *table)
{
    json_t *agents = json_object();
    for (size_t i = 0; i < table->n; i++)
        json_object_set_new(agents, table->rows[i].agent, row_tree(&table->rows[i]));
    struct usage total = usage_total(table);
    return json_pack("{so so}", "total", row_tree(&total), "agents", agents);
}
