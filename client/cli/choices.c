/* See choices.h. */
#include "client/cli/choices.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

/* The bytes of PATH in PATH:COUNTER. */
static size_t path_bytes(const char *step)
{
    const char *colon = strrchr(step, ':');
    return colon ? (size_t)(colon - step) : strlen(step);
}

static struct choice *find(struct choices *choices, const char *step)
{
    size_t n = path_bytes(step);
    for (size_t i = 0; i < choices->n; i++)
        if (strlen(choices->open[i].path) == n && !strncmp(choices->open[i].path, step, n))
            return &choices->open[i];
    return NULL;
}

static void close_choice(struct choices *choices, struct choice *choice)
{
    free(choice->path);
    free(choice->words);
    *choice = choices->open[--choices->n];
}

bool choices_asked(struct choices *choices, const char *step, const char *words)
{
    struct choice *before = find(choices, step);
    bool again = before;
    if (before)
        close_choice(choices, before);
    if (choices->n < CHOICES_MAX)
        choices->open[choices->n++] =
            (struct choice){.path = ab_strndup(step, path_bytes(step)), .words = ab_strdup(words)};
    return again;
}

enum choice_made choices_made(struct choices *choices, const char *step, const char *agent)
{
    struct choice *choice = find(choices, step);
    if (!choice)
        return CHOICE_NONE;
    enum choice_made made = strcasestr(choice->words, agent) ? CHOICE_NAMED : CHOICE_IN_TURN;
    close_choice(choices, choice);
    return made;
}

void choices_finish(struct choices *choices)
{
    while (choices->n)
        close_choice(choices, &choices->open[0]);
}
