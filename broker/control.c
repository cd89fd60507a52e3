/* Words to a job that is open: what a row of its inbox means for it. Cancelling is in ends.c.
 *
 * A pause is a wish until the job's worker has let go of it; then, or at once if no worker has it, the job is PAUSED:
 * no slot, no turn, its place in its session kept. What it was before is kept beside that: `parked` if it waited,
 * wake_at_ms if it was to wake at some time. Resuming gives it back what it was.
 */
#include "broker/internal.h"

static void set_paused(struct core *core, struct job *job)
{
    job->parked |= job->state == JOB_WAITING;
    queue_pause(&core->queue, job);
    job_move(&core->jobs, job, JOB_EV_PAUSE);
    job->since_ms = core->now_ms;
}

void job_hold(struct core *core, struct job *job)
{
    bool rebuilt = job->state == JOB_NEW;
    set_paused(core, job);
    /* One that is to run later, and never ran, joins its session when its time has come. */
    if (rebuilt && (job->attempt || job->wake_at_ms <= core->wall_ms))
        queue_put(&core->queue, job);
}

static void pause(struct core *core, struct job *job)
{
    static const bool at_once[JOB_STATES_N] = {
        [JOB_SCHEDULED] = true, [JOB_READY] = true, [JOB_WAITING] = true};
    if (job->pause)
        return;
    job->pause = true;
    if (at_once[job->state])
        set_paused(core, job);
}

static void resume(struct core *core, struct job *job)
{
    bool waits = job->parked;
    job->pause = false;
    if (job->state != JOB_PAUSED)
        return;
    job->parked = false;
    if (waits) {
        /* After a restart an earlier job of its session, whose time has come, may be before it. */
        queue_remove(job);
        job_park(core, job, job->wake_at_ms);
    } else if (job->in) { /* behind an earlier job of its session */
        job_move(&core->jobs, job, JOB_EV_QUEUE);
        job->since_ms = core->now_ms;
        job->wake_at_ms = 0;
    } else {
        job_schedule(core, job, job->wake_at_ms);
    }
}

static void wake(struct core *core, struct job *job)
{
    if (job->state == JOB_PAUSED && job->parked) {
        job->parked = false;
        job->wake_at_ms = 0;
    }
    job->reload = job->state == JOB_STARTING;
    if (job->state == JOB_WAITING) {
        queue_remove(job); /* of a timer */
        job_queue(core, job);
    }
}

static const struct {
    const char *kind;
    void (*take)(struct core *core, struct job *job);
} words[] = {{"cancel", job_cancel}, {"pause", pause}, {"resume", resume}, {"input", wake}, {"budget", wake}};

bool inbox_kind_ok(struct ab_view kind)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ab_view_is(kind, words[i].kind))
            return true;
    return false;
}

void job_inbox(struct core *core, struct job *job, uint64_t k, struct ab_view kind, struct ab_view ask,
               struct ab_view text)
{
    if (k > job->inbox_k)
        job->inbox_k = (uint32_t)k;
    follow_change(core, job);
    if (job->state == JOB_RUNNING)
        job_notice(core, job, k, kind, ask, text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ab_view_is(kind, words[i].kind))
            words[i].take(core, job);
}
