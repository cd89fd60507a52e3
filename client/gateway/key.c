/* See key.h. */
#include "client/gateway/key.h"

#include <sodium.h>
#include <stdlib.h>

#include "common/clock.h"

enum { DAY_MS = 24 * 3600 * 1000, KEY_MAX = 256 };

struct search {
    struct call *call;
    key_found *found;
};

static void id_of_key(const char *user, struct ab_view key, int64_t ms, char text[AUTOBOTS_ID_TEXT])
{
    struct ab_id id;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof id.b);
    crypto_generichash_update(&state, (const unsigned char *)user, strlen(user) + 1);
    crypto_generichash_update(&state, (const unsigned char *)key.p, key.n);
    crypto_generichash_final(&state, id.b, sizeof id.b);
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    id.b[6] = (uint8_t)(0x70 | (id.b[6] & 0x0f));
    id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f));
    ab_id_text(id, text);
}

bool key_made(const char *job)
{
    struct ab_id id;
    return ab_id_parse(ab_view_of(job), &id) && ab_id_ms(id) % DAY_MS == 0;
}

static void id_of_day(struct call *call, int days_ago, char text[AUTOBOTS_ID_TEXT])
{
    int64_t now = ab_wall_ms();
    id_of_key(call->user, call_header(call, "Idempotency-Key"), now - now % DAY_MS - days_ago * (int64_t)DAY_MS,
              text);
}

static void on_yesterday(void *context, const struct autobots_answer *answer)
{
    struct search *search = context;
    struct call *call = search->call;
    char id[AUTOBOTS_ID_TEXT];
    if (!call->connection)
        ;
    else if (answer->error && answer->error->code != AB_ENOTFOUND)
        call_failed(call, answer);
    else {
        id_of_day(call, answer->error ? 0 : 1, id);
        search->found(call, id);
    }
    call_drop(call);
    free(search);
}

static void look_at_yesterday(struct call *call, key_found *found)
{
    struct autobots_error err;
    struct search *search = ab_calloc(1, sizeof *search);
    char id[AUTOBOTS_ID_TEXT];
    *search = (struct search){call_hold(call), found};
    id_of_day(call, 1, id);
    json_t *fields = json_pack("{s:s, s:s}", "job", id, "user", call->user);
    char *text = json_dumps(fields, JSON_COMPACT);
    if (autobots_start_query(call->gateway->bots, "get_job", text, on_yesterday, search, &err)) {
        struct autobots_answer answer = {.error = &err};
        on_yesterday(search, &answer);
    }
    json_decref(fields);
    free(text);
}

void key_find(struct call *call, key_found *found)
{
    struct ab_view key = call_header(call, "Idempotency-Key");
    struct ab_id id;
    struct ab_error err;
    char text[AUTOBOTS_ID_TEXT];
    if (key.n > KEY_MAX) {
        ab_fail_at(&err, AB_EINVALID, "Idempotency-Key", "a key has at most %d characters", KEY_MAX);
        call_fail(call, &err, NULL);
    } else if (!key.n)
        found(call, "");
    else if (ab_id_parse(key, &id) && ab_id_ok(id))
        found(call, ab_id_text(id, text));
    else
        look_at_yesterday(call, found);
}
