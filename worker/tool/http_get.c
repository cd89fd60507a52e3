/* The tool `http_get`: the text at a URL, of hosts that the worker's configuration names (hosts.c). No redirect is followed: the
 * model is told where it leads and may ask for that. No proxy is used, as it would connect for us. No Idempotency-Key is sent: a
 * GET may be made again as it is (RFC 9110, 9.2.2), and the ids of jobs are nobody else's business.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/tree.h"
#include "common/wire/schema.h"
#include "worker/tool/internal.h"

enum {
    BODY_BYTES_MAX = 1 << 20,
    TIMEOUT_MS = 20 * 1000,
    CONNECT_TIMEOUT_MS = 10 * 1000,
    HEADER_BYTES_MAX = 1024
};

struct fetch {
    struct tools *tools;
    struct http_transfer *transfer;
    tool_done_fn *done;
    void *user;
    int status;
    char type[128], location[HEADER_BYTES_MAX];
    struct ab_buf body;
    bool refused, too_large;
};

static void fetch_free(struct fetch *fetch)
{
    ab_buf_finish(&fetch->body);
    free(fetch);
}

static void keep(struct ab_view value, char *to, size_t size)
{
    if (ab_utf8_ok(value))
        snprintf(to, size, "%.*s", AB_VIEW_FMT(value));
    if (!ab_utf8_ok(ab_view_of(to))) /* cut within a character */
        *to = 0;
}

static bool is_header(struct ab_view name, const char *wanted)
{
    return name.n == strlen(wanted) && !strncasecmp(name.p, wanted, name.n);
}

static void on_header(void *user, struct ab_view name, struct ab_view value)
{
    struct fetch *fetch = user;
    if (is_header(name, "content-type"))
        keep(value, fetch->type, sizeof fetch->type);
    if (is_header(name, "location"))
        keep(value, fetch->location, sizeof fetch->location);
}

static int on_head(void *user, int status)
{
    ((struct fetch *)user)->status = status;
    return 0;
}

static int on_body(void *user, struct ab_view bytes)
{
    struct fetch *fetch = user;
    fetch->too_large = bytes.n > BODY_BYTES_MAX - fetch->body.n;
    if (fetch->too_large)
        return -1;
    ab_buf_add(&fetch->body, bytes.p, bytes.n);
    return 0;
}

static void write_result(const struct fetch *fetch, struct ab_buf *result)
{
    ab_buf_format(result, "HTTP %d", fetch->status);
    if (*fetch->type)
        ab_buf_format(result, ", %s", fetch->type);
    if (*fetch->location)
        ab_buf_format(result, ", leads to %s", fetch->location);
    ab_buf_text(result, "\n\n");
    ab_buf_add(result, fetch->body.p, fetch->body.n);
}

static void on_end(void *user, const struct http_end *end)
{
    struct fetch *fetch = user;
    struct ab_buf result = {0};
    struct ab_error err = {0};
    if (fetch->refused)
        ab_fail(&err, AB_EDENIED,
                "the host leads to a private address, which is not among the worker's http_get_hosts");
    else if (fetch->too_large)
        ab_fail(&err, AB_ETOOLARGE, "the answer has more than %d bytes", BODY_BYTES_MAX);
    else if (!end->ok)
        ab_fail(&err, AB_EUNAVAILABLE, "%s", end->text);
    else if (!ab_utf8_ok(ab_buf_view(&fetch->body)) ||
             memchr(fetch->body.n ? fetch->body.p : "x", 0, fetch->body.n))
        ab_fail(&err, AB_EINVALID, "the answer (%s, %zu bytes) is no text", fetch->type, fetch->body.n);
    else
        write_result(fetch, &result);
    fetch->done(fetch->user, &(struct tool_result){.text = ab_buf_view(&result)}, err.code ? &err : NULL);
    ab_buf_finish(&result);
    fetch_free(fetch);
}

static bool may_connect(void *user, const struct sockaddr *address)
{
    struct fetch *fetch = user;
    bool may = hosts_allow_address(fetch->tools->hosts, address);
    fetch->refused |= !may;
    return may;
}

/* --- the URL, as curl will read it ---------------------------------------------------------------------------- */

static int check_parts(const struct tools *tools, const char *scheme, const char *host, const char *port,
                       bool user, struct ab_error *err)
{
    char name[256];
    if (strcmp(scheme, "http") && strcmp(scheme, "https"))
        return ab_fail(err, AB_EINVALID, "only http:// and https:// addresses can be read");
    if (user)
        return ab_fail(err, AB_EINVALID, "the address has a user or password in it");
    size_t bytes = strlen(host);
    bool bracket = *host == '[' && bytes > 2;
    if (bytes >= sizeof name)
        return ab_fail(err, AB_EINVALID, "the name of the host is too long");
    snprintf(name, sizeof name, "%.*s", (int)(bytes - 2 * bracket), host + bracket);
    if (hosts_allow(tools->hosts, name, (int)strtol(port, NULL, 10)))
        return 0;
    return ab_fail(err, AB_EDENIED, "the worker's http_get_hosts does not name %s:%s", name, port);
}

static int check_url(const struct tools *tools, const char *text, struct ab_error *err)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
    int code;
    CURLU *url = curl_url();
    if (!url)
        ab_out_of_memory();
    if (curl_url_set(url, CURLUPART_URL, text, 0) || curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
        code = ab_fail(err, AB_EINVALID, "this is no http:// or https:// address");
    else
        code = check_parts(tools, scheme, host, port, !curl_url_get(url, CURLUPART_USER, &user, 0), err);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_url_cleanup(url);
    return code;
}

static void *start(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
                   tool_done_fn *done, void *user, struct ab_error *err)
{
    struct tools *tools = tool->data;
    static const struct http_ops ops = {on_header, on_head, on_body, on_end};
    static const char *const headers[] = {"Accept: text/*, application/json, application/xml", NULL};
    const char *url = ab_tree_str(arguments, "url");
    if (check_url(tools, url, err))
        return NULL;
    struct fetch *fetch = ab_calloc(1, sizeof *fetch);
    fetch->tools = tools;
    fetch->done = done;
    fetch->user = user;
    struct http_request request = {.url = url,
                                   .headers = headers,
                                   .direct = true,
                                   .get = true,
                                   .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                   .total_timeout_ms =
                                       context->timeout_ms < TIMEOUT_MS ? (int)context->timeout_ms : TIMEOUT_MS,
                                   .may_connect = may_connect};
    fetch->transfer = http_start(tools->http, &request, &ops, fetch);
    return fetch;
}

static void cancel(void *started)
{
    struct fetch *fetch = started;
    http_stop(fetch->transfer);
    fetch_free(fetch);
}

const struct tool_builtin tool_http_get = {
    .name = "http_get",
    .description =
        "Reads the text at an http or https address; only some hosts may be asked. Redirects are not followed: "
        "the result says where they lead.",
    .parameters = "{\"type\":\"object\",\"properties\":{\"url\":{\"type\":\"string\",\"minLength\":1,"
                  "\"maxLength\":4096}},\"required\":[\"url\"],\"additionalProperties\":false}",
    .idempotent = true,
    .ops = {.start = start, .cancel = cancel},
};
