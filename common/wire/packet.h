/* Packets: a ZeroMQ message is one frame, which holds one or more messages of the protocol, one after the other. Small
 * messages that are sent together cost as little as one.
 *
 *   'A' 'B' version command   header bytes   body bytes   header   body
 *                             (4, big endian) (the same)
 *
 * Nothing here knows sockets.
 */
#ifndef AB_COMMON_WIRE_PACKET_H
#define AB_COMMON_WIRE_PACKET_H

#include "common/wire/messages.h"

enum {
    AB_PACKET_HEAD = 12,           /* bytes in front of each header */
    AB_PACKET_MESSAGES_MAX = 1000, /* in one packet */
    AB_PACKET_BYTES = 32 << 10, /* a sender fills a packet up to here; one greater message is a packet alone */
};

/* One message; the views point into its packet. */
struct ab_envelope {
    uint8_t version, command; /* command may be unknown */
    struct ab_view header, body;
};

/* Appends a message; `message` is the struct of the command's schema. */
void ab_packet_add(struct ab_buf *out, enum ab_command command, const void *message, struct ab_view body);
/* The same up to its body, which the caller adds. */
void ab_packet_begin(struct ab_buf *out, enum ab_command command, const void *message, size_t body_bytes);
/* Takes the first message off *packet, which is not empty. AB_EINVALID, AB_ETOOLARGE: it is none, nor what follows. */
int ab_packet_take(struct ab_view *packet, struct ab_envelope *envelope, struct ab_error *err);
/* Of many messages one after the other, as ab_packet_add writes them: the bytes that make the first packet. */
size_t ab_packet_first(struct ab_view messages);

#endif
