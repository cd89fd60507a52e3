/* Code in messages: fenced blocks of the languages that can be run, in order.
 *
 *   ```python            also sh, bash; other languages, and fences without one, are text
 *   # filename: plot.py  optional, the first line
 *   …
 *   ```                  at least as many backticks as opened it; a fence that is not closed is text
 */
#include "worker/engine/blocks.h"

#include <strings.h>

#include "common/tree.h"

static const struct {
    const char *written, *language;
} languages[] = {{"python", "python"}, {"py", "python"}, {"sh", "sh"}, {"shell", "sh"}, {"bash", "bash"}};

static const char *language_of(struct ab_view word)
{
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (strlen(languages[i].written) == word.n && !strncasecmp(languages[i].written, word.p, word.n))
            return languages[i].language;
    return NULL;
}

/* The next line without its end; the text begins behind it then. */
static struct ab_view next_line(struct ab_view *text)
{
    const char *end = memchr(text->p, '\n', text->n);
    struct ab_view line = ab_view(text->p, end ? (size_t)(end - text->p) : text->n);
    size_t taken = line.n + (end ? 1 : 0);
    *text = ab_view(text->p + taken, text->n - taken);
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static struct ab_view trim(struct ab_view text)
{
    while (text.n && (*text.p == ' ' || *text.p == '\t'))
        text = ab_view(text.p + 1, text.n - 1);
    while (text.n && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        text.n--;
    return text;
}

/* Backticks at the beginning of a trimmed line, if they are a fence; 0 if not. */
static size_t fence(struct ab_view line)
{
    size_t n = 0;
    while (n < line.n && line.p[n] == '`')
        n++;
    return n >= 3 ? n : 0;
}

static struct ab_view name_in(struct ab_view code)
{
    static const char key[] = "filename:";
    struct ab_view line = trim(next_line(&code));
    if (!line.n || *line.p != '#')
        return (struct ab_view){0};
    line = trim(ab_view(line.p + 1, line.n - 1));
    if (line.n < sizeof key - 1 || strncasecmp(line.p, key, sizeof key - 1))
        return (struct ab_view){0};
    return trim(ab_view(line.p + sizeof key - 1, line.n - (sizeof key - 1)));
}

/* What stands between an opening fence and the line that closes it; false if none does. */
static bool closed(struct ab_view *text, size_t ticks, struct ab_view *code)
{
    struct ab_view rest = *text;
    while (rest.n) {
        const char *at = rest.p;
        struct ab_view line = trim(next_line(&rest));
        if (fence(line) >= ticks && fence(line) == line.n) {
            *code = ab_view(text->p, (size_t)(at - text->p));
            *text = rest;
            return true;
        }
    }
    return false;
}

/* The block with this index in one text; *index goes down with each that was passed. */
static bool block_in(struct ab_view text, size_t *index, struct code_block *out)
{
    while (text.n) {
        struct ab_view line = trim(next_line(&text)), code;
        size_t ticks = fence(line);
        if (!ticks || !closed(&text, ticks, &code))
            continue;
        struct ab_view word = trim(ab_view(line.p + ticks, line.n - ticks));
        const char *end = memchr(word.p, ' ', word.n);
        const char *language = language_of(ab_view(word.p, end ? (size_t)(end - word.p) : word.n));
        if (!language || (*index)--)
            continue;
        *out = (struct code_block){.language = language, .name = name_in(code), .code = code};
        return true;
    }
    return false;
}

bool code_block_at(const json_t *content, size_t index, struct code_block *out)
{
    size_t i;
    json_t *part;
    if (json_is_string(content))
        return block_in(ab_view(json_string_value(content), json_string_length(content)), &index, out);
    json_array_foreach (content, i, part) {
        struct ab_view text = ab_tree_view(part, "text");
        if (text.n && block_in(text, &index, out))
            return true;
    }
    return false;
}

size_t code_block_count(const json_t *content)
{
    struct code_block block;
    size_t n = 0;
    while (n < CODE_BLOCKS_MAX && code_block_at(content, n, &block))
        n++;
    return n;
}
