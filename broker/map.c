/* Maps of 64-bit keys; see map.h. Deletion shifts the run behind it back, so that look-ups never pass holes. */
#include "broker/map.h"

#include <assert.h>
#include <stdlib.h>

#include "common/bytes.h"

enum { MAP_CAP_MIN = 64 };

static size_t home(const struct map *map, uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key ^ key >> 29) & (map->cap - 1);
}

static size_t find(const struct map *map, uint64_t key)
{
    size_t at = home(map, key);
    while (map->slots[at].key && map->slots[at].key != key)
        at = (at + 1) & (map->cap - 1);
    return at;
}

void *map_get(const struct map *map, uint64_t key)
{
    return map->cap && key ? map->slots[find(map, key)].value : NULL;
}

static void grow(struct map *map)
{
    struct map old = *map;
    map->cap = old.cap ? old.cap * 2 : MAP_CAP_MIN;
    map->slots = ab_calloc(map->cap, sizeof *map->slots);
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].key)
            map->slots[find(map, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void *map_put(struct map *map, uint64_t key, void *value)
{
    assert(key && value);
    if (map->n >= map->cap / 4 * 3)
        grow(map);
    struct map_slot *slot = &map->slots[find(map, key)];
    void *before = slot->value;
    map->n += !slot->key;
    *slot = (struct map_slot){key, value};
    return before;
}

void *map_remove(struct map *map, uint64_t key)
{
    if (!map->cap || !key)
        return NULL;
    size_t hole = find(map, key), mask = map->cap - 1;
    if (!map->slots[hole].key)
        return NULL;
    void *value = map->slots[hole].value;
    for (size_t at = (hole + 1) & mask; map->slots[at].key; at = (at + 1) & mask) {
        size_t wanted = home(map, map->slots[at].key);
        if (((at - wanted) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole] = (struct map_slot){0, NULL};
    map->n--;
    return value;
}

void *map_each(const struct map *map, size_t *at)
{
    while (*at < map->cap) {
        const struct map_slot *slot = &map->slots[(*at)++];
        if (slot->key)
            return slot->value;
    }
    return NULL;
}

void map_finish(struct map *map)
{
    free(map->slots);
    *map = (struct map){0};
}
