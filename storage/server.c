/* The storage service's loop. It owns the sockets and the writer; one wake-up drains what waits (bounded), runs all
 * writes in one transaction, syncs once, then answers everybody. Reads go to the reader thread as they come.
 *
 * A caller whose pipe is full is forgotten: its next word is answered `denied`, it says HELLO and sends again what it
 * has no answer for. All operations are idempotent, so nothing needs to be kept for it here.
 */
#include "storage/server.h"

#include <signal.h>

#include "common/auth.h"
#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/version.h"
#include "common/wire/socket.h"
#include "storage/group.h"
#include "storage/callers.h"
#include "storage/reader.h"

enum {
    MESSAGES_MAX = 1000,       /* taken from the socket in one wake-up */
    GATHER_MS_MAX = 50,        /* of running operations, before what is done is committed and answered */
    HEARTBEATS_MISSED = 3,     /* then a caller is gone */
    IDLE_MS = 200,             /* after the last commit: time to look after the files … */
    IDLE_AGAIN_MS = 20,        /* … again, while there is more to do for them … */
    IDLE_LONG_MS = 60000,      /* … and when there is not */
    BATCH_BODIES = 4,          /* a batch may be so many times a message's greatest body … */
    BATCH_SPARE = 8 << 20,     /* … and as much more: small messages are batched too */
    READ_BYTES_MAX = 64 << 10, /* a request that reads holds names and numbers only; many of them may wait */
};

struct server {
    const struct server_options *options;
    struct store *store;
    struct ab_loop *loop;
    void *router;
    struct ab_message in;
    struct reader *reader, *searcher;
    struct callers callers;
    struct group group;
    int64_t beat_ms;        /* when callers are next looked after */
    int64_t idle_ms;        /* when the files are, unless something is written before */
    bool undrained;         /* more waits on the socket: who seems silent may have spoken */
    struct ab_error failed; /* why the service has to end */
};

static uint64_t batch_bytes_max(const struct server_options *options)
{
    return options->message_bytes_max * BATCH_BODIES + BATCH_SPARE;
}

/* ---- sending ---- */
static void forget(struct server *s, const struct caller *caller, int code, bool lost)
{
    ab_log(lost ? AB_INFO : AB_DEBUG, "caller.lost", "session", ab_num((long long)caller->session), "why",
           code == AB_EBUSY ? "it does not read" : "its connection is gone", NULL);
    struct ab_route route = caller->route;
    callers_remove(&s->callers, &route);
}

/* What became of an answer: one that is lost is worth a line. */
static void sent(struct server *s, const struct ab_route *route, int code)
{
    struct caller *caller = callers_find(&s->callers, route);
    if (!code && caller)
        caller->told_ms = ab_mono_ms();
    else if (caller)
        forget(s, caller, code, true);
}

static void refuse(struct server *s, const struct ab_route *route, uint64_t rid, const struct ab_error *err)
{
    sent(s, route, ab_send_error(s->router, route, AB_ERROR, rid, (struct ab_id){{0}}, err));
}

static void send_answer(void *context, const struct group_answer *answer, struct ab_view body)
{
    struct server *s = context;
    struct ab_failure failure;
    int code;
    if (answer->batch)
        code = ab_send(s->router, &answer->route, AB_RESULTS, &(struct ab_results){.rid = answer->rid}, body);
    else if (!answer->refused)
        code = ab_send(s->router, &answer->route, AB_RESULT, &(struct ab_result){.rid = answer->rid}, body);
    else if (!(code = ab_decode(&ab_failure_schema, body, &failure, NULL)))
        code = ab_send(s->router, &answer->route, AB_ERROR, &failure, (struct ab_view){0});
    sent(s, &answer->route, code);
}

/* Words about jobs that the committed operations cancelled or woke. Broker that is not there reads the inbox when it comes. */
static void send_notices(struct server *s)
{
    const struct store_notice *notices;
    size_t n = s->store->ops->notices(s->store, &notices);
    for (size_t i = 0; n && i < s->callers.cap; i++) {
        struct caller caller = s->callers.slots[i];
        if (!caller.session || caller.role != AB_BY_BROKER)
            continue;
        int code = 0;
        for (size_t k = 0; k < n && !code; k++)
            code = ab_send(s->router, &caller.route, AB_NOTICE,
                           &(struct ab_notice){
                               .job = notices[k].job, .k = notices[k].k, .kind = ab_view_of(notices[k].kind)},
                           (struct ab_view){0});
        sent(s, &caller.route, code);
        if (code)
            return send_notices(
                s); /* the table was rebuilt: begin again without that caller; notices are idempotent */
    }
}

/* ---- commands ---- */
typedef void command_fn(struct server *s, struct caller *caller, const struct ab_message *m);

/* HELLO: the only command of a caller that is not known yet. */
static void on_hello(struct server *s, const struct ab_message *m)
{
    struct ab_hello hello;
    struct ab_error err = {0};
    int code = ab_message_header(m, &hello, &err);
    if (!code && !ab_role_of(hello.role))
        code = ab_fail_at(&err, AB_EINVALID, "role", "is client, worker or broker, not %.*s",
                          AB_VIEW_FMT(hello.role));
    if (!code && (hello.vmin > AB_VERSION_MAX || hello.vmax < AB_VERSION_MIN))
        code = ab_fail(&err, AB_EVERSION, "storage speaks versions %d to %d, you speak %llu to %llu",
                       AB_VERSION_MIN, AB_VERSION_MAX, (unsigned long long)hello.vmin,
                       (unsigned long long)hello.vmax);
    struct caller *caller = code ? NULL : callers_add(&s->callers, &m->route);
    if (!code && !caller)
        code = ab_fail(&err, AB_EBUSY, "storage has %d callers, the most it takes", CALLERS_MAX);
    if (code) {
        ab_send_error(s->router, &m->route, AB_REJECT, 0, (struct ab_id){{0}}, &err);
        return;
    }
    caller->role = ab_role_of(hello.role);
    caller->heard_ms = ab_mono_ms();
    struct ab_welcome welcome = {
        .version = hello.vmax < AB_VERSION_MAX ? hello.vmax : AB_VERSION_MAX,
        .session = caller->session,
        .epoch = s->store->ops->epoch(s->store),
        .heartbeat_ms = (uint64_t)s->options->heartbeat_ms,
        .body_bytes_max =
            caller->role == AB_BY_BROKER ? batch_bytes_max(s->options) : s->options->message_bytes_max,
        .build = ab_view_of(ab_build()),
    };
    sent(s, &m->route, ab_send(s->router, &m->route, AB_WELCOME, &welcome, (struct ab_view){0}));
}

static void on_ping(struct server *s, struct caller *caller, const struct ab_message *m)
{
    struct ab_ping ping;
    struct ab_error err = {0};
    (void)caller;
    if (ab_message_header(m, &ping, &err))
        return refuse(s, &m->route, 0, &err);
    sent(s, &m->route, ab_send(s->router, &m->route, AB_PONG, &ping, (struct ab_view){0}));
}

static void on_word(struct server *s, struct caller *caller, const struct ab_message *m)
{
    (void)s;
    (void)caller;
    (void)m; /* that it was heard is all */
}

static void on_batch(struct server *s, struct caller *caller, const struct ab_message *m)
{
    struct ab_batch batch = {0};
    struct ab_error err = {0};
    int code = caller->role != AB_BY_BROKER ? ab_fail(&err, AB_EDENIED, "only a broker sends BATCH")
                                            : ab_message_header(m, &batch, &err);
    AB_FAILPOINT("storage.received");
    if (!code)
        code = group_batch(&s->group, &m->route, &batch, m->body, ab_wall_ms(), &err);
    if (code)
        refuse(s, &m->route, batch.rid, &err);
}

/* What is stored is shown inside of other values, and must be readable there. */
static int check_body(const struct server *s, const struct ab_op_row *op, struct ab_view body,
                      struct ab_error *err)
{
    uint64_t max = op->kind == AB_OP_WRITE ? s->options->message_bytes_max : READ_BYTES_MAX;
    if (body.n > max)
        return ab_fail(err, AB_ETOOLARGE, "a request %s has at most %llu bytes, not %zu", op->name,
                       (unsigned long long)max, body.n);
    if (op->kind == AB_OP_WRITE && !ab_any_ok(body))
        return ab_fail(err, AB_EINVALID, "the body is not one msgpack map, or it is nested deeper than %d",
                       AB_DEPTH_SENT_MAX);
    return 0;
}

/* Searches may take longer than what brokers and workers wait for: they have a thread of their own. */
static struct reader *reader_for(struct server *s, const struct ab_op_row *op)
{
    return op->number == AB_OP_search_messages || op->number == AB_OP_search_sessions ? s->searcher : s->reader;
}

static void on_query(struct server *s, struct caller *caller, const struct ab_message *m)
{
    struct ab_query query = {0};
    struct ab_error err = {0};
    const struct ab_op_row *op = NULL;
    int code = ab_message_header(m, &query, &err);
    if (!code)
        code = ab_auth_query(AB_AT_STORAGE, caller->role, query.op, &op, &err);
    if (!code)
        code = check_body(s, op, m->body, &err);
    if (!code)
        code = ab_auth_user(caller->role, op, m->body, &err);
    AB_FAILPOINT("storage.received");
    if (!code && op->kind == AB_OP_WRITE)
        group_query(&s->group, &m->route, query.rid, op, m->body, ab_wall_ms());
    else if (!code)
        code = reader_put(reader_for(s, op), &m->route, query.rid, op, m->body, &err);
    if (code)
        refuse(s, &m->route, query.rid, &err);
}

static command_fn *const handlers[256] = {
    [AB_PING] = on_ping,  [AB_PONG] = on_word,   [AB_HEARTBEAT] = on_word,
    [AB_ERROR] = on_word, [AB_BATCH] = on_batch, [AB_QUERY] = on_query,
};

static void dispatch(struct server *s, const struct ab_message *m)
{
    struct ab_error err = {0};
    const struct ab_command_row *row = ab_command_row(m->command);
    if (m->command == AB_HELLO)
        return on_hello(s, m);
    struct caller *caller = callers_find(&s->callers, &m->route);
    if (!caller && m->command == AB_ERROR)
        return; /* two who do not know each other would go on for ever */
    if (!caller)
        ab_fail(&err, AB_EDENIED, "say HELLO first");
    else if (m->version < AB_VERSION_MIN || m->version > AB_VERSION_MAX)
        ab_fail(&err, AB_EVERSION, "storage speaks versions %d to %d, not %u", AB_VERSION_MIN, AB_VERSION_MAX,
                m->version);
    else if (!row)
        ab_fail(&err, AB_EINVALID, "unknown command %u", m->command);
    else if (!handlers[m->command])
        ab_fail(&err, AB_EDENIED, "storage takes no %s", row->name);
    if (err.code) {
        struct ab_ping any; /* most requests have a rid; it is worth naming */
        bool named = row && !ab_decode(&ab_ping_schema, m->header, &any, NULL);
        return refuse(s, &m->route, named ? any.rid : 0, &err);
    }
    caller->heard_ms = ab_mono_ms();
    handlers[m->command](s, caller, m);
}

/* ---- the loop ---- */
static bool on_router(void *owner)
{
    struct server *s = owner;
    int64_t until_ms = ab_mono_ms() + GATHER_MS_MAX;
    s->undrained = false;
    for (int i = 0; ab_message_more(&s->in) || (i < MESSAGES_MAX && s->group.ops < STORE_OPS_MAX &&
                                                s->group.bodies.n < GROUP_BYTES_MAX && ab_mono_ms() < until_ms);
         i++) {
        struct ab_error err = {0};
        int got = ab_message_receive(s->router, &s->in, &err);
        if (!got)
            return false;
        if (got > 0)
            dispatch(s, &s->in);
        else if (s->in.route.n)
            refuse(s, &s->in.route, 0, &err);
    }
    return s->undrained = true;
}

static bool take_answers(struct server *s, struct reader *reader)
{
    struct reader_answer a;
    for (int i = 0; i < READS_MAX; i++) {
        if (!reader_take(reader, &a))
            return false;
        if (a.err.code)
            refuse(s, &a.route, a.rid, &a.err);
        else
            sent(s, &a.route,
                 ab_send(s->router, &a.route, AB_RESULT, &(struct ab_result){.rid = a.rid}, a.body));
    }
    return true;
}

static bool on_reader(void *owner)
{
    struct server *s = owner;
    return take_answers(s, s->reader);
}

static bool on_searcher(void *owner)
{
    struct server *s = owner;
    return take_answers(s, s->searcher);
}

static void stop_for(struct server *s)
{
    ab_log(AB_ERROR_LEVEL, "storage.failed", "text", s->failed.text, NULL);
    ab_loop_stop(s->loop);
}

static void commit(struct server *s, int64_t now_ms)
{
    if (group_commit(&s->group, &s->failed))
        return stop_for(s);
    group_each(&s->group, send_answer, s);
    send_notices(s);
    if (s->store->ops->tend(s->store, ab_wall_ms(), false, &s->failed) < 0)
        return stop_for(s);
    s->idle_ms = now_ms + IDLE_MS;
}

/* Callers that are silent too long are gone; those who hear nothing else get a HEARTBEAT. */
static void beat(struct server *s, int64_t now_ms)
{
    int64_t every = s->options->heartbeat_ms;
    if (!s->undrained)
        callers_expire(&s->callers, now_ms - HEARTBEATS_MISSED * every);
    for (size_t i = 0; i < s->callers.cap; i++) {
        struct caller *caller = &s->callers.slots[i];
        if (!caller->session || caller->told_ms > now_ms - every / 2)
            continue;
        caller->told_ms = now_ms;
        int code =
            ab_send(s->router, &caller->route, AB_HEARTBEAT, &(struct ab_heartbeat){0}, (struct ab_view){0});
        if (code) /* most often one that had all its answers and has left */
            forget(s, caller, code, code == AB_EBUSY);
    }
    s->beat_ms = now_ms + every / 2;
}

static void tick(void *owner, int64_t now_ms)
{
    struct server *s = owner;
    if (s->failed.code)
        return;
    group_again(&s->group, ab_wall_ms());
    if (s->group.n || s->group.open)
        commit(s, now_ms);
    else if (now_ms >= s->idle_ms) {
        int more = s->store->ops->tend(s->store, ab_wall_ms(), true, &s->failed);
        if (more < 0)
            return stop_for(s);
        s->idle_ms = now_ms + (more ? IDLE_AGAIN_MS : IDLE_LONG_MS);
    }
    if (now_ms >= s->beat_ms)
        beat(s, now_ms);
}

static int64_t deadline(void *owner, int64_t now_ms)
{
    struct server *s = owner;
    if (s->group.parts_n)
        return now_ms;
    return s->idle_ms < s->beat_ms ? s->idle_ms : s->beat_ms;
}

static void signalled(void *owner, int signo)
{
    struct server *s = owner;
    if (signo != SIGHUP)
        ab_loop_stop(s->loop);
}

int storage_serve(const struct server_options *options, struct store *store, struct ab_error *err)
{
    static const struct ab_loop_ops ops = {.deadline = deadline, .tick = tick, .signalled = signalled};
    struct server s = {
        .options = options, .store = store, .idle_ms = ab_mono_ms() + IDLE_MS, .beat_ms = ab_mono_ms()};
    s.loop = ab_loop_create(&ops, &s); /* blocks signals: before the reader's thread */
    group_init(&s.group, store);
    int code = reader_create(store, "reader", &s.reader, err);
    if (!code)
        code = reader_create(store, "searcher", &s.searcher, err);
    if (!code && !(s.router = ab_router_create(options->endpoint, batch_bytes_max(options), err)))
        code = err->code;
    if (!code) {
        ab_loop_add_socket(s.loop, s.router, on_router, &s);
        ab_loop_add_socket(s.loop, reader_socket(s.reader), on_reader, &s);
        ab_loop_add_socket(s.loop, reader_socket(s.searcher), on_searcher, &s);
        ab_log(AB_INFO, "storage.ready", "endpoint", options->endpoint, "build", ab_build(), NULL);
        ab_loop_run(s.loop);
        code = s.failed.code;
        *err = s.failed;
    }
    ab_message_close(&s.in);
    ab_socket_destroy(s.router);
    reader_destroy(s.reader);
    reader_destroy(s.searcher);
    group_finish(&s.group);
    callers_finish(&s.callers);
    ab_loop_destroy(s.loop);
    return code;
}
