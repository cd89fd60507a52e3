/* Who may speak to us: the names we may be called by, the pages that may call us, the headers that must not be there
 * twice, and whom a request acts for.
 *
 * With required tokens (auth.c) it is they that decide: a page cannot make a browser send one. Without, everybody who reaches the socket may do everything, so it must be a loopback one; and a browser of this
 * machine reaches it for any page on the internet. Two checks keep those out: Host must be a name of this machine (a DNS
 * name that an attacker points to 127.0.0.1 is not), and Origin, which browsers set and pages cannot, must be our own or
 * one of `allow_origins`. A page's request without Origin (an image, a link) is known by Sec-Fetch-Site.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "client/gateway/gateway.h"
#include "common/clock.h"

enum { HEADERS_MAX = 100 };

/* ---- headers that must be right ---- */

/* These are read by us: two of one kind are somebody's trick. */
static const char *const single[] = {
    "Host",         "Origin",           "Content-Length", "Transfer-Encoding", "Authorization",
    "Content-Type", "Content-Encoding", "Expect",         "X-Autobots-User",   "Idempotency-Key",
    "Last-Event-ID"};
enum { SINGLE_N = sizeof single / sizeof *single };

struct looking {
    int seen[SINGLE_N], n;
    struct ab_error *err;
};

static bool printable(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return false;
    return true;
}

static enum MHD_Result look(void *owner, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct looking *l = owner;
    (void)kind;
    if (++l->n > HEADERS_MAX)
        ab_fail(l->err, AB_EINVALID, "more than %d headers", HEADERS_MAX);
    else if (name[strcspn(name, " \t")]) /* others may take it for the header without */
        ab_fail(l->err, AB_EINVALID, "the name of a header has white space");
    else if (value && !printable(value))
        ab_fail(l->err, AB_EINVALID, "a header has control characters");
    for (int i = 0; i < SINGLE_N && !l->err->code; i++) {
        if (strcasecmp(name, single[i]))
            continue;
        if (l->seen[i]++)
            ab_fail_at(l->err, AB_EINVALID, single[i], "the header %s stands twice", single[i]);
    }
    return l->err->code ? MHD_NO : MHD_YES;
}

static bool headers_right(struct call *call, struct ab_error *err)
{
    struct looking l = {.err = err};
    MHD_get_connection_values(call->connection, MHD_HEADER_KIND, look, &l);
    struct ab_view coding = call_header(call, "Transfer-Encoding");
    if (!err->code && coding.n && call_header(call, "Content-Length").n)
        ab_fail_at(err, AB_EINVALID, "Content-Length",
                   "Content-Length and Transfer-Encoding exclude each other");
    else if (!err->code && coding.n && strcasecmp(coding.p, "chunked"))
        ab_fail_at(err, AB_EINVALID, "Transfer-Encoding", "a body comes chunked or with its length");
    return !err->code;
}

/* ---- Host and Origin ---- */

/* "127.0.0.1:8081" without the port; "[::1]" keeps its brackets. Empty if something else follows than a port. */
static struct ab_view without_port(struct ab_view host)
{
    size_t n = 0;
    if (host.n && *host.p == '[')
        while (n < host.n && host.p[n] != ']')
            n++;
    while (n < host.n && host.p[n] != ':')
        n++;
    for (size_t i = n + 1; i < host.n; i++)
        if (!isdigit((unsigned char)host.p[i]))
            return ab_view(NULL, 0);
    return ab_view(host.p, n);
}

static bool is_this_machine(struct ab_view host)
{
    char name[64];
    struct in_addr v4;
    struct in6_addr v6;
    struct ab_view bare = without_port(host);
    if (!bare.n || bare.n >= sizeof name)
        return false;
    memcpy(name, bare.p, bare.n);
    name[bare.n] = 0;
    if (!strcasecmp(name, "localhost"))
        return true;
    if (*name == '[' && name[bare.n - 1] == ']') {
        name[bare.n - 1] = 0;
        return inet_pton(AF_INET6, name + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    }
    return inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

static bool allowed_origin(const struct call *call, struct ab_view origin)
{
    const json_t *list = ab_config_tree(call->gateway->config, AB_CONF_ALLOW_ORIGINS);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (ab_view_is(origin, json_string_value(json_array_get(list, i))))
            return true;
    return false;
}

/* The gateway's own page, perhaps behind a proxy that speaks TLS. */
static bool same_origin(const struct call *call, struct ab_view origin)
{
    static const char *const schemes[] = {"http://", "https://"};
    struct ab_view host = call->host;
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (host.n && origin.n == n + host.n && !memcmp(origin.p, schemes[i], n) &&
            !strncasecmp(origin.p + n, host.p, host.n))
            return true;
    }
    return false;
}

/* Another port of this machine is the same site. Who follows a link to here sees the answer himself; in a frame of
 * somebody else's page he would not know whose it is. */
static bool from_a_foreign_page(const struct call *call, struct ab_view origin)
{
    struct ab_view site = call_header(call, "Sec-Fetch-Site");
    if (origin.n)
        return !same_origin(call, origin) && !allowed_origin(call, origin);
    return (ab_view_is(site, "cross-site") || ab_view_is(site, "same-site")) &&
           !(ab_view_is(call_header(call, "Sec-Fetch-Mode"), "navigate") &&
             ab_view_is(call_header(call, "Sec-Fetch-Dest"), "document"));
}

bool guard_headers(struct call *call, struct ab_error *err, int *status)
{
    struct gateway *gateway = call->gateway;
    struct ab_view origin = call_header(call, "Origin");
    *status = MHD_HTTP_BAD_REQUEST;
    if (!headers_right(call, err))
        return false;
    *status = MHD_HTTP_FORBIDDEN;
    if (!auth_required(gateway->auth) && !is_this_machine(call->host))
        ab_fail_at(err, AB_EDENIED, "Host",
                   "this address is for this machine only, under the names localhost, 127.0.0.1 and [::1]");
    else if (from_a_foreign_page(call, origin))
        ab_fail_at(err, AB_EDENIED, "Origin",
                   "pages of this origin may not use the service; allow_origins lists those that may");
    return !err->code;
}

void guard_cors(struct call *call, struct MHD_Response *response)
{
    struct ab_view origin = call->connection ? call_header(call, "Origin") : ab_view(NULL, 0);
    MHD_add_response_header(response, "Vary", "Origin");
    if (!origin.n || !printable(origin.p) || !(allowed_origin(call, origin) || same_origin(call, origin)))
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin.p);
    MHD_add_response_header(response, "Access-Control-Allow-Credentials", "true");
    MHD_add_response_header(
        response, "Access-Control-Expose-Headers",
        "Location, Retry-After, retry-after-ms, x-should-retry, x-request-id, X-Session-Id, Warning, "
        "WWW-Authenticate, Content-Disposition, Content-Range, Accept-Ranges, ETag");
    if (!call->preflight)
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
    struct ab_view wanted =
        call_header(call, "Access-Control-Request-Headers"); /* SDKs have many of their own */
    MHD_add_response_header(response, "Access-Control-Allow-Headers",
                            wanted.n && printable(wanted.p)
                                ? wanted.p
                                : "Authorization, Content-Type, Idempotency-Key, Last-Event-ID");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

/* ---- how often ---- */

static uint64_t key_of(const struct sockaddr *address)
{
    uint64_t key = 0;
    if (address && address->sa_family == AF_INET)
        key = ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;
    else if (address && address->sa_family == AF_INET6) /* a network of one customer */
        memcpy(&key, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, sizeof key);
    return key * 0x9e3779b97f4a7c15u >> 8 | 1;
}

/* The address that a proxy on this machine saw: the last one it lists. Others are what the client says. */
static bool forwarded_for(struct call *call, struct sockaddr_storage *address)
{
    struct ab_view list = call_header(call, "X-Forwarded-For");
    struct sockaddr_in *v4 = (void *)address;
    struct sockaddr_in6 *v6 = (void *)address;
    if (!list.n)
        return false;
    const char *comma = strrchr(list.p, ','), *last = comma ? comma + 1 : list.p;
    last += strspn(last, " ");
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, last, &v4->sin_addr) == 1)
        address->ss_family = AF_INET;
    else if (inet_pton(AF_INET6, last, &v6->sin6_addr) == 1)
        address->ss_family = AF_INET6;
    return address->ss_family;
}

uint64_t guard_address(struct call *call)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *peer = info ? info->client_addr : NULL;
    struct sockaddr_storage seen;
    bool by_proxy = auth_required(call->gateway->auth) && call->gateway->loopback && forwarded_for(call, &seen);
    return key_of(by_proxy ? (const struct sockaddr *)(const void *)&seen : peer);
}

/* Who looks after the service may always ask how it is. */
bool guard_rate(struct call *call, struct ab_error *err)
{
    if (call->route && call->route->scope == SCOPE_NONE)
        return true;
    uint32_t wait_ms = rate_take(call->gateway->rates, guard_address(call), ab_mono_us());
    if (!wait_ms)
        return true;
    call->gateway->counters.refused_busy++;
    ab_fail(err, AB_EBUSY, "more than %lld requests per second from this address (http_rate)",
            (long long)call->gateway->rates->per_second);
    err->retry_after_ms = wait_ms;
    return false;
}

/* ---- whom it acts for ---- */

const char *guard_user(struct call *call, const char *named)
{
    if (auth_user(call))
        named = auth_user(call);
    free(call->user);
    call->user =
        ab_strdup(named && *named ? named : ab_config_text(call->gateway->config, AB_CONF_DEFAULT_USER_ID));
    return call->user;
}
