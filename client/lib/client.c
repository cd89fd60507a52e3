/* The client itself: opening, closing, and one turn of its work (autobots_run). */
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client/lib/internal.h"
#include "common/clock.h"
#include "common/version.h"

/* ---- the public error is common's, kept in step here ---- */

_Static_assert(sizeof(struct autobots_error) == sizeof(struct ab_error), "struct autobots_error");
_Static_assert(offsetof(struct autobots_error, path) == offsetof(struct ab_error, path), "path");
_Static_assert(offsetof(struct autobots_error, text) == offsetof(struct ab_error, text), "text");
/* clang-format off */
#define AUTOBOTS_CODES(X)                                                                                    \
    X(EINVALID) X(EUSAGE) X(EVERSION) X(EDENIED) X(ENOTFOUND) X(ECONFLICT) X(EEXPIRED) X(ESTALE) X(EENDED)   \
    X(EUNKNOWN_WORKFLOW) X(EBUSY) X(EUNAVAILABLE) X(ETOOLARGE) X(ETIMEOUT) X(ECANCELLED) X(EMODEL)           \
    X(ENOMODEL) X(ENONDETERMINISM) X(EDAMAGED) X(ESYSTEM) X(EINTERNAL) X(EBUDGET)
#define X(code) _Static_assert((int)AUTOBOTS_##code == (int)AB_##code, #code);
AUTOBOTS_CODES(X)
#undef X
/* clang-format on */
#define COUNT(...) +1
_Static_assert(0 AUTOBOTS_CODES(COUNT) == 0 AB_ERROR_CODES(COUNT), "a code is missing in autobots.h");

int client_error(struct autobots_error *out, const struct ab_error *err)
{
    if (out)
        memcpy(out, err, sizeof *out);
    return err->code;
}

const char *autobots_error_name(int code)
{
    return ab_code_name(code);
}

const char *autobots_version(void)
{
    return ab_build();
}

/* ---- open and close ---- */

/* The storage's endpoint, if it is known before the broker tells; malloc'ed or NULL. */
static char *storage_endpoint(const struct autobots_options *options)
{
    if (options->storage)
        return ab_strdup(options->storage);
    if (!options->dir)
        return NULL;
    char *path = ab_format("%s/storage.sock", options->dir);
    char *endpoint = access(path, F_OK) ? NULL : ab_format("ipc://%s", path);
    free(path);
    return endpoint;
}

static int check_options(const struct autobots_options *options, struct ab_error *err)
{
    if (!options->endpoint && !options->dir)
        return ab_fail(err, AB_EUSAGE, "neither endpoint nor dir: where is the service?");
    if (!options->user || !*options->user || strlen(options->user) > AB_USER_MAX)
        return ab_fail_at(err, AB_EUSAGE, "user", "a user has 1 to %d characters", AB_USER_MAX);
    if (options->timeout_ms < 0)
        return ab_fail_at(err, AB_EUSAGE, "timeout_ms", "a time-out is not negative");
    return 0;
}

struct autobots *autobots_open(const struct autobots_options *options, struct autobots_error *error)
{
    struct ab_error err = {0};
    int fd = check_options(options, &err) ? -1 : epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        if (!err.code)
            ab_fail(&err, AB_ESYSTEM, "epoll: %m");
        client_error(error, &err);
        return NULL;
    }
    struct autobots *client = ab_calloc(1, sizeof *client);
    client->epoll_fd = fd;
    client->user = ab_strdup(options->user);
    client->program = ab_strdup(options->program ? options->program : "libautobots");
    client->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS_DEFAULT;
    client->storage_given = options->storage;
    char *broker =
        options->endpoint ? ab_strdup(options->endpoint) : ab_format("ipc://%s/client.sock", options->dir);
    char *storage = storage_endpoint(options);
    link_init(&client->broker, client, "broker", broker);
    link_init(&client->storage, client, "storage", storage);
    free(broker);
    free(storage);
    link_tick(&client->broker, ab_mono_ms());
    return client;
}

void autobots_close(struct autobots *client)
{
    if (!client)
        return;
    watches_destroy(client);
    follows_destroy(client);
    while (client->first)
        request_destroy(client->first);
    link_finish(&client->broker);
    link_finish(&client->storage);
    close(client->epoll_fd);
    ab_workflow_destroy(client->cache.workflow);
    free(client->cache.given);
    free(client->hashes);
    free(client->table);
    free(client->user);
    free(client->program);
    free(client);
}

/* ---- running ---- */

int autobots_fd(const struct autobots *client)
{
    return client->epoll_fd;
}

/* WELCOME has just named the storage that a query waits for. */
static bool storage_can_open(const struct autobots *client)
{
    const struct link *storage = &client->storage;
    return client->storage_wanted && storage->endpoint && !storage->socket && !storage->rejected.code;
}

int autobots_deadline_ms(struct autobots *client)
{
    if (storage_can_open(client) || link_readable(&client->broker) || link_readable(&client->storage))
        return 0;
    int64_t now = ab_mono_ms(), soonest = now + DEADLINE_MS_MAX;
    const int64_t all[] = {link_deadline(&client->broker, now), link_deadline(&client->storage, now),
                           requests_deadline(client, now)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] < soonest)
            soonest = all[i];
    return soonest <= now ? 0 : (int)(soonest - now);
}

void autobots_run(struct autobots *client)
{
    int64_t now = ab_mono_ms();
    client->inside = true;
    link_receive(&client->broker, now);
    link_receive(&client->storage, now);
    link_tick(&client->broker, now);
    if (client->storage_wanted)
        link_tick(&client->storage, now);
    requests_flush(client, now);
    requests_expire(client, now);
    link_flush(&client->broker);
    link_flush(&client->storage);
    client->inside = false;
}

void autobots_step(struct autobots *client, int timeout_ms)
{
    int wait = autobots_deadline_ms(client);
    struct pollfd item = {.fd = client->epoll_fd, .events = POLLIN};
    if (timeout_ms >= 0 && timeout_ms < wait)
        wait = timeout_ms;
    if (wait)
        poll(&item, 1, wait);
    autobots_run(client);
}
