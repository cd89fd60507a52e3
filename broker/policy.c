/* A message to a session whose job has not ended: what becomes of it (SUBMIT.if_busy).
 *
 * If the job that holds the session waits for a person, the message is the answer; unless it is to be a job of its own, a
 * later one, or a fork. Otherwise it is queued behind the others, refused, or cancels the holder and is queued.
 *
 * Decided here, carried out by storage in the transaction that keeps the message. Storage refuses an answer to a question
 * that is answered already: then it is decided once more, and no answer any more. What was taken before is found by its id first, so that a message
 * that is sent again changes nothing, whatever has become of the session meanwhile: also a refusal asks storage.
 */
#include "broker/internal.h"

static void enqueue(struct ab_op_submit *op, struct ab_id busy)
{
    (void)op, (void)busy;
}

static void reject(struct ab_op_submit *op, struct ab_id busy)
{
    (void)busy;
    op->known = true;
}

static void interrupt(struct ab_op_submit *op, struct ab_id busy)
{
    op->interrupts = busy;
}

static const struct policy {
    const char *name;
    bool answers;
    void (*decide)(struct ab_op_submit *op, struct ab_id busy);
} policies[] = {{"enqueue", true, enqueue},
                {"reject", true, reject},
                {"interrupt", true, interrupt},
                {"new_job", false, enqueue}};

static const struct policy *policy_of(struct ab_view name)
{
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (ab_view_is(name, policies[i].name))
            return &policies[i];
    return name.n ? NULL : &policies[0];
}

bool policy_ok(struct ab_view name)
{
    return policy_of(name) != NULL;
}

static bool asks_a_person(const struct job *job)
{
    return job->person && (job->state == JOB_WAITING || (job->state == JOB_PAUSED && job->parked));
}

/* The job that a message of this session would have to wait for; false if there is none. */
static bool busy_with(const struct core *core, const struct ab_op_submit *op, struct ab_id *busy)
{
    const struct session *session = queue_session(&core->queue, op->user, op->session);
    if (!session || (!session->holder && !session->pending))
        return false;
    *busy = session->holder ? session->holder->id : session->pending_job;
    return true;
}

void policy_decide(struct core *core, struct ab_op_submit *op, bool may_answer)
{
    const struct policy *policy = policy_of(op->if_busy);
    struct ab_id busy;
    if (jobs_find(&core->jobs, op->job) || !busy_with(core, op, &busy) || ab_id_eq(busy, op->job))
        return;
    const struct job *job = jobs_find(&core->jobs, busy);
    bool fresh = ab_id_zero(op->fork_of) && !op->not_before_ms;
    if (may_answer && policy->answers && fresh && job && asks_a_person(job))
        op->answer_to = job->n;
    else
        policy->decide(op, busy);
}

/* Says whose turn it is. */
static void refuse(struct core *core, const struct ticket *ticket, struct ab_id busy)
{
    const struct job *job = jobs_find(&core->jobs, busy);
    char id[AB_ID_TEXT];
    struct ab_error err = {0};
    ab_fail_at(
        &err, AB_ECONFLICT, "session",
        "the session is busy with job %s (%s), and the message was to be rejected then; nothing was stored",
        ab_id_text(busy, id), job ? job_state_name(job->state) : "being stored");
    struct ab_failure failure = core_failure(&err);
    failure.rid = ticket->rid;
    failure.job = busy;
    core_send(core, peers_find(&core->peers, ticket->peer), AB_ERROR, &failure, ab_view(NULL, 0), true);
}

enum policy_next policy_refused(struct core *core, const struct answer *answer, struct ab_op_submit *op)
{
    bool answered = answer->code == AB_ECONFLICT && op->answer_to && !strcmp(answer->err->path, "answer_to");
    bool unknown = answer->code == AB_ENOTFOUND && op->known && !strcmp(answer->err->path, "known");
    struct ab_id busy;
    if (!answered && !unknown)
        return POLICY_FORWARD;
    if (unknown && busy_with(core, op, &busy)) {
        refuse(core, answer->ticket, busy);
        return POLICY_SAID;
    }
    op->answer_to = 0;
    op->known = false;
    if (answered)
        policy_decide(core, op, false);
    return POLICY_AGAIN;
}
