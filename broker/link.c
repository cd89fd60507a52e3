/* The line to storage; see link.h. */
#include "broker/link.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/batch.h"
#include "broker/map.h"
#include "common/failpoint.h"
#include "common/log.h"

enum { BATCH_KEEP_BYTES = 1 << 20, SPARE_MAX = 8 };

struct read {
    struct read *prev, *next; /* in order of rid */
    uint64_t rid;
    const char *op;
    struct ab_buf body;
    struct ticket ticket;
    bool sent;
};

enum link_state { LINK_DOWN, LINK_GREETING, LINK_UP };

struct link {
    const struct link_ops *ops;
    void *owner;
    const char *build;
    enum link_state state;
    bool superseded;
    uint64_t rids;
    struct batch *first, *last; /* sealed, oldest first */
    struct batch *gathering, *spare;
    uint32_t flight, spares;
    uint64_t waiting_ops, waiting_bytes;
    struct map reads;
    struct read *read_first, *read_last;
    bool unsent_reads;
    int64_t heard_ms, said_ms, hello_ms, heartbeat_ms;
};

struct link *link_create(const struct link_ops *ops, void *owner, const char *build)
{
    struct link *link = ab_calloc(1, sizeof *link);
    link->ops = ops;
    link->owner = owner;
    link->build = build;
    link->heartbeat_ms = LINK_SILENCE_MS / 3;
    return link;
}

static void destroy_batches(struct batch *batch)
{
    for (struct batch *next; batch; batch = next) {
        next = batch->next;
        batch_destroy(batch);
    }
}

static void remove_read(struct link *link, struct read *read)
{
    *(read->prev ? &read->prev->next : &link->read_first) = read->next;
    *(read->next ? &read->next->prev : &link->read_last) = read->prev;
    map_remove(&link->reads, read->rid);
    ab_buf_finish(&read->body);
    free(read);
}

void link_destroy(struct link *link)
{
    if (!link)
        return;
    destroy_batches(link->first);
    destroy_batches(link->spare);
    batch_destroy(link->gathering);
    while (link->read_first)
        remove_read(link, link->read_first);
    map_finish(&link->reads);
    free(link);
}

/* ---- in ---- */

static struct batch *batch_create(struct link *link)
{
    struct batch *batch = link->spare;
    if (batch) {
        link->spare = batch->next;
        link->spares--;
    } else {
        batch = ab_calloc(1, sizeof *batch);
    }
    batch_clear(batch);
    return batch;
}

static void batch_release(struct link *link, struct batch *batch)
{
    if (link->spares >= SPARE_MAX || batch->body.cap > BATCH_KEEP_BYTES) {
        batch_destroy(batch);
        return;
    }
    batch->next = link->spare;
    link->spare = batch;
    link->spares++;
}

static void seal(struct link *link)
{
    struct batch *batch = link->gathering;
    if (!batch)
        return;
    link->gathering = NULL;
    batch->rid = ++link->rids;
    batch_seal(batch);
    *(link->last ? &link->last->next : &link->first) = batch;
    link->last = batch;
}

void link_write(struct link *link, enum ab_op op, const void *request, const struct ticket *ticket)
{
    struct batch *batch = link->gathering;
    if (batch && (batch->n == LINK_BATCH_OPS_MAX || batch->body.n >= LINK_BATCH_BYTES_MAX)) {
        seal(link);
        batch = NULL;
    }
    if (!batch)
        batch = link->gathering = batch_create(link);
    link->waiting_bytes += batch_add(batch, op, request, ticket);
    link->waiting_ops++;
}

void link_read(struct link *link, enum ab_op op, const void *request, const struct ticket *ticket)
{
    const struct ab_op_row *row = ab_op_by_number(op);
    struct read *read = ab_calloc(1, sizeof *read);
    read->rid = ++link->rids;
    read->op = row->name;
    read->ticket = *ticket;
    ab_encode(&read->body, row->request, request);
    read->prev = link->read_last;
    *(link->read_last ? &link->read_last->next : &link->read_first) = read;
    link->read_last = read;
    map_put(&link->reads, read->rid, read);
    link->unsent_reads = true;
}

bool link_full(const struct link *link)
{
    return link->waiting_ops >= LINK_OPS_MAX || link->waiting_bytes >= LINK_BYTES_MAX;
}

bool link_idle(const struct link *link)
{
    return !link->first && !link->gathering;
}

bool link_superseded(const struct link *link)
{
    return link->superseded;
}

/* ---- out ---- */

static void down(struct link *link)
{
    bool was_up = link->state == LINK_UP;
    link->state = LINK_DOWN;
    if (was_up) {
        ab_log(AB_WARN, "storage.lost", NULL);
        link->ops->up(link->owner, false);
    }
}

static bool say(struct link *link, int64_t now_ms, enum ab_command command, const void *message,
                struct ab_view body)
{
    int rc = link->ops->send(link->owner, command, message, body);
    if (!rc)
        link->said_ms = now_ms;
    else if (rc != AB_EBUSY)
        down(link);
    return !rc;
}

static void hello(struct link *link, int64_t now_ms)
{
    const struct ab_hello message = {.role = ab_view_of("broker"),
                                     .vmin = AB_VERSION_MIN,
                                     .vmax = AB_VERSION_MAX,
                                     .build = ab_view_of(link->build)};
    link->hello_ms = now_ms;
    link->state = say(link, now_ms, AB_HELLO, &message, ab_view(NULL, 0)) ? LINK_GREETING : LINK_DOWN;
}

static bool send_batch(struct link *link, struct batch *batch, int64_t now_ms)
{
    const struct ab_batch message = {.rid = batch->rid, .epoch = link->ops->epoch(link->owner)};
    if (AB_FAILPOINT("broker.before_batch"))
        return false;
    batch->sent = say(link, now_ms, AB_BATCH, &message, ab_buf_view(&batch->body));
    link->flight += batch->sent;
    (void)AB_FAILPOINT("broker.after_batch");
    return batch->sent;
}

static void send_batches(struct link *link, int64_t now_ms)
{
    struct batch *batch = link->first;
    while (batch && batch->sent)
        batch = batch->next;
    for (; batch && link->flight < LINK_FLIGHT_MAX; batch = batch->next)
        if (!batch->sent && !send_batch(link, batch, now_ms))
            return;
    if (!batch && link->gathering && link->flight < LINK_FLIGHT_MAX) {
        seal(link);
        send_batch(link, link->last, now_ms);
    }
}

static void send_reads(struct link *link, int64_t now_ms)
{
    if (!link->unsent_reads)
        return;
    for (struct read *read = link->read_first; read; read = read->next) {
        const struct ab_query message = {.rid = read->rid, .op = ab_view_of(read->op)};
        if (read->sent)
            continue;
        read->sent = say(link, now_ms, AB_QUERY, &message, ab_buf_view(&read->body));
        if (!read->sent)
            return;
    }
    link->unsent_reads = false;
}

/* A connection of a new storage, or anew: it knows nothing of what was sent. */
static void up(struct link *link, const struct ab_welcome *welcome)
{
    link->flight = 0;
    for (struct batch *batch = link->first; batch; batch = batch->next)
        batch->sent = false;
    for (struct read *read = link->read_first; read; read = read->next)
        read->sent = false;
    link->unsent_reads = link->read_first != NULL;
    link->heartbeat_ms = welcome->heartbeat_ms ? (int64_t)welcome->heartbeat_ms : LINK_SILENCE_MS / 3;
    link->state = LINK_UP;
    ab_log(AB_INFO, "storage.connected", NULL);
    link->ops->up(link->owner, true);
}

/* ---- answers ---- */

static void error_of(const struct ab_failure *failure, int code, struct ab_error *err)
{
    ab_fail(err, code, "%.*s", AB_VIEW_FMT(failure->text));
    err->retryable = failure->retryable;
    err->retry_after_ms = (uint32_t)failure->retry_after_ms;
    snprintf(err->path, sizeof err->path, "%.*s", AB_VIEW_FMT(failure->path));
}

/* One [code, answer]; what cannot be read is a fault of storage and fails that operation. */
static void answer_op(struct link *link, struct ab_reader *reader, const struct op *op, struct ab_view request)
{
    struct ab_view code = {NULL, 0}, answer = {NULL, 0};
    struct ab_failure failure;
    struct ab_error err = {0};
    uint32_t two;
    if (ab_read_array(reader, &two) || two != 2 || ab_read_str(reader, &code) || ab_read_any(reader, &answer)) {
        *reader = (struct ab_reader){0};
        ab_fail(&err, AB_EINTERNAL, "storage's answer cannot be read");
    } else if (!ab_view_is(code, "ok")) {
        int number = ab_code_of(code.p, code.n);
        struct ab_error bad;
        if (ab_decode(&ab_failure_schema, answer, &failure, &bad))
            ab_fail(&err, number, "storage refused it: %.*s", AB_VIEW_FMT(code));
        else
            error_of(&failure, number, &err);
    }
    link->ops->answered(link->owner, &op->ticket, request, err.code, &err, answer);
}

/* Out of the list; *before is the one that stood before it, or NULL. */
static struct batch *take_batch(struct link *link, uint64_t rid, struct batch **before)
{
    struct batch *batch = link->first;
    *before = NULL;
    while (batch && batch->rid != rid) {
        *before = batch;
        batch = batch->next;
    }
    if (!batch)
        return NULL;
    *(*before ? &(*before)->next : &link->first) = batch->next;
    if (link->last == batch)
        link->last = *before;
    link->flight -= batch->sent;
    return batch;
}

static void finish_op(struct link *link, const struct op *op)
{
    link->waiting_ops--;
    link->waiting_bytes -= op->bytes;
}

static void on_results(struct link *link, struct ab_view header, struct ab_view body)
{
    struct ab_results results;
    struct ab_error err;
    if (ab_decode(&ab_results_schema, header, &results, &err))
        return;
    struct batch *before, *batch = take_batch(link, results.rid, &before);
    if (!batch)
        return; /* the answer to a batch that was sent twice */
    struct ab_reader reader = ab_reader(body);
    uint32_t n = 0;
    if (ab_read_array(&reader, &n) || n != batch->n)
        reader = (struct ab_reader){0};
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct op *op = &batch->ops[i];
        finish_op(link, op);
        answer_op(link, &reader, op, ab_view(batch->body.p + op->at, op->bytes));
    }
    batch_release(link, batch);
}

static void on_result(struct link *link, struct ab_view header, struct ab_view body)
{
    struct ab_result result;
    struct ab_error err = {0};
    if (ab_decode(&ab_result_schema, header, &result, &err))
        return;
    struct read *read = map_get(&link->reads, result.rid);
    if (!read)
        return;
    struct ticket ticket = read->ticket;
    remove_read(link, read);
    link->ops->answered(link->owner, &ticket, ab_view(NULL, 0), AB_OK, &err, body);
}

/* The operation as a batch of its own, in front of `next`. */
static void split_off(struct link *link, const struct batch *batch, const struct op *op, struct batch **at)
{
    struct batch *one = batch_create(link);
    batch_copy(one, batch, op);
    batch_seal(one);
    one->rid = ++link->rids;
    one->next = *at;
    *at = one;
    if (!one->next)
        link->last = one;
}

/* A whole batch was refused: something in it made it unreadable. One by one only that is refused. They stand where
 * the batch stood, so that what waits behind it still does. */
static void split_batch(struct link *link, struct batch *batch, struct batch *before)
{
    struct batch **at = before ? &before->next : &link->first;
    for (uint32_t i = 0; i < batch->n; i++) {
        split_off(link, batch, &batch->ops[i], at);
        at = &(*at)->next;
    }
    ab_log(AB_WARN, "storage.batch_split", "operations", ab_num(batch->n), NULL);
    batch_release(link, batch);
}

static void fail_batch(struct link *link, struct batch *batch, struct batch *before, const struct ab_error *err)
{
    if (batch->n > 1 && (err->code == AB_EINVALID || err->code == AB_ETOOLARGE)) {
        split_batch(link, batch, before);
        return;
    }
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct op *op = &batch->ops[i];
        finish_op(link, op);
        link->ops->answered(link->owner, &op->ticket, ab_view(batch->body.p + op->at, op->bytes), err->code,
                            err, ab_view(NULL, 0));
    }
    batch_release(link, batch);
}

static void on_error(struct link *link, struct ab_view header)
{
    struct ab_failure failure;
    struct ab_error err = {0};
    if (ab_decode(&ab_failure_schema, header, &failure, &err))
        return;
    error_of(&failure, ab_code_of(failure.code.p, failure.code.n), &err);
    struct read *read = map_get(&link->reads, failure.rid);
    if (err.code == AB_EDENIED) {
        if (link->state == LINK_UP)
            down(link); /* a storage that does not know us: greeted at the next tick, then everything again */
        link->state = LINK_DOWN;
        link->hello_ms = 0;
    } else if (read) {
        struct ticket ticket = read->ticket;
        remove_read(link, read);
        link->ops->answered(link->owner, &ticket, ab_view(NULL, 0), err.code, &err, ab_view(NULL, 0));
    } else if (err.code == AB_ESTALE) {
        link->superseded = true;
    } else if (failure.rid) {
        struct batch *before, *batch = take_batch(link, failure.rid, &before);
        if (batch)
            fail_batch(link, batch, before, &err);
    }
}

static void on_welcome(struct link *link, struct ab_view header)
{
    struct ab_welcome welcome;
    struct ab_error err;
    if (link->state == LINK_GREETING && !ab_decode(&ab_welcome_schema, header, &welcome, &err))
        up(link, &welcome);
}

static void on_notice(struct link *link, struct ab_view header)
{
    struct ab_notice notice;
    struct ab_error err;
    if (!ab_decode(&ab_notice_schema, header, &notice, &err))
        link->ops->notice(link->owner, &notice);
}

static void on_reject(struct ab_view header)
{
    struct ab_failure failure;
    struct ab_error err;
    char text[AB_ERROR_TEXT_MAX] = "";
    if (!ab_decode(&ab_failure_schema, header, &failure, &err))
        snprintf(text, sizeof text, "%.*s", AB_VIEW_FMT(failure.text));
    ab_log(AB_ERROR_LEVEL, "storage.rejected", "text", text, NULL);
}

void link_message(struct link *link, uint8_t command, struct ab_view header, struct ab_view body,
                  int64_t now_ms)
{
    link->heard_ms = now_ms;
    switch (command) {
    case AB_RESULTS:
        on_results(link, header, body);
        break;
    case AB_RESULT:
        on_result(link, header, body);
        break;
    case AB_WELCOME:
        on_welcome(link, header);
        break;
    case AB_ERROR:
        on_error(link, header);
        break;
    case AB_NOTICE:
        on_notice(link, header);
        break;
    case AB_REJECT:
        on_reject(header);
        break;
    default: /* HEARTBEAT, PONG: that it was heard is all */
        break;
    }
}

/* ---- time ---- */

static int64_t next_hello_ms(const struct link *link)
{
    return link->hello_ms ? link->hello_ms + (link->state == LINK_GREETING ? LINK_HELLO_MS : LINK_CONNECT_MS)
                          : 0;
}

static bool expects(const struct link *link)
{
    return link->first || link->read_first;
}

void link_tick(struct link *link, int64_t now_ms)
{
    static const struct ab_heartbeat heartbeat;
    static const struct ab_ping ping;
    if (link->state == LINK_UP && now_ms - link->heard_ms >= 3 * link->heartbeat_ms)
        down(link);
    if (link->state != LINK_UP) {
        if (now_ms >= next_hello_ms(link))
            hello(link, now_ms);
        return;
    }
    send_batches(link, now_ms);
    send_reads(link, now_ms);
    if (link->state != LINK_UP)
        return;
    if (expects(link) && now_ms - link->heard_ms >= LINK_PROBE_MS && now_ms - link->said_ms >= LINK_PROBE_MS)
        say(link, now_ms, AB_PING, &ping, ab_view(NULL, 0));
    else if (now_ms - link->said_ms >= link->heartbeat_ms / 2)
        say(link, now_ms, AB_HEARTBEAT, &heartbeat, ab_view(NULL, 0));
}

int64_t link_deadline(const struct link *link, int64_t now_ms)
{
    if (link->state != LINK_UP)
        return next_hello_ms(link);
    return now_ms + (expects(link) ? LINK_PROBE_MS : link->heartbeat_ms / 2);
}
