/* Which hosts http_get may ask.
 *
 *   HOST          that host, at ports 80 and 443          HOST:PORT   at that port
 *   *.DOMAIN      hosts below that domain                 *           any host
 *   ADDRESS       a private, loopback or link-local address, as it is or as what a name of the list leads to; with
 *                 :PORT only at that port, whatever other entries allow
 *
 * A name says nothing about where it leads: the address that is connected to is looked at too. One that is not public must be on
 * the list by itself.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "worker/tool/internal.h"

/* The entry's host, without [] of IPv6; its port in *port, 0 if it names none. */
static struct ab_view entry_host(const char *entry, int *port)
{
    const char *colon = strrchr(entry, ':'), *end = entry + strlen(entry);
    bool bracket = *entry == '[', several = colon && strchr(entry, ':') != colon;
    *port = 0;
    if (bracket)
        end = strchr(entry, ']') ? strchr(entry, ']') : end;
    if (colon && (bracket ? colon > end : !several))
        *port = (int)strtol(colon + 1, NULL, 10);
    if (colon && !bracket && !several)
        end = colon;
    entry += bracket;
    return ab_view(entry, (size_t)(end - entry));
}

static bool matches(struct ab_view pattern, const char *host)
{
    size_t bytes = strlen(host);
    if (ab_view_is(pattern, "*"))
        return true;
    if (pattern.n > 2 && pattern.p[0] == '*' && pattern.p[1] == '.')
        return bytes > pattern.n - 1 &&
               !strncasecmp(host + bytes - (pattern.n - 1), pattern.p + 1, pattern.n - 1);
    return bytes == pattern.n && !strncasecmp(host, pattern.p, bytes);
}

bool hosts_allow(const json_t *hosts, const char *host, int port)
{
    size_t i;
    json_t *entry;
    json_array_foreach (hosts, i, entry) {
        int wanted;
        struct ab_view pattern = entry_host(json_string_value(entry), &wanted);
        if (matches(pattern, host) && (wanted ? port == wanted : port == 80 || port == 443))
            return true;
    }
    return false;
}

/* --- addresses ------------------------------------------------------------------------------------------------ */

/* Not of the public internet (IANA's special-purpose registry, multicast, reserved). */
static const struct {
    uint32_t net;
    int bits;
} private_4[] = {
    {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16},
    {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
    {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3},
};

static bool public_4(uint32_t address)
{
    for (size_t i = 0; i < sizeof private_4 / sizeof *private_4; i++)
        if (!((address ^ private_4[i].net) >> (32 - private_4[i].bits)))
            return false;
    return true;
}

/* Only 2000::/3 is given out; of it, tunnels and documentation are left out. */
static bool public_6(const uint8_t a[16])
{
    if ((a[0] & 0xe0) != 0x20)
        return false;
    bool special = a[0] == 0x20 && a[1] == 0x01 && (a[2] < 2 || (a[2] == 0x0d && a[3] == 0xb8));
    bool documentation = a[0] == 0x3f && a[1] == 0xff;
    return !special && !documentation && !(a[0] == 0x20 && a[1] == 0x02);
}

static bool is_public(const struct sockaddr *address, char text[INET6_ADDRSTRLEN], int *port)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, text, INET6_ADDRSTRLEN);
        *port = ntohs(in->sin_port);
        return public_4(ntohl(in->sin_addr.s_addr));
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *in6 = (const void *)address;
    inet_ntop(AF_INET6, &in6->sin6_addr, text, INET6_ADDRSTRLEN);
    *port = ntohs(in6->sin6_port);
    return public_6(in6->sin6_addr.s6_addr);
}

bool hosts_allow_address(const json_t *hosts, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    int port = 0;
    size_t i;
    json_t *entry;
    if (is_public(address, text, &port))
        return true;
    json_array_foreach (hosts, i, entry) {
        int wanted;
        struct ab_view host = entry_host(json_string_value(entry), &wanted);
        if (*text && ab_view_is(host, text) && (!wanted || wanted == port))
            return true;
    }
    return false;
}
