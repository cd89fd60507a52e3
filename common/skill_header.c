/* Finds the header of a skill's file: leading comment lines, or a docstring. See skill.h. */
#include <string.h>

#include "common/skill.h"

/* --- lines ---------------------------------------------------------------------------------------------------- */

/* The next line without its end; false at the end of the text. */
static bool next_line(struct ab_view *rest, struct ab_view *line)
{
    if (!rest->n)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    *line = ab_view(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    size_t taken = line->n + (end ? 1 : 0);
    *rest = ab_view(rest->p + taken, rest->n - taken);
    if (line->n && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

static bool is_blank(struct ab_view line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] != ' ' && line.p[i] != '\t')
            return false;
    return true;
}

static bool begins(struct ab_view text, const char *with)
{
    size_t n = strlen(with);
    return text.n >= n && !memcmp(text.p, with, n);
}

/* #!/…, and the line by which editors know a file's encoding. */
static bool is_magic(struct ab_view line, size_t number)
{
    return number < 2 && (begins(line, "#!") || begins(line, "# -*-"));
}

/* --- what a block is ------------------------------------------------------------------------------------------ */

/* Its first line that is not blank begins with a key of a header. */
static bool is_header(struct ab_view block)
{
    static const char *const keys[] = {
        "title:", "name:", "description:", "parameters:", "idempotent:", "timeout_s:"};
    struct ab_view line = {0};
    while (next_line(&block, &line) && is_blank(line))
        continue;
    while (line.n && *line.p == ' ')
        line = ab_view(line.p + 1, line.n - 1);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (begins(line, keys[i]))
            return true;
    return false;
}

/* --- comments ------------------------------------------------------------------------------------------------- */

/* Comment lines from the top, each # as a space: so the columns stay. What is not of them is an empty line. Returns what
 * follows. */
static struct ab_view read_comments(struct ab_view content, struct ab_buf *out)
{
    struct ab_view rest = content, line, before = content;
    bool begun = false;
    for (size_t number = 0; next_line(&rest, &line); number++, before = rest) {
        bool comment = line.n && *line.p == '#' && !is_magic(line, number);
        if (!comment && (begun || (!is_blank(line) && !is_magic(line, number))))
            break;
        begun |= comment;
        if (comment) {
            ab_buf_char(out, ' ');
            ab_buf_add(out, line.p + 1, line.n - 1);
        }
        ab_buf_char(out, '\n');
    }
    return before;
}

/* --- docstrings ----------------------------------------------------------------------------------------------- */

/* Behind comments and empty lines; as many empty lines in front as there are above it. */
static void read_docstring(struct ab_view content, struct ab_buf *out)
{
    struct ab_view rest = content, line, at = content;
    while (next_line(&rest, &line) && (is_blank(line) || *line.p == '#')) {
        ab_buf_char(out, '\n');
        at = rest;
    }
    if (begins(at, "r\"") || begins(at, "r'"))
        at = ab_view(at.p + 1, at.n - 1);
    const char *quotes = begins(at, "\"\"\"") ? "\"\"\"" : begins(at, "'''") ? "'''" : NULL;
    const char *end = quotes ? memmem(at.p + 3, at.n - 3, quotes, 3) : NULL;
    if (end)
        ab_buf_add(out, at.p + 3, (size_t)(end - at.p - 3));
    else
        ab_buf_clear(out);
}

/* --- the header ----------------------------------------------------------------------------------------------- */

static void trim(struct ab_buf *text)
{
    size_t from = 0;
    while (text->n && strchr(" \t\r\n", text->p[text->n - 1]))
        text->n--;
    while (from < text->n && strchr(" \t\r\n", text->p[from]))
        from++;
    if (from)
        memmove(text->p, text->p + from, text->n -= from);
}

/* Comments lose the space that stands for the # and the one behind it. */
static void add_comment(struct ab_view block, struct ab_buf *out)
{
    struct ab_view line;
    while (next_line(&block, &line)) {
        size_t drop = begins(line, "  ") ? 2 : begins(line, " ") ? 1 : 0;
        ab_buf_add(out, line.p + drop, line.n - drop);
        ab_buf_char(out, '\n');
    }
}

void ab_skill_header(struct ab_view content, bool python, struct ab_buf *yaml, struct ab_buf *comment)
{
    struct ab_buf comments = {0}, docstring = {0};
    read_comments(content, &comments);
    if (python)
        read_docstring(content, &docstring);
    if (is_header(ab_buf_view(&comments)))
        ab_buf_add(yaml, comments.p, comments.n);
    else if (is_header(ab_buf_view(&docstring)))
        ab_buf_add(yaml, docstring.p, docstring.n);
    else if (docstring.n)
        ab_buf_add(comment, docstring.p, docstring.n);
    else
        add_comment(ab_buf_view(&comments), comment);
    trim(comment);
    ab_buf_finish(&comments);
    ab_buf_finish(&docstring);
}
