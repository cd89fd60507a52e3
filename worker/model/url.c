/* url.h. Parsing is one pass from left to right: scheme, host, port, path; each step refuses what it does not know. */
#include "worker/model/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

static const struct scheme {
    const char *prefix;
    const char *port;
} schemes[] = {{"https://", "443"}, {"http://", "80"}};

static int refuse(struct ab_view text, const char *why, struct ab_error *err)
{
    return ab_fail_at(err, AB_EINVALID, "base_url", "%s: \"%.*s\"; write it like https://host[:port]/v1", why,
                      (int)(text.n < 200 ? text.n : 200), text.p);
}

static const struct scheme *scheme_of(struct ab_view text)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t n = strlen(schemes[i].prefix);
        if (text.n > n && !strncasecmp(text.p, schemes[i].prefix, n))
            return &schemes[i];
    }
    return NULL;
}

static bool host_is_fine(struct ab_view host)
{
    if (!host.n || host.n > 253)
        return false;
    if (host.p[0] == '[') {
        char text[INET6_ADDRSTRLEN];
        struct in6_addr address;
        if (host.n < 4 || host.n - 2 >= sizeof text || host.p[host.n - 1] != ']')
            return false;
        memcpy(text, host.p + 1, host.n - 2);
        text[host.n - 2] = 0;
        return inet_pton(AF_INET6, text, &address) == 1;
    }
    for (size_t i = 0; i < host.n; i++)
        if (!isalnum((unsigned char)host.p[i]) && !strchr("-._", host.p[i]))
            return false;
    return host.p[0] != '.' && host.p[host.n - 1] != '.';
}

static bool port_is_fine(struct ab_view port)
{
    long value = 0;
    if (!port.n || port.n > 5 || port.p[0] == '0')
        return false;
    for (size_t i = 0; i < port.n; i++) {
        if (!isdigit((unsigned char)port.p[i]))
            return false;
        value = value * 10 + (port.p[i] - '0');
    }
    return value <= UINT16_MAX;
}

/* A path segment that a server might take for "." or "..", or that hides a slash. */
static bool segment_is_fine(struct ab_view segment)
{
    if (!segment.n || ab_view_is(segment, ".") || ab_view_is(segment, ".."))
        return false;
    for (size_t i = 0; i + 2 < segment.n; i++) {
        if (segment.p[i] != '%')
            continue;
        const char *hidden[] = {"%2e", "%2f", "%5c", "%00", "%25"};
        for (size_t k = 0; k < sizeof hidden / sizeof *hidden; k++)
            if (!strncasecmp(segment.p + i, hidden[k], 3))
                return false;
    }
    return true;
}

static bool path_is_fine(struct ab_view path)
{
    for (size_t i = 0; i < path.n;) {
        size_t start = i + 1; /* path.p[i] is a slash */
        for (i = start; i < path.n && path.p[i] != '/'; i++)
            ;
        if (!segment_is_fine(ab_view(path.p + start, i - start)))
            return false;
    }
    return true;
}

static bool characters_are_fine(struct ab_view text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] > '~' || strchr("\\?#@\"<>^`{|}", text.p[i]))
            return false;
    return true;
}

/* Splits "host[:port]/path"; the port is absent (p NULL) if there is none. */
static void split(struct ab_view rest, struct ab_view *host, struct ab_view *port, struct ab_view *path)
{
    size_t slash = 0, colon;
    while (slash < rest.n && rest.p[slash] != '/')
        slash++;
    *path = ab_view(rest.p + slash, rest.n - slash);
    while (path->n && path->p[path->n - 1] == '/')
        path->n--;
    for (colon = slash; colon > 0 && rest.p[colon - 1] != ':' && rest.p[colon - 1] != ']'; colon--)
        ;
    bool has_port = colon > 0 && rest.p[colon - 1] == ':';
    *host = ab_view(rest.p, has_port ? colon - 1 : slash);
    *port = has_port ? ab_view(rest.p + colon, slash - colon) : ab_view(NULL, 0);
}

int url_normalise(struct ab_view text, char **out, struct ab_error *err)
{
    struct ab_view host, port, path;
    if (text.n > URL_BYTES_MAX)
        return ab_fail_at(err, AB_ETOOLARGE, "base_url", "a base URL is longer than %d bytes", URL_BYTES_MAX);
    if (!characters_are_fine(text))
        return refuse(text, "a base URL has no user name, query, fragment, blank or special character", err);
    const struct scheme *scheme = scheme_of(text);
    if (!scheme)
        return refuse(text, "a base URL starts with https:// or http://", err);
    size_t skip = strlen(scheme->prefix);
    split(ab_view(text.p + skip, text.n - skip), &host, &port, &path);
    if (!host_is_fine(host))
        return refuse(text, "this base URL has no proper host name", err);
    if (port.p && !port_is_fine(port))
        return refuse(text, "this base URL has no proper port", err);
    if (!path_is_fine(path))
        return refuse(text, "the path of this base URL has empty, dot or encoded segments", err);
    struct ab_buf url = {0};
    ab_buf_text(&url, scheme->prefix);
    for (size_t i = 0; i < host.n; i++)
        ab_buf_char(&url, (char)tolower((unsigned char)host.p[i]));
    if (port.p && !ab_view_is(port, scheme->port))
        ab_buf_format(&url, ":%.*s", AB_VIEW_FMT(port));
    ab_buf_add(&url, path.p, path.n);
    *out = ab_buf_detach(&url);
    return 0;
}

bool url_is_below(const char *url, const char *base)
{
    size_t n = strlen(base);
    return !strncmp(url, base, n) && (url[n] == 0 || url[n] == '/');
}

/* The host of a normal URL, brackets of IPv6 removed. False if it is too long to be of interest. */
static bool host_of(const char *url, char *host, size_t bytes)
{
    const char *start = strstr(url, "://");
    start = start ? start + 3 : url;
    size_t n = *start == '[' ? strcspn(++start, "]") : strcspn(start, ":/");
    if (n >= bytes)
        return false;
    memcpy(host, start, n);
    host[n] = 0;
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static bool v4_in(const char *host, uint32_t net, int bits)
{
    struct in_addr address;
    if (inet_pton(AF_INET, host, &address) != 1)
        return false;
    return ntohl(address.s_addr) >> (32 - bits) == net >> (32 - bits);
}

bool url_is_loopback(const char *url)
{
    char host[256];
    if (!host_of(url, host, sizeof host))
        return false;
    return !strcmp(host, "localhost") || ends_with(host, ".localhost") || !strcmp(host, "::1") ||
           v4_in(host, 0x7F000000, 8);
}

bool url_is_private(const char *url)
{
    static const char *const names[] = {".local", ".lan", ".internal", ".home.arpa"};
    char host[256];
    struct in6_addr v6;
    if (url_is_loopback(url))
        return true;
    if (!host_of(url, host, sizeof host))
        return false;
    if (inet_pton(AF_INET6, host, &v6) == 1) /* fc00::/7 unique local, fe80::/10 link local */
        return (v6.s6_addr[0] & 0xFE) == 0xFC || (v6.s6_addr[0] == 0xFE && (v6.s6_addr[1] & 0xC0) == 0x80);
    if (v4_in(host, 0x0A000000, 8) || v4_in(host, 0xAC100000, 12) || v4_in(host, 0xC0A80000, 16) ||
        v4_in(host, 0xA9FE0000, 16))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ends_with(host, names[i]))
            return true;
    /* a name without a dot, as container networks give them; a bare number would be an address in disguise */
    return !strchr(host, '.') && isalpha((unsigned char)host[0]);
}
