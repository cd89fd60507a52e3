/* What a terminal shows of a job: turns with the speaker's name in colour, pieces of a turn in place while it is written,
 * notes between them, one footer at the end. It only writes: whose events they are, and what is asked of the service
 * besides, view.c knows.
 */
#ifndef AUTOBOTS_CLI_SCREEN_H
#define AUTOBOTS_CLI_SCREEN_H

#include "client/cli/choices.h"
#include "client/cli/cli.h"
#include "client/cli/stream.h"
#include "client/cli/usage.h"

struct screen {
    FILE *out;
    bool colours;
    const char *job; /* its id; borrowed */
    bool noted;      /* a note stands in the last line: who speaks next is set apart from it */
    bool parked;     /* the last attempt ended with a question: the next one is no repetition */
    struct stream stream;
    struct usage usage;     /* of the events that were seen */
    struct choices choices; /* of groupchats whose next speaker a model is choosing */
};

/* Forgets what was of one job: another one's comes, or none. */
void screen_reset(struct screen *screen);

void screen_event(struct screen *screen, const char *kind, const json_t *event);
void screen_delta(struct screen *screen, const struct autobots_delta *delta);
/* A line beside what is said. */
void screen_note(struct screen *screen, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the line of a turn that is being written. */
void screen_close_line(struct screen *screen);

#endif
