/* Heads: what an append must know of its job, kept by the writer for jobs that have not ended. A cache only: a
 * miss reads it from the tables, a rollback forgets all.
 */
#ifndef STORAGE_SQLITE_HEADS_H
#define STORAGE_SQLITE_HEADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEADS_MAX = 1 << 20 };

struct head {
    uint64_t n;          /* the job; 0 = an empty slot */
    uint64_t seq, token; /* of its last event; 0 = none yet */
    uint64_t inbox_k, inbox_bytes;
    int64_t session;         /* key; 0 = none */
    int64_t user;            /* key */
    uint32_t budget_version; /* of the database when `budget` was found out; 0: never */
    uint8_t budget;          /* AB_UNDER_… */
    uint8_t state;           /* OPEN_… */
    uint8_t end;             /* END_…; ended jobs are not kept in the cache */
    bool secrets;
    bool holds; /* it may have reserved something */
};

struct heads {
    struct head *slots;
    size_t cap, n; /* cap is a power of two */
};

bool heads_get(const struct heads *heads, uint64_t n, struct head *head);
void heads_put(struct heads *heads, const struct head *head);
void heads_remove(struct heads *heads, uint64_t n);
void heads_clear(struct heads *heads);
void heads_finish(struct heads *heads);

#endif
