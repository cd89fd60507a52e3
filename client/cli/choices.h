/* Who chose whom in the groupchats of a run, from its events alone: pure, so that it can be tested without a terminal.
 *
 * A `model_reply` with purpose `speaker` is one try to choose: its words are asked for again until they name exactly one
 * member, at last the next in the list speaks. So what came of it only the group's next event says. Groups of one run
 * may choose at the same time; a step is `PATH:COUNTER`, and PATH is the group's.
 */
#ifndef AUTOBOTS_CLI_CHOICES_H
#define AUTOBOTS_CLI_CHOICES_H

#include <stdbool.h>
#include <stddef.h>

enum { CHOICES_MAX = 64 }; /* groups that choose at once; of others nothing is said */

struct choices {
    struct choice {
        char *path, *words;
    } open[CHOICES_MAX];
    size_t n;
};

/* A try to choose. True if the group's try before this one came to nothing. */
bool choices_asked(struct choices *choices, const char *step, const char *words);

enum choice_made {
    CHOICE_NONE,    /* no model was asked: by rule, or by a person */
    CHOICE_NAMED,   /* the words named the agent */
    CHOICE_IN_TURN, /* they did not */
};
/* This agent speaks in the group. */
enum choice_made choices_made(struct choices *choices, const char *step, const char *agent);
void choices_finish(struct choices *choices);

#endif
