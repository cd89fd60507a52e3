/* Text that streams while it is made: a model's reply, what code writes. DELTA is ephemeral: what cannot be sent now goes
 * with the next piece, and while nobody watches only the beginning is kept, for whoever begins to. */
#include "worker/worker.h"

void feed_init(const struct run *run, struct feed *feed, const char *step, const char *agent)
{
    *feed = (struct feed){.step = step,
                          .agent = agent,
                          .attempt = run->attempt << 8}; /* another dispatch of the job: another text */
}

void feed_clear(struct feed *feed)
{
    ab_buf_finish(&feed->text);
    feed->sent = feed->lost = 0;
}

size_t feed_whole(const char *text, size_t bytes, size_t bytes_max)
{
    if (bytes <= bytes_max)
        return bytes;
    while (bytes_max && ((unsigned char)text[bytes_max] & 0xc0) == 0x80)
        bytes_max--;
    return bytes_max;
}

void feed_flush(struct run *run, struct feed *feed)
{
    size_t at = 0;

    if (!run->watched)
        return;
    while (at < feed->text.n) {
        size_t bytes = feed_whole(feed->text.p + at, feed->text.n - at, AB_DELTA_MAX);
        struct ab_delta delta = {.job = run->job,
                                 .token = run->token,
                                 .step = ab_view_of(feed->step),
                                 .agent = ab_view_of(feed->agent),
                                 .attempt = feed->attempt,
                                 .offset = feed->sent,
                                 .text = ab_view(feed->text.p + at, bytes)};
        if (link_send(&run->worker->broker, AB_DELTA, &delta, (struct ab_view){0}))
            break;
        feed->sent += bytes;
        at += bytes;
    }
    if (at)
        memmove(feed->text.p, feed->text.p + at, feed->text.n - at);
    feed->text.n -= at;
}

void feed_add(struct run *run, struct feed *feed, struct ab_view text)
{
    size_t room = feed->text.n < AB_DELTA_MAX ? AB_DELTA_MAX - feed->text.n : 0;

    if (!run->watched && (feed->lost || text.n > room)) {
        feed->lost += text.n;
        return;
    }
    if (run->watched && feed->lost) { /* the gap cannot be filled: go on after it */
        feed->sent += feed->text.n + feed->lost;
        feed->lost = 0;
        ab_buf_clear(&feed->text);
    }
    ab_buf_add(&feed->text, text.p, text.n);
    if (run->watched)
        run_wake(run);
}
