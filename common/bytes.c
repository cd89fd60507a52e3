#include "common/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void ab_out_of_memory(void)
{
    static const char text[] = "out of memory\n";
    ssize_t ignored = write(2, text, sizeof text - 1);
    (void)ignored;
    _exit(111);
}

void *ab_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        ab_out_of_memory();
    return p;
}

void *ab_calloc(size_t count, size_t bytes)
{
    void *p = calloc(count ? count : 1, bytes ? bytes : 1);
    if (!p)
        ab_out_of_memory();
    return p;
}

void *ab_realloc(void *p, size_t bytes)
{
    p = realloc(p, bytes ? bytes : 1);
    if (!p)
        ab_out_of_memory();
    return p;
}

char *ab_strdup(const char *text)
{
    return ab_strndup(text, strlen(text));
}

char *ab_strndup(const char *text, size_t bytes)
{
    char *copy = ab_alloc(bytes + 1);
    if (bytes) /* an empty view may have no address */
        memcpy(copy, text, bytes);
    copy[bytes] = 0;
    return copy;
}

char *ab_format(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        ab_out_of_memory();
    va_end(args);
    return text;
}

char *ab_view_dup(struct ab_view view)
{
    return view.p ? ab_strndup(view.p, view.n) : NULL;
}

void ab_buf_grow(struct ab_buf *buf, size_t more)
{
    size_t cap = buf->cap ? buf->cap : 64;
    while (cap - buf->n < more)
        cap *= 2;
    buf->p = ab_realloc(buf->p, cap);
    buf->cap = cap;
}

void ab_buf_text(struct ab_buf *buf, const char *text)
{
    ab_buf_add(buf, text, strlen(text));
}

void ab_buf_format(struct ab_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        ab_out_of_memory();
    ab_buf_reserve(buf, (size_t)n + 1);
    vsnprintf(buf->p + buf->n, (size_t)n + 1, format, again);
    va_end(again);
    buf->n += (size_t)n;
}

char *ab_buf_cstr(struct ab_buf *buf)
{
    ab_buf_reserve(buf, 1);
    buf->p[buf->n] = 0;
    return buf->p;
}

char *ab_buf_detach(struct ab_buf *buf)
{
    char *p = ab_buf_cstr(buf);
    *buf = (struct ab_buf){0};
    return p;
}

void ab_buf_clear(struct ab_buf *buf)
{
    buf->n = 0;
}

void ab_buf_finish(struct ab_buf *buf)
{
    free(buf->p);
    *buf = (struct ab_buf){0};
}

struct ab_blob {
    size_t n;
    char p[];
};

struct ab_blob *ab_blob_create(struct ab_view bytes)
{
    struct ab_blob *blob = ab_alloc(sizeof *blob + bytes.n);
    blob->n = bytes.n;
    if (bytes.n)
        memcpy(blob->p, bytes.p, bytes.n);
    return blob;
}

void ab_blob_destroy(struct ab_blob *blob)
{
    free(blob);
}

struct ab_view ab_blob_view(const struct ab_blob *blob)
{
    return blob ? (struct ab_view){blob->p, blob->n} : (struct ab_view){0};
}
