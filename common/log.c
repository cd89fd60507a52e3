#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/clock.h"

static struct {
    char program[32];
    enum ab_log_level least;
    bool json;
    bool journal; /* stderr is systemd's journal: it adds the time and reads <N> priorities */
} settings = {.program = "autobots", .least = AB_INFO};

static const struct {
    const char *name;
    int priority; /* sd-daemon(3) */
} levels[] = {[AB_DEBUG] = {"debug", 7},
              [AB_INFO] = {"info", 6},
              [AB_WARN] = {"warn", 4},
              [AB_ERROR_LEVEL] = {"error", 3}};

/* JOURNAL_STREAM holds "device:inode" of the journal's socket (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && !fstat(2, &st) &&
           st.st_dev == device && st.st_ino == inode;
}

void ab_log_init(const char *program, enum ab_log_level least, bool json)
{
    snprintf(settings.program, sizeof settings.program, "%s", program);
    settings.least = least;
    settings.json = json;
    settings.journal = stderr_is_journal();
}

bool ab_log_wants(enum ab_log_level level)
{
    return level >= settings.least;
}

static bool is_plain(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == '"' || *text == '=' || *text == '\\' || *text == 0x7f)
            return false;
    return true;
}

static void add_quoted(struct ab_buf *line, const char *text)
{
    ab_buf_char(line, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            ab_buf_format(line, "\\%c", *text);
        else if ((unsigned char)*text < ' ' || *text == 0x7f)
            ab_buf_format(line, "\\u%04x", (unsigned char)*text);
        else
            ab_buf_char(line, *text);
    }
    ab_buf_char(line, '"');
}

static void add_pair(struct ab_buf *line, const char *key, const char *value)
{
    value = value ? value : "";
    ab_buf_format(line, settings.json ? ",\"%s\":" : " %s=", key);
    if (!settings.json && is_plain(value))
        ab_buf_text(line, value);
    else
        add_quoted(line, value);
}

static void open_line(struct ab_buf *line, enum ab_log_level level, const char *event)
{
    char when[AB_ISO8601_MAX];
    ab_iso8601(ab_wall_ms(), when);
    if (settings.journal)
        ab_buf_format(line, "<%d>", levels[level].priority);
    if (settings.json)
        ab_buf_format(line, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"event\":\"%s\"", when,
                      levels[level].name, settings.program, event);
    else
        ab_buf_format(line, "%s%s%s %s %s", settings.journal ? "" : when, settings.journal ? "" : " ",
                      levels[level].name, settings.program, event);
}

void ab_log(enum ab_log_level level, const char *event, ...)
{
    if (!ab_log_wants(level))
        return;
    struct ab_buf line = {0};
    open_line(&line, level, event);
    va_list args;
    va_start(args, event);
    for (const char *key; (key = va_arg(args, const char *));)
        add_pair(&line, key, va_arg(args, const char *));
    va_end(args);
    ab_buf_text(&line, settings.json ? "}\n" : "\n");
    /* One write: lines of several processes do not mix. A log that cannot be written is no reason to stop. */
    while (write(2, line.p, line.n) < 0 && errno == EINTR)
        ;
    ab_buf_finish(&line);
}

const char *ab_num(long long value)
{
    static char ring[16][24];
    static unsigned next;
    char *text = ring[next++ % 16];
    snprintf(text, sizeof ring[0], "%lld", value);
    return text;
}
