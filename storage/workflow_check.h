/* What storage demands of a workflow before it keeps it: the one place where storage looks into workflows.
 */
#ifndef STORAGE_WORKFLOW_CHECK_H
#define STORAGE_WORKFLOW_CHECK_H

#include "common/bytes.h"
#include "common/error.h"
#include "common/wire/schema.h"
#include "common/workflow/workflow.h"

/* As clients get them: a msgpack array of {path, what, hint}, appended. */
void faults_pack(const struct ab_faults *faults, struct ab_buf *out);
/* The stored workflows that a workflow's tools may name: those of its user. find NULL: none. */
struct workflow_names {
    ab_stored_fn *find;
    void *context;
};
/* The text is JSON, has this hash, is a valid workflow that this release can run, and holds no key in clear. What its tools
 * name is put in, which makes it one of another text and hash: *changed. On success *out is the caller's; if refused,
 * `faults` gets a msgpack array of {path, what, hint}. */
int workflow_check(struct ab_view hash, struct ab_view text, const struct workflow_names *names,
                   struct ab_workflow **out, bool *changed, struct ab_buf *faults, struct ab_error *err);
/* The same of a workflow that is to be kept under a name, as JSON in either form: without any key, also a sealed one,
 * for the jobs that will use it bring none. */
int workflow_check_saved(struct ab_view text, const struct workflow_names *names, struct ab_workflow **out,
                         struct ab_buf *faults, struct ab_error *err);
/* A session's own flow_config, a msgpack value: no key in clear. */
int workflow_check_stored(struct ab_view flow_config, struct ab_error *err);
/* A workflow's JSON text as a msgpack value. */
int workflow_pack(struct ab_view text, struct ab_buf *out, struct ab_error *err);

#endif
