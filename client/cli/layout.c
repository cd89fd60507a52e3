/* How text is laid out: rows that fit the terminal, paragraphs that are broken into lines. What is not written to a terminal
 * is as wide as it is, for programs. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/cli/cli.h"

size_t term_columns(FILE *out)
{
    struct winsize size;
    return isatty(fileno(out)) && !ioctl(fileno(out), TIOCGWINSZ, &size) ? size.ws_col : 0;
}

void term_row(FILE *out, const char *format, ...)
{
    char *line;
    va_list args;
    va_start(args, format);
    if (vasprintf(&line, format, args) < 0)
        ab_out_of_memory();
    va_end(args);
    for (size_t n = strlen(line); n && line[n - 1] == ' ';) /* of empty last columns */
        line[--n] = 0;
    char *shown = term_line(line, term_columns(out));
    fprintf(out, "%s\n", shown);
    free(line);
    free(shown);
}

static bool begins_character(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

/* The columns of the next word: to a space that stands in no brackets, as "[-w WORKFLOW]" is one. */
static size_t word(const char *text, size_t *bytes)
{
    size_t columns = 0;
    int depth = 0;
    for (*bytes = 0; text[*bytes] && (depth > 0 || !strchr(" \n", text[*bytes])); ++*bytes) {
        depth += (text[*bytes] == '[') - (text[*bytes] == ']');
        columns += begins_character(text[*bytes]);
    }
    return columns;
}

void term_wrapped(FILE *out, const char *text, size_t at, size_t indent, size_t columns)
{
    size_t bytes;
    for (bool first = true; *text; first = false) {
        size_t breaks = strspn(text, " \n"), paragraphs = 0;
        for (size_t i = 0; i < breaks; i++)
            paragraphs += text[i] == '\n';
        text += breaks;
        size_t n = word(text, &bytes);
        if (!bytes)
            break;
        bool full = columns && at + (size_t)!first + n > columns && at > indent;
        if (!first && (full || paragraphs > 1)) {
            fprintf(out, "%s\n%*s", paragraphs > 1 ? "\n" : "", (int)indent, "");
            at = indent;
        } else if (!first) {
            fputc(' ', out);
            at++;
        }
        fwrite(text, 1, bytes, out);
        at += n;
        text += bytes;
    }
    fputc('\n', out);
}
