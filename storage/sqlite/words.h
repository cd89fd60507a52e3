/* Words: how texts are cut into what can be searched for, what a query means, and where it stands in a text.
 *
 * Words are those of FTS5's unicode61: letters and digits, without regard to case and diacritics. In scripts that put no
 * spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) each character is a word of its own; as a
 * run of words in a query must stand side by side, what is written without spaces is found wherever it stands.
 *
 * A query is words, "phrases" and prefixes (prog*), all of which must be there. Nothing in it is a fault but having none.
 */
#ifndef STORAGE_SQLITE_WORDS_H
#define STORAGE_SQLITE_WORDS_H

#include <sqlite3.h>

#include "common/bytes.h"
#include "common/error.h"

enum {
    WORDS_VERSION = 1,          /* grows when texts are cut otherwise: the index is made anew then */
    WORDS_TEXT_MAX = 256 << 10, /* of one message; what comes behind is not searched */
    WORDS_TERMS_MAX = 16,       /* of a query */
    WORDS_TERM_MAX = 64,        /* words of one phrase */
    WORDS_PREFIX_MIN = 2,       /* characters in front of a * */
    WORDS_MARKS_MAX = 64,       /* places looked at in one text */
    WORDS_SNIPPET_BYTES = 240,
};

/* The text of a message as it is searched: of parts those that are texts. Appends at most WORDS_TEXT_MAX bytes. */
void words_text(struct ab_view content, struct ab_buf *text);
/* The text as the index takes it: characters that are words stand alone. Returns `text` itself if there are none, else
 * what was appended to `room`, which is cleared first. */
struct ab_view words_spaced(struct ab_view text, struct ab_buf *room);

/* ---- what a connection needs for it ---- */
struct words;
/* Also gives its SQL the function hits(message_words): how well a row fits, 1 to 1000. It counts the row's own words only,
 * so that nobody learns from it how common a word is with others. */
int words_create(sqlite3 *handle, struct words **words, struct ab_error *err);
void words_destroy(struct words *words); /* NULL is allowed */
/* How many words the index sees in a text. */
size_t words_count(struct words *words, struct ab_view text);

/* ---- a query ---- */
struct query;
int query_create(struct words *words, struct ab_view text, struct query **query, struct ab_error *err);
void query_destroy(struct query *query); /* NULL is allowed */
unsigned query_terms(const struct query *query);
/* The term as it was written. */
struct ab_view query_term(const struct query *query, unsigned term);
/* The text of MATCH for one term, or for all (WORDS_TERMS_MAX), of rows whose place holds those words. */
void query_match(const struct query *query, unsigned term, struct ab_view place, struct ab_buf *out);
/* Whether the term stands in the text as the index would find it. */
bool query_finds(struct query *query, unsigned term, struct ab_view text);
/* Appends a piece of the text around what was found, one line, and to `marks` a msgpack array of [first character, how many]
 * of it. False if not all terms stand there: nothing is appended. */
bool query_snippet(struct query *query, struct ab_view text, struct ab_buf *snippet, struct ab_buf *marks);

#endif
