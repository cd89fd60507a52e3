/* Texts into words: FTS5's tokenizer, in front of it characters that are words, behind it how well a row fits. */
#include "storage/sqlite/words.h"

#include <stdlib.h>

#include "common/wire/schema.h"
#include "storage/sqlite/words_inside.h"

/* ---- characters that are words ---- */

/* Scripts without spaces between words. Korean has spaces, but joins particles to what one searches for. */
static const struct {
    uint32_t first, last;
} alone[] = {
    {0x0e01, 0x0e4e},   /* Thai */
    {0x0e81, 0x0ece},   /* Lao */
    {0x1000, 0x109f},   /* Burmese */
    {0x1100, 0x11ff},   /* Hangul, its letters */
    {0x1780, 0x17dd},   /* Khmer */
    {0x3005, 0x3007},   /* 々〆〇 */
    {0x3040, 0x30ff},   /* Hiragana, Katakana */
    {0x3105, 0x318f},   /* Bopomofo, Hangul */
    {0x31f0, 0x31ff},   /* Katakana */
    {0x3400, 0x4dbf},   /* Han */
    {0x4e00, 0x9fff},   /* Han */
    {0xac00, 0xd7a3},   /* Hangul */
    {0xf900, 0xfaff},   /* Han */
    {0xff66, 0xff9f},   /* Katakana */
    {0x20000, 0x3ffff}, /* Han */
};

static bool stands_alone(uint32_t c)
{
    for (size_t i = 0; i < sizeof alone / sizeof *alone && c >= alone[i].first; i++)
        if (c <= alone[i].last)
            return true;
    return false;
}

size_t words_character(struct ab_view text, size_t at, uint32_t *c)
{
    const uint8_t *p = (const uint8_t *)text.p + at;
    size_t left = text.n - at, n = *p < 0xc0 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if (n > left)
        n = 1;
    *c = n == 1 ? *p : *p & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (p[i] & 0x3f);
    return n;
}

struct ab_view words_spaced_at(struct ab_view text, struct ab_buf *room, struct ab_buf *spaces)
{
    bool any = false, behind = false;
    uint32_t c, at;
    size_t n;
    ab_buf_clear(room);
    for (size_t i = 0; i < text.n && !any; i += n) {
        n = words_character(text, i, &c);
        any = n > 2 && stands_alone(c);
    }
    for (size_t i = 0; any && i < text.n; i += n) {
        n = words_character(text, i, &c);
        bool is = n > 2 && stands_alone(c);
        if (is || behind) {
            at = (uint32_t)room->n;
            if (spaces)
                ab_buf_add(spaces, &at, sizeof at);
            ab_buf_char(room, ' ');
        }
        ab_buf_add(room, text.p + i, n);
        behind = is;
    }
    return any ? ab_buf_view(room) : text;
}

struct ab_view words_spaced(struct ab_view text, struct ab_buf *room)
{
    return words_spaced_at(text, room, NULL);
}

/* ---- messages ---- */
static void add_text(struct ab_view text, struct ab_buf *out)
{
    size_t room = WORDS_TEXT_MAX - out->n;
    if (out->n && room && text.n) {
        ab_buf_char(out, '\n');
        room--;
    }
    if (text.n > room)
        for (text.n = room; text.n && ((uint8_t)text.p[text.n] & 0xc0) == 0x80;)
            text.n--;
    for (size_t i = 0; i < text.n; i++) /* FTS5 would end at a NUL */
        ab_buf_char(out, text.p[i] ? text.p[i] : ' ');
}

void words_text(struct ab_view content, struct ab_buf *text)
{
    struct ab_reader reader = ab_reader(content);
    struct ab_view part, whole = ab_any_str(content);
    uint32_t n;
    if (whole.p)
        add_text(whole, text);
    else if (!ab_read_array(&reader, &n))
        while (n-- && !ab_read_any(&reader, &part))
            if (ab_view_is(ab_any_str(ab_map_get(part, "type")), "text"))
                add_text(ab_any_str(ab_map_get(part, "text")), text);
}

/* ---- FTS5 ---- */
struct words {
    fts5_tokenizer tokenizer;
    Fts5Tokenizer *instance;
};

static fts5_api *api_of(sqlite3 *handle)
{
    fts5_api *api = NULL;
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(handle, "SELECT fts5(?1)", -1, &s, NULL) == SQLITE_OK) {
        sqlite3_bind_pointer(s, 1, &api, "fts5_api_ptr", NULL);
        sqlite3_step(s);
    }
    sqlite3_finalize(s);
    return api;
}

/* Each phrase gives more the oftener it stands there, with less and less for each, and more in a short text: BM25 without what
 * it takes from other rows. The first phrase is the place. */
static void hits(const Fts5ExtensionApi *api, Fts5Context *fts, sqlite3_context *context, int n,
                 sqlite3_value **values)
{
    (void)n;
    (void)values;
    int phrases = api->xPhraseCount(fts), found = 0, length = 0, rc;
    unsigned counts[WORDS_TERMS_MAX + 1] = {0};
    if ((rc = api->xInstCount(fts, &found)) || (rc = api->xColumnSize(fts, 1, &length))) {
        sqlite3_result_error_code(context, rc);
        return;
    }
    for (int i = 0; i < found; i++) {
        int phrase = 0, column, offset;
        if (!api->xInst(fts, i, &phrase, &column, &offset) && phrase <= WORDS_TERMS_MAX)
            counts[phrase]++;
    }
    double sum = 0;
    for (int i = 1; i < phrases && i <= WORDS_TERMS_MAX; i++)
        sum += counts[i] / (counts[i] + 1.2 * (0.25 + 0.75 * length / 100));
    sqlite3_result_int(context, phrases > 1 ? 1 + (int)(999 * sum / (phrases - 1)) : 1);
}

int words_create(sqlite3 *handle, struct words **out, struct ab_error *err)
{
    static const char *options[] = {"remove_diacritics", "2"};
    struct words *words = ab_calloc(1, sizeof *words);
    fts5_api *api = api_of(handle);
    void *context = NULL;
    if (!api || api->xFindTokenizer(api, "unicode61", &context, &words->tokenizer) ||
        words->tokenizer.xCreate(context, options, 2, &words->instance) ||
        api->xCreateFunction(api, "hits", NULL, hits, NULL)) {
        free(words);
        return ab_fail(err, AB_EUSAGE, "this SQLite (%s) has no FTS5: install one that has",
                       sqlite3_libversion());
    }
    *out = words;
    return 0;
}

void words_destroy(struct words *words)
{
    if (!words)
        return;
    words->tokenizer.xDelete(words->instance);
    free(words);
}

int words_each(struct words *words, struct ab_view spaced, words_fn *fn, void *context)
{
    return words->tokenizer.xTokenize(words->instance, context, FTS5_TOKENIZE_AUX, spaced.p, (int)spaced.n, fn);
}

static int count_one(void *context, int flags, const char *token, int n, int start, int end)
{
    (void)flags;
    (void)token;
    (void)n;
    (void)start;
    (void)end;
    ++*(size_t *)context;
    return SQLITE_OK;
}

size_t words_count(struct words *words, struct ab_view text)
{
    size_t n = 0;
    words_each(words, text, count_one, &n);
    return n;
}
