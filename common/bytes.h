/* Bytes: borrowed views, growable buffers, immutable blobs, and allocation that cannot fail.
 *
 * Out of memory ends the process (exit 111): the supervisor restarts it and nothing acknowledged is lost.
 */
#ifndef AB_COMMON_BYTES_H
#define AB_COMMON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *ab_alloc(size_t bytes);                /* uninitialised */
void *ab_calloc(size_t count, size_t bytes); /* zeroed */
void *ab_realloc(void *p, size_t bytes);
char *ab_strdup(const char *text);
char *ab_strndup(const char *text, size_t bytes); /* bytes exactly, plus a NUL */
char *ab_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ab_out_of_memory(void) __attribute__((noreturn));

/* A borrowed view. Text is UTF-8 and need not end in NUL. p is NULL only if absent. */
struct ab_view {
    const char *p;
    size_t n;
};
static inline struct ab_view ab_view(const void *p, size_t n)
{
    return (struct ab_view){p, n};
}
static inline struct ab_view ab_view_of(const char *text)
{
    return (struct ab_view){text, text ? strlen(text) : 0};
}
static inline bool ab_view_eq(struct ab_view a, struct ab_view b)
{
    return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}
static inline bool ab_view_is(struct ab_view a, const char *text)
{
    return ab_view_eq(a, ab_view_of(text));
}
char *ab_view_dup(struct ab_view view);  /* NUL-terminated copy; NULL if view.p is NULL */
#define AB_VIEW_FMT(v) (int)(v).n, (v).p /* for "%.*s" */

/* A number whose absence means something else than 0. */
struct ab_maybe {
    bool is;
    uint64_t value;
};
static inline struct ab_maybe ab_some(uint64_t value)
{
    return (struct ab_maybe){true, value};
}

/* A growable buffer; zero-initialised is empty. */
struct ab_buf {
    char *p;
    size_t n, cap;
};
void ab_buf_grow(struct ab_buf *buf, size_t more);
static inline void ab_buf_reserve(struct ab_buf *buf, size_t more)
{
    if (buf->cap - buf->n < more)
        ab_buf_grow(buf, more);
}
static inline void ab_buf_add(struct ab_buf *buf, const void *p, size_t n)
{
    ab_buf_reserve(buf, n);
    if (n) /* an empty view may have no address */
        memcpy(buf->p + buf->n, p, n);
    buf->n += n;
}
static inline void ab_buf_char(struct ab_buf *buf, char c)
{
    ab_buf_reserve(buf, 1);
    buf->p[buf->n++] = c;
}
void ab_buf_text(struct ab_buf *buf, const char *text);
void ab_buf_format(struct ab_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A NUL after the content (not counted in n); returns p, never NULL. */
char *ab_buf_cstr(struct ab_buf *buf);
/* Gives up the content, NUL-terminated; the caller frees it. The buffer is empty afterwards. */
char *ab_buf_detach(struct ab_buf *buf);
void ab_buf_clear(struct ab_buf *buf); /* keeps the memory */
void ab_buf_finish(struct ab_buf *buf);
static inline struct ab_view ab_buf_view(const struct ab_buf *buf)
{
    return (struct ab_view){buf->p ? buf->p : "", buf->n};
}

/* An immutable run of bytes with its length, in one allocation: for bodies kept in memory. */
struct ab_blob;
struct ab_blob *ab_blob_create(struct ab_view bytes);    /* copies */
void ab_blob_destroy(struct ab_blob *blob);              /* NULL is allowed */
struct ab_view ab_blob_view(const struct ab_blob *blob); /* {NULL,0} for NULL */

#endif
