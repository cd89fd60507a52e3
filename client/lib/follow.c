/* Following the jobs of a user: a FOLLOW that stays, sent again in a new session with the cursor it had got to. */
#include "client/lib/internal.h"

static struct follow *follow_of(struct autobots *client, uint64_t rid)
{
    struct request *request = request_find(client, rid);
    return request && request->command == AB_FOLLOW ? request->context : NULL;
}

static void follow_destroy(struct follow *follow)
{
    request_destroy(follow->request);
    free(follow);
}

void follow_begun(struct autobots *client, const struct ab_following *begun)
{
    struct follow *follow = follow_of(client, begun->rid);
    if (!follow)
        return;
    ((struct ab_follow *)follow->request->message)->after = begun->cursor;
    follow->request->backoff_ms = 0;
    follow->spec.on_begin(follow->spec.context, begun->cursor, begun->reset);
}

void follow_changed(struct autobots *client, const struct ab_changed *changed)
{
    struct follow *follow = follow_of(client, changed->rid);
    char job[AB_ID_TEXT];
    if (!follow)
        return;
    ((struct ab_follow *)follow->request->message)->after = changed->cursor;
    follow->spec.on_change(follow->spec.context, changed->cursor, ab_id_text(changed->job, job));
}

void follow_failed(struct request *request, const struct ab_error *error)
{
    struct follow *follow = request->context;
    struct autobots_follow spec = follow->spec;
    struct autobots_error shown;
    client_error(&shown, error);
    follow_destroy(follow);
    spec.on_error(spec.context, &shown);
}

void follows_destroy(struct autobots *client)
{
    for (struct request *r = client->first, *next; r; r = next) {
        next = r->next;
        if (r->command == AB_FOLLOW)
            follow_destroy(r->context);
    }
}

uint64_t autobots_start_follow(struct autobots *client, const struct autobots_follow *spec,
                               struct autobots_error *error)
{
    struct ab_error err = {0};
    struct ab_follow message = {.user = ab_view_of(spec->user ? spec->user : client->user),
                                .after = spec->after};
    if (!spec->on_begin || !spec->on_change || !spec->on_error)
        ab_fail_at(&err, AB_EUSAGE, "on_change", "following needs on_begin, on_change and on_error");
    struct request *request =
        err.code ? NULL : request_create(client, &client->broker, AB_FOLLOW, &message, NULL, NULL, NULL, &err);
    if (!request) {
        client_error(error, &err);
        return 0;
    }
    struct follow *follow = request->context = ab_calloc(1, sizeof *follow);
    *follow = (struct follow){.spec = *spec, .request = request};
    follow->spec.user = NULL; /* the request has its own copy */
    request->persistent = true;
    request_start(request);
    return request->rid;
}

void autobots_stop_follow(struct autobots *client, uint64_t follow)
{
    struct follow *gone = follow_of(client, follow);
    if (!gone)
        return;
    struct ab_unfollow message = {.rid = follow};
    link_send(&client->broker, AB_UNFOLLOW, &message,
              ab_view(NULL, 0)); /* a lost one costs changes that are dropped */
    follow_destroy(gone);
}
