/* See timeline.h. */
#include "client/cli/timeline.h"

#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/tree.h"

/* A time beyond this is none; so spans can be added and multiplied by columns. */
static const int64_t time_ms_max = 1ll << 46;
enum { NAME_COLUMNS_MAX = 20, SUMS_COLUMNS = 21, CELLS_MIN = 8, SECONDS_TEXT = 48 };

/* ---- events to spans ---- */

/* Of an agent (tool is ""), or of a tool that it calls; *at: where a new one would stand. */
static json_t *find_row(const json_t *agents, const char *name, const char *tool, size_t *at)
{
    size_t i;
    json_t *row;
    *at = json_array_size(agents);
    json_array_foreach (agents, i, row) {
        const char *own = ab_tree_str(row, "tool");
        if (strcmp(ab_tree_str(row, "agent"), name))
            continue;
        *at = i + 1;
        if (!strcmp(own ? own : "", tool))
            return row;
    }
    return NULL;
}

static json_t *agent_row(json_t *agents, const char *name)
{
    size_t at;
    json_t *row = find_row(agents, name, "", &at);
    if (row)
        return row;
    row = json_pack("{s:s, s:i, s:i, s:i, s:[]}", "agent", name, "turns", 0, "busy_ms", 0, "waiting_ms", 0,
                    "spans");
    json_array_append_new(agents, row);
    return row;
}

/* Under its agent's, and what it has of other tools. */
static json_t *tool_row(json_t *agents, const char *name, const char *tool)
{
    size_t at;
    agent_row(agents, name);
    json_t *row = find_row(agents, name, tool, &at);
    if (row)
        return row;
    row = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:[]}", "agent", name, "tool", tool, "calls", 0, "failed",
                    0, "busy_ms", 0, "waiting_ms", 0, "spans");
    json_array_insert_new(agents, at, row);
    return row;
}

static void add_to(json_t *row, const char *key, int64_t more)
{
    json_object_set_new(row, key, json_integer(ab_tree_int(row, key, 0) + more));
}

static json_t *add_span(json_t *row, const json_t *event, int64_t from_ms, int64_t to_ms)
{
    json_t *span = json_pack("{s:s, s:I, s:I, s:I}", "kind", ab_tree_str(event, "kind"), "seq",
                             (json_int_t)ab_tree_int(event, "seq", 0), "from_ms", (json_int_t)from_ms, "to_ms",
                             (json_int_t)to_ms);
    static const char *const told[] = {"step", "chosen", "purpose"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (ab_tree_str(event, told[i]))
            json_object_set_new(span, told[i], json_string(ab_tree_str(event, told[i])));
    json_array_append_new(json_object_get(row, "spans"), span);
    return span;
}

/* Of what began a later event says that it is done, and how long it took. */
static bool is_start(const char *kind)
{
    static const char end[] = "_started";
    size_t n = strlen(kind), m = sizeof end - 1;
    return n > m && !strcmp(kind + n - m, end);
}

/* Turns, replies and whatever newer kinds name an agent. Choosing a speaker, summing up and asking for tools is work, but no
 * turn; what a tool did is its own. */
static void add_work(json_t *agents, const json_t *event, int64_t at_ms)
{
    const char *agent = ab_tree_str(event, "agent"), *tool = ab_tree_str(event, "tool");
    json_t *row = tool ? tool_row(agents, agent, tool) : agent_row(agents, agent);
    int64_t took_ms = ab_tree_int(event, "latency_ms", ab_tree_int(event, "duration_ms", 0));
    if (took_ms < 0 || took_ms > at_ms || ab_tree_bool(event, "cached", false))
        took_ms = 0;
    add_span(row, event, at_ms - took_ms, at_ms);
    add_to(row, "busy_ms", took_ms);
    if (tool) {
        add_to(row, "calls", 1);
        add_to(row, "failed", ab_tree_bool(event, "failed", false));
    } else {
        add_to(row, "turns",
               !ab_tree_str(event, "purpose") && !json_array_size(json_object_get(event, "tool_calls")));
    }
}

/* When the question of events[at] was answered; 0: not yet. A job's end answers all. */
static int64_t answered_ms(const json_t *events, size_t at)
{
    const json_t *event;
    const char *ask = ab_tree_str(json_array_get(events, at), "ask");
    for (size_t i = at + 1; (event = json_array_get(events, i)); i++) {
        const char *kind = ab_tree_str(event, "kind"), *to = ab_tree_str(event, "ask");
        bool input = kind && !strcmp(kind, "input") && (!ask || !to || !strcmp(ask, to));
        if (input || (kind && !strcmp(kind, "end")))
            break;
    }
    int64_t at_ms = ab_tree_int(event, "at_ms", 0);
    return at_ms > time_ms_max ? 0 : at_ms;
}

static void add_wait(json_t *agents, const json_t *events, size_t at, int64_t now_ms)
{
    const json_t *event = json_array_get(events, at);
    const char *agent = ab_tree_str(event, "agent"), *reason = ab_tree_str(event, "reason");
    json_t *row = agent_row(agents, agent ? agent : reason ? reason : "waiting");
    int64_t from_ms = ab_tree_int(event, "at_ms", 0), to_ms = answered_ms(events, at);
    bool open = !to_ms;
    if (open || to_ms < from_ms)
        to_ms = now_ms > from_ms ? now_ms : from_ms;
    json_t *span = add_span(row, event, from_ms, to_ms);
    if (open)
        json_object_set_new(span, "open", json_true());
    add_to(row, "waiting_ms", to_ms - from_ms);
}

/* ---- attempts ---- */

static void begin_attempt(json_t *attempts, const json_t *event, int64_t at_ms)
{
    const char *worker = ab_tree_str(event, "worker");
    json_array_append_new(attempts, json_pack("{s:I, s:s, s:I, s:I}", "attempt",
                                              (json_int_t)ab_tree_int(event, "attempt", 1), "worker",
                                              worker ? worker : "?", "from_ms", (json_int_t)at_ms, "to_ms",
                                              (json_int_t)at_ms));
}

/* The open attempt reaches to here, and is over if the event says so. */
static void extend_attempt(json_t *attempts, const char *kind, int64_t at_ms)
{
    static const char *const over[] = {"attempt_failed", "waiting", "paused", "end"};
    json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
    if (!last || json_object_get(last, "ended_by"))
        return;
    if (at_ms > ab_tree_int(last, "from_ms", 0))
        json_object_set_new(last, "to_ms", json_integer(at_ms));
    for (size_t i = 0; i < sizeof over / sizeof *over; i++)
        if (!strcmp(kind, over[i]))
            json_object_set_new(last, "ended_by", json_string(kind));
}

/* ---- the whole ---- */

static void stretch(const json_t *agents, int64_t *from_ms, int64_t *to_ms)
{
    size_t i, k;
    json_t *row, *span;
    json_array_foreach (agents, i, row)
        json_array_foreach (json_object_get(row, "spans"), k, span) {
            int64_t from = ab_tree_int(span, "from_ms", 0), to = ab_tree_int(span, "to_ms", 0);
            *from_ms = from < *from_ms ? from : *from_ms;
            *to_ms = to > *to_ms ? to : *to_ms;
        }
}

json_t *timeline_of(const json_t *events, int64_t now_ms)
{
    now_ms = now_ms > time_ms_max ? time_ms_max : now_ms;
    json_t *agents = json_array(), *attempts = json_array();
    int64_t from_ms = INT64_MAX, to_ms = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        const char *kind = ab_tree_str(event, "kind");
        int64_t at_ms = ab_tree_int(event, "at_ms", 0);
        if (!kind || at_ms <= 0 || at_ms > time_ms_max)
            continue;
        from_ms = at_ms < from_ms ? at_ms : from_ms;
        to_ms = at_ms > to_ms ? at_ms : to_ms;
        if (!strcmp(kind, "started"))
            begin_attempt(attempts, event, at_ms);
        else
            extend_attempt(attempts, kind, at_ms);
        if (!strcmp(kind, "waiting"))
            add_wait(agents, events, i, now_ms);
        else if (ab_tree_str(event, "agent") && !is_start(kind))
            add_work(agents, event, at_ms);
    }
    stretch(agents, &from_ms, &to_ms);
    if (from_ms > to_ms)
        from_ms = to_ms;
    return json_pack("{s:I, s:I, s:o, s:o}", "from_ms", (json_int_t)from_ms, "to_ms", (json_int_t)to_ms,
                     "agents", agents, "attempts", attempts);
}

/* ---- drawing ---- */

/* What a cell shows; a greater one covers a lesser one. */
enum cell { CELL_NONE, CELL_WAIT, CELL_TURN, CELL_WORK, CELLS };
static const char *const glyphs[2][CELLS] = {{" ", ".", "|", "#"}, {" ", "░", "╵", "█"}};

static void fill(uint8_t *cells, unsigned n, const json_t *span, int64_t from_ms, int64_t whole_ms)
{
    const char *kind = ab_tree_str(span, "kind");
    int64_t from = ab_tree_int(span, "from_ms", 0) - from_ms, to = ab_tree_int(span, "to_ms", 0) - from_ms;
    uint8_t cell = kind && !strcmp(kind, "waiting") ? CELL_WAIT : to > from ? CELL_WORK : CELL_TURN;
    unsigned first = whole_ms ? (unsigned)(from * n / whole_ms) : 0;
    unsigned end = whole_ms ? (unsigned)((to * n + whole_ms - 1) / whole_ms) : 1;
    first = first < n ? first : n - 1;
    end = end > first ? end : first + 1;
    for (unsigned i = first; i < end && i < n; i++)
        cells[i] = cells[i] > cell ? cells[i] : cell;
}

/* Characters, which are columns for all but the widest scripts. */
static unsigned width_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static void pad(FILE *out, unsigned columns)
{
    for (; columns; columns--)
        fputc(' ', out);
}

static void seconds_text(int64_t ms, char text[SECONDS_TEXT])
{
    if (ms >= 10 * 60000)
        snprintf(text, SECONDS_TEXT, "%lld min", (long long)(ms / 60000));
    else
        snprintf(text, SECONDS_TEXT, "%lld.%lld s", (long long)(ms / 1000), (long long)(ms / 100 % 10));
}

static char *row_name(const json_t *row, unsigned columns)
{
    const char *tool = ab_tree_str(row, "tool");
    char *text = tool ? ab_format("  %s", tool) : ab_strdup(ab_tree_str(row, "agent")),
         *name = term_line(text, columns);
    free(text);
    return name;
}

static void draw_row(FILE *out, const json_t *row, unsigned name_columns, unsigned n, int64_t from_ms,
                     int64_t whole_ms, bool fancy, bool colours)
{
    uint8_t cells[TIMELINE_COLUMNS_MAX] = {0};
    size_t i;
    json_t *span;
    const char *tool = ab_tree_str(row, "tool");
    long long times = ab_tree_int(row, tool ? "calls" : "turns", 0);
    char busy[SECONDS_TEXT], *name = row_name(row, name_columns);
    json_array_foreach (json_object_get(row, "spans"), i, span)
        fill(cells, n, span, from_ms, whole_ms);
    unsigned width = width_of(name);
    fprintf(out, "%s%s", term_agent_colour(colours, ab_tree_str(row, "agent")), name);
    pad(out, width < name_columns ? name_columns - width : 0);
    fputs("  ", out);
    for (unsigned c = 0; c < n; c++)
        fputs(glyphs[fancy][cells[c]], out);
    seconds_text(ab_tree_int(row, "busy_ms", 0), busy);
    fprintf(out, "%s %4lld %s %9s\n", term_reset(colours), times, tool ? "calls" : "turns", busy);
    free(name);
}

static unsigned name_columns_of(const json_t *agents)
{
    unsigned most = 4;
    size_t i;
    json_t *row;
    json_array_foreach (agents, i, row) {
        char *name = row_name(row, NAME_COLUMNS_MAX);
        unsigned width = width_of(name);
        most = width > most ? width : most;
        free(name);
    }
    return most < NAME_COLUMNS_MAX ? most : NAME_COLUMNS_MAX;
}

/* How the speakers of groupchats were chosen; nothing if there is none. */
static void draw_choices(FILE *out, const json_t *agents)
{
    static const struct {
        const char *key, *value, *words;
    } ways[] = {{"purpose", "speaker", "asked of a model"},
                {"chosen", "round_robin", "in turn"},
                {"chosen", "random", "at random"},
                {"chosen", "only", "as nobody else might speak"}};
    enum { WAYS = sizeof ways / sizeof *ways };
    size_t counts[WAYS] = {0}, i, k, shown = 0;
    json_t *row, *span;
    json_array_foreach (agents, i, row)
        json_array_foreach (json_object_get(row, "spans"), k, span)
            for (size_t w = 0; w < WAYS; w++) {
                const char *value = ab_tree_str(span, ways[w].key);
                counts[w] += value && !strcmp(value, ways[w].value);
            }
    for (size_t w = 0; w < WAYS; w++)
        if (counts[w])
            fprintf(out, "%s%zu %s", shown++ ? ", " : "speakers: ", counts[w], ways[w].words);
    if (shown)
        fputs("\n", out);
}

void timeline_draw(FILE *out, const json_t *timeline, unsigned columns, bool fancy, bool colours)
{
    const json_t *agents = json_object_get(timeline, "agents");
    int64_t from_ms = ab_tree_int(timeline, "from_ms", 0), to_ms = ab_tree_int(timeline, "to_ms", 0);
    columns = columns < TIMELINE_COLUMNS_MIN   ? TIMELINE_COLUMNS_MIN
              : columns > TIMELINE_COLUMNS_MAX ? TIMELINE_COLUMNS_MAX
                                               : columns;
    unsigned names = name_columns_of(agents), used = names + 2 + SUMS_COLUMNS;
    unsigned n = columns > used + CELLS_MIN ? columns - used : CELLS_MIN;
    size_t i;
    json_t *row;
    char whole[SECONDS_TEXT];
    if (!json_array_size(agents)) {
        fputs("no turn yet\n", out);
        return;
    }
    json_array_foreach (agents, i, row)
        draw_row(out, row, names, n, from_ms, to_ms - from_ms, fancy, colours);
    seconds_text(to_ms - from_ms, whole);
    unsigned ends = 1 + width_of(whole);
    pad(out, names + 2);
    fputs("0", out);
    pad(out, n > ends ? n - ends : 1);
    fprintf(out, "%s\n%s%s a model or tool works  %s a turn without one  %s waits%s\n", whole,
            term_dim(colours), glyphs[fancy][CELL_WORK], glyphs[fancy][CELL_TURN], glyphs[fancy][CELL_WAIT],
            term_reset(colours));
    const json_t *attempts = json_object_get(timeline, "attempts");
    draw_choices(out, agents);
    if (json_array_size(attempts) > 1)
        fprintf(out, "%zu attempts\n", json_array_size(attempts));
}
