/* The checkpointer: a thread with its own connection that moves committed pages from the write-ahead log into the
 * database while the writer goes on. It only ever does PASSIVE checkpoints, which wait for nobody; the writer itself
 * does a blocking one when the log is over its bound (sqlite.c).
 */
#include "storage/sqlite/db.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/log.h"

struct checkpointer {
    sqlite3 *handle;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake, rest;
    bool wanted, busy, stop; /* under the mutex */
    _Atomic int failed;      /* SQLite's code of a failed sync; never cleared */
};

static void checkpoint(struct checkpointer *c)
{
    int rc = sqlite3_wal_checkpoint_v2(c->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY)
        return;
    if (rc == SQLITE_IOERR_FSYNC)
        c->failed = rc;
    ab_log(AB_WARN, "checkpoint.failed", "text", sqlite3_errmsg(c->handle), NULL);
}

static void *run(void *arg)
{
    struct checkpointer *c = arg;
    pthread_mutex_lock(&c->mutex);
    while (!c->stop) {
        if (!c->wanted) {
            pthread_cond_wait(&c->wake, &c->mutex);
            continue;
        }
        c->wanted = false;
        c->busy = true;
        pthread_mutex_unlock(&c->mutex);
        checkpoint(c);
        pthread_mutex_lock(&c->mutex);
        c->busy = false;
        pthread_cond_broadcast(&c->rest);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

int checkpointer_create(const char *path, struct checkpointer **out, struct ab_error *err)
{
    struct checkpointer *c = ab_calloc(1, sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->wake, NULL);
    pthread_cond_init(&c->rest, NULL);
    int code = 0, rc = sqlite3_open_v2(path, &c->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(c->handle, 1);
        rc = sqlite3_exec(c->handle, "PRAGMA synchronous=FULL;PRAGMA wal_autocheckpoint=0", NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK)
        code = db_fail(c->handle, rc, "opening the database for checkpoints", err);
    else if ((rc = pthread_create(&c->thread, NULL, run, c)))
        code = ab_fail(err, AB_ESYSTEM, "cannot start the checkpoint thread: %s", strerror(rc));
    if (code) {
        sqlite3_close(c->handle);
        free(c);
        return code;
    }
    *out = c;
    return 0;
}

void checkpointer_destroy(struct checkpointer *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->thread, NULL);
    sqlite3_close(c->handle);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->rest);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

void checkpointer_wake(struct checkpointer *c)
{
    pthread_mutex_lock(&c->mutex);
    c->wanted = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

void checkpointer_wait(struct checkpointer *c)
{
    pthread_mutex_lock(&c->mutex);
    c->wanted = false;
    while (c->busy)
        pthread_cond_wait(&c->rest, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

int checkpointer_failed(struct checkpointer *c)
{
    return c->failed;
}
