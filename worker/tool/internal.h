/* Inside of worker/tool. */
#ifndef AB_WORKER_TOOL_INTERNAL_H
#define AB_WORKER_TOOL_INTERNAL_H

#include "worker/model/http.h"
#include "worker/tool/tool.h"

enum { TOOL_SOURCES_MAX = 8 };

struct tools {
    struct {
        const struct tool_source *source;
        void *self;
    } sources[TOOL_SOURCES_MAX];
    size_t n_sources;
    struct http_pool *http;
    const json_t *hosts; /* borrowed; NULL: none */
};

/* tool.c */
struct tool *tool_make(const struct tool_spec *spec, struct ab_error *err);

/* hosts.c: may this host be asked at all (its name as in the URL, in lower case, port 1…65535); and this very address? */
bool hosts_allow(const json_t *hosts, const char *host, int port);
bool hosts_allow_address(const json_t *hosts, const struct sockaddr *address);

#endif
