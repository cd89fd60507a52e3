/* Between words.c and words_query.c. */
#ifndef STORAGE_SQLITE_WORDS_INSIDE_H
#define STORAGE_SQLITE_WORDS_INSIDE_H

#include "storage/sqlite/words.h"

/* The character at `at`, which is inside of the text; returns its bytes. What is no UTF-8 is taken byte by byte. */
size_t words_character(struct ab_view text, size_t at, uint32_t *c);
/* As words_spaced; appends to `spaces` (NULL: nowhere) where in the result each added space stands, as uint32_t. */
struct ab_view words_spaced_at(struct ab_view text, struct ab_buf *room, struct ab_buf *spaces);

/* Each word, folded, and which bytes of the text it is. Other than 0 ends it. */
typedef int words_fn(void *context, int flags, const char *token, int n, int start, int end);
int words_each(struct words *words, struct ab_view spaced, words_fn *fn, void *context);

#endif
