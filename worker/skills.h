/* Skills of a run: what storage has of those that its agents name, and their calls (skills.c, skill_calls.c). common/skill.h says
 * what a skill is.
 *
 * Looked up once per attempt: whoever names no version gets the newest of that moment from then on. What was called with one
 * version is called again with that one, as `tool_started` has it.
 */
#ifndef AB_WORKER_SKILLS_H
#define AB_WORKER_SKILLS_H

#include "common/skill.h"
#include "worker/codes.h"
#include "worker/worker.h"

enum {
    SKILL_LIBRARY_MAX = 64,          /* of one workflow, for its code blocks */
    SKILL_NOTE_BYTES_MAX = 16 << 10, /* of what a model is told about modules it can import */
};

enum skill_state { SKILL_WANTED, SKILL_ASKED, SKILL_KNOWN, SKILL_MISSING };

/* One that is named, with the version that is named or the newest. Lives as long as the run. */
struct skill {
    char name[AB_SKILL_NAME_MAX + 1];
    uint64_t wanted; /* version; 0: the newest */
    enum skill_state state;
    struct ab_error error;                /* MISSING */
    struct ab_buf raw;                    /* the answer, which the record points into */
    struct ab_skill_record record;        /* KNOWN */
    char version[TOOL_VERSION_BYTES_MAX]; /* as the journal has it: "3 HASH" */
    char *file;                           /* its name in a sandbox; owned */
    TAILQ_ENTRY(skill) in_run;
};

/* NULL: it is being looked up, and the run is woken then; or err says why there is none. */
const struct skill *skill_get(struct run *run, const char *name, size_t name_bytes, uint64_t version,
                              struct ab_error *err);
/* A folder of skills for a sandbox, read-only there. Where there are arguments, they are in it too. NULL: err says why. */
struct workdir *skill_library(struct run *run, const struct skill *const *skills, size_t n,
                              struct ab_view arguments, struct ab_error *err);

/* All that agents of the run's workflow name, for its code blocks. True: *library (NULL if they name none) and the words
 * NAME@VERSION are there. False: they are being looked up, or err says what is wrong. */
bool skills_for_code(struct run *run, struct workdir **library, struct ab_buf *words, struct ab_error *err);
/* Tells an agent that has skills how its code can import them, in its system message. */
void skills_tell(struct run *run, const struct engine_effect *effect, json_t *messages);
void skills_finish(struct run *run); /* toolboxes must be closed */

extern const struct tool_source skill_source; /* self: the worker */

/* ---- skill_calls.c ---- */

extern const struct tool_ops skill_ops;
/* Goes on with the calls under way; called once per wake-up. */
void skillcalls_step(struct run *run);
/* The one whose question to storage is under way; NULL: none's is. */
struct code *skillcall_asker(const struct run *run);
/* One works in that folder. */
bool skillcalls_use(const struct run *run, const char *folder);

#endif
