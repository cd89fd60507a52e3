/* From a job's journal and the texts being written to what a client of OpenAI's API reads: the answer, turn by turn, and
 * beside it what the other agents say (thoughts). Pure: knows neither HTTP nor JSON shapes.
 *
 * The answer's turns are those of the `output` agent; without one, or if it never spoke, the run's result is the only turn.
 * Fed with the journal from its beginning it says the same each time: turn i is the same turn, its bytes are the same
 * bytes. Pieces that come early (deltas) are the beginning of what the journal will say, or else the talk is broken.
 */
#ifndef AUTOBOTS_GATEWAY_V1_TALK_H
#define AUTOBOTS_GATEWAY_V1_TALK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"
#include "common/tree.h"

/* How a talk came to its end, or is interrupted. */
enum v1_end {
    V1_GOES_ON,
    V1_DONE,   /* succeeded */
    V1_FAILED, /* `error` says why */
    V1_CANCELLED,
    V1_ASKS,   /* a person: `question` */
    V1_BUDGET, /* waits for room in a budget: `error` */
    V1_BROKEN, /* a new attempt says something else than was said: `error` */
};

struct v1_talk {
    /* set by the owner */
    const char *output; /* NULL: none */
    const char *
        stop; /* the word that ends the conversation: it is cut off the end of the answer's turns; NULL: none */
    void (*on_text)(void *owner, uint64_t turn, uint64_t offset, struct ab_view text); /* of the answer */
    void (*on_turn)(void *owner, uint64_t turn, struct ab_view whole);                 /* one is complete */
    void (*on_thought)(void *owner, struct ab_view text);
    void *owner;
    uint64_t known; /* seq: questions up to here have been answered */
    /* what came of it */
    enum v1_end end;
    struct ab_error error;
    const char *code;   /* the error's name on the wire; borrowed from `last` */
    json_t *last;       /* the event that ended or interrupted it */
    uint64_t turns;     /* complete ones of the answer */
    bool cut, filtered; /* the last reply of the answer was: finish_reason length, content_filter */
    /* of the turns that are being written */
    struct v1_writing {
        char *step;
        uint64_t attempt;
        struct ab_buf said; /* the text so far, so that the rest can be told from it */
        size_t told;        /* of the answer: as much of it was told; what may be the stop word is held back */
    } answer, thought;
    struct ab_buf latest; /* the last turn of another agent */
    bool thought_any;     /* one was told: the next one begins a new paragraph */
};

void v1_talk_delta(struct v1_talk *talk, const char *step, const char *agent, uint64_t attempt, uint64_t offset,
                   struct ab_view text);
/* `event`: {kind, …} */
void v1_talk_event(struct v1_talk *talk, const char *kind, json_t *event);
/* After V1_ASKS: what a person is asked, behind what it is about if the answer has not told that. Appended. */
void v1_talk_question(const struct v1_talk *talk, struct ab_buf *out);
void v1_talk_finish(struct v1_talk *talk);

/* A turn without the stop word (NULL: none), and the blanks before it, at its end. */
struct ab_view v1_cut(struct ab_view text, const char *stop);
/* The words of a content, text or array of parts; appended. */
void v1_text_of(const json_t *content, struct ab_buf *out);

#endif
