/* Submitting: workflow in, SUBMIT out. Keys are taken out of the workflow before anything else sees it, stay in clear
 * in the request until the service's sealing key is known, and are wiped then.
 */
#include "client/lib/internal.h"
#include "common/budget.h"
#include "common/clock.h"
#include "common/seal.h"

/* ---- which workflows the service knows ---- */

bool workflow_known(const struct autobots *client, struct ab_view hash)
{
    for (size_t i = 0; i < client->hashes_n; i++)
        if (!memcmp(client->hashes[i], hash.p, AB_HASH_BYTES))
            return true;
    return false;
}

void workflow_learn(struct autobots *client, struct ab_view hash)
{
    if (workflow_known(client, hash))
        return;
    if (!client->hashes)
        client->hashes = ab_calloc(HASHES_MAX, sizeof *client->hashes);
    memcpy(client->hashes[client->hashes_at], hash.p, AB_HASH_BYTES);
    client->hashes_at = (client->hashes_at + 1) % HASHES_MAX;
    if (client->hashes_n < HASHES_MAX)
        client->hashes_n++;
}

void workflow_forget(struct autobots *client, struct ab_view hash)
{
    for (size_t i = 0; i < client->hashes_n; i++)
        if (!memcmp(client->hashes[i], hash.p, AB_HASH_BYTES))
            memset(client->hashes[i], 0, AB_HASH_BYTES);
}

/* ---- sealing ---- */

static int seal_all(const struct request *request, struct ab_view context, struct ab_buf *packed,
                    struct ab_error *err)
{
    struct ab_buf one = {0};
    int rc = 0;
    ab_pack_array(packed, (uint32_t)request->secrets.n);
    for (size_t i = 0; i < request->secrets.n && !rc; i++) {
        ab_buf_clear(&one);
        rc =
            ab_seal(request->client->seal_key, context, ab_view_of(request->secrets.items[i].value), &one, err);
        ab_pack_bin(packed, ab_buf_view(&one));
    }
    ab_buf_finish(&one);
    return rc;
}

bool submit_seal(struct request *request, struct ab_error *err)
{
    struct autobots *client = request->client;
    if (!client->seal_key_known) {
        link_greet(&client->broker); /* WELCOME tells, once a worker is there */
        ab_fail(err, AB_EUNAVAILABLE,
                "the workflow has an api_key, and no worker is there whose public key it could be sealed to");
        err->retry_after_ms = GREET_AGAIN_MS;
        return false;
    }
    struct ab_id job = ((const struct ab_submit *)request->message)->job;
    struct ab_buf packed = {0};
    if (seal_all(request, ab_view(job.b, sizeof job.b), &packed, err)) {
        ab_buf_finish(&packed);
        return false;
    }
    request->sealed_bytes = packed.n;
    request->sealed = ab_buf_detach(&packed);
    ab_secret_list_finish(&request->secrets);
    request->secrets = (struct ab_secret_list){0};
    return true;
}

/* ---- the message ---- */

/* *owned is set if the caller must destroy the workflow (the cached one belongs to the client). */
static const struct ab_workflow *read_workflow(struct autobots *client, const char *text,
                                               struct ab_secret_list *secrets, struct ab_workflow **owned,
                                               struct ab_error *err)
{
    struct workflow_cache *cache = &client->cache;
    json_t *tree = NULL;
    struct ab_workflow *workflow = NULL;
    if (cache->given && !strcmp(cache->given, text))
        return cache->workflow;
    if (ab_json_parse(ab_view_of(text), &tree, err))
        return NULL;
    int rc = ab_workflow_extract_secrets(tree, secrets, err);
    if (!rc)
        rc = ab_workflow_parse(tree, 0, &workflow, NULL, NULL, err);
    json_decref(tree);
    if (rc)
        return NULL;
    if (secrets->n) /* nothing with a key in it is kept */
        return *owned = workflow;
    free(cache->given);
    ab_workflow_destroy(cache->workflow);
    *cache = (struct workflow_cache){ab_strdup(text), workflow};
    return workflow;
}

static int pack_json(const char *json, const char *field, struct ab_buf *out, struct ab_error *err)
{
    json_t *tree = NULL;
    if (ab_json_parse(ab_view_of(json), &tree, err))
        return ab_fail_at(err, AB_EINVALID, field, "%s is not JSON", field);
    ab_tree_pack(out, tree);
    json_decref(tree);
    return 0;
}

static int pack_content(const struct autobots_job *job, const struct ab_workflow *workflow, struct ab_buf *out,
                        struct ab_error *err)
{
    const char *text = job->text || job->content || !workflow ? job->text : workflow->task;
    if (!text && !job->content)
        return ab_fail_at(err, AB_EINVALID, "text",
                          "there is no message, and the workflow has no task of its own: give one");
    if (!text)
        return pack_json(job->content, "content", out, err);
    if (!ab_utf8_ok(ab_view_of(text)))
        return ab_fail_at(err, AB_EINVALID, "text", "the message is not UTF-8");
    ab_pack_str(out, ab_view_of(text));
    return 0;
}

static int pack_input(const struct autobots_job *job, const struct ab_workflow *workflow, struct ab_buf *body,
                      struct ab_error *err)
{
    struct ab_buf content = {0}, metadata = {0}, history = {0};
    if (job->fork_of && !job->text && !job->content) {
        ab_pack_nil(body); /* as it was */
        return 0;
    }
    int rc = pack_content(job, workflow, &content, err);
    if (!rc && job->metadata)
        rc = pack_json(job->metadata, "metadata", &metadata, err);
    if (!rc && job->history)
        rc = pack_json(job->history, "history", &history, err);
    if (!rc) {
        struct ab_input input = {.content = ab_buf_view(&content),
                                 .msg_id = ab_view_of(job->msg_id),
                                 .root_msg_id = ab_view_of(job->root_msg_id),
                                 .timestamp = ab_view_of(job->timestamp),
                                 .personalize = job->personalize,
                                 .ra = ab_view_of(job->ra),
                                 .code = ab_view_of(job->code)};
        if (job->metadata)
            input.metadata = ab_buf_view(&metadata);
        if (job->history)
            input.history = ab_buf_view(&history);
        ab_encode(body, &ab_input_schema, &input);
        if (body->n > BODY_BYTES_MAX)
            rc = ab_fail(err, AB_ETOOLARGE, "the message has %zu bytes; at most %d are possible", body->n,
                         BODY_BYTES_MAX);
    }
    ab_buf_finish(&content);
    ab_buf_finish(&metadata);
    ab_buf_finish(&history);
    return rc;
}

static int new_id(const char *given, struct ab_id *id, struct ab_error *err)
{
    if (!given)
        *id = ab_id_make(ab_wall_ms());
    else if (!ab_id_parse(ab_view_of(given), id) || !ab_id_ok(*id))
        return ab_fail_at(err, AB_EINVALID, "id", "%s is not a UUID of version 7", given);
    return 0;
}

static int fork_id(const struct autobots_job *job, struct ab_id *id, struct ab_error *err)
{
    if (job->fork_of && !ab_id_parse(ab_view_of(job->fork_of), id))
        return ab_fail_at(err, AB_EINVALID, "fork_of", "%s is not a job's id (36 characters)", job->fork_of);
    return 0;
}

static int submit(struct autobots *client, const struct autobots_job *job, struct ab_id id, autobots_done *done,
                  void *context, struct ab_error *err)
{
    struct ab_id fork_of = {{0}};
    struct ab_secret_list secrets = {0};
    struct ab_workflow *owned = NULL;
    struct ab_buf body = {0};
    const struct ab_workflow *workflow =
        job->workflow ? read_workflow(client, job->workflow, &secrets, &owned, err) : NULL;
    int rc = job->workflow && !workflow ? err->code : fork_id(job, &fork_of, err);
    if (!rc)
        rc = pack_input(job, workflow, &body, err);
    if (!rc) {
        struct ab_submit message = {
            .job = id,
            .user = ab_view_of(job->user ? job->user : client->user),
            .hash = workflow ? ab_view(workflow->hash, sizeof workflow->hash) : ab_view(NULL, 0),
            .workflow = workflow ? ab_view(workflow->text, workflow->text_bytes) : ab_view(NULL, 0),
            .session = ab_view_of(job->session),
            .no_session = job->no_session,
            .priority = job->priority,
            .not_before_ms = job->not_before_ms,
            .deadline_ms = job->deadline_ms,
            .key = ab_view_of(job->concurrency),
            .pool = ab_view_of(job->pool),
            .if_busy = ab_view_of(job->if_busy),
            .fork_of = fork_of,
            .fork_seq = job->fork_seq,
            .fork_text = ab_view_of(job->fork_text),
            .budget = ab_view_of(job->budget),
        };
        struct request *request =
            request_create(client, &client->broker, AB_SUBMIT, &message, &body, done, context, err);
        rc = request ? 0 : err->code;
        if (request) {
            request->full_text = workflow && !workflow_known(client, message.hash);
            request->secrets = secrets;
            secrets = (struct ab_secret_list){0};
            request_start(request);
        }
    }
    ab_buf_finish(&body);
    ab_workflow_destroy(owned);
    ab_secret_list_finish(&secrets);
    return rc;
}

int autobots_start_submit(struct autobots *client, const struct autobots_job *job, char text[AUTOBOTS_ID_TEXT],
                          autobots_done *done, void *context, struct autobots_error *error)
{
    struct ab_error err = {0};
    struct ab_id id;
    struct ab_budget budget;
    int rc =
        job->workflow || job->fork_of ? 0 : ab_fail_at(&err, AB_EINVALID, "workflow", "a job needs a workflow");
    if (!rc)
        rc = new_id(job->id, &id, &err);
    if (!rc && job->budget)
        rc = ab_budget_read(ab_view_of(job->budget), true, &budget, &err);
    if (!rc)
        rc = submit(client, job, id, done, context, &err);
    if (rc)
        return client_error(error, &err);
    ab_id_text(id, text);
    return 0;
}

int autobots_start_inbox(struct autobots *client, const struct autobots_inbox *row, autobots_done *done,
                         void *context, struct autobots_error *error)
{
    struct ab_error err = {0};
    struct ab_inbox message = {.user = ab_view_of(row->user ? row->user : client->user),
                               .kind = ab_view_of(row->kind),
                               .ask = ab_view_of(row->ask),
                               .text = ab_view_of(row->text)};
    struct request *request = NULL;
    if (!ab_id_parse(ab_view_of(row->job), &message.job))
        ab_fail_at(&err, AB_EINVALID, "job", "%s is not a job's id (36 characters)", row->job);
    else if (!new_id(row->id, &message.id, &err))
        request = request_create(client, &client->broker, AB_INBOX, &message, NULL, done, context, &err);
    if (!request)
        return client_error(error, &err);
    request_start(request);
    return 0;
}

int autobots_start_input(struct autobots *client, const char *job, const char *ask, const char *text,
                         autobots_done *done, void *context, struct autobots_error *err)
{
    struct autobots_inbox row = {.job = job, .kind = "input", .ask = ask, .text = text};
    return autobots_start_inbox(client, &row, done, context, err);
}

int autobots_start_cancel(struct autobots *client, const char *job, const char *reason, autobots_done *done,
                          void *context, struct autobots_error *err)
{
    struct autobots_inbox row = {.job = job, .kind = "cancel", .text = reason};
    return autobots_start_inbox(client, &row, done, context, err);
}

int autobots_start_pause(struct autobots *client, const char *job, const char *reason, autobots_done *done,
                         void *context, struct autobots_error *err)
{
    struct autobots_inbox row = {.job = job, .kind = "pause", .text = reason};
    return autobots_start_inbox(client, &row, done, context, err);
}

int autobots_start_resume(struct autobots *client, const char *job, const char *reason, autobots_done *done,
                          void *context, struct autobots_error *err)
{
    struct autobots_inbox row = {.job = job, .kind = "resume", .text = reason};
    return autobots_start_inbox(client, &row, done, context, err);
}

int autobots_start_budget(struct autobots *client, const char *job, const char *limits, autobots_done *done,
                          void *context, struct autobots_error *err)
{
    struct autobots_inbox row = {.job = job, .kind = "budget", .text = limits};
    return autobots_start_inbox(client, &row, done, context, err);
}
