/* The storage service: one ROUTER for broker, workers and clients; a writer in the main thread, a reader thread.
 */
#ifndef STORAGE_SERVER_H
#define STORAGE_SERVER_H

#include "storage/store.h"

struct server_options {
    const char *endpoint;
    int64_t heartbeat_ms;
    uint64_t message_bytes_max;
};

/* Serves until SIGTERM or SIGINT. 0, or a negative code: the system failed (a sync, most likely) or the
 * endpoint cannot be used. Borrows the store. */
int storage_serve(const struct server_options *options, struct store *store, struct ab_error *err);

#endif
