/* Inside of worker/tool. */
#ifndef AB_WORKER_TOOL_INTERNAL_H
#define AB_WORKER_TOOL_INTERNAL_H

#include "worker/model/http.h"
#include "worker/tool/tool.h"

struct tools {
    struct tool *tools; /* owned; a row for each kind */
    struct http_pool *http;
    const json_t *hosts; /* borrowed; NULL: none */
};

/* hosts.c: may this host be asked at all (its name as in the URL, in lower case, port 1…65535); and this very address? */
bool hosts_allow(const json_t *hosts, const char *host, int port);
bool hosts_allow_address(const json_t *hosts, const struct sockaddr *address);

#endif
