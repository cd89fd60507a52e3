/* Logs: one line of key=value (or JSON) on stderr, with systemd's priority in front when stderr is its journal.
 *   ab_log(AB_INFO, "job.started", "job", id_text, "worker", name, NULL);
 * Keys and values alternate, NULL ends. Values are escaped; secrets never get here. */
#ifndef AB_COMMON_LOG_H
#define AB_COMMON_LOG_H

#include <stdbool.h>

enum ab_log_level { AB_DEBUG, AB_INFO, AB_WARN, AB_ERROR_LEVEL };

void ab_log_init(const char *program, enum ab_log_level least, bool json);
bool ab_log_wants(enum ab_log_level level);
void ab_log(enum ab_log_level level, const char *event, ...) __attribute__((sentinel));
/* A number as text, in a ring of static buffers (16 at a time): for ab_log's arguments only. */
const char *ab_num(long long value);

#endif
