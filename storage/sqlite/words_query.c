/* Queries: what is asked for, and where it stands in a text. */
#include <stdlib.h>

#include "common/wire/schema.h"
#include "storage/sqlite/words_inside.h"

/* A piece of a buffer. */
struct piece {
    uint32_t at, n;
};

struct term {
    struct piece text; /* as it goes into MATCH: of `source` */
    uint32_t first, n; /* its words: of `words` */
    bool prefix;       /* the last one is the beginning of a word */
};

/* Where a term stands, in bytes of the text that was looked at. */
struct mark {
    uint32_t start, end;
    unsigned term;
};

struct query {
    struct words *words;
    struct term terms[WORDS_TERMS_MAX];
    unsigned n;
    struct ab_buf source, letters; /* texts of terms, of their words */
    struct ab_buf tokens;          /* struct piece: the terms' words, of `letters` */

    /* ---- a text that is looked through ---- */
    struct ab_buf room, spaces, seen_letters, seen; /* seen: struct seen, its words so far */
    size_t space;                                   /* so many of the added spaces are behind us */
    struct mark marks[WORDS_MARKS_MAX];
    unsigned marks_n, only; /* only this term; or WORDS_TERMS_MAX: all */
};

struct seen {
    struct piece word; /* of `seen_letters` */
    uint32_t start, end;
};

/* ---- reading a query ---- */
static int take_word(void *context, int flags, const char *token, int n, int start, int end)
{
    (void)flags;
    (void)start;
    (void)end;
    struct query *query = context;
    struct piece piece = {(uint32_t)query->letters.n, (uint32_t)n};
    ab_buf_add(&query->tokens, &piece, sizeof piece);
    ab_buf_add(&query->letters, token, (size_t)n);
    return ++query->terms[query->n].n > WORDS_TERM_MAX ? SQLITE_DONE : SQLITE_OK;
}

static size_t characters(struct ab_view text)
{
    size_t n = 0;
    uint32_t c;
    for (size_t i = 0; i < text.n; n++)
        i += words_character(text, i, &c);
    return n;
}

static int check_term(const struct query *query, struct ab_view text, struct ab_error *err)
{
    const struct term *term = &query->terms[query->n];
    const struct piece *words = (const struct piece *)(const void *)query->tokens.p;
    if (term->n > WORDS_TERM_MAX)
        return ab_fail_at(err, AB_EINVALID, "query", "a phrase has at most %d words", WORDS_TERM_MAX);
    const struct piece *last = &words[term->first + term->n - 1];
    struct ab_view word = ab_view(query->letters.p + last->at, last->n);
    if (term->prefix && (uint8_t)*word.p < 0x80 && characters(word) < WORDS_PREFIX_MIN)
        return ab_fail_at(err, AB_EINVALID, "query", "%.*s*: in front of * there are at least %d letters",
                          AB_VIEW_FMT(text), WORDS_PREFIX_MIN);
    return 0;
}

/* Something without letters and digits is no term. */
static int add_term(struct query *query, struct ab_view text, bool prefix, struct ab_error *err)
{
    if (query->n == WORDS_TERMS_MAX)
        return ab_fail_at(err, AB_EINVALID, "query", "a query has at most %d words and phrases",
                          WORDS_TERMS_MAX);
    struct term *term = &query->terms[query->n];
    *term = (struct term){.first = (uint32_t)(query->tokens.n / sizeof(struct piece)), .prefix = prefix};
    struct ab_view spaced = words_spaced(text, &query->room);
    words_each(query->words, spaced, take_word, query);
    if (!term->n)
        return 0;
    term->text = (struct piece){(uint32_t)query->source.n, (uint32_t)spaced.n};
    ab_buf_add(&query->source, spaced.p, spaced.n);
    int code = check_term(query, text, err);
    query->n++;
    return code;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || !c;
}

/* The next word, or what stands between two quotation marks. */
static bool next_term(struct ab_view text, size_t *at, struct ab_view *out, bool *prefix)
{
    while (*at < text.n && is_space(text.p[*at]))
        ++*at;
    if (*at == text.n)
        return false;
    bool quoted = text.p[*at] == '"';
    size_t start = *at + quoted, end = start;
    while (end < text.n && text.p[end] != '"' && (quoted || !is_space(text.p[end])))
        end++;
    *at = end + (quoted && end < text.n);
    *prefix = !quoted && end > start + 1 && text.p[end - 1] == '*';
    *out = ab_view(text.p + start, end - start);
    return true;
}

int query_create(struct words *words, struct ab_view text, struct query **out, struct ab_error *err)
{
    struct query *query = ab_calloc(1, sizeof *query);
    struct ab_view term;
    bool prefix;
    size_t at = 0;
    int code = 0;
    query->words = words;
    while (!code && next_term(text, &at, &term, &prefix))
        code = add_term(query, term, prefix, err);
    if (!code && !query->n)
        code = ab_fail_at(err, AB_EINVALID, "query", "has no word to look for");
    if (code)
        query_destroy(query);
    else
        *out = query;
    return code;
}

void query_destroy(struct query *query)
{
    if (!query)
        return;
    struct ab_buf *buffers[] = {&query->source, &query->letters, &query->tokens,      &query->room,
                                &query->spaces, &query->seen,    &query->seen_letters};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        ab_buf_finish(buffers[i]);
    free(query);
}

unsigned query_terms(const struct query *query)
{
    return query->n;
}

struct ab_view query_term(const struct query *query, unsigned term)
{
    return ab_view(query->source.p + query->terms[term].text.at, query->terms[term].text.n);
}

/* ---- asking the index ---- */

/* As a string of FTS5, in which only the quotation mark means something, and no term has one; a NUL would end it. */
static void add_string(struct ab_view text, struct ab_buf *out)
{
    ab_buf_char(out, '"');
    for (size_t i = 0; i < text.n; i++)
        ab_buf_char(out, text.p[i] ? text.p[i] : ' ');
    ab_buf_char(out, '"');
}

void query_match(const struct query *query, unsigned term, struct ab_view place, struct ab_buf *out)
{
    unsigned first = term < query->n ? term : 0, end = term < query->n ? term + 1 : query->n;
    ab_buf_text(out, "place:");
    add_string(place, out);
    for (unsigned i = first; i < end; i++) {
        const struct term *t = &query->terms[i];
        ab_buf_text(out, " AND text:");
        add_string(ab_view(query->source.p + t->text.at, t->text.n), out);
        if (t->prefix)
            ab_buf_text(out, "*");
    }
}

/* ---- looking through a text ---- */

static bool is_word(const struct query *query, const struct term *term, uint32_t i, const struct seen *seen)
{
    const struct piece *want = (const struct piece *)(const void *)query->tokens.p + term->first + i;
    bool beginning = term->prefix && i + 1 == term->n;
    if (beginning ? seen->word.n < want->n : seen->word.n != want->n)
        return false;
    return !memcmp(query->seen_letters.p + seen->word.at, query->letters.p + want->at, want->n);
}

/* The term ends with the last word that was seen. */
static bool ends_here(const struct query *query, const struct term *term, const struct seen *seen, size_t n)
{
    if (n < term->n)
        return false;
    for (uint32_t i = term->n; i-- > 0;)
        if (!is_word(query, term, i, &seen[n - term->n + i]))
            return false;
    return true;
}

/* Where the byte of the spaced text stands in the text itself. */
static uint32_t place_of(struct query *query, int at)
{
    const uint32_t *spaces = (const uint32_t *)(const void *)query->spaces.p;
    while (query->space < query->spaces.n / sizeof *spaces && spaces[query->space] < (uint32_t)at)
        query->space++;
    return (uint32_t)at - (uint32_t)query->space;
}

static int see_word(void *context, int flags, const char *token, int n, int start, int end)
{
    (void)flags;
    struct query *query = context;
    struct seen word = {.word = {(uint32_t)query->seen_letters.n, (uint32_t)n}};
    word.start = place_of(query, start);
    word.end = place_of(query, end);
    ab_buf_add(&query->seen_letters, token, (size_t)n);
    ab_buf_add(&query->seen, &word, sizeof word);
    const struct seen *seen = (const struct seen *)(const void *)query->seen.p;
    size_t seen_n = query->seen.n / sizeof *seen;
    for (unsigned i = 0; i < query->n; i++) {
        const struct term *term = &query->terms[i];
        if ((query->only < query->n && i != query->only) || !ends_here(query, term, seen, seen_n))
            continue;
        query->marks[query->marks_n++] = (struct mark){seen[seen_n - term->n].start, word.end, i};
        if (query->marks_n == WORDS_MARKS_MAX || query->only < query->n)
            return SQLITE_DONE;
    }
    return SQLITE_OK;
}

static void look(struct query *query, unsigned only, struct ab_view text)
{
    ab_buf_clear(&query->seen);
    ab_buf_clear(&query->seen_letters);
    ab_buf_clear(&query->spaces);
    query->space = 0;
    query->marks_n = 0;
    query->only = only;
    words_each(query->words, words_spaced_at(text, &query->room, &query->spaces), see_word, query);
}

bool query_finds(struct query *query, unsigned term, struct ab_view text)
{
    look(query, term, text);
    return query->marks_n;
}

/* ---- the snippet ---- */

/* The mark from which on most terms stand within a snippet. */
static unsigned best_mark(const struct query *query)
{
    unsigned best = 0, most = 0;
    for (unsigned i = 0; i < query->marks_n; i++) {
        uint32_t terms = 0;
        for (unsigned j = i; j < query->marks_n; j++)
            if (query->marks[j].end <= query->marks[i].start + WORDS_SNIPPET_BYTES * 3 / 4)
                terms |= 1u << query->marks[j].term;
        if ((unsigned)__builtin_popcount(terms) > most) {
            most = (unsigned)__builtin_popcount(terms);
            best = i;
        }
    }
    return best;
}
_Static_assert(WORDS_TERMS_MAX <= 32, "terms are bits");

/* A place near `at` where a word may begin: forward, at most `far` bytes. */
static size_t word_start(struct ab_view text, size_t at, size_t far)
{
    size_t end = at + far < text.n ? at + far : text.n;
    for (size_t i = at; i < end && i; i++)
        if (is_space(text.p[i - 1]))
            return i;
    while (at < text.n && ((uint8_t)text.p[at] & 0xc0) == 0x80)
        at++;
    return at;
}

static struct ab_view cut_out(const struct query *query, struct ab_view text)
{
    const struct mark *mark = &query->marks[best_mark(query)];
    size_t lead = WORDS_SNIPPET_BYTES / 4, start = 0, end = text.n;
    if (mark->start > lead)
        start = word_start(text, mark->start - lead, lead);
    if (start > mark->start)
        start = mark->start;
    if (text.n - start > WORDS_SNIPPET_BYTES) {
        end = start + WORDS_SNIPPET_BYTES;
        while (end > start + WORDS_SNIPPET_BYTES * 3 / 4 && !is_space(text.p[end]))
            end--;
        if (!is_space(text.p[end]))
            end = start + WORDS_SNIPPET_BYTES;
    }
    if (end < mark->end)
        end = mark->end < start + 2 * WORDS_SNIPPET_BYTES ? mark->end : start + 2 * WORDS_SNIPPET_BYTES;
    while (end < text.n && ((uint8_t)text.p[end] & 0xc0) == 0x80)
        end++;
    return ab_view(text.p + start, end - start);
}

static int by_start(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    return x->start != y->start ? (x->start > y->start) - (x->start < y->start)
                                : (x->end < y->end) - (x->end > y->end);
}

/* Marks inside of the piece, none inside of another, in characters of the snippet. */
static void add_marks(struct query *query, struct ab_view text, struct ab_view piece, bool cut,
                      struct ab_buf *out)
{
    struct ab_buf items = {0};
    size_t start = (size_t)(piece.p - text.p), behind = start;
    uint32_t n = 0;
    qsort(query->marks, query->marks_n, sizeof *query->marks, by_start);
    for (unsigned i = 0; i < query->marks_n; i++) {
        const struct mark *m = &query->marks[i];
        if (m->start < behind || m->end > start + piece.n)
            continue;
        ab_pack_array(&items, 2);
        ab_pack_uint(&items, cut + characters(ab_view(piece.p, m->start - start)));
        ab_pack_uint(&items, characters(ab_view(text.p + m->start, m->end - m->start)));
        behind = m->end;
        n++;
    }
    ab_pack_array(out, n);
    ab_buf_add(out, items.p, items.n);
    ab_buf_finish(&items);
}

bool query_snippet(struct query *query, struct ab_view text, struct ab_buf *snippet, struct ab_buf *marks)
{
    uint32_t terms = 0;
    look(query, WORDS_TERMS_MAX, text);
    for (unsigned i = 0; i < query->marks_n; i++)
        terms |= 1u << query->marks[i].term;
    bool all = terms == (uint32_t)((UINT64_C(1) << query->n) - 1);
    if (!all && query->marks_n < WORDS_MARKS_MAX)
        return false;
    struct ab_view piece = cut_out(query, text);
    bool before = piece.p > text.p, after = piece.p + piece.n < text.p + text.n;
    ab_buf_text(snippet, before ? "…" : "");
    for (size_t i = 0; i < piece.n; i++)
        ab_buf_char(snippet, (uint8_t)piece.p[i] < 0x20 || piece.p[i] == 0x7f ? ' ' : piece.p[i]);
    ab_buf_text(snippet, after ? "…" : "");
    add_marks(query, text, piece, before, marks);
    return true;
}
