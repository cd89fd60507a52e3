/* What may reach a terminal. Model output, names and error texts are untrusted: an escape sequence in them could
 * change the title, the clipboard or what the user believes to read.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/cli.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

bool term_colours(FILE *out)
{
    const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
    return isatty(fileno(out)) && !(none && *none) && !(term && !strcmp(term, "dumb"));
}

/* One UTF-8 character: its bytes and code point; 1 and -1 if it is none. */
static size_t character(const unsigned char *p, size_t n, int32_t *code)
{
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = *p < 0x80                 ? 1
                   : *p >= 0xf0 && *p < 0xf5 ? 4
                   : *p >= 0xe0 && *p < 0xf0 ? 3
                   : *p >= 0xc2 && *p < 0xe0 ? 2
                                             : 0;
    *code = -1;
    if (!bytes || bytes > n)
        return 1;
    int32_t value = bytes == 1 ? *p : *p & (0xff >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (p[i] & 0x3f);
    }
    if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 1;
    *code = value;
    return bytes;
}

/* Controls that terminals act on, and the marks that reorder what is shown. */
static bool harmful(int32_t code)
{
    return code < 0 || (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0) ||
           (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0x200e ||
           code == 0x200f || code == 0x061c || (code >= 0xe0000 && code <= 0xe007f);
}

static void clean(struct ab_buf *out, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        int32_t code;
        size_t n = character((const unsigned char *)text + at, bytes - at, &code);
        if (!harmful(code))
            ab_buf_add(out, text + at, n);
        else if (!(code == '\r' && at + 1 < bytes && text[at + 1] == '\n'))
            ab_buf_text(out, replacement);
        at += n;
    }
}

void term_text(FILE *out, const char *text, size_t bytes)
{
    struct ab_buf buf = {0};
    clean(&buf, text, bytes);
    if (buf.n)
        fwrite(buf.p, 1, buf.n, out);
    ab_buf_finish(&buf);
}

char *term_line(const char *text, size_t columns)
{
    struct ab_buf buf = {0};
    clean(&buf, text, strlen(text));
    size_t seen = 0, at = 0;
    for (; at < buf.n; seen++) {
        int32_t code;
        size_t n = character((const unsigned char *)buf.p + at, buf.n - at, &code);
        if (columns && seen + 1 >= columns && at + n < buf.n)
            break;
        if (code == '\n' || code == '\t')
            buf.p[at] = ' ';
        at += n;
    }
    bool cut = at < buf.n;
    buf.n = at;
    if (cut)
        ab_buf_text(&buf, "…");
    return ab_buf_detach(&buf);
}

const char *term_agent_colour(bool colours, const char *name)
{
    static const char *const table[] = {"\033[1;36m", "\033[1;33m", "\033[1;32m",
                                        "\033[1;35m", "\033[1;34m", "\033[1;31m"};
    unsigned hash = 5;
    for (; *name; name++)
        hash = hash * 31 + (unsigned char)*name;
    return colours ? table[hash % (sizeof table / sizeof *table)] : "";
}

const char *term_reset(bool colours)
{
    return colours ? "\033[0m" : "";
}

const char *term_dim(bool colours)
{
    return colours ? "\033[2m" : "";
}

/* Inside JSON such characters can only stand in strings, where they may as well be \u escapes. */
void term_json_text(FILE *out, const char *json)
{
    struct ab_buf buf = {0};
    size_t bytes = strlen(json);
    for (size_t at = 0; at < bytes;) {
        int32_t code;
        size_t n = character((const unsigned char *)json + at, bytes - at, &code);
        if (!harmful(code))
            ab_buf_add(&buf, json + at, n);
        else if (code >= 0x10000)
            ab_buf_format(&buf, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
                          0xdc00 + ((code - 0x10000) & 0x3ff));
        else if (code >= 0)
            ab_buf_format(&buf, "\\u%04x", code);
        else
            ab_buf_text(&buf, replacement);
        at += n;
    }
    ab_buf_char(&buf, '\n');
    fwrite(buf.p, 1, buf.n, out);
    fflush(out);
    ab_buf_finish(&buf);
}

void term_json(FILE *out, json_t *tree)
{
    char *text = json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    json_decref(tree);
    term_json_text(out, text ? text : "null");
    free(text);
}

void term_time(int64_t wall_ms, char text[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!localtime_r(&seconds, &tm) || !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(text, 32, "?");
}
