/* What code writes: bytes of a pipe, made UTF-8 as they come, kept up to a cap, and handed on. */
#include <errno.h>
#include <unistd.h>

#include "common/wire/schema.h"
#include "worker/exec/internal.h"

/* Bytes of the character that begins with this one; 0: none does. */
static size_t character_bytes(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Moves whole characters of `raw` into text; each byte that is none becomes U+FFFD. The last bytes may be the beginning of
 * a character that is still on its way. */
static void decode(struct ab_buf *raw, bool at_end, struct ab_buf *text)
{
    size_t at = 0;
    while (at < raw->n) {
        size_t n = character_bytes((unsigned char)raw->p[at]);
        if (n > raw->n - at && !at_end)
            break;
        bool good = n && n <= raw->n - at && raw->p[at] && ab_utf8_ok(ab_view(raw->p + at, n));
        ab_buf_add(text, good ? raw->p + at : "\xef\xbf\xbd", good ? n : 3);
        at += good ? n : 1;
    }
    raw->n -= at;
    memmove(raw->p, raw->p + at, raw->n);
}

static size_t whole(struct ab_view text, size_t bytes_max)
{
    if (text.n <= bytes_max)
        return text.n;
    while (bytes_max && ((unsigned char)text.p[bytes_max] & 0xc0) == 0x80)
        bytes_max--;
    return bytes_max;
}

static void hand_on(struct exec_run *run, bool at_end)
{
    struct ab_buf text = {0};
    decode(&run->raw, at_end, &text);
    struct ab_view piece = ab_buf_view(&text);
    piece.n = run->full ? 0 : whole(piece, EXEC_OUTPUT_BYTES_MAX - run->kept.n);
    run->full |= piece.n < text.n;
    ab_buf_add(&run->kept, piece.p, piece.n);
    if (piece.n && run->callbacks.on_output)
        run->callbacks.on_output(run->user, piece);
    ab_buf_finish(&text);
}

static void heed_flood(struct exec_run *run)
{
    if (run->written > EXEC_FLOOD_BYTES_MAX)
        run_stop(run, EXEC_KILLED,
                 ab_format("it wrote more than %d MiB of output", EXEC_FLOOD_BYTES_MAX >> 20));
}

void run_text(struct exec_run *run, struct ab_view bytes)
{
    ab_buf_add(&run->raw, bytes.p, bytes.n);
    run->written += bytes.n;
    hand_on(run, false);
    heed_flood(run);
}

void run_output(struct exec_run *run)
{
    ab_buf_reserve(&run->raw, READ_BYTES);
    ssize_t n = read(run->output.fd, run->raw.p + run->raw.n, READ_BYTES);
    if (n > 0) {
        run->raw.n += (size_t)n;
        run->written += (uint64_t)n;
    }
    bool at_end = !n || (n < 0 && errno != EAGAIN && errno != EINTR);
    hand_on(run, at_end);
    if (at_end)
        watch_close(run->exec, &run->output);
    else
        heed_flood(run);
}
