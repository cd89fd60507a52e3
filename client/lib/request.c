/* Requests: kept whole until they are answered, sent again after a loss, tried again when the service is busy, given
 * up at their deadline. Every one ends with exactly one call of its `done`.
 */
#include <assert.h>

#include "client/lib/internal.h"
#include "common/clock.h"

/* One block of *size bytes: the struct, then every byte its views point to. */
static void *message_dup(const struct ab_schema *schema, const void *message, size_t *size)
{
    size_t bytes = schema->size;
    for (int i = 0; i < schema->n; i++) {
        uint8_t type = schema->fields[i].type;
        if (type == AB_STR || type == AB_BIN || type == AB_ANY)
            bytes +=
                ((const struct ab_view *)(const void *)((const char *)message + schema->fields[i].offset))->n;
    }
    *size = bytes;
    char *block = ab_alloc(bytes), *at = block + schema->size;
    memcpy(block, message, schema->size);
    for (int i = 0; i < schema->n; i++) {
        uint8_t type = schema->fields[i].type;
        if (type != AB_STR && type != AB_BIN && type != AB_ANY)
            continue;
        struct ab_view *view = (struct ab_view *)(void *)(block + schema->fields[i].offset);
        if (!view->p)
            continue;
        memcpy(at, view->p, view->n);
        view->p = at;
        at += view->n;
    }
    return block;
}

/* Every request's first field is its rid. */
static void message_number(const struct ab_schema *schema, void *message, uint64_t rid)
{
    assert(!strcmp(schema->fields[0].key, "rid"));
    memcpy((char *)message + schema->fields[0].offset, &rid, sizeof rid);
}

static void table_grow(struct autobots *client)
{
    size_t n = client->table_n ? client->table_n * 2 : 64;
    struct request **table = ab_calloc(n, sizeof *table);
    for (struct request *r = client->first; r; r = r->next) {
        r->chain = table[r->rid & (n - 1)];
        table[r->rid & (n - 1)] = r;
    }
    free(client->table);
    client->table = table;
    client->table_n = n;
}

struct request *request_find(struct autobots *client, uint64_t rid)
{
    struct request *r = client->table_n ? client->table[rid & (client->table_n - 1)] : NULL;
    while (r && r->rid != rid)
        r = r->chain;
    return r;
}

static void request_link(struct autobots *client, struct request *request)
{
    if (client->requests_n >= client->table_n)
        table_grow(client);
    struct request **place = &client->table[request->rid & (client->table_n - 1)];
    request->chain = *place;
    *place = request;
    request->prev = client->last;
    *(client->last ? &client->last->next : &client->first) = request;
    client->last = request;
    client->requests_n++;
}

static void request_unlink(struct request *request)
{
    struct autobots *client = request->client;
    struct request **place = &client->table[request->rid & (client->table_n - 1)];
    while (*place != request)
        place = &(*place)->chain;
    *place = request->chain;
    *(request->prev ? &request->prev->next : &client->first) = request->next;
    *(request->next ? &request->next->prev : &client->last) = request->prev;
    client->requests_n--;
    client->requests_bytes -= request->bytes;
    client->unlinked++;
}

struct request *request_create(struct autobots *client, struct link *link, enum ab_command command,
                               void *message, struct ab_buf *body, autobots_done *done, void *context,
                               struct ab_error *err)
{
    if (client->requests_n >= REQUESTS_MAX) {
        ab_fail(err, AB_EBUSY, "%d requests of this client are unanswered; wait for some of them",
                REQUESTS_MAX);
        return NULL;
    }
    if (body && client->requests_n && client->requests_bytes + body->n > REQUESTS_BYTES_MAX) {
        ab_fail(err, AB_EBUSY, "%zu MiB of this client's requests are unanswered; wait for some of them",
                client->requests_bytes >> 20);
        return NULL;
    }
    const struct ab_schema *schema = ab_command_row((uint8_t)command)->schema;
    struct request *request = ab_calloc(1, sizeof *request);
    request->client = client;
    request->link = link;
    request->rid = ++client->rid;
    request->command = command;
    message_number(schema, message, request->rid);
    request->message = message_dup(schema, message, &request->bytes);
    if (body) {
        size_t body_bytes = body->n; /* detaching forgets it */
        request->body = ab_view(NULL, body_bytes);
        request->body_bytes = ab_buf_detach(body);
        request->body.p = request->body_bytes;
        request->bytes += body_bytes;
    }
    client->requests_bytes += request->bytes;
    request->deadline_ms = ab_mono_ms() + client->timeout_ms;
    request->done = done;
    request->context = context;
    request_link(client, request);
    return request;
}

void request_destroy(struct request *request)
{
    if (!request)
        return;
    request_unlink(request);
    ab_secret_list_finish(&request->secrets);
    free(request->message);
    free(request->body_bytes);
    free(request->sealed);
    free(request);
}

/* ---- sending ---- */

static int send_submit(struct request *request, struct ab_error *err)
{
    struct ab_submit submit = *(const struct ab_submit *)request->message;
    if (request->secrets.n && !submit_seal(request, err))
        return AB_EBUSY;
    submit.secrets = ab_view(request->sealed, request->sealed_bytes);
    if (!request->full_text)
        submit.workflow = (struct ab_view){0};
    return link_send(request->link, AB_SUBMIT, &submit, request->body);
}

/* False: nothing more can be sent over this link now. */
static bool request_send(struct request *request, int64_t now)
{
    struct ab_error err = {0};
    int rc = request->command == AB_SUBMIT
                 ? send_submit(request, &err)
                 : link_send(request->link, request->command, request->message, request->body);
    if (!rc) {
        request->sent = request->link->greeting;
        return true;
    }
    if (!err.code)
        return false;
    request_later(request, &err, now);
    return true;
}

static bool link_usable(const struct link *link)
{
    return link->state == LINK_UP;
}

static bool unsent(const struct request *request)
{
    return !request->held && request->sent != request->link->greeting;
}

static bool too_large(const struct request *request)
{
    return request->body.n > request->link->body_bytes_max;
}

static void refuse_too_large(struct request *request)
{
    struct ab_error err;
    ab_fail_at(&err, AB_ETOOLARGE, "body",
               "the message has %zu bytes; the service takes at most %llu (message_bytes_max)", request->body.n,
               (unsigned long long)request->link->body_bytes_max);
    request_fail(request, &err, NULL);
}

void requests_flush(struct autobots *client, int64_t now)
{
    bool usable[2] = {link_usable(&client->broker), link_usable(&client->storage)};
    struct request *r = client->pending ? client->first : NULL;
    client->pending = false;
    while (r) {
        bool *open = &usable[r->link == &client->storage];
        uint64_t unlinked = client->unlinked;
        if (*open && unsent(r) && too_large(r))
            refuse_too_large(r);
        else if (*open && unsent(r) && r->not_before_ms <= now)
            *open = request_send(r, now);
        if (unlinked !=
            client->unlinked) { /* a callback changed the list; what was sent is passed over quickly */
            r = client->first;
            continue;
        }
        client->pending |= unsent(r);
        r = r->next;
    }
}

void request_start(struct request *request)
{
    struct autobots *client = request->client;
    if (request->held)
        return;
    bool now = !client->inside && !client->pending && link_usable(request->link) && !request->secrets.n &&
               !too_large(request); /* that one fails in the next run, never in here */
    client->pending |= !now || !request_send(request, 0);
}

/* ---- ending ---- */

static void request_done(struct request *request, const struct autobots_answer *answer)
{
    autobots_done *done = request->done;
    void *context = request->context;
    if (request->command == AB_SUBMIT)
        watch_release(request->client, ((const struct ab_submit *)request->message)->job);
    request_destroy(request);
    if (done)
        done(context, answer);
}

void request_fail(struct request *request, const struct ab_error *error, const struct ab_failure *failure)
{
    if (request->command == AB_WATCH) {
        watch_failed(request->client, request, error);
        return;
    }
    if (request->command == AB_FOLLOW) {
        follow_failed(request, error);
        return;
    }
    struct autobots_error shown;
    struct autobots_answer answer = {.error = &shown};
    client_error(&shown, error);
    char job[AB_ID_TEXT] = "", *faults = NULL;
    if (request->command == AB_SUBMIT)
        answer.job = ab_id_text(((const struct ab_submit *)request->message)->job, job);
    else if (request->command == AB_INBOX)
        answer.job = ab_id_text(((const struct ab_inbox *)request->message)->job, job);
    if (failure && failure->faults.n)
        answer.faults = faults = query_json(failure->faults, NULL);
    request_done(request, &answer);
    free(faults);
}

void request_later(struct request *request, const struct ab_error *error, int64_t now)
{
    int64_t pause = request->backoff_ms ? request->backoff_ms * 2 : BACKOFF_MS_MIN;
    request->backoff_ms = pause > BACKOFF_MS_MAX ? BACKOFF_MS_MAX : pause;
    if (error->retry_after_ms)
        pause = error->retry_after_ms;
    else
        pause = request->backoff_ms;
    request->last = *error;
    request->sent = 0;
    request->client->pending = true;
    request->not_before_ms = now + pause;
    if (!request->persistent && request->not_before_ms >= request->deadline_ms)
        request_fail(request, error, NULL);
}

static void on_failure(struct request *request, const struct reply *reply, int64_t now)
{
    const struct ab_submit *submit = request->command == AB_SUBMIT ? request->message : NULL;
    if (reply->error->code == AB_EUNKNOWN_WORKFLOW && submit && submit->hash.n && !request->full_text) {
        workflow_forget(request->client, submit->hash);
        request->full_text = true;
        request->sent = 0;
        request->client->pending = true;
    } else if (reply->error->retryable && reply->error->code != AB_EUNKNOWN_WORKFLOW)
        request_later(request, reply->error, now);
    else
        request_fail(request, reply->error, reply->header);
}

static void on_accepted(struct request *request, const struct ab_accepted *accepted)
{
    char job[AB_ID_TEXT];
    char *session = ab_view_dup(accepted->session), *state = ab_view_dup(accepted->state);
    struct autobots_answer answer = {.job = ab_id_text(accepted->job, job),
                                     .number = accepted->n,
                                     .session = session,
                                     .state = state,
                                     .input = accepted->input,
                                     .seq = accepted->seq};
    const struct ab_submit *submit = request->message;
    if (submit->hash.n && !accepted->input)
        workflow_learn(request->client, submit->hash);
    request_done(request, &answer);
    free(session);
    free(state);
}

static void on_receipt(struct request *request, const struct ab_receipt *receipt)
{
    char job[AB_ID_TEXT];
    struct autobots_answer answer = {.job = ab_id_text(receipt->job, job), .number = receipt->k};
    request_done(request, &answer);
}

static void on_result(struct request *request, struct ab_view body)
{
    if (request->raw) {
        struct autobots_answer answer = {.raw = body.p, .raw_bytes = body.n};
        request_done(request, &answer);
        return;
    }
    struct ab_error err = {0};
    char *json = query_json(body, &err);
    if (!json) {
        request_fail(request, &err, NULL);
        return;
    }
    struct autobots_answer answer = {.json = json};
    request_done(request, &answer);
    free(json);
}

void request_answered(struct request *request, const struct reply *reply, int64_t now)
{
    if (reply->error)
        on_failure(request, reply, now);
    else if (reply->command == AB_ACCEPTED && request->command == AB_SUBMIT)
        on_accepted(request, reply->header);
    else if (reply->command == AB_RECEIPT && request->command == AB_INBOX)
        on_receipt(request, reply->header);
    else if (reply->command == AB_RESULT && request->command == AB_QUERY)
        on_result(request, reply->body);
}

static void fail_late(struct request *request)
{
    struct ab_error err;
    struct link *link = request->link;
    if (link->rejected.code)
        err = link->rejected;
    else if (link->state != LINK_UP)
        ab_fail(&err, AB_EUNAVAILABLE, "no %s at %s", link->service,
                link->endpoint ? link->endpoint : "(unknown)");
    else if (request->last.code)
        err = request->last;
    else
        ab_fail(&err, AB_ETIMEOUT,
                "the %s has not answered within %lld ms; the request may still be carried out", link->service,
                (long long)request->client->timeout_ms);
    request_fail(request, &err, NULL);
}

/* All requests have the same time-out: the list is in the order of their deadlines, watches (which have none) aside. */
void requests_expire(struct autobots *client, int64_t now)
{
    bool rejected = client->broker.rejected.code || client->storage.rejected.code;
    for (struct request *r = client->first; r;) {
        if (!r->persistent && r->deadline_ms > now && !rejected)
            break;
        bool late = (!r->persistent && r->deadline_ms <= now) || r->link->rejected.code;
        if (late)
            fail_late(r);
        r = late ? client->first : r->next; /* the callback may have changed the list */
    }
}

int64_t requests_deadline(const struct autobots *client, int64_t now)
{
    int64_t soonest = INT64_MAX;
    const struct request *r = client->first;
    while (r && r->persistent)
        r = r->next;
    if (r)
        soonest = r->deadline_ms;
    for (r = client->pending ? client->first : NULL; r; r = r->next) {
        if (!unsent(r) || !link_usable(r->link))
            continue;
        int64_t again = r->not_before_ms > now ? r->not_before_ms : now + FULL_PIPE_MS;
        if (again < soonest)
            soonest = again;
    }
    return soonest;
}
