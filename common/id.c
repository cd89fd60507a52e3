#include "common/id.h"

#include <pthread.h>
#include <sodium.h>

/* Random bits of the next ids: the system is asked once for many. */
enum { DRAWN_IDS = 64 };
static _Thread_local struct ab_id drawn[DRAWN_IDS];
static _Thread_local int drawn_left;

static uint8_t hash_key[crypto_shorthash_KEYBYTES];

static void drop_drawn(void)
{
    drawn_left = 0;
}

static struct ab_id draw(void)
{
    static _Thread_local bool registered;
    if (!registered)
        registered = !pthread_atfork(NULL, NULL, drop_drawn); /* a child must not make its parent's ids */
    if (!drawn_left || !registered) {
        randombytes_buf(drawn, sizeof drawn);
        drawn_left = DRAWN_IDS;
    }
    return drawn[--drawn_left];
}

/* RFC 9562 §6.2 method 1: a counter in rand_a keeps the order within a millisecond. */
struct ab_id ab_id_make(int64_t wall_ms)
{
    static int64_t last_ms;
    static uint32_t counter;
    if (wall_ms > last_ms) {
        last_ms = wall_ms;
        counter = randombytes_random() & 0x7ff; /* room above for this millisecond's ids */
    } else if (++counter > 0xfff) {
        last_ms++;
        counter = 0;
    }
    struct ab_id id = draw();
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)((uint64_t)last_ms >> (40 - 8 * i));
    id.b[6] = (uint8_t)(0x70 | counter >> 8);
    id.b[7] = (uint8_t)counter;
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    return id;
}

bool ab_id_ok(struct ab_id id)
{
    return id.b[6] >> 4 == 7 && id.b[8] >> 6 == 2;
}

bool ab_id_zero(struct ab_id id)
{
    static const struct ab_id zero;
    return ab_id_eq(id, zero);
}

int64_t ab_id_ms(struct ab_id id)
{
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.b[i];
    return ms;
}

const char *ab_id_text(struct ab_id id, char text[AB_ID_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    char *p = text;
    for (int i = 0; i < AB_ID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[id.b[i] >> 4];
        *p++ = digits[id.b[i] & 15];
    }
    *p = 0;
    return text;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ab_id_parse(struct ab_view text, struct ab_id *id)
{
    int nibbles = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '-')
            continue;
        int digit = hex_digit(text.p[i]);
        if (digit < 0 || nibbles == 2 * AB_ID_BYTES)
            return false;
        id->b[nibbles / 2] = (uint8_t)(nibbles % 2 ? id->b[nibbles / 2] | digit : digit << 4);
        nibbles++;
    }
    return nibbles == 2 * AB_ID_BYTES;
}

uint64_t ab_id_hash(struct ab_id id)
{
    static bool keyed;
    if (!keyed) {
        randombytes_buf(hash_key, sizeof hash_key);
        keyed = true;
    }
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, id.b, sizeof id.b, hash_key);
    return hash;
}
