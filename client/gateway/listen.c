/* See listen.h. */
#include "client/gateway/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

bool listen_off(const char *address)
{
    return !strcasecmp(address, "off");
}

static int malformed(const char *address, struct ab_error *err)
{
    return ab_fail_at(err, AB_EUSAGE, "http",
                      "%.80s is no address: write ADDR:PORT as in 127.0.0.1:8081 or [::1]:8081, or off",
                      address);
}

static bool read_port(const char *text, in_port_t *port)
{
    char *end;
    if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 5)
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *port = htons((uint16_t)value);
    return value <= UINT16_MAX;
}

static int read_address(const char *text, union address *a, struct ab_error *err)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    in_port_t port;
    if (!colon || !read_port(colon + 1, &port) || (size_t)(colon - text) >= sizeof host)
        return malformed(text, err);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    size_t n = strlen(host);
    memset(a, 0, sizeof *a);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        a->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
        return inet_pton(AF_INET6, host + 1, &a->v6.sin6_addr) == 1 ? 0 : malformed(text, err);
    }
    const char *literal = !strcasecmp(host, "localhost") ? "127.0.0.1" : !strcmp(host, "*") ? "0.0.0.0" : host;
    a->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
    return inet_pton(AF_INET, literal, &a->v4.sin_addr) == 1 ? 0 : malformed(text, err);
}

static bool is_loopback(const union address *a)
{
    if (a->any.sa_family == AF_INET)
        return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    return a->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}

static unsigned port_of(const union address *a)
{
    return ntohs(a->any.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
}

static int in_use(const char *address, const union address *a, struct ab_error *err)
{
    const char *colon = strrchr(address, ':');
    return ab_fail(err, AB_ECONFLICT, "%s is in use; try --http %.*s:%u", address, (int)(colon - address),
                   address, port_of(a) < UINT16_MAX ? port_of(a) + 1 : 0);
}

/* A peer that vanished without a word is noticed; accepted sockets inherit these. */
static void set_options(int fd, bool v6)
{
    const int on = 1, idle_s = 30, every_s = 10, times = 3, unacknowledged_ms = 60000;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
}

static int inherited(const char *text, struct ab_error *err)
{
    char *end;
    long number = strtol(text, &end, 10);
    int on = 0, fd = number >= 0 && number < 1 << 20 && end != text && !*end ? (int)number : -1;
    socklen_t n = sizeof on;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) || !on)
        return ab_fail_at(err, AB_EUSAGE, "http", "fd:%.20s is no listening socket that was handed on", text);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

int listen_open(const char *address, struct ab_error *err)
{
    union address a;
    if (!strncmp(address, "fd:", 3))
        return inherited(address + 3, err);
    int rc = read_address(address, &a, err);
    if (rc)
        return rc;
    bool v6 = a.any.sa_family == AF_INET6;
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return ab_fail_at(err, AB_ESYSTEM, "http", "socket: %s", strerror(errno));
    set_options(fd, v6);
    if (bind(fd, &a.any, v6 ? sizeof a.v6 : sizeof a.v4) || listen(fd, LISTEN_BACKLOG)) {
        int error = errno;
        close(fd);
        return error == EADDRINUSE
                   ? in_use(address, &a, err)
                   : ab_fail_at(err, AB_EUSAGE, "http", "cannot listen at %s: %s", address, strerror(error));
    }
    return fd;
}

static bool own_address(int fd, union address *a)
{
    socklen_t n = sizeof *a;
    memset(a, 0, sizeof *a);
    return !getsockname(fd, &a->any, &n);
}

void listen_url(int fd, char url[LISTEN_URL_MAX])
{
    union address a;
    char host[INET6_ADDRSTRLEN] = "?";
    own_address(fd, &a);
    bool v6 = a.any.sa_family == AF_INET6;
    inet_ntop(a.any.sa_family, v6 ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr, host, sizeof host);
    snprintf(url, LISTEN_URL_MAX, v6 ? "http://[%s]:%u" : "http://%s:%u", host, port_of(&a));
}

bool listen_is_loopback(int fd)
{
    union address a;
    return own_address(fd, &a) && is_loopback(&a);
}
