/* See wait.h. */
#include "client/gateway/wait.h"

#include <stdlib.h>

#include "client/gateway/feed.h"

struct wait {
    struct listener listener;
    struct wait *prev, *next; /* all of the gateway */
    struct call *call;
    char *session;
    bool done;
    int64_t until_ms;
    wait_done *on_done;
};

static void finish(struct wait *wait, enum wait_outcome outcome, json_t *tree, const struct ab_error *error)
{
    if (wait->done)
        return;
    wait->done = true;
    if (tree && wait->session)
        json_object_set_new(tree, "session", json_string(wait->session));
    wait->on_done(wait->call, outcome, tree, error);
}

static bool on_event(struct listener *listener, const struct feed_event *event)
{
    struct wait *wait = (struct wait *)listener;
    bool asks = !event->end && !strcmp(event->kind, "waiting");
    if (wait->done || !(event->end || asks))
        return true;
    json_t *tree = NULL;
    if (ab_json_parse(event->json, &tree, NULL) ||
        (asks && !strcmp(ab_tree_str(tree, "reason") ?: "timer", "timer"))) {
        json_decref(tree); /* it waits for a time: nobody is asked */
        return true;
    }
    if (asks)
        json_object_set_new(tree, "state", json_string("waiting"));
    finish(wait, asks ? WAIT_ASKS : WAIT_ENDED, tree, NULL);
    json_decref(tree);
    return true;
}

static void on_error(struct listener *listener, const struct ab_error *error)
{
    struct wait *wait = (struct wait *)listener;
    finish(wait, WAIT_FAILED, NULL, error);
}

struct wait *wait_create(struct call *call, const char *job, const char *session, uint64_t after,
                         int64_t until_ms, wait_done *done)
{
    struct wait *wait = ab_calloc(1, sizeof *wait);
    struct gateway *gateway = call->gateway;
    *wait = (struct wait){.listener = {.seq = after, .on_event = on_event, .on_error = on_error},
                          .call = call,
                          .session = session ? ab_strdup(session) : NULL,
                          .until_ms = until_ms,
                          .on_done = done,
                          .next = gateway->waits};
    if (wait->next)
        wait->next->prev = wait;
    gateway->waits = wait;
    listener_start(&wait->listener, gateway, job, call->user, true);
    return wait;
}

void wait_destroy(struct wait *wait)
{
    if (!wait)
        return;
    *(wait->prev ? &wait->prev->next : &wait->call->gateway->waits) = wait->next;
    if (wait->next)
        wait->next->prev = wait->prev;
    listener_stop(&wait->listener);
    free(wait->session);
    free(wait);
}

void waits_expire(struct gateway *gateway, int64_t now)
{
    for (struct wait *wait = gateway->waits; wait; wait = wait->next) {
        if (!wait->until_ms || wait->until_ms > now || wait->done)
            continue;
        json_t *tree =
            json_pack("{s:s, s:s}", "job", wait->listener.job ? wait->listener.job : "", "state", "accepted");
        finish(wait, WAIT_TIMEOUT, tree, NULL);
        json_decref(tree);
    }
}

int64_t waits_deadline(const struct gateway *gateway)
{
    int64_t soonest = INT64_MAX;
    for (const struct wait *wait = gateway->waits; wait; wait = wait->next)
        if (wait->until_ms && !wait->done && wait->until_ms < soonest)
            soonest = wait->until_ms;
    return soonest;
}
