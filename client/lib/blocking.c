/* The blocking calls: start, step until done. */
#include "client/lib/internal.h"
#include "common/clock.h"

struct waiting {
    bool done;
    struct autobots_error error; /* code 0: it succeeded */
    char *text;                  /* the session, the answer or the end event; owned */
    bool wants_json;
    char job[AUTOBOTS_ID_TEXT]; /* the answer's */
};

static void on_done(void *context, const struct autobots_answer *answer)
{
    struct waiting *waiting = context;
    const char *text = waiting->wants_json ? answer->json : answer->session;
    waiting->done = true;
    if (answer->job)
        snprintf(waiting->job, sizeof waiting->job, "%s", answer->job);
    if (answer->error)
        waiting->error = *answer->error;
    else if (text)
        waiting->text = ab_strdup(text);
}

static int finish(struct autobots *client, struct waiting *waiting, int started, char **text,
                  struct autobots_error *err)
{
    if (started)
        return started;
    while (!waiting->done)
        autobots_step(client, -1);
    if (text)
        *text = waiting->text;
    else
        free(waiting->text);
    if (err)
        *err = waiting->error;
    return waiting->error.code;
}

int autobots_connect(struct autobots *client, int64_t timeout_ms, struct autobots_error *error)
{
    int64_t until = ab_mono_ms() + timeout_ms;
    struct link *link = &client->broker;
    struct ab_error err = {0};
    while (link->state != LINK_UP && !link->rejected.code) {
        int64_t left = until - ab_mono_ms();
        if (left <= 0) {
            ab_fail(&err, AB_EUNAVAILABLE, "no broker at %s", link->endpoint);
            return client_error(error, &err);
        }
        autobots_step(client, left > DEADLINE_MS_MAX ? DEADLINE_MS_MAX : (int)left);
    }
    return link->rejected.code ? client_error(error, &link->rejected) : 0;
}

int autobots_submit(struct autobots *client, const struct autobots_job *job, char id[AUTOBOTS_ID_TEXT],
                    char **session, struct autobots_error *err)
{
    struct waiting waiting = {0};
    int rc = autobots_start_submit(client, job, id, on_done, &waiting, err);
    rc = finish(client, &waiting, rc, session, err);
    if (!rc)
        memcpy(id, waiting.job, sizeof waiting.job);
    return rc;
}

int autobots_cancel(struct autobots *client, const char *job, const char *reason, struct autobots_error *err)
{
    struct waiting waiting = {0};
    int rc = autobots_start_cancel(client, job, reason, on_done, &waiting, err);
    return finish(client, &waiting, rc, NULL, err);
}

int autobots_pause(struct autobots *client, const char *job, const char *reason, struct autobots_error *err)
{
    struct waiting waiting = {0};
    int rc = autobots_start_pause(client, job, reason, on_done, &waiting, err);
    return finish(client, &waiting, rc, NULL, err);
}

int autobots_resume(struct autobots *client, const char *job, const char *reason, struct autobots_error *err)
{
    struct waiting waiting = {0};
    int rc = autobots_start_resume(client, job, reason, on_done, &waiting, err);
    return finish(client, &waiting, rc, NULL, err);
}

int autobots_budget(struct autobots *client, const char *job, const char *limits, struct autobots_error *err)
{
    struct waiting waiting = {0};
    int rc = autobots_start_budget(client, job, limits, on_done, &waiting, err);
    return finish(client, &waiting, rc, NULL, err);
}

int autobots_input(struct autobots *client, const char *job, const char *text, struct autobots_error *err)
{
    struct waiting waiting = {0};
    int rc = autobots_start_input(client, job, NULL, text, on_done, &waiting, err);
    return finish(client, &waiting, rc, NULL, err);
}

int autobots_query(struct autobots *client, const char *operation, const char *request, char **answer,
                   struct autobots_error *err)
{
    struct waiting waiting = {.wants_json = true};
    int rc = autobots_start_query(client, operation, request, on_done, &waiting, err);
    return finish(client, &waiting, rc, answer, err);
}

/* ---- waiting for a job's end ---- */

struct end_waiting {
    struct waiting waiting;
    void (*on_event)(void *context, const struct autobots_event *event);
    void *context;
};

static void on_event(void *context, const struct autobots_event *event)
{
    struct end_waiting *end = context;
    if (end->on_event)
        end->on_event(end->context, event);
    if (!event->end)
        return;
    end->waiting.text = autobots_event_json(event);
    end->waiting.done = true;
}

static void on_error(void *context, const struct autobots_error *error)
{
    struct end_waiting *end = context;
    end->waiting.error = *error;
    end->waiting.done = true;
}

int autobots_wait(struct autobots *client, const char *job,
                  void (*each)(void *context, const struct autobots_event *event), void *context, char **result,
                  struct autobots_error *err)
{
    struct end_waiting end = {.on_event = each, .context = context};
    struct autobots_watch watch = {
        .end_only = !each, .on_event = on_event, .on_error = on_error, .context = &end};
    int rc = autobots_start_watch(client, job, &watch, err);
    return finish(client, &end.waiting, rc, result, err);
}
