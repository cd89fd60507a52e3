/* `autobots-worker --skill-test`: runs one skill in the sandbox of this machine, without any service.
 *
 * Standard input: {"name", "language", "content", "timeout_s", "arguments", "docker"} as JSON. Standard output: {"exit_code", "output",
 * "output_bytes", "duration_ms", "isolation", "stopped", "files": [{"path", "bytes"}]}, or {"error"} if it could not be run. The
 * directory in which it worked is gone afterwards.
 */
#ifndef AB_WORKER_SKILL_TEST_H
#define AB_WORKER_SKILL_TEST_H

#include "worker/exec/exec.h"

#define SKILL_TEST_FLAG "--skill-test"

/* The exit code: 0 if it could be run, whatever it did. */
int skill_test(const struct exec_options *options);

#endif
