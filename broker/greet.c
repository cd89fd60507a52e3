/* Peers come and go: HELLO and WELCOME, workers that come again under their name, what a lost one leaves behind. */
#include "broker/internal.h"

#include <stdlib.h>

#include "common/log.h"

void core_welcome(struct core *core, struct peer *peer)
{
    const struct pool *pool = names_find(&core->queue.pools, ab_view_of("default"));
    struct ab_welcome welcome = {
        .version = AB_VERSION_MAX,
        .session = peer->session,
        .epoch = core->epoch,
        .heartbeat_ms = core->config.heartbeat_ms,
        .lease_ms = core->config.lease_ms,
        .body_bytes_max = core->config.body_bytes_max,
        .storage = ab_view_of(core->config.storage),
        .seal_key =
            pool && pool->has_seal_key ? ab_view(pool->seal_key, sizeof pool->seal_key) : ab_view(NULL, 0),
        .build = ab_view_of(core->config.build),
    };
    peer->welcome_owed = false;
    peer->welcomed = true;
    core_send(core, peer, AB_WELCOME, &welcome, ab_view(NULL, 0), true);
}

void answer_stranger(struct core *core, uint32_t id, enum ab_command command, uint64_t rid,
                     const struct ab_error *err)
{
    struct ab_failure failure = core_failure(err);
    failure.rid = rid;
    core->ops->send(core->owner, id, command, &failure, ab_view(NULL, 0), false);
    core->ops->forget(core->owner, id);
}

static int check_hello(const struct ab_hello *hello, enum core_side side, struct ab_error *err)
{
    if (hello->vmin > AB_VERSION_MAX || hello->vmax < AB_VERSION_MIN)
        return ab_fail_at(err, AB_EVERSION, "vmin", "this broker speaks versions %d to %d, the peer %u to %u",
                          AB_VERSION_MIN, AB_VERSION_MAX, (unsigned)hello->vmin, (unsigned)hello->vmax);
    const char *role = side == CORE_WORKERS ? "worker" : "client";
    if (!ab_view_is(hello->role, role))
        return ab_fail_at(err, AB_EDENIED, "role", "this socket takes peers of role %s", role);
    if (side == CORE_WORKERS && (!hello->slots || !hello->name.n))
        return ab_fail_at(err, AB_EINVALID, hello->slots ? "name" : "slots",
                          "a worker says its name and how many slots it has");
    if (hello->seal_key.p && hello->seal_key.n != 32)
        return ab_fail_at(err, AB_EINVALID, "seal_key", "a sealing key has 32 bytes");
    return 0;
}

/* The next other worker that is there; *at goes on. */
static struct peer *each_other_worker(struct core *core, const struct peer *worker, size_t *at)
{
    struct peer *other;
    while ((other = map_each(&core->peers.by_id, at)))
        if (other != worker && other->side == CORE_WORKERS && !other->lost)
            break;
    return other;
}

/* A worker that comes again takes the place of its former connection. Those that name no instance are known by their
 * names. */
static void replace_former(struct core *core, const struct peer *worker)
{
    size_t at = 0;
    for (struct peer *other; (other = each_other_worker(core, worker, &at));) {
        bool known = !ab_id_zero(worker->instance) && !ab_id_zero(other->instance);
        if (known ? ab_id_eq(worker->instance, other->instance) : !strcmp(worker->name, other->name))
            worker_replaced(core, other, known);
    }
}

static bool is_named(struct core *core, const struct peer *worker, const char *name)
{
    size_t at = 0;
    for (struct peer *other; (other = each_other_worker(core, worker, &at));)
        if (!strcmp(other->name, name))
            return true;
    return false;
}

/* Whoever comes second under a name that a living worker has is called NAME#2 here, in the journals and in `status`. */
static void name_apart(struct core *core, struct peer *worker)
{
    enum { SUFFIX_MAX = 12 };
    size_t n = strlen(worker->name);
    char *name = ab_strdup(worker->name);
    if (n > AB_NAME_MAX - SUFFIX_MAX)
        n = AB_NAME_MAX - SUFFIX_MAX;
    while (n && (worker->name[n] & 0xc0) == 0x80)
        n--; /* whole characters */
    for (unsigned k = 2; is_named(core, worker, name); k++) {
        free(name);
        name = ab_format("%.*s#%u", (int)n, worker->name, k);
    }
    if (strcmp(name, worker->name))
        ab_log(AB_WARN, "worker.same_name", "name", worker->name, "called", name, "text",
               "another living worker has this name: give each its own host name", NULL);
    free(worker->name);
    worker->name = name;
}

static void greet_worker(struct core *core, struct peer *worker, const struct ab_hello *hello)
{
    struct pool *pool = queue_get_pool(&core->queue, hello->pool);
    if (worker->pool) {
        struct pool *before = worker->pool;
        worker_leave(worker);
        queue_put_pool(&core->queue, before);
    }
    worker_join(worker, pool);
    worker->slots = (uint32_t)hello->slots;
    worker->credit = 0;
    worker->draining = false;
    if (hello->seal_key.p) {
        memcpy(pool->seal_key, hello->seal_key.p, sizeof pool->seal_key);
        pool->has_seal_key = true;
    }
    worker->instance = hello->instance;
    replace_former(core, worker);
    name_apart(core, worker);
    queue_try_again(&core->queue, pool);
    ab_log(AB_INFO, "worker.hello", "worker", worker->name, "pool", pool->name.text, "slots",
           ab_num(worker->slots), NULL);
}

void remove_lost(struct core *core)
{
    for (struct peer *peer; (peer = core->peers.lost);) {
        core->peers.lost = peer->next_lost;
        watch_drop_all(core, peer);
        follow_drop_all(core, peer);
        if (peer->pool) {
            worker_crashed(core, peer);
            struct pool *pool = peer->pool;
            worker_leave(peer);
            queue_try_again(&core->queue, pool);
            queue_put_pool(&core->queue, pool);
        }
        uint32_t id = peer->id;
        peers_remove(&core->peers, peer);
        core->ops->forget(core->owner, id);
    }
}

void on_hello(struct core *core, enum core_side side, uint32_t id, struct ab_view header)
{
    struct ab_hello hello;
    struct ab_error err = {0};
    if (ab_decode(&ab_hello_schema, header, &hello, &err) || check_hello(&hello, side, &err)) {
        core_peer_gone(core, id);
        answer_stranger(core, id, AB_REJECT, 0, &err);
        return;
    }
    remove_lost(core); /* it may be one of them */
    struct peer *peer = peers_find(&core->peers, id);
    if (!peer)
        peer = peers_add(&core->peers, side, id);
    free(peer->name);
    free(peer->build);
    peer->name = hello.name.p ? ab_view_dup(hello.name) : ab_strdup("");
    peer->build = hello.build.p ? ab_view_dup(hello.build) : ab_strdup("");
    peer->session = ++core->sessions;
    peer->heard_ms = core->lease_now_ms;
    if (side == CORE_WORKERS)
        greet_worker(core, peer, &hello);
    /* A worker may attach its jobs only once they are known. */
    if (side == CORE_WORKERS && core->phase != PHASE_READY)
        peer->welcome_owed = true;
    else
        core_welcome(core, peer);
}
