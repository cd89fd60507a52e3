/* The tags of the gallery, counted. They are read from an index of their own, never from the items, which hold whole
 * sessions.
 */
#include "storage/sqlite/db.h"

#include <stdlib.h>

struct counted {
    size_t at, n; /* of the tag in `text` */
    uint64_t items;
};

struct counting {
    struct ab_buf text, tags; /* tags: an array of struct counted */
};

static struct ab_view tag_text(const struct counting *c, const struct counted *tag)
{
    return ab_view(c->text.p + tag->at, tag->n);
}

static int by_tag(const void *a, const void *b, void *context)
{
    struct ab_view x = tag_text(context, a), y = tag_text(context, b);
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

/* A tag that an item names twice counts once. */
static bool before(struct ab_view tags, uint32_t i, struct ab_view tag)
{
    struct ab_reader reader = ab_reader(tags);
    struct ab_view one;
    uint32_t n;
    if (!ab_read_array(&reader, &n))
        while (i-- && !ab_read_str(&reader, &one))
            if (ab_view_eq(one, tag))
                return true;
    return false;
}

static void take(struct counting *c, struct ab_view tags, uint64_t items)
{
    struct ab_reader reader = ab_reader(tags);
    struct ab_view tag;
    uint32_t n;
    if (ab_read_array(&reader, &n))
        return;
    for (uint32_t i = 0; i < n && !ab_read_str(&reader, &tag); i++) {
        if (before(tags, i, tag))
            continue;
        ab_buf_add(&c->tags, &(struct counted){c->text.n, tag.n, items}, sizeof(struct counted));
        ab_buf_add(&c->text, tag.p, tag.n);
    }
}

/* Those behind `after`, at most `limit`; *last is the last one if there are more. */
static void list(struct counting *c, struct ab_view after, uint64_t limit, struct list *out,
                 struct ab_view *last)
{
    struct counted *tags = (struct counted *)(void *)c->tags.p;
    size_t n = c->tags.n / sizeof *tags;
    struct ab_view shown = {0};
    if (n)
        qsort_r(tags, n, sizeof *tags, by_tag, c);
    for (size_t i = 0, next; i < n; i = next) {
        struct ab_tag_count row = {.tag = tag_text(c, &tags[i])};
        for (next = i; next < n && !by_tag(&tags[i], &tags[next], c); next++)
            row.items += tags[next].items;
        size_t common = after.n < row.tag.n ? after.n : row.tag.n;
        int order = after.p ? memcmp(row.tag.p, after.p, common) : 1;
        if (order < 0 || (!order && row.tag.n <= after.n))
            continue;
        if (out->n == limit || list_full(out)) {
            *last = shown;
            return;
        }
        ab_encode(&out->buf, &ab_tag_count_schema, &row);
        out->n++;
        shown = row.tag;
    }
}

int op_gallery_tags(struct db *db, const void *request, struct ab_buf *answer, struct ab_error *err)
{
    const struct ab_op_gallery_tags *r = request;
    int64_t user = r->publisher.n ? user_find(db, r->publisher, err) : 0;
    if (user < 0)
        return (int)user;
    struct counting counting = {0};
    sqlite3_stmt *s = db_sql(db, SQL_GALLERY_TAGS);
    if (r->publisher.n)
        bind_int(s, 1, user);
    int got;
    while ((got = db_row(db, s, err)) > 0)
        take(&counting, col_blob(s, 0), (uint64_t)col_int(s, 1));
    if (!got) {
        struct list tags;
        struct ab_op_gallery_tags_answer a = {0};
        list_init(&tags);
        list(&counting, r->after, limit_of(r->limit), &tags, &a.next);
        a.tags = list_done(&tags);
        ab_encode(answer, &ab_op_gallery_tags_answer_schema, &a);
        list_finish(&tags);
    }
    ab_buf_finish(&counting.text);
    ab_buf_finish(&counting.tags);
    return got;
}
