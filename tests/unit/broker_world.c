/* The world of the broker's tests; see broker_world.h. */
#include "tests/unit/broker_world.h"

#include <assert.h>
#include <stdlib.h>

static struct ab_view copy(struct ab_buf *buf, struct ab_view bytes)
{
    ab_buf_add(buf, bytes.p ? bytes.p : "", bytes.n);
    return ab_buf_view(buf);
}

static int op_send(void *owner, uint32_t peer, enum ab_command command, const void *message,
                   struct ab_view body, bool keep)
{
    struct world *world = owner;
    if (world->gone[peer])
        return AB_ENOTFOUND;
    if (world->busy[peer] && !keep)
        return AB_EBUSY;
    world->sent = ab_realloc(world->sent, (world->sent_n + 1) * sizeof *world->sent);
    struct sent *sent = &world->sent[world->sent_n++];
    *sent = (struct sent){.peer = peer, .command = command};
    ab_encode(&sent->header, ab_command_row((uint8_t)command)->schema, message);
    copy(&sent->body, body);
    return 0;
}

static void op_forget(void *owner, uint32_t peer)
{
    struct world *world = owner;
    (void)peer;
    world->forgotten++;
}

static void add_op(struct world *world, enum ab_op op, const void *request, const struct ticket *ticket,
                   bool read)
{
    world->ops = ab_realloc(world->ops, (world->ops_n + 1) * sizeof *world->ops);
    struct world_op *row = &world->ops[world->ops_n++];
    *row = (struct world_op){.op = op, .ticket = *ticket, .read = read};
    ab_encode(&row->request, ab_op_by_number(op)->request, request);
}

static void op_write(void *owner, enum ab_op op, const void *request, const struct ticket *ticket)
{
    add_op(owner, op, request, ticket, false);
}

static void op_read(void *owner, enum ab_op op, const void *request, const struct ticket *ticket)
{
    add_op(owner, op, request, ticket, true);
}

static bool op_full(void *owner)
{
    const struct world *world = owner;
    return world->full;
}

static const struct core_ops ops = {op_send, op_forget, op_write, op_read, op_full};

/* ---- storage's rules ---- */

static struct world_job *by_id(struct world *world, struct ab_id id)
{
    for (size_t i = 0; i < world->jobs_n; i++)
        if (ab_id_eq(world->jobs[i].id, id))
            return &world->jobs[i];
    return NULL;
}

static void pack_open_job(struct ab_buf *out, const struct world_job *job, uint64_t n);

/* A fork: whatever the events are, and one behind them. */
static void copy_events(struct world *world, struct world_job *job, const struct ab_op_submit *op)
{
    const struct world_job *from = by_id(world, op->fork_of);
    const struct ab_forked forked = {.of = op->fork_of, .of_seq = op->fork_seq};
    struct ab_buf last = {0};
    if (!from)
        return;
    job->events = ab_calloc(op->fork_seq + 1, sizeof *job->events);
    for (; job->events_n < op->fork_seq; job->events_n++)
        copy(&job->events[job->events_n].bytes, ab_buf_view(&from->events[job->events_n].bytes));
    ab_event_encode(&last, AB_KIND_FORKED, &forked);
    job->events[job->events_n++].bytes = last;
}

/* What the client wished, without what the broker found. */
static void wish(const struct ab_op_submit *op, struct ab_buf *out)
{
    struct ab_op_submit plain = *op;
    plain.answer_to = 0;
    plain.interrupts = (struct ab_id){{0}};
    plain.known = false;
    ab_encode(out, &ab_op_submit_schema, &plain);
}

static struct world_job *answered_by(struct world *world, struct ab_id id)
{
    for (size_t i = 0; i < world->jobs_n; i++)
        for (size_t k = 0; k < WORLD_ANSWERS; k++)
            if (ab_id_eq(world->jobs[i].answers[k], id))
                return &world->jobs[i];
    return NULL;
}

/* A message that is, or was, the answer to a job's question. */
static int do_answer(struct world *world, const struct ab_op_submit *op, struct world_job *job,
                     struct ab_buf *answer)
{
    bool again = answered_by(world, op->job) == job;
    if (!again && (!job || *job->end || strcmp(job->wait, "person") != 0))
        return AB_ECONFLICT;
    size_t k = 0;
    while (!again && k < WORLD_ANSWERS && !ab_id_zero(job->answers[k]))
        k++;
    if (k == WORLD_ANSWERS)
        return AB_ECONFLICT;
    if (!again) {
        job->answers[k] = op->job;
        job->inbox_k++;
        job->wait[0] = 0;
    }
    const struct ab_op_submit_answer done = {.n = (uint64_t)(job - world->jobs) + 1,
                                             .created = !again,
                                             .session = op->session,
                                             .job = job->id,
                                             .input = job->inbox_k,
                                             .seq = job->events_n};
    ab_encode(answer, &ab_op_submit_answer_schema, &done);
    return 0;
}

static void do_interrupt(struct world *world, struct ab_id id)
{
    struct world_job *job = by_id(world, id);
    if (!job || *job->end)
        return;
    job->cancel = true;
    job->wait[0] = 0;
    job->inbox_k++;
    world->notice = (struct ab_notice){.job = id, .k = job->inbox_k, .kind = ab_view_of("cancel")};
}

static int do_submit(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    struct ab_op_submit op;
    struct ab_error err;
    int rc = ab_decode(&ab_op_submit_schema, request, &op, &err);
    assert(!rc);
    (void)rc;
    struct world_job *job = by_id(world, op.job), *asked = answered_by(world, op.job);
    if (!job && asked)
        return do_answer(world, &op, asked, answer);
    if (!job && op.known)
        return AB_ENOTFOUND;
    if (!job && op.answer_to)
        return do_answer(world, &op, op.answer_to <= world->jobs_n ? &world->jobs[op.answer_to - 1] : NULL,
                         answer);
    bool created = !job;
    struct ab_buf plain = {0};
    wish(&op, &plain);
    if (created) {
        do_interrupt(world, op.interrupts);
        world->jobs = ab_realloc(world->jobs, (world->jobs_n + 1) * sizeof *world->jobs);
        job = &world->jobs[world->jobs_n++];
        *job = (struct world_job){.id = op.job};
        copy(&job->submit, ab_buf_view(&plain));
        copy_events(world, job, &op);
    }
    bool same = ab_view_eq(ab_buf_view(&job->submit), ab_buf_view(&plain));
    ab_buf_finish(&plain);
    if (!same)
        return AB_ECONFLICT;
    struct ab_op_submit_answer done = {.n = (uint64_t)(job - world->jobs) + 1,
                                       .created = created,
                                       .session = op.session,
                                       .state = ab_view_of(job->end)};
    struct ab_buf open = {0};
    if (!ab_id_zero(op.fork_of) && !*job->end) {
        pack_open_job(&open, job, done.n);
        done.open = ab_buf_view(&open);
    }
    ab_encode(answer, &ab_op_submit_answer_schema, &done);
    ab_buf_finish(&open);
    return 0;
}

static void take_text(char out[16], struct ab_view text)
{
    assert(text.n < 16);
    memcpy(out, text.p ? text.p : "", text.n);
    out[text.n] = 0;
}

static bool same_events(const struct world_job *job, const struct ab_op_append *op)
{
    struct ab_reader reader = ab_reader(op->events);
    uint32_t n;
    struct ab_view event;
    ab_read_array(&reader, &n);
    for (uint32_t i = 0; i < n; i++) {
        ab_read_any(&reader, &event);
        const struct world_event *row = &job->events[op->seq - 1 + i];
        if (row->token != op->token || !ab_view_eq(ab_buf_view(&row->bytes), event))
            return false;
    }
    return true;
}

static void add_events(struct world_job *job, const struct ab_op_append *op)
{
    struct ab_reader reader = ab_reader(op->events);
    uint32_t n;
    struct ab_view event;
    ab_read_array(&reader, &n);
    job->events = ab_realloc(job->events, (job->events_n + n) * sizeof *job->events);
    while (n-- && !ab_read_any(&reader, &event)) {
        struct world_event *row = &job->events[job->events_n++];
        *row = (struct world_event){.token = op->token};
        copy(&row->bytes, event);
        job->attempts += ab_event_kind(event) == AB_KIND_STARTED;
    }
    take_text(job->wait, op->wait);
    take_text(job->end, op->end);
    job->ends += op->end.n != 0;
    job->retry = op->retry;
    job->failures += op->retry;
    job->wake_at_ms = op->wake_at_ms;
}

static int do_append(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    struct ab_op_append op;
    struct ab_error err;
    int rc = ab_decode(&ab_op_append_schema, request, &op, &err);
    assert(!rc && op.n && op.n <= world->jobs_n);
    (void)rc;
    struct world_job *job = &world->jobs[op.n - 1];
    const struct ab_op_append_answer done = {.seq = op.seq + op.count - 1};
    if (op.seq + op.count - 1 > job->events_n || !same_events(job, &op)) {
        if (*job->end)
            return AB_EENDED;
        if (job->events_n && op.token < job->events[job->events_n - 1].token)
            return AB_ESTALE;
        if (op.seq != job->events_n + 1 || (op.wait.n && op.inbox_seen < job->inbox_k))
            return AB_ECONFLICT;
        add_events(job, &op);
    }
    ab_encode(answer, &ab_op_append_answer_schema, &done);
    return 0;
}

static int do_inbox(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    struct ab_op_inbox op;
    struct ab_error err;
    int rc = ab_decode(&ab_op_inbox_schema, request, &op, &err);
    assert(!rc);
    (void)rc;
    struct world_job *job = by_id(world, op.job);
    if (!job)
        return AB_ENOTFOUND;
    if (*job->end)
        return AB_EENDED;
    job->cancel |= ab_view_is(op.kind, "cancel");
    if (ab_view_is(op.kind, "pause") || ab_view_is(op.kind, "resume"))
        job->paused = ab_view_is(op.kind, "pause");
    else
        job->wait[0] = 0;
    const struct ab_op_inbox_answer done = {
        .n = (uint64_t)(job - world->jobs) + 1, .k = ++job->inbox_k, .created = true};
    ab_encode(answer, &ab_op_inbox_answer_schema, &done);
    return 0;
}

static void pack_open_job(struct ab_buf *out, const struct world_job *job, uint64_t n)
{
    struct ab_op_submit op;
    struct ab_error err;
    ab_decode(&ab_op_submit_schema, ab_buf_view(&job->submit), &op, &err);
    const struct world_event *last = job->events_n ? &job->events[job->events_n - 1] : NULL;
    struct ab_started started = {0};
    if (last && ab_event_kind(ab_buf_view(&last->bytes)) == AB_KIND_STARTED)
        ab_decode(&ab_started_schema, ab_buf_view(&last->bytes), &started, &err);
    const struct ab_open_job open = {
        .n = n,
        .job = job->id,
        .user = op.user,
        .session = op.session,
        .priority = op.priority,
        .not_before_ms = op.not_before_ms,
        .deadline_ms = op.deadline_ms,
        .key = op.key,
        .pool = op.pool,
        .hash = op.hash,
        .body_bytes = op.input.n,
        .state = ab_view_of(*job->wait   ? (strcmp(job->wait, "timer") ? "waiting" : "timer")
                            : job->retry ? "retry"
                                         : "ready"),
        .wake_at_ms = job->wake_at_ms,
        .seq = job->events_n,
        .token = last ? last->token : 0,
        .attempt = job->attempts,
        .started = last && !*job->wait && !job->retry &&
                   ab_event_kind(ab_buf_view(&last->bytes)) != AB_KIND_WAITING &&
                   ab_event_kind(ab_buf_view(&last->bytes)) != AB_KIND_PAUSED,
        .crashes = started.crashes,
        .company = started.company,
        .inbox_k = job->inbox_k,
        .failures = job->failures,
        .cancel = job->cancel,
        .paused = job->paused,
    };
    ab_encode(out, &ab_open_job_schema, &open);
}

static int do_open_jobs(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    enum { PAGE = 3 };
    struct ab_op_open_jobs op;
    struct ab_error err;
    ab_decode(&ab_op_open_jobs_schema, request, &op, &err);
    struct ab_buf rows = {0}, array = {0};
    uint32_t n = 0;
    uint64_t last = 0;
    for (uint64_t i = op.after; i < world->jobs_n && n < PAGE; i++)
        if (!*world->jobs[i].end) {
            pack_open_job(&rows, &world->jobs[i], last = i + 1);
            n++;
        }
    ab_pack_array(&array, n);
    ab_buf_add(&array, rows.p ? rows.p : "", rows.n);
    const struct ab_op_open_jobs_answer page = {.jobs = ab_buf_view(&array), .next = n == PAGE ? last : 0};
    ab_encode(answer, &ab_op_open_jobs_answer_schema, &page);
    ab_buf_finish(&rows);
    ab_buf_finish(&array);
    return 0;
}

static void pack_events(struct ab_buf *out, const struct world_job *job, uint64_t after, size_t n)
{
    ab_pack_array(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        ab_buf_add(out, job->events[after + i].bytes.p, job->events[after + i].bytes.n);
}

static int do_load(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    struct ab_op_load op;
    struct ab_op_submit submit;
    struct ab_error err;
    ab_decode(&ab_op_load_schema, request, &op, &err);
    const struct world_job *job = &world->jobs[op.n - 1];
    ab_decode(&ab_op_submit_schema, ab_buf_view(&job->submit), &submit, &err);
    struct ab_buf journal = {0};
    pack_events(&journal, job, 0, job->events_n);
    const struct ab_op_load_answer done = {
        .input = submit.input, .journal = ab_buf_view(&journal), .seq = job->events_n};
    ab_encode(answer, &ab_op_load_answer_schema, &done);
    ab_buf_finish(&journal);
    return 0;
}

static int do_journal(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    enum { PAGE = 2 };
    struct ab_op_journal op;
    struct ab_error err;
    ab_decode(&ab_op_journal_schema, request, &op, &err);
    const struct world_job *job = by_id(world, op.job);
    if (!job)
        return AB_ENOTFOUND;
    if (op.after < job->events_gone)
        op.after = job->events_gone;
    size_t n = op.after < job->events_n ? job->events_n - op.after : 0;
    n = n > PAGE ? PAGE : n;
    bool last = op.after + n >= job->events_n;
    struct ab_buf events = {0};
    pack_events(&events, job, op.after, n);
    const struct ab_op_journal_answer page = {.events = ab_buf_view(&events),
                                              .seq = op.after + n,
                                              .end = last ? ab_view_of(job->end) : ab_view(NULL, 0),
                                              .more = !last,
                                              .ended = ab_view_of(job->end),
                                              .last = *job->end ? job->events_n : 0};
    ab_encode(answer, &ab_op_journal_answer_schema, &page);
    ab_buf_finish(&events);
    return 0;
}

/* One halt is kept, the last. */
static int do_set_queue(struct world *world, struct ab_view request, struct ab_buf *answer)
{
    ab_buf_clear(&world->halt);
    ab_buf_add(&world->halt, request.p, request.n);
    ab_encode(answer, &ab_op_empty_schema, &(struct ab_op_empty){0});
    return 0;
}

static int do_epoch(struct world *world, struct ab_buf *answer)
{
    struct ab_buf halts = {0};
    ab_pack_array(&halts, world->halt.n != 0);
    ab_buf_add(&halts, world->halt.p, world->halt.n);
    const struct ab_op_epoch_answer epoch = {.epoch = ++world->epoch, .queues = ab_buf_view(&halts)};
    ab_encode(answer, &ab_op_epoch_answer_schema, &epoch);
    ab_buf_finish(&halts);
    return 0;
}

static int do_op(struct world *world, const struct world_op *op, struct ab_buf *answer)
{
    struct ab_view request = ab_buf_view(&op->request);
    switch (op->op) {
    case AB_OP_epoch:
        return do_epoch(world, answer);
    case AB_OP_submit:
        return do_submit(world, request, answer);
    case AB_OP_append:
        return do_append(world, request, answer);
    case AB_OP_inbox:
        return do_inbox(world, request, answer);
    case AB_OP_open_jobs:
        return do_open_jobs(world, request, answer);
    case AB_OP_load:
        return do_load(world, request, answer);
    case AB_OP_journal:
        return do_journal(world, request, answer);
    case AB_OP_set_queue:
        return do_set_queue(world, request, answer);
    default:
        abort();
    }
}

static struct world_op take_op_at(struct world *world, size_t at)
{
    struct world_op op = world->ops[at];
    world->ops_n--;
    memmove(world->ops + at, world->ops + at + 1, (world->ops_n - at) * sizeof *world->ops);
    return op;
}

static struct world_op take_op(struct world *world)
{
    return take_op_at(world, 0);
}

static void answer_op(struct world *world, struct world_op *op, int code, struct ab_view answer)
{
    struct ab_error err = {0};
    if (code)
        ab_fail_at(&err, code,
                   op->op != AB_OP_submit ? ""
                   : code == AB_ECONFLICT ? "answer_to"
                   : code == AB_ENOTFOUND ? "known"
                                          : "",
                   "refused by the test's storage");
    core_answered(world->core, &op->ticket, op->read ? ab_view(NULL, 0) : ab_buf_view(&op->request), code, &err,
                  answer);
    ab_buf_finish(&op->request);
    const struct ab_notice notice = world->notice;
    world->notice = (struct ab_notice){0};
    if (notice.k)
        core_storage_notice(world->core, &notice);
}

void world_store(struct world *world, size_t n)
{
    while (n-- && world->ops_n) {
        struct world_op op = take_op(world);
        struct ab_buf answer = {0};
        int code = do_op(world, &op, &answer);
        answer_op(world, &op, code, code ? ab_view(NULL, 0) : ab_buf_view(&answer));
        ab_buf_finish(&answer);
    }
}

void world_store_read(struct world *world)
{
    size_t at = 0;
    while (at < world->ops_n && !world->ops[at].read)
        at++;
    if (at == world->ops_n)
        return;
    struct world_op op = take_op_at(world, at);
    struct ab_buf answer = {0};
    int code = do_op(world, &op, &answer);
    answer_op(world, &op, code, code ? ab_view(NULL, 0) : ab_buf_view(&answer));
    ab_buf_finish(&answer);
}

void world_store_unanswered(struct world *world, size_t n)
{
    for (size_t i = 0; i < n && i < world->ops_n; i++) {
        struct ab_buf answer = {0};
        do_op(world, &world->ops[i], &answer);
        ab_buf_finish(&answer);
    }
}

void world_refuse(struct world *world, int code)
{
    if (!world->ops_n)
        return;
    struct world_op op = take_op(world);
    answer_op(world, &op, code, ab_view(NULL, 0));
}

void world_store_all(struct world *world)
{
    do {
        world_store(world, world->ops_n);
        world_tick(world, 0);
    } while (world->ops_n);
}

/* ---- life ---- */

static void create(struct world *world)
{
    world->core = core_create(&world->config, &ops, world);
    core_clock(world->core, world->now_ms, world->wall_ms);
}

void world_init(struct world *world)
{
    *world = (struct world){.now_ms = 1000, .wall_ms = 1700000000000};
    core_config_default(&world->config);
    world->config.storage = "ipc://storage";
    world->config.build = "test";
    create(world);
}

void world_start(struct world *world)
{
    core_storage_up(world->core, true);
    world_store_all(world);
    assert(core_epoch(world->core));
}

static void forget_ops(struct world *world)
{
    for (size_t i = 0; i < world->ops_n; i++)
        ab_buf_finish(&world->ops[i].request);
    world->ops_n = 0;
}

void world_restart(struct world *world)
{
    core_destroy(world->core);
    forget_ops(world);
    create(world);
    world_start(world);
}

void world_forget_sent(struct world *world)
{
    for (size_t i = 0; i < world->sent_n; i++) {
        ab_buf_finish(&world->sent[i].header);
        ab_buf_finish(&world->sent[i].body);
    }
    world->sent_n = world->sent_at = 0;
}

void world_finish(struct world *world)
{
    core_destroy(world->core);
    forget_ops(world);
    world_forget_sent(world);
    for (size_t i = 0; i < world->jobs_n; i++) {
        for (size_t k = 0; k < world->jobs[i].events_n; k++)
            ab_buf_finish(&world->jobs[i].events[k].bytes);
        free(world->jobs[i].events);
        ab_buf_finish(&world->jobs[i].submit);
    }
    ab_buf_finish(&world->halt);
    free(world->jobs);
    free(world->sent);
    free(world->ops);
}

void world_say(struct world *world, enum core_side side, uint32_t peer, enum ab_command command,
               const void *message, struct ab_view body)
{
    struct ab_buf header = {0};
    ab_encode(&header, ab_command_row((uint8_t)command)->schema, message);
    core_message(world->core, side, peer, AB_VERSION_MAX, (uint8_t)command, ab_buf_view(&header), body);
    ab_buf_finish(&header);
}

void world_tick(struct world *world, int64_t ms)
{
    world->now_ms += ms;
    world->wall_ms += ms;
    core_clock(world->core, world->now_ms, world->wall_ms);
    core_tick(world->core, true);
}

const struct sent *world_find(struct world *world, uint32_t peer, enum ab_command command, void *out)
{
    for (; world->sent_at < world->sent_n; world->sent_at++) {
        const struct sent *sent = &world->sent[world->sent_at];
        if (sent->peer != peer || sent->command != command)
            continue;
        struct ab_error err;
        if (out && ab_decode(ab_command_row((uint8_t)command)->schema, ab_buf_view(&sent->header), out, &err))
            abort();
        world->sent_at++;
        return sent;
    }
    return NULL;
}

size_t world_count(const struct world *world, uint32_t peer, enum ab_command command)
{
    size_t n = 0;
    for (size_t i = 0; i < world->sent_n; i++)
        n += (!peer || world->sent[i].peer == peer) && world->sent[i].command == command;
    return n;
}

/* ---- short cuts ---- */

void world_client(struct world *world, uint32_t peer)
{
    const struct ab_hello hello = {.role = ab_view_of("client"), .vmin = 1, .vmax = 1};
    world_say(world, CORE_CLIENTS, peer, AB_HELLO, &hello, ab_view(NULL, 0));
}

void world_worker(struct world *world, uint32_t peer, const char *name, unsigned slots)
{
    const struct ab_hello hello = {
        .role = ab_view_of("worker"), .vmin = 1, .vmax = 1, .name = ab_view_of(name), .slots = slots};
    const struct ab_credit credit = {.credit = slots};
    world_say(world, CORE_WORKERS, peer, AB_HELLO, &hello, ab_view(NULL, 0));
    world_say(world, CORE_WORKERS, peer, AB_CREDIT, &credit, ab_view(NULL, 0));
}

struct ab_id world_id(unsigned number)
{
    struct ab_id id = {{1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0x70, 0, 0x80}};
    for (int i = 0; i < 4; i++)
        id.b[AB_ID_BYTES - 1 - i] = (uint8_t)(number >> (8 * i));
    return id;
}

static uint64_t number_in(const char *more, const char *key)
{
    const char *at = more ? strstr(more, key) : NULL;
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static struct ab_view word_in(const char *more, const char *key)
{
    const char *at = more ? strstr(more, key) : NULL;
    at = at ? at + strlen(key) : "";
    return ab_view(at, strcspn(at, " "));
}

/* more: "session=s key=k pool=p priority=1 not_before=T deadline=T watch=all deltas" */
void world_submit(struct world *world, uint32_t peer, unsigned number, const char *user, const char *more)
{
    static const char hash[AB_HASH_BYTES] = "hash";
    const struct ab_submit submit = {
        .rid = number,
        .job = world_id(number),
        .user = ab_view_of(user),
        .hash = ab_view(hash, sizeof hash),
        .session = word_in(more, "session="),
        .key = word_in(more, "key="),
        .pool = word_in(more, "pool="),
        .priority = (int64_t)number_in(more, "priority="),
        .not_before_ms = number_in(more, "not_before="),
        .deadline_ms = number_in(more, "deadline="),
        .watch = word_in(more, "watch="),
        .if_busy = word_in(more, "busy="),
        .deltas = more && strstr(more, "deltas"),
    };
    world_say(world, CORE_CLIENTS, peer, AB_SUBMIT, &submit,
              ab_view("\x81\xa7"
                      "content\xa2hi",
                      12));
}

struct world_job *world_job(struct world *world, unsigned number)
{
    return by_id(world, world_id(number));
}

void world_events(struct world *world, uint32_t peer, const struct ab_job *job, uint64_t seq, const char *end,
                  const char *wait, bool retry)
{
    struct ab_buf body = {0};
    const struct ab_turn turn = {.step = ab_view_of("a:1"),
                                 .agent = ab_view_of("a"),
                                 .content = ab_view("\xa1x", 2),
                                 .at_ms = job->token & 0xffffff};
    const struct ab_end last = {
        .state = ab_view_of(end), .stop_reason = ab_view_of("test"), .at_ms = job->token & 0xffffff};
    const struct ab_waiting waiting = {.reason = ab_view_of(wait), .at_ms = job->token & 0xffffff};
    const struct ab_attempt_failed failed = {.attempt = job->attempt,
                                             .code = ab_view_of("model"),
                                             .text = ab_view_of("boom"),
                                             .at_ms = job->token & 0xffffff};
    ab_pack_array(&body, 1);
    if (end)
        ab_event_encode(&body, AB_KIND_END, &last);
    else if (wait)
        ab_event_encode(&body, AB_KIND_WAITING, &waiting);
    else if (retry)
        ab_event_encode(&body, AB_KIND_ATTEMPT_FAILED, &failed);
    else
        ab_event_encode(&body, AB_KIND_TURN, &turn);
    const struct ab_events events = {.job = job->job,
                                     .token = job->token,
                                     .seq = seq,
                                     .count = 1,
                                     .end = ab_view_of(end),
                                     .wait = ab_view_of(wait),
                                     .wake_at_ms = wait ? world->wake_at_ms : 0,
                                     .retry = retry};
    world_say(world, CORE_WORKERS, peer, AB_EVENTS, &events, ab_buf_view(&body));
    ab_buf_finish(&body);
}

void world_pauses(struct world *world, uint32_t peer, const struct ab_job *job, uint64_t seq)
{
    struct ab_buf body = {0};
    const struct ab_paused paused = {.at_ms = job->token & 0xffffff};
    const struct ab_events events = {
        .job = job->job, .token = job->token, .seq = seq, .count = 1, .pause = true};
    ab_pack_array(&body, 1);
    ab_event_encode(&body, AB_KIND_PAUSED, &paused);
    world_say(world, CORE_WORKERS, peer, AB_EVENTS, &events, ab_buf_view(&body));
    ab_buf_finish(&body);
}
