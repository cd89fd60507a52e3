/* A map from 64-bit keys to pointers: open addressing, linear probing, no tombstones. Key 0 is not allowed.
 * Values are borrowed. O(1); grows by doubling at three quarters full.
 */
#ifndef AB_BROKER_MAP_H
#define AB_BROKER_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key; /* 0 = free */
    void *value;
};
struct map {
    struct map_slot *slots;
    size_t n, cap; /* cap is a power of two, or 0 */
};

void *map_get(const struct map *map, uint64_t key); /* NULL if absent */
/* Sets the value of a key; returns what was there before, or NULL. */
void *map_put(struct map *map, uint64_t key, void *value);
/* Removes a key; returns its value, or NULL. */
void *map_remove(struct map *map, uint64_t key);
/* Walks all values in no order: start with *at = 0; NULL ends. The map must not change meanwhile. */
void *map_each(const struct map *map, size_t *at);
void map_finish(struct map *map);

#endif
