/* Which pieces of which turn are shown while agents write: pure, so that it can be tested without a terminal.
 *
 * One turn is open at a time; another agent that writes meanwhile is shown when its turn is whole. A piece is shown as
 * far as it continues what was shown. So a lost or repeated piece costs smoothness, never text.
 */
#ifndef AUTOBOTS_CLI_STREAM_H
#define AUTOBOTS_CLI_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream {
    char *step; /* whose text stands in the last line; NULL: nobody's */
    uint64_t attempt;
    uint64_t shown; /* its bytes on the screen */
};

enum stream_act {
    STREAM_SKIP,  /* show nothing */
    STREAM_GO,    /* show the piece from *skip on */
    STREAM_OPEN,  /* the same, behind a new speaker's name */
    STREAM_AGAIN, /* the same, after saying that the turn starts once more */
};

enum stream_act stream_piece(struct stream *stream, const char *step, uint64_t attempt, uint64_t offset,
                             size_t bytes, size_t *skip);
/* The whole turn is there. True if it is the open one: *shown bytes of it stand on the screen. Closes it then. */
bool stream_whole(struct stream *stream, const char *step, size_t *shown);
/* True if a turn was open. */
bool stream_close(struct stream *stream);

#endif
