/* A stage for engines without any I/O: models and people are lists of lines, time is a counter. */
#ifndef AB_TESTS_UNIT_ENGINE_SIM_H
#define AB_TESTS_UNIT_ENGINE_SIM_H

#include "common/wire/messages.h"
#include "worker/engine/engine.h"

enum { SIM_EVENTS_MAX = 512, SIM_START_MS = 1767225600 };

/* The lines of one agent's model, by the index of its calls. */
struct sim_part {
    const char *agent; /* NULL ends a list of parts */
    const char *const *says;
};
/* What the outside world says, in order; NULL ends a list. The last line of a model is repeated. */
struct sim_world {
    const struct sim_part *cast; /* of any number of agents; NULL: of the two below */
    bool chatter; /* models and people say what follows from what they are told; a model may fail for now */
    bool record;  /* note what is wanted before each event */
    const struct engine_limits *limits; /* of sim_cut */
    uint64_t shuffle;                   /* 0: the first wanted effect is performed; else a random one */
    const char *const *sender, *const *receiver; /* the models of the two agents */
    const char *const *people;                   /* answers to questions */
    bool waiting;                                /* journal `waiting` before each answer */
    struct ab_view history;                      /* raw array for `begin`, or absent */
};
struct sim {
    const struct ab_workflow *workflow;
    const struct sim_world *world;
    struct engine *engine;
    struct ab_buf events[SIM_EVENTS_MAX]; /* the journal, raw */
    size_t n;
    uint64_t wanted[SIM_EVENTS_MAX + 1]; /* sim_wanted() after so many events, if that is recorded */
};

/* A workflow from flow_config JSON; fails the test if it is not valid. */
struct ab_workflow *sim_workflow(const char *json);
/* The two-agent chat most tests use: JSON members for the config of user and bot. */
struct ab_workflow *sim_pair(const char *user_config, const char *bot_config, const char *summary_method);

/* text: the user's message, or JSON of its parts. */
void sim_start(struct sim *sim, const struct ab_workflow *workflow, const char *text,
               const struct engine_limits *limits, const struct sim_world *world);
/* Journals and applies an event. */
int sim_add(struct sim *sim, enum ab_event_kind kind, const void *event, struct ab_error *err);
/* Goes on with the first `n` events of another journal. */
void sim_fold(struct sim *sim, const struct sim *other, size_t n);
/* All so far was copied into a job that starts now: its caps and its usage count from here. */
void sim_fork(struct sim *sim);
/* Performs effects until FINISH is wanted; returns why. */
enum engine_stop sim_run(struct sim *sim);
void sim_finish(struct sim *sim);

/* All that is wanted now, and what models are told with it, as one number: equal states want the same. */
uint64_t sim_wanted(const struct sim *sim);
/* What must not depend on any order: the result, answer included, and the steps that were journaled; the caller frees it. */
char *sim_outcome(const struct sim *sim, enum engine_stop stop);
/* A new engine that folds the first events of the journal must want what the one that wrote it wanted there, if that was
 * recorded, and, when it goes on in another order, come to the outcome expected. */
void sim_cut(const struct sim *whole, size_t cut, uint64_t shuffle, const char *expected);

/* The chat as "user>hello|bot>hi|": one line per message of the result; the caller frees it. */
char *sim_talk(const struct sim *sim);
/* A number that follows from the seed and the text. */
uint64_t sim_hash(uint64_t seed, const char *text);

#endif
