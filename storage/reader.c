/* The reader thread and its two sockets. */
#include "storage/reader.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/clock.h"

/* What goes through the pair, both ways; the request or answer map is the second frame. */
struct ticket {
    struct ab_route route;
    uint64_t rid;
    uint8_t op; /* 0: stop */
    struct ab_error err;
};

struct reader {
    pthread_t thread;
    struct store *store; /* the thread's */
    void *here, *there;  /* ends of the pair: the main thread's, the thread's */
    unsigned open;       /* handed in and not answered */
    zmq_msg_t body;      /* of the last answer taken */
    _Atomic bool stop;   /* what still waits is not read any more */
};

/* ---- the thread ---- */
static bool receive(void *socket, struct ticket *ticket, zmq_msg_t *body, int flags)
{
    int n;
    do
        n = zmq_recv(socket, ticket, sizeof *ticket, flags);
    while (n < 0 && zmq_errno() == EINTR);
    if (n < 0)
        return false;
    assert(n == sizeof *ticket);
    n = zmq_msg_recv(body, socket, 0);
    assert(n >= 0);
    return true;
}

static void send(void *socket, const struct ticket *ticket, struct ab_view body)
{
    int n = zmq_send(socket, ticket, sizeof *ticket, ZMQ_SNDMORE);
    assert(n == sizeof *ticket);
    n = zmq_send(socket, body.p ? body.p : "", body.n, 0);
    assert(n >= 0);
    (void)n;
}

static int read_one(struct store *store, uint8_t number, struct ab_view request, struct ab_buf *answer,
                    struct ab_buf *faults, struct ab_error *err)
{
    const struct ab_op_row *op = ab_op_by_number(number);
    void *decoded = ab_calloc(1, op->request->size);
    int code = ab_decode(op->request, request, decoded, err);
    struct store_call call = {.row = op, .request = decoded, .answer = answer, .faults = faults};
    if (!code)
        code = store->ops->run(store, ab_wall_ms(), &call, err);
    free(decoded);
    return code;
}

static void *run(void *arg)
{
    struct reader *reader = arg;
    struct ab_buf answer = {0}, faults = {0};
    struct ticket ticket;
    zmq_msg_t body;
    zmq_msg_init(&body);
    while (receive(reader->there, &ticket, &body, 0) && ticket.op && !reader->stop) {
        ab_buf_clear(&answer);
        ticket.err = (struct ab_error){0};
        ticket.err.code = read_one(reader->store, ticket.op, ab_view(zmq_msg_data(&body), zmq_msg_size(&body)),
                                   &answer, &faults, &ticket.err);
        send(reader->there, &ticket, ab_buf_view(&answer));
    }
    zmq_msg_close(&body);
    ab_buf_finish(&answer);
    ab_buf_finish(&faults);
    return NULL;
}

/* ---- the main thread's side ---- */
static void *pair_end(const char *name, bool bind)
{
    char address[64];
    int length = snprintf(address, sizeof address, "inproc://storage-%s", name);
    assert(length < (int)sizeof address);
    (void)length;
    void *socket = zmq_socket(ab_zmq_context(), ZMQ_PAIR);
    assert(socket);
    int unlimited = 0; /* READS_MAX is the bound */
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_LINGER, &unlimited, sizeof unlimited);
    int rc = bind ? zmq_bind(socket, address) : zmq_connect(socket, address);
    assert(!rc);
    (void)rc;
    return socket;
}

int reader_create(struct store *writer, const char *name, struct reader **out, struct ab_error *err)
{
    struct reader *reader = ab_calloc(1, sizeof *reader);
    int code = writer->ops->reader(writer, &reader->store, err);
    if (code) {
        free(reader);
        return code;
    }
    reader->here = pair_end(name, true);
    reader->there = pair_end(name, false);
    zmq_msg_init(&reader->body);
    int rc = pthread_create(&reader->thread, NULL, run, reader);
    if (!rc) {
        *out = reader;
        return 0;
    }
    zmq_close(reader->here);
    zmq_close(reader->there);
    store_close(reader->store);
    free(reader);
    return ab_fail(err, AB_ESYSTEM, "cannot start the reader thread: %s", strerror(rc));
}

void reader_destroy(struct reader *reader)
{
    if (!reader)
        return;
    reader->stop = true;
    send(reader->here, &(struct ticket){.op = 0}, (struct ab_view){0});
    pthread_join(reader->thread, NULL);
    zmq_close(reader->here);
    zmq_close(reader->there);
    zmq_msg_close(&reader->body);
    store_close(reader->store);
    free(reader);
}

void *reader_socket(struct reader *reader)
{
    return reader->here;
}

int reader_put(struct reader *reader, const struct ab_route *route, uint64_t rid, const struct ab_op_row *op,
               struct ab_view request, struct ab_error *err)
{
    if (reader->open >= READS_MAX) {
        int code = ab_fail(err, AB_EBUSY, "%d reads wait already", READS_MAX);
        if (err)
            err->retry_after_ms = 100;
        return code;
    }
    reader->open++;
    send(reader->here, &(struct ticket){.route = *route, .rid = rid, .op = op->number}, request);
    return 0;
}

bool reader_take(struct reader *reader, struct reader_answer *answer)
{
    struct ticket ticket;
    if (!receive(reader->here, &ticket, &reader->body, ZMQ_DONTWAIT))
        return false;
    reader->open--;
    *answer = (struct reader_answer){.route = ticket.route, .rid = ticket.rid, .err = ticket.err};
    answer->body = ab_view(zmq_msg_data(&reader->body), zmq_msg_size(&reader->body));
    return true;
}
