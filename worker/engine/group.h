/* The inside of a group chat, shared by its three files: group.c is the chat, eligible.c says who may speak next,
 * choice.c how one of them is chosen. */
#ifndef AB_WORKER_ENGINE_GROUP_H
#define AB_WORKER_ENGINE_GROUP_H

#include "worker/engine/node.h"

enum { NOBODY = -1 };

struct group {
    struct node node;
    const struct ab_agent *agent, *sender;
    struct transcript transcript;
    struct side *sides; /* the members, as listed */
    int64_t rounds;     /* messages of members so far */
    int last;           /* who spoke last; NOBODY: the opener */
    int speaker;        /* whose turn it is; NOBODY: that must be chosen first */
    const char *chosen; /* by which rule, static; NULL: a model or a person did, or it was told already */
    bool final;         /* the last message ends the chat */
    json_t *choices;    /* array of text: what the model answered to this choice so far */
    bool asked;         /* a `waiting` for the choice is in the journal, */
    int64_t until_ms;   /* with this end; 0: none */
    struct reply reply; /* of the speaker */
};

static inline size_t group_members(const struct group *group)
{
    return group->agent->n_members;
}

/* ---- eligible.c: who may speak next ---- */

bool group_eligible(const struct group *group, size_t member);
size_t group_count_eligible(const struct group *group);
/* The next in the list that may; NOBODY if there is none. */
int group_next_in_list(const struct group *group);
int group_nth_eligible(const struct group *group, size_t nth); /* from 0 */
/* The names of those that may speak, with or without their numbers, appended. */
void group_list_names(const struct group *group, bool numbers, struct ab_buf *out);
/* The one that may speak whom the text names, however often, in any case only if none is named as it is written;
 * NOBODY if there is none or more than one (*several). */
int group_named(const struct group *group, struct ab_view text, bool *several);
/* The one with that number, as the list has it, from 1; NOBODY if the text is none of them. */
int group_numbered(const struct group *group, struct ab_view text);

/* ---- choice.c: how one of them is chosen ---- */

/* What needs nobody's word: sets `speaker`, or `stop` if nobody may speak; else leaves both. */
void group_choose_alone(struct group *group);
/* Takes an event of the choice. */
int group_take_choice(struct group *group, const struct journal_event *event, struct ab_error *err);
/* What the choice wants: a model call or a person's answer. */
void group_want_choice(const struct group *group, struct engine_effect *effect);
/* What the choosing model is told. */
void group_choice_prompt(const struct group *group, struct prompt *prompt);

/* ---- group.c ---- */

/* A message as all but its speaker hear it: with the name of who said it; the opener's as it is. A new reference. */
json_t *group_heard(const struct group *group, const struct line *line);

#endif
