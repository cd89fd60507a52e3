/* The tool `now`: models do not know what day it is. */
#include <time.h>

#include "worker/tool/tool.h"

static int now(const struct tool *tool, const json_t *arguments, const struct tool_context *context,
               struct ab_buf *result, struct ab_error *err)
{
    time_t seconds = (time_t)(context->wall_ms / 1000);
    struct tm tm;
    char text[64];
    (void)tool;
    (void)arguments;
    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ (%A)", &tm))
        return ab_fail(err, AB_ESYSTEM, "the clock cannot be read");
    ab_buf_text(result, text);
    return 0;
}

const struct tool_builtin tool_now = {
    .name = "now",
    .description = "The current date and time, UTC, and the day of the week.",
    .parameters = "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
    .idempotent = true,
    .ops = {.call = now},
};
