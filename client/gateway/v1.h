/* OpenAI's API over workflows: a model is a workflow, a request is a job. What both kinds of request (chat/completions,
 * responses) do alike: read the body, find the workflow, submit, follow the journal (v1_run.c). What differs is a
 * struct v1_kind. The shapes (v1_shape.c), the reading of bodies (v1_body.c) and of journals (v1_talk.c) are pure.
 */
#ifndef AUTOBOTS_GATEWAY_V1_H
#define AUTOBOTS_GATEWAY_V1_H

#include "client/gateway/feed.h"
#include "client/gateway/gateway.h"
#include "client/gateway/stream.h"
#include "client/gateway/v1_body.h"
#include "client/gateway/v1_shape.h"
#include "client/gateway/v1_talk.h"

enum { V1_THOUGHT_BYTES_MAX = 256 << 10 /* of an answer that is not a stream */ };

struct v1_run;
struct v1_kind {
    int (*read)(const json_t *body, struct v1_request *out, struct ab_error *err);
    void (*find)(struct v1_run *run);  /* what else is needed before the workflow; then v1_find_workflow() */
    void (*begin)(struct v1_run *run); /* the job is on disk; a stream is open */
    void (*text)(struct v1_run *run, uint64_t turn, uint64_t offset, struct ab_view text);
    void (*turn)(struct v1_run *run, uint64_t turn, struct ab_view whole);
    void (*thought)(struct v1_run *run, struct ab_view text);
    void (*end)(struct v1_run *run);     /* talk.end says how; it must answer */
    void (*follows)(struct v1_run *run); /* in front of submitting; NULL is allowed */
};

/* A request that makes or follows a job; call->state. */
struct v1_run {
    struct listener listener; /* first: callbacks get it */
    struct call *call;
    const struct v1_kind *kind;
    json_t *body;
    struct v1_request request;
    struct v1_talk talk;
    char job[AUTOBOTS_ID_TEXT];
    char key[AUTOBOTS_ID_TEXT]; /* the job that the request's Idempotency-Key means; "": it has none */
    char *workflow, *output, *stop, *session; /* session: of the request, then of the job; NULL: none */
    struct stream *stream;                    /* NULL: none, or not yet */
    int64_t created; /* of a job whose id is made of a key: seconds since 1970; else 0 */
    bool submitted, ended;
    bool cancels;                   /* the job is of no use to anybody once the client is gone */
    struct ab_buf answer, thoughts; /* chat that is no stream: collected */
    /* responses */
    json_t *about; /* kept with the job: what its answer repeats */
    json_t *texts; /* complete turns of the answer */
    bool cursor_set;
    uint64_t cursor; /* the last sequence_number that the client has */
};

/* ---- v1_run.c ---- */
struct v1_run *v1_run_create(struct call *call, const struct v1_kind *kind); /* call->state from now on */
void v1_run_start(struct call *call, const struct v1_kind *kind); /* reads the body and goes on from there */
void v1_find_workflow(struct v1_run *run);
void v1_submit(struct v1_run *run);
/* When the job began, if its id does not tell. */
void v1_note_created(struct v1_run *run, const json_t *record);
/* The job is there. `fresh` as of listener_start(). */
void v1_follow(struct v1_run *run, uint64_t after, bool fresh);
/* Cancels the job; nobody waits for the receipt. */
void v1_cancel(struct v1_run *run);
void v1_send(struct v1_run *run, const char *name, json_t *tree); /* into the stream; takes the tree */
void v1_answer(struct v1_run *run, json_t *tree);                 /* not a stream; takes the tree */
/* Into the stream, or as the answer. Trying again is of no use: the job was tried. */
void v1_fail(struct v1_run *run, const char *name, const struct ab_error *error);
/* The tree of an answer, or NULL after its error was told. */
json_t *v1_tree(struct call *call, const struct autobots_answer *answer);

/* ---- v1_responses.c, v1_stored.c ---- */
extern const struct v1_kind v1_response_kind;
void v1_get_handle(struct call *call);
void v1_items_handle(struct call *call);
void v1_cancel_handle(struct call *call);
void v1_delete_handle(struct call *call);
void v1_no_response(struct call *call, const char *id);
/* The input of a job's record, which was asked for with `raw`; NULL: it has none. */
json_t *v1_input_of(const json_t *record);
/* What the input keeps of its response; NULL if it is none, or was not to be stored. Borrowed. */
json_t *v1_about_of(const json_t *input);
/* Texts of the answer, from the record of a job that has ended: a new array. */
json_t *v1_texts_of(const json_t *record, const json_t *about);

/* ---- v1_models.c ---- */
/* The query that finds a model's workflow: {name, model?}. False after a refusal. */
bool v1_model_fields(struct call *call, const char *model, json_t **fields);

#endif
