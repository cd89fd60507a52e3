#include "common/wire/packet.h"

static void put_length(char *at, size_t n)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(n >> (24 - 8 * i));
}

static size_t get_length(const char *at)
{
    const uint8_t *p = (const uint8_t *)at;
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

void ab_packet_begin(struct ab_buf *out, enum ab_command command, const void *message, size_t body_bytes)
{
    size_t start = out->n;
    const char head[AB_PACKET_HEAD] = {'A', 'B', AB_VERSION_MAX, (char)command};
    ab_buf_add(out, head, sizeof head);
    ab_encode(out, ab_command_row((uint8_t)command)->schema, message);
    put_length(out->p + start + 4, out->n - start - AB_PACKET_HEAD);
    put_length(out->p + start + 8, body_bytes);
}

void ab_packet_add(struct ab_buf *out, enum ab_command command, const void *message, struct ab_view body)
{
    ab_packet_begin(out, command, message, body.n);
    ab_buf_add(out, body.p, body.n);
}

int ab_packet_take(struct ab_view *packet, struct ab_envelope *envelope, struct ab_error *err)
{
    const char *p = packet->p;
    if (packet->n < AB_PACKET_HEAD || p[0] != 'A' || p[1] != 'B')
        return ab_fail(err, AB_EINVALID,
                       "a message begins with 'A' 'B' version command and the lengths of header and body");
    size_t header = get_length(p + 4), body = get_length(p + 8), left = packet->n - AB_PACKET_HEAD;
    if (header > left || body > left - header)
        return ab_fail(err, AB_EINVALID,
                       "header and body of %zu and %zu bytes do not fit into the %zu there are", header, body,
                       left);
    if (header > AB_HEADER_MAX)
        return ab_fail(err, AB_ETOOLARGE, "the header has %zu bytes; at most %d are allowed", header,
                       AB_HEADER_MAX);
    p += AB_PACKET_HEAD;
    *envelope = (struct ab_envelope){.version = (uint8_t)packet->p[2],
                                     .command = (uint8_t)packet->p[3],
                                     .header = ab_view(p, header),
                                     .body = ab_view(p + header, body)};
    *packet = ab_view(p + header + body, left - header - body);
    return 0;
}

size_t ab_packet_first(struct ab_view messages)
{
    size_t at = 0;
    for (int n = 0; n < AB_PACKET_MESSAGES_MAX && at < messages.n; n++) {
        const char *p = messages.p + at;
        size_t bytes = AB_PACKET_HEAD + get_length(p + 4) + get_length(p + 8);
        if (at && at + bytes > AB_PACKET_BYTES)
            break;
        at += bytes;
    }
    return at;
}
