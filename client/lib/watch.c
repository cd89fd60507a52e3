/* Watches: each remembers the last event it delivered, so that a lost session only has to ask for the rest. An event
 * that is not the next one is a repetition (dropped) or a gap (asked for again); the caller sees neither.
 */
#include "client/lib/internal.h"
#include "common/clock.h"

static struct watch **bucket_of(struct autobots *client, struct ab_id job)
{
    return &client->watches[ab_id_hash(job) % WATCH_BUCKETS];
}

static struct watch *watch_find(struct autobots *client, struct ab_id job)
{
    struct watch *w = *bucket_of(client, job);
    while (w && !ab_id_eq(w->job, job))
        w = w->next;
    return w;
}

static struct ab_watch *watch_message(struct watch *watch)
{
    return watch->request->message;
}

static void watch_destroy(struct watch *watch)
{
    struct watch **place = bucket_of(watch->request->client, watch->job);
    while (*place != watch)
        place = &(*place)->next;
    *place = watch->next;
    request_destroy(watch->request);
    free(watch);
}

/* What the service sends does not fit what we have: ask from there on. */
static void watch_again(struct watch *watch)
{
    watch->request->sent = 0;
    watch->request->client->pending = true;
    watch->request->not_before_ms = ab_mono_ms() + BACKOFF_MS_MIN;
}

static void deliver(struct watch *watch, const struct ab_event *event, struct ab_view body)
{
    struct autobots_watch spec = watch->spec;
    struct ab_view kind = ab_any_str(ab_map_get(body, "kind"));
    char *kind_text = kind.p ? ab_view_dup(kind) : ab_strdup("");
    char *end = event->end.n ? ab_view_dup(event->end) : NULL;
    char id[AB_ID_TEXT];
    memcpy(id, watch->id, sizeof id);
    watch->seq = event->seq;
    watch_message(watch)->after = event->seq;
    watch->request->backoff_ms = 0;
    if (end)
        watch_destroy(watch);
    struct autobots_event shown = {
        .job = id, .seq = event->seq, .kind = kind_text, .end = end, .raw = body.p, .raw_bytes = body.n};
    spec.on_event(spec.context, &shown);
    free(kind_text);
    free(end);
}

void watch_event(struct autobots *client, const struct ab_event *event, struct ab_view body)
{
    struct watch *watch = watch_find(client, event->job);
    struct ab_view raw;
    struct ab_reader reader = ab_reader(body);
    if (!watch || event->seq <= watch->seq)
        return;
    if (ab_read_any(&reader, &raw) || reader.at != reader.end)
        return;
    if (event->seq != watch->seq + 1 && !watch->spec.end_only)
        watch_again(watch);
    else
        deliver(watch, event, body);
}

void watch_delta(struct autobots *client, const struct ab_delta *delta)
{
    struct watch *watch = watch_find(client, delta->job);
    if (!watch || !watch->spec.on_delta)
        return;
    char *step = ab_view_dup(delta->step), *agent = ab_view_dup(delta->agent);
    char id[AB_ID_TEXT];
    memcpy(id, watch->id, sizeof id);
    struct autobots_delta shown = {.job = id,
                                   .step = step,
                                   .agent = agent,
                                   .attempt = delta->attempt,
                                   .offset = delta->offset,
                                   .text = delta->text.p,
                                   .text_bytes = delta->text.n};
    watch->spec.on_delta(watch->spec.context, &shown);
    free(step);
    free(agent);
}

/* The job is on its way: what is asked of it now would not be found. */
static bool being_submitted(struct autobots *client, struct ab_id job)
{
    for (struct request *r = client->last; r; r = r->prev) /* it is a new one */
        if (r->command == AB_SUBMIT && ab_id_eq(((const struct ab_submit *)r->message)->job, job))
            return true;
    return false;
}

void watch_release(struct autobots *client, struct ab_id job)
{
    struct watch *watch = watch_find(client, job);
    if (watch && watch->request->held) {
        watch->request->held = false;
        client->pending = true;
    }
}

void watch_failed(struct autobots *client, struct request *request, const struct ab_error *error)
{
    struct watch *watch = watch_find(client, ((const struct ab_watch *)request->message)->job);
    if (!watch || watch->request != request) {
        request_destroy(request);
        return;
    }
    struct autobots_watch spec = watch->spec;
    struct autobots_error shown;
    client_error(&shown, error);
    watch_destroy(watch);
    if (spec.on_error)
        spec.on_error(spec.context, &shown);
}

void watches_destroy(struct autobots *client)
{
    for (size_t i = 0; i < WATCH_BUCKETS; i++)
        while (client->watches[i])
            watch_destroy(client->watches[i]);
}

int autobots_start_watch(struct autobots *client, const char *job, const struct autobots_watch *spec,
                         struct autobots_error *error)
{
    struct ab_error err = {0};
    struct ab_id id;
    if (!ab_id_parse(ab_view_of(job), &id))
        ab_fail_at(&err, AB_EINVALID, "job", "%s is not a job's id (36 characters)", job);
    else if (!spec->on_event)
        ab_fail_at(&err, AB_EUSAGE, "on_event", "a watch needs on_event");
    else if (watch_find(client, id))
        ab_fail(&err, AB_EUSAGE, "this client watches %s already", job);
    struct ab_watch message = {.job = id,
                               .user = ab_view_of(spec->user ? spec->user : client->user),
                               .after = spec->after,
                               .want = ab_view_of(spec->end_only ? "end" : "all"),
                               .deltas = spec->deltas && spec->on_delta};
    struct request *request =
        err.code ? NULL : request_create(client, &client->broker, AB_WATCH, &message, NULL, NULL, NULL, &err);
    if (!request)
        return client_error(error, &err);
    request->persistent = true;
    request->held = being_submitted(client, id);
    struct watch *watch = ab_calloc(1, sizeof *watch);
    struct watch **bucket = bucket_of(client, id);
    *watch = (struct watch){.next = *bucket, .job = id, .seq = spec->after, .spec = *spec, .request = request};
    watch->spec.user = NULL; /* the request has its own copy */
    ab_id_text(id, watch->id);
    *bucket = watch;
    request_start(request);
    return 0;
}

void autobots_stop_watch(struct autobots *client, const char *job)
{
    struct ab_id id;
    struct watch *watch = ab_id_parse(ab_view_of(job), &id) ? watch_find(client, id) : NULL;
    if (!watch)
        return;
    struct ab_unwatch message = {.job = id};
    link_send(&client->broker, AB_UNWATCH, &message,
              ab_view(NULL, 0)); /* a lost one costs events that are dropped */
    watch_destroy(watch);
}

char *autobots_event_json(const struct autobots_event *event)
{
    json_t *tree = ab_tree_unpack(ab_view(event->raw, event->raw_bytes), NULL);
    json_t *shown =
        json_pack("{s:s, s:I, s:s}", "job", event->job, "seq", (json_int_t)event->seq, "kind", event->kind);
    tree = tree_for_people(tree);
    if (json_is_object(tree))
        json_object_update_missing(shown, tree);
    json_decref(tree);
    char *text = json_dumps(shown, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(shown);
    return text;
}
