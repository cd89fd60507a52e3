/* Who worked when: a job's events as spans of time, one row per agent, and a drawing of them. Pure: events in, JSON and
 * text out, so that it can be tested without a service.
 *
 * A model's reply is a span that ends when it was written down and is as long as the call took; a turn without a model
 * is an instant; a question is a span until its answer, or until the last thing that is known. The tools that an agent calls
 * have rows of their own, under its.
 */
#ifndef AUTOBOTS_CLI_TIMELINE_H
#define AUTOBOTS_CLI_TIMELINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TIMELINE_COLUMNS_MIN = 40, TIMELINE_COLUMNS_MAX = 400 };

/* {"from_ms", "to_ms", "agents": [{"agent", "turns" or "tool", "calls" and "failed", "busy_ms", "waiting_ms", "spans": [{"kind", "seq", "step"?, "chosen"?, "purpose"?,
 * "from_ms", "to_ms", "open"?: true}]}], "attempts": [{"attempt", "worker", "from_ms", "to_ms", "ended_by"?}]}, in the
 * order of first appearance; times are wall clock. `now_ms` is where an open span ends. The caller owns it. */
json_t *timeline_of(const json_t *events, int64_t now_ms);
/* At most `columns` wide; `fancy`: block characters instead of ASCII; `colours`: escape sequences. */
void timeline_draw(FILE *out, const json_t *timeline, unsigned columns, bool fancy, bool colours);

#endif
