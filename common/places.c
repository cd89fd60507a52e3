/* Where the values of a document stand: a table from JSON path to line and column, for messages a person can
 * follow.
 *
 * Kept as a jansson object (its hash table), the value being line and column in one integer.
 */
#include "common/tree.h"

#include <stdlib.h>

enum { COLUMN_BITS = 20 };

struct ab_places {
    json_t *table;
};

struct ab_places *ab_places_create(void)
{
    struct ab_places *places = ab_alloc(sizeof *places);
    places->table = json_object();
    if (!places->table)
        ab_out_of_memory();
    return places;
}

void ab_places_destroy(struct ab_places *places)
{
    if (!places)
        return;
    json_decref(places->table);
    free(places);
}

void ab_places_add(struct ab_places *places, const char *path, size_t line, size_t column)
{
    const size_t column_max = ((size_t)1 << COLUMN_BITS) - 1;
    if (json_object_get(places->table, path))
        return;
    json_int_t packed = (json_int_t)(line << COLUMN_BITS | (column < column_max ? column : column_max));
    /* A path that is no UTF-8 cannot come from a parsed document; it would only stay without a place. */
    json_object_set_new(places->table, path, json_integer(packed));
}

/* Shortens path to its parent: "$.a[0].b" → "$.a[0]" → "$.a" → "$". False at the root. */
static bool to_parent(char *path)
{
    size_t n = strlen(path);
    if (n < 2)
        return false;
    size_t i = n - 1;
    if (path[i] == ']' && i > 1 && path[i - 1] == '"') {
        while (i > 1 && !(path[i] == '"' && path[i - 1] == '['))
            i--;
        i--;
    } else {
        while (i > 1 && path[i] != '.' && path[i] != '[')
            i--;
    }
    path[i] = 0;
    return true;
}

bool ab_places_find(const struct ab_places *places, const char *path, size_t *line, size_t *column)
{
    char *walk = ab_strdup(path);
    const json_t *found;
    do {
        found = json_object_get(places->table, walk);
    } while (!found && to_parent(walk));
    free(walk);
    if (!found)
        return false;
    uint64_t packed = (uint64_t)json_integer_value(found);
    *line = packed >> COLUMN_BITS;
    *column = packed & (((uint64_t)1 << COLUMN_BITS) - 1);
    return true;
}

char *ab_places_describe(const struct ab_places *places, const char *file, const char *path)
{
    size_t line, column;
    if (places && ab_places_find(places, path, &line, &column))
        return ab_format("%s:%zu:%zu: %s", file, line, column, path);
    return ab_format("%s: %s", file, path);
}
