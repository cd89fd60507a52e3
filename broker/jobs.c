/* Job records and their states; see jobs.h. */
#include "broker/jobs.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"

static const char *const state_names[JOB_STATES_N] = {
#define X(name, text, doc) text,
    JOB_STATES(X)
#undef X
};
static const char *const state_labels[JOB_STATES_N] = {
#define X(name, text, doc) #name,
    JOB_STATES(X)
#undef X
};

const char *job_state_name(enum job_state state)
{
    return state_names[state];
}

/* [state][event] = next state; 0 (JOB_NEW, which nothing leads to) = forbidden. */
static const uint8_t next_state[JOB_STATES_N][JOB_EVENTS_N] = {
    [JOB_NEW] = {[JOB_EV_QUEUE] = JOB_READY,
                 [JOB_EV_SCHEDULE] = JOB_SCHEDULED,
                 [JOB_EV_WAIT] = JOB_WAITING,
                 [JOB_EV_PAUSE] = JOB_PAUSED,
                 [JOB_EV_ORPHAN] = JOB_ORPHAN,
                 [JOB_EV_SETTLE] = JOB_SETTLING},
    [JOB_SCHEDULED] = {[JOB_EV_QUEUE] = JOB_READY,
                       [JOB_EV_PAUSE] = JOB_PAUSED,
                       [JOB_EV_SETTLE] = JOB_SETTLING,
                       [JOB_EV_END] = JOB_ENDED},
    [JOB_READY] = {[JOB_EV_ASSIGN] = JOB_STARTING,
                   [JOB_EV_PAUSE] = JOB_PAUSED,
                   [JOB_EV_SETTLE] = JOB_SETTLING,
                   [JOB_EV_END] = JOB_ENDED},
    [JOB_STARTING] = {[JOB_EV_SENT] = JOB_RUNNING, [JOB_EV_SETTLE] = JOB_SETTLING, [JOB_EV_END] = JOB_ENDED},
    [JOB_RUNNING] = {[JOB_EV_WAIT] = JOB_WAITING,
                     [JOB_EV_SCHEDULE] = JOB_SCHEDULED,
                     [JOB_EV_ORPHAN] = JOB_ORPHAN,
                     [JOB_EV_ATTACH] = JOB_RUNNING,
                     [JOB_EV_SETTLE] = JOB_SETTLING,
                     [JOB_EV_END] = JOB_ENDED},
    [JOB_ORPHAN] = {[JOB_EV_ATTACH] = JOB_RUNNING,
                    [JOB_EV_WAIT] = JOB_WAITING,
                    [JOB_EV_SCHEDULE] = JOB_SCHEDULED,
                    [JOB_EV_SETTLE] = JOB_SETTLING,
                    [JOB_EV_END] = JOB_ENDED},
    [JOB_WAITING] = {[JOB_EV_QUEUE] = JOB_READY,
                     [JOB_EV_PAUSE] = JOB_PAUSED,
                     [JOB_EV_SETTLE] = JOB_SETTLING,
                     [JOB_EV_END] = JOB_ENDED},
    [JOB_PAUSED] = {[JOB_EV_QUEUE] = JOB_READY,
                    [JOB_EV_SCHEDULE] = JOB_SCHEDULED,
                    [JOB_EV_WAIT] = JOB_WAITING,
                    [JOB_EV_SETTLE] = JOB_SETTLING,
                    [JOB_EV_END] = JOB_ENDED},
    [JOB_SETTLING] = {[JOB_EV_QUEUE] = JOB_READY,
                      [JOB_EV_SCHEDULE] = JOB_SCHEDULED,
                      [JOB_EV_WAIT] = JOB_WAITING,
                      [JOB_EV_PAUSE] = JOB_PAUSED,
                      [JOB_EV_ENDING] = JOB_ENDING,
                      [JOB_EV_END] = JOB_ENDED},
    [JOB_ENDING] = {[JOB_EV_SETTLE] = JOB_SETTLING, [JOB_EV_END] = JOB_ENDED},
};

bool job_may(const struct job *job, enum job_event event)
{
    return next_state[job->state][event] != JOB_NEW;
}

void job_move(struct jobs *jobs, struct job *job, enum job_event event)
{
    assert(job_may(job, event));
    enum job_state to = next_state[job->state][event];
    if (ab_log_wants(AB_DEBUG)) {
        char text[AB_ID_TEXT];
        ab_log(AB_DEBUG, "job.state", "job", ab_id_text(job->id, text), "from", state_labels[job->state], "to",
               state_labels[to], NULL);
    }
    jobs->states[job->state]--;
    jobs->states[to]++;
    job->state = (uint8_t)to;
}

void jobs_init(struct jobs *jobs)
{
    *jobs = (struct jobs){.hashes = {.size = sizeof(struct hash_name)}};
}

void jobs_finish(struct jobs *jobs)
{
    map_finish(&jobs->by_id);
    map_finish(&jobs->by_n);
    map_finish(&jobs->by_token);
    names_finish(&jobs->hashes);
}

static uint64_t id_key(struct ab_id id)
{
    uint64_t hash = ab_id_hash(id);
    return hash ? hash : 1;
}

struct job *jobs_add(struct jobs *jobs, struct ab_id id, uint64_t n, struct ab_view hash)
{
    struct job *job = ab_calloc(1, sizeof *job);
    job->id = id;
    job->n = n;
    job->hash = names_get(&jobs->hashes, hash);
    job->same_id = map_put(&jobs->by_id, id_key(id), job);
    map_put(&jobs->by_n, n, job);
    jobs->states[JOB_NEW]++;
    return job;
}

static void unlink_id(struct jobs *jobs, struct job *job)
{
    uint64_t key = id_key(job->id);
    struct job *first = map_get(&jobs->by_id, key);
    if (first != job) {
        while (first->same_id != job)
            first = first->same_id;
        first->same_id = job->same_id;
    } else if (job->same_id) {
        map_put(&jobs->by_id, key, job->same_id);
    } else {
        map_remove(&jobs->by_id, key);
    }
}

void jobs_remove(struct jobs *jobs, struct job *job)
{
    assert(!job->in && !job->worker && !job->watchers && !job->place[HEAP_DEADLINE] && !job->place[HEAP_LEASE]);
    unlink_id(jobs, job);
    map_remove(&jobs->by_n, job->n);
    job_unlease(jobs, job);
    job_drop_input(jobs, job);
    names_put(&jobs->hashes, job->hash);
    jobs->bytes -= job->body_bytes;
    jobs->states[job->state]--;
    free(job->verdict_text);
    free(job->wait_why);
    free(job);
}

struct job *jobs_find(const struct jobs *jobs, struct ab_id id)
{
    struct job *job = map_get(&jobs->by_id, id_key(id));
    while (job && !ab_id_eq(job->id, id))
        job = job->same_id;
    return job;
}

struct job *jobs_by_n(const struct jobs *jobs, uint64_t n)
{
    return map_get(&jobs->by_n, n);
}

struct job *jobs_by_token(const struct jobs *jobs, uint64_t token)
{
    return map_get(&jobs->by_token, token);
}

void job_set_token(struct jobs *jobs, struct job *job, uint64_t token)
{
    job_unlease(jobs, job);
    job->token = token;
    map_put(&jobs->by_token, token, job);
}

void job_unlease(struct jobs *jobs, struct job *job)
{
    if (jobs_by_token(jobs, job->token) == job)
        map_remove(&jobs->by_token, job->token);
}

void job_keep_input(struct jobs *jobs, struct job *job, struct ab_view input, struct ab_view secrets,
                    uint64_t bytes_max)
{
    if (job->input || jobs->input_bytes + input.n + secrets.n > bytes_max)
        return;
    job->input = ab_blob_create(input);
    job->secrets = secrets.p ? ab_blob_create(secrets) : NULL;
    jobs->input_bytes += input.n + secrets.n;
}

void job_drop_input(struct jobs *jobs, struct job *job)
{
    jobs->input_bytes -= ab_blob_view(job->input).n + ab_blob_view(job->secrets).n;
    ab_blob_destroy(job->input);
    ab_blob_destroy(job->secrets);
    job->input = job->secrets = NULL;
}
