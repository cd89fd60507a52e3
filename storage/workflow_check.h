/* What storage demands of a workflow before it keeps it: the one place where storage looks into workflows.
 */
#ifndef STORAGE_WORKFLOW_CHECK_H
#define STORAGE_WORKFLOW_CHECK_H

#include "common/bytes.h"
#include "common/error.h"
#include "common/wire/schema.h"

/* As clients get them: a msgpack array of {path, what, hint}, appended. */
void faults_pack(const struct ab_faults *faults, struct ab_buf *out);
/* The text is JSON, has this hash, is a valid workflow that this release can run, and holds no key in clear. On
 * success *name is its name and *budget the limits it names, or NULL (caller frees both). If refused, `faults` gets a msgpack array of {path, what, hint}. */
int workflow_check(struct ab_view hash, struct ab_view text, char **name, char **budget, struct ab_buf *faults,
                   struct ab_error *err);
struct ab_workflow;
/* A workflow that is to be kept under a name, as JSON in either form: valid, and without any key, also a sealed one,
 * for the jobs that will use it bring none. *out is the caller's. */
int workflow_check_saved(struct ab_view text, struct ab_workflow **out, struct ab_buf *faults,
                         struct ab_error *err);
/* A session's own flow_config, a msgpack value: no key in clear. */
int workflow_check_stored(struct ab_view flow_config, struct ab_error *err);
/* A workflow's JSON text as a msgpack value. */
int workflow_pack(struct ab_view text, struct ab_buf *out, struct ab_error *err);

#endif
