/* MCP without I/O: framing at every split, the eras, calls and their time, lists, results, headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/tree.h"
#include "common/wire/schema.h"
#include "worker/mcp/content.h"
#include "worker/mcp/core.h"
#include "worker/mcp/lines.h"
#include "worker/mcp/server.h"

/* --- lines ---------------------------------------------------------------------------------------------------- */

static void on_line(void *user, struct ab_view line)
{
    ab_buf_format(user, "<%.*s>", AB_VIEW_FMT(line));
}

static void on_too_long(void *user, int64_t id, uint64_t bytes)
{
    ab_buf_format(user, "[%lld:%llu]", (long long)id, (unsigned long long)bytes);
}

static void feed(const char *text, size_t first, size_t step, const char *expected)
{
    static const struct lines_ops ops = {on_line, on_too_long};
    struct lines lines = {.bytes_max = 20};
    struct ab_buf out = {0};
    size_t n = strlen(text), at = 0;
    for (size_t piece = first; at < n; piece = step ? step : n - at) {
        piece = piece < n - at ? piece : n - at;
        char *copy = ab_strndup(text + at, piece); /* reading past it is seen by the sanitizers */
        lines_feed(&lines, ab_view(copy, piece), &ops, &out);
        free(copy);
        at += piece;
    }
    assert_string_equal(ab_buf_cstr(&out), expected);
    ab_buf_finish(&out);
    lines_finish(&lines);
}

static void lines_come_out_whole_however_they_are_split(void **state)
{
    static const char text[] =
        "one\r\n\ntwo\n{\"result\":{\"id\":7},\"s\":\"\\\"id\\\":8\",\"id\": 42 }\nthree\n"
        "{\"id\":13,\"result\":\"0123456789\"}\n0123456789012345678901234\nlast\nunfinished";
    for (size_t first = 1; first <= strlen(text); first++)
        feed(text, first, 0, "<one><two>[42:44]<three>[13:31][0:25]<last>");
    for (size_t step = 1; step < 8; step++)
        feed(text, step, step, "<one><two>[42:44]<three>[13:31][0:25]<last>");
}

/* --- the core ------------------------------------------------------------------------------------------------- */

struct world {
    struct mcp_core *core;
    struct ab_buf log; /* what was sent: method#id, answers as text; what calls came to */
    json_t *last;      /* the last message */
    int64_t now;
};

static void world_send(void *user, const struct mcp_message *message)
{
    struct world *world = user;
    json_decref(world->last);
    assert_int_equal(ab_json_parse(message->text, &world->last, NULL), 0);
    if (message->method)
        ab_buf_format(&world->log, "%s#%lld ", message->method, (long long)message->id);
    else
        ab_buf_format(&world->log, "%.*s ", AB_VIEW_FMT(message->text));
}

static void world_abandon(void *user, int64_t id)
{
    ab_buf_format(&((struct world *)user)->log, "abandon#%lld ", (long long)id);
}

static void world_changed(void *user)
{
    (void)user;
}

static void world_told(void *user, const char *event, const char *text)
{
    (void)text;
    ab_buf_format(&((struct world *)user)->log, "(%s) ", event);
}

static const struct mcp_core_ops world_ops = {world_send, world_abandon, world_changed, world_told};

static struct world *world_create(bool http)
{
    static const struct mcp_times times = {
        .start_ms = 10000, .probe_ms = 1000, .call_ms = 5000, .call_max_ms = 20000};
    struct world *world = ab_calloc(1, sizeof *world);
    world->core = mcp_core_create(&times, http, MCP_UNKNOWN, &world_ops, world);
    world->now = 1000;
    mcp_core_start(world->core, world->now);
    return world;
}

static void world_destroy(struct world *world)
{
    mcp_core_destroy(world->core);
    json_decref(world->last);
    ab_buf_finish(&world->log);
    free(world);
}

static void take(struct world *world, const char *text)
{
    mcp_core_take(world->core, ab_view_of(text), RPC_NO_ID, world->now);
}

static void pass(struct world *world, int64_t ms)
{
    world->now += ms;
    mcp_core_tick(world->core, world->now);
}

/* What happened since the last time. */
static void expect(struct world *world, const char *what)
{
    assert_string_equal(ab_buf_cstr(&world->log), what);
    ab_buf_clear(&world->log);
}

#define TOOLS(id)                                                                                              \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id                                                                         \
    ",\"result\":{\"tools\":[{\"name\":\"b\",\"inputSchema\":{\"type\":\"object\"}},"                          \
    "{\"name\":\"a\",\"inputSchema\":{\"type\":\"object\"}}]}}"
#define INITIALIZED(id)                                                                                        \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id                                                                         \
    ",\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{"                            \
    "\"listChanged\":true}}}}"
#define DISCOVERED(id)                                                                                         \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id                                                                         \
    ",\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":"                         \
    "{\"listChanged\":true}}}}"

static struct world *legacy(void)
{
    struct world *world = world_create(false);
    take(world, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}");
    take(world, INITIALIZED(2));
    expect(world, "server/discover#1 initialize#2 notifications/initialized#0 tools/list#3 ");
    take(world, TOOLS(3));
    assert_int_equal(mcp_core_state(world->core), MCP_READY);
    return world;
}

static void a_legacy_server_is_initialized(void **state)
{
    struct world *world = legacy();
    assert_int_equal(mcp_core_era(world->core), MCP_LEGACY);
    assert_string_equal(mcp_core_version(world->core), "2025-06-18");
    assert_int_equal(mcp_core_tools(world->core)->n, 2);
    assert_string_equal(mcp_core_tools(world->core)->items[0].name, "a");
    world_destroy(world);
}

static void a_modern_server_is_not(void **state)
{
    struct world *world = world_create(false);
    take(world, DISCOVERED(1));
    expect(world, "server/discover#1 subscriptions/listen#2 tools/list#3 ");
    const json_t *meta = json_object_get(json_object_get(world->last, "params"), "_meta");
    assert_string_equal(ab_tree_str(meta, "io.modelcontextprotocol/protocolVersion"), "2026-07-28");
    take(world, TOOLS(3));
    assert_int_equal(mcp_core_state(world->core), MCP_READY);
    assert_int_equal(mcp_core_era(world->core), MCP_MODERN);
    world_destroy(world);
}

static void silence_at_the_probe_is_legacy_but_a_late_answer_counts(void **state)
{
    struct world *world = world_create(false);
    pass(world, 1000);
    expect(world, "server/discover#1 initialize#2 ");
    take(world, DISCOVERED(1));
    take(world, TOOLS(4));
    assert_int_equal(mcp_core_era(world->core), MCP_MODERN);
    assert_int_equal(mcp_core_state(world->core), MCP_READY);
    world_destroy(world);
}

static void a_modern_error_is_no_reason_to_initialize(void **state)
{
    struct world *world = world_create(false);
    take(world,
         "{\"id\":1,\"error\":{\"code\":-32022,\"message\":\"no\",\"data\":{\"supported\":[\"2030-01-01\"]}}}");
    assert_int_equal(mcp_core_state(world->core), MCP_BROKEN);
    assert_non_null(strstr(mcp_core_error(world->core)->text, "2030-01-01"));
    world_destroy(world);
    world = world_create(false);
    take(world,
         "{\"id\":1,\"error\":{\"code\":-32022,\"message\":\"no\",\"data\":{\"supported\":[\"2025-11-25\"]}}}");
    expect(world, "server/discover#1 initialize#2 "); /* an older one in common */
    world_destroy(world);
}

static void a_server_that_ends_at_the_probe_is_greeted_without_one(void **state)
{
    struct world *world = world_create(false);
    struct ab_error why = {.code = AB_EUNAVAILABLE, .text = "gone"};
    assert_true(mcp_core_lost(world->core, &why));
    mcp_core_start(world->core, world->now);
    expect(world, "server/discover#1 initialize#2 ");
    assert_false(mcp_core_lost(world->core, &why));
    mcp_core_start(world->core, world->now);
    take(world, "{\"id\":3,\"error\":{\"code\":-32601,\"message\":\"modern now\"}}");
    assert_int_equal(mcp_core_state(world->core), MCP_BROKEN);
    mcp_core_start(world->core, world->now);
    expect(world, "initialize#3 server/discover#4 "); /* what it was taken for was wrong */
    world_destroy(world);
}

static void a_start_that_takes_too_long_is_given_up(void **state)
{
    struct world *world = world_create(false);
    pass(world, 9999);
    assert_int_equal(mcp_core_state(world->core), MCP_INITIALIZING);
    pass(world, 1);
    assert_int_equal(mcp_core_state(world->core), MCP_BROKEN);
    world_destroy(world);
}

/* --- calls ---------------------------------------------------------------------------------------------------- */

static void on_done(void *user, const json_t *result, const struct ab_error *error)
{
    struct world *world = user;
    ab_buf_format(&world->log, "done:%s ", error ? error->text : ab_tree_str(result, "x"));
}

static struct mcp_call *call_of(struct world *world, const struct mcp_tool *tool, int64_t limit_ms)
{
    json_t *arguments = json_object();
    struct mcp_call *made =
        mcp_core_call(world->core, tool, arguments, "k", limit_ms, on_done, world, world->now, NULL);
    json_decref(arguments);
    return made;
}

static struct mcp_call *call(struct world *world, int64_t limit_ms)
{
    return call_of(world, &mcp_core_tools(world->core)->items[0], limit_ms);
}

static void answers_go_to_their_calls_and_nowhere_else(void **state)
{
    struct world *world = legacy();
    call(world, 0);
    const json_t *meta = json_object_get(json_object_get(world->last, "params"), "_meta");
    assert_string_equal(ab_tree_str(meta, "autobots/idempotencyKey"), "k");
    call(world, 0);
    take(world, "{\"id\":5,\"result\":{\"x\":\"five\"}}");
    take(world, "{\"id\":5,\"result\":{\"x\":\"five again\"}}");
    take(world, "[{\"id\":99,\"result\":{}},{\"id\":4,\"error\":{\"code\":1,\"message\":\"four\"}}]");
    expect(world, "tools/call#4 tools/call#5 done:five (mcp.unasked) (mcp.unasked) done:four ");
    world_destroy(world);
}

static void progress_puts_the_end_off_but_not_for_ever(void **state)
{
    struct world *world = legacy();
    call(world, 0);
    for (int i = 0; i < 4; i++) {
        pass(world, 4000);
        take(world, "{\"method\":\"notifications/progress\",\"params\":{\"progressToken\":4,\"progress\":1}}");
    }
    expect(world, "tools/call#4 ");
    pass(world, 3999);
    expect(world, "");
    pass(world, 1);
    expect(world, "notifications/cancelled#0 abandon#4 ping#5 done:it gave no answer in time ");
    take(world, "{\"id\":5,\"result\":{}}");
    take(world, "{\"id\":4,\"result\":{\"x\":\"late\"}}");
    expect(world, "(mcp.unasked) ");
    assert_int_equal(mcp_core_state(world->core), MCP_READY);
    world_destroy(world);
}

static void a_server_without_a_sign_of_life_is_given_up_with_all_its_calls(void **state)
{
    struct world *world = legacy();
    call(world, 1000);
    pass(world, 1000);
    call(world, 0);
    ab_buf_clear(&world->log);
    pass(world, MCP_ALIVE_MS);
    assert_int_equal(mcp_core_state(world->core), MCP_BROKEN);
    world_destroy(world);
}

static void what_was_sent_is_lost_with_the_server_what_waits_is_not(void **state)
{
    struct world *world = legacy();
    struct ab_error why = {.code = AB_EUNAVAILABLE, .text = "gone"};
    call(world, 0);
    mcp_core_lost(world->core, &why);
    call(world, 0);
    expect(world, "tools/call#4 done:gone ");
    mcp_core_start(world->core, world->now);
    take(world, INITIALIZED(5));
    take(world, TOOLS(6));
    expect(world, "initialize#5 notifications/initialized#0 tools/list#6 tools/call#7 ");
    world_destroy(world);
}

/* The same names as TOOLS has, but `a` is another tool now, and `c` is new. */
#define OTHER_TOOLS(id)                                                                                        \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id                                                                         \
    ",\"result\":{\"tools\":[{\"name\":\"c\",\"inputSchema\":{\"type\":\"object\"}},"                          \
    "{\"name\":\"a\",\"description\":\"another\",\"inputSchema\":{\"type\":\"object\"}}]}}"

static void a_call_that_waits_is_not_made_of_another_tool(void **state)
{
    struct world *world = legacy();
    struct ab_error why = {.code = AB_EUNAVAILABLE, .text = "gone"};
    struct mcp_tools *offered = mcp_tools_ref(mcp_core_tools(world->core));
    mcp_core_lost(world->core, &why);
    call(world, 0);
    call_of(world, &offered->items[1], 0);
    mcp_core_start(world->core, world->now);
    take(world, INITIALIZED(4));
    take(world, OTHER_TOOLS(5));
    expect(world, "initialize#4 notifications/initialized#0 tools/list#5 "
                  "done:its tool a has changed since it was offered; it was not called "
                  "done:its tool b is gone since it was offered; it was not called ");
    assert_true(mcp_core_idle(world->core));
    mcp_tools_unref(offered);
    world_destroy(world);
}

/* The list that was offered may be kept although there is a newer one that may not be used. */
static void a_tool_that_has_changed_is_not_called_by_its_old_definition(void **state)
{
    struct world *world = legacy();
    struct ab_error why = {0};
    struct mcp_tools *offered = mcp_tools_ref(mcp_core_tools(world->core));
    take(world, "{\"method\":\"notifications/tools/list_changed\"}");
    pass(world, MCP_RELIST_MS);
    take(world, OTHER_TOOLS(4));
    expect(world, "tools/list#4 ");
    assert_null(mcp_core_call(world->core, &offered->items[0], NULL, "k", 0, on_done, world, world->now, &why));
    assert_string_equal(why.text, "its tool a has changed since it was offered; it was not called");
    expect(world, "");
    mcp_tools_unref(offered);
    world_destroy(world);
}

static void a_cancelled_call_is_told_and_never_done(void **state)
{
    struct world *world = legacy();
    mcp_core_cancel(world->core, call(world, 0), "why");
    take(world, "{\"id\":4,\"result\":{\"x\":\"late\"}}");
    expect(world, "tools/call#4 notifications/cancelled#0 abandon#4 (mcp.unasked) ");
    assert_true(mcp_core_idle(world->core));
    world_destroy(world);
}

static void broken_and_long_answers_end_their_call_only(void **state)
{
    struct world *world = legacy();
    call(world, 0);
    call(world, 0);
    take(world, "{\"id\":4,\"result\":nonsense}");
    mcp_core_too_long(world->core, 5, 1000000, world->now);
    mcp_core_too_long(world->core, RPC_NO_ID, 1000000, world->now);
    assert_non_null(strstr(ab_buf_cstr(&world->log), "done:it sent what is no JSON"));
    assert_non_null(strstr(ab_buf_cstr(&world->log), "done:its message has 1000000 bytes"));
    assert_int_equal(mcp_core_state(world->core), MCP_READY);
    for (int i = 0; i <= MCP_GARBAGE_MAX; i++)
        take(world, "garbage");
    assert_int_equal(mcp_core_state(world->core), MCP_BROKEN);
    world_destroy(world);
}

/* A few bytes of text make a value that takes hundreds in memory. */
static void a_message_of_too_many_values_is_not_read(void **state)
{
    struct world *world = legacy();
    struct ab_buf text = {0};
    call(world, 0);
    ab_buf_text(&text, "{\"id\":4,\"result\":[0");
    for (int i = 0; i < MCP_VALUES_MAX; i++)
        ab_buf_text(&text, ",{}");
    ab_buf_text(&text, "]}");
    take(world, ab_buf_cstr(&text));
    expect(world, "tools/call#4 (mcp.garbage) done:it sent a message of too many values ");
    ab_buf_clear(&text);
    ab_buf_text(&text, "{\"id\":5,\"result\":{\"x\":\"");
    for (int i = 0; i < MCP_VALUES_MAX; i++)
        ab_buf_text(&text, ",{\\\"[");
    ab_buf_text(&text, "\"}}"); /* it is one text */
    call(world, 0);
    take(world, ab_buf_cstr(&text));
    assert_true(text.n > 4 * MCP_VALUES_MAX && world->log.n > 4 * MCP_VALUES_MAX);
    ab_buf_finish(&text);
    world_destroy(world);
}

static void a_request_with_an_id_that_is_none_is_not_answered(void **state)
{
    struct world *world = legacy();
    struct ab_buf text = {0};
    ab_buf_text(&text, "{\"method\":\"ping\",\"id\":\"");
    for (int i = 0; i <= MCP_ID_BYTES_MAX; i++)
        ab_buf_char(&text, 'x');
    ab_buf_text(&text, "\"}");
    take(world, ab_buf_cstr(&text));
    take(world, "{\"method\":\"ping\",\"id\":[1]}");
    expect(world, "(mcp.garbage) (mcp.garbage) ");
    ab_buf_finish(&text);
    world_destroy(world);
}

static void a_server_s_requests_are_answered(void **state)
{
    struct world *world = legacy();
    take(world, "{\"id\":\"x\",\"method\":\"ping\"}");
    take(world, "{\"id\":9,\"method\":\"sampling/createMessage\",\"params\":{}}");
    assert_non_null(strstr(ab_buf_cstr(&world->log), "\"result\":{},\"id\":\"x\""));
    assert_non_null(strstr(ab_buf_cstr(&world->log), "-32601"));
    world_destroy(world);
}

static void a_changed_list_is_read_again_but_not_too_often(void **state)
{
    struct world *world = legacy();
    struct mcp_tools *before = mcp_core_tools(world->core);
    for (int i = 0; i < 10; i++)
        take(world, "{\"method\":\"notifications/tools/list_changed\"}");
    pass(world, MCP_RELIST_MS - 1);
    expect(world, "");
    pass(world, 1);
    expect(world, "tools/list#4 ");
    take(world, TOOLS(4));
    assert_ptr_equal(mcp_core_tools(world->core), before); /* the same as it was */
    take(world, "{\"method\":\"notifications/tools/list_changed\"}");
    pass(world, 2 * MCP_RELIST_MS - 1);
    expect(world, "");
    pass(world, 1);
    take(world, "{\"id\":5,\"error\":{\"code\":1,\"message\":\"no\"}}");
    expect(world, "tools/list#5 (mcp.list_failed) ");
    assert_int_equal(mcp_core_state(world->core), MCP_READY);
    world_destroy(world);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Whatever a server sends, in whatever order: nothing breaks (the sanitizers look on). */
static void damaged_messages_do_no_harm(void **state)
{
    static const char *const messages[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}",
        DISCOVERED(1),
        INITIALIZED(2),
        TOOLS(3),
        TOOLS(4),
        "{\"id\":5,\"result\":{\"x\":\"five\",\"content\":[{\"type\":\"text\"}]}}",
        "{\"method\":\"notifications/progress\",\"params\":{\"progressToken\":5,\"progress\":1}}",
        "{\"method\":\"notifications/tools/list_changed\"}",
        "{\"id\":\"x\",\"method\":\"ping\"}"};
    uint32_t seed = 20260728;
    for (int round = 0; round < 3000; round++) {
        struct world *world = world_create(round & 1);
        for (int i = 0; i < 12; i++) {
            char *text = ab_strdup(messages[next_random(&seed) % (sizeof messages / sizeof *messages)]);
            size_t n = strlen(text);
            if (next_random(&seed) % 3 == 0)
                text[next_random(&seed) % n] = "{}[]\",:0\\x"[next_random(&seed) % 10];
            if (next_random(&seed) % 8 == 0)
                n = next_random(&seed) % n;
            char *copy = ab_strndup(text, n);
            mcp_core_take(world->core, ab_view(copy, n), next_random(&seed) % 6, world->now);
            if (mcp_core_tools(world->core) && mcp_core_tools(world->core)->n)
                call(world, 0);
            pass(world, next_random(&seed) % 3000);
            free(copy);
            free(text);
        }
        world_destroy(world);
    }
}

/* --- HTTP ----------------------------------------------------------------------------------------------------- */

static void a_lost_session_is_begun_again_with_the_call(void **state)
{
    struct world *world = world_create(true);
    mcp_core_failed(world->core, 1, 400,
                    ab_view_of("{\"error\":{\"code\":-32000,\"message\":\"no session\"},\"id\":null}"), false,
                    world->now);
    take(world, INITIALIZED(2));
    take(world, TOOLS(3));
    call(world, 0);
    call(world, 0);
    ab_buf_clear(&world->log);
    mcp_core_failed(world->core, 4, 404, ab_view_of("Session not found"), true, world->now);
    mcp_core_failed(world->core, 5, 404, ab_view_of("Session not found"), true, world->now);
    take(world, INITIALIZED(6));
    take(world, TOOLS(7));
    expect(world, "(mcp.session_lost) initialize#6 (mcp.session_lost) notifications/initialized#0 tools/list#7 "
                  "tools/call#8 "
                  "tools/call#9 ");
    mcp_core_failed(world->core, 8, 404, ab_view_of("Session not found"), true, world->now);
    expect(world, "done:HTTP 404: Session not found "); /* once is enough */
    world_destroy(world);
}

/* A list that was on its way, or due, is none of the new session's. */
static void a_lost_session_takes_its_lists_with_it(void **state)
{
    struct world *world = world_create(true);
    mcp_core_failed(world->core, 1, 404, ab_view_of("no"), false, world->now);
    take(world, INITIALIZED(2));
    take(world, TOOLS(3));
    call(world, 0);
    take(world, "{\"method\":\"notifications/tools/list_changed\"}");
    pass(world, MCP_RELIST_MS);
    ab_buf_clear(&world->log);
    mcp_core_failed(world->core, 4, 404, ab_view_of("Session not found"), true, world->now);
    expect(world, "(mcp.session_lost) initialize#6 ");
    take(world, TOOLS(5));
    expect(world, "(mcp.unasked) ");
    take(world, INITIALIZED(6));
    take(world, TOOLS(7));
    expect(world, "notifications/initialized#0 tools/list#7 tools/call#8 ");
    take(world, "{\"method\":\"notifications/tools/list_changed\"}");
    call(world, 0);
    mcp_core_failed(world->core, 9, 404, ab_view_of("Session not found"), true, world->now);
    pass(world, 2 * MCP_RELIST_MS);
    expect(world, "tools/call#9 (mcp.session_lost) initialize#10 ");
    assert_int_equal(mcp_core_state(world->core), MCP_INITIALIZING);
    world_destroy(world);
}

static void http_failures_say_what_they_are(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum mcp_state then;
    } rows[] = {{0, "refused", MCP_BROKEN},
                {401, "who are you", MCP_BROKEN},
                {404, "", MCP_INITIALIZING},
                {500, "oops", MCP_INITIALIZING},
                {400, "{\"error\":{\"code\":-32020,\"message\":\"header\"},\"id\":null}", MCP_BROKEN},
                {400, "{\"error\":{\"code\":-32000,\"message\":\"old\"},\"id\":null}", MCP_INITIALIZING}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *world = world_create(true);
        mcp_core_failed(world->core, 1, rows[i].status, ab_view_of(rows[i].body), false, world->now);
        assert_int_equal(mcp_core_state(world->core), rows[i].then);
        world_destroy(world);
    }
}

/* --- tools ---------------------------------------------------------------------------------------------------- */

static struct mcp_tools *read_tools(const char *page)
{
    struct mcp_tools *tools = mcp_tools_create();
    const char *cursor;
    json_t *tree = NULL;
    assert_int_equal(ab_json_parse(ab_view_of(page), &tree, NULL), 0);
    assert_int_equal(mcp_tools_add(tools, tree, &cursor, NULL), 0);
    mcp_tools_end(tools);
    json_decref(tree);
    return tools;
}

static void headers_of_arguments(void **state)
{
    struct mcp_tools *tools = read_tools("{\"tools\":[{\"name\":\"good\",\"inputSchema\":{\"properties\":{"
                                         "\"a\":{\"properties\":{\"b\":{\"type\":\"string\","
                                         "\"x-mcp-header\":\"Region\"}}}}}},"
                                         "{\"name\":\"number\",\"inputSchema\":{\"properties\":{\"a\":{"
                                         "\"type\":\"number\",\"x-mcp-header\":\"A\"}}}},"
                                         "{\"name\":\"token\",\"inputSchema\":{\"properties\":{\"a\":{\"type\":"
                                         "\"string\",\"x-mcp-header\":\"A\\r\\nB: \"}}}},"
                                         "{\"name\":\"twice\",\"inputSchema\":{\"properties\":{\"a\":{\"type\":"
                                         "\"string\",\"x-mcp-header\":\"A\"},"
                                         "\"b\":{\"type\":\"string\",\"x-mcp-header\":\"a\"}}}},"
                                         "{\"name\":\"items\",\"inputSchema\":{\"properties\":{\"a\":{"
                                         "\"items\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}}}}"
                                         "]}");
    assert_int_equal(tools->n, 1);
    assert_string_equal(tools->items[0].headers[0].name, "Mcp-Param-Region");
    assert_int_equal(json_array_size(tools->items[0].headers[0].path), 2);
    mcp_tools_unref(tools);
}

static void header_values(void **state)
{
    static const struct {
        const char *json, *value;
    } rows[] = {{"\"us-west1\"", "us-west1"},
                {"\"Hello, \\u4e16\\u754c\"", "=?base64?SGVsbG8sIOS4lueVjA==?="},
                {"\" padded \"", "=?base64?IHBhZGRlZCA=?="},
                {"\"line1\\nline2\"", "=?base64?bGluZTEKbGluZTI=?="},
                {"\"=?base64?literal?=\"", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="},
                {"-7", "-7"},
                {"true", "true"},
                {"null", NULL},
                {"{}", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *value = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
        char *text = mcp_header_value(value);
        if (rows[i].value)
            assert_string_equal(text, rows[i].value);
        else
            assert_null(text);
        free(text);
        json_decref(value);
    }
}

static void digests_tell_what_a_model_is_told(void **state)
{
    struct mcp_tools *a =
        read_tools("{\"tools\":[{\"name\":\"t\",\"description\":\"d\",\"inputSchema\":{},\"icons\":[1]}]}");
    struct mcp_tools *b = read_tools("{\"tools\":[{\"inputSchema\":{},\"description\":\"d\",\"name\":\"t\"}]}");
    struct mcp_tools *c = read_tools("{\"tools\":[{\"inputSchema\":{},\"description\":\"D\",\"name\":\"t\"}]}");
    assert_true(mcp_tools_same(a, b));
    assert_false(mcp_tools_same(a, c));
    mcp_tools_unref(a);
    mcp_tools_unref(b);
    mcp_tools_unref(c);
}

/* --- what is shown to people ---------------------------------------------------------------------------------- */

static void names_are_cut_at_whole_characters(void **state)
{
    struct ab_buf text = {0};
    struct ab_error why = {0};
    const char *cursor;
    json_t *page;
    struct mcp_tools *tools = mcp_tools_create();
    for (int i = 0; i < 101; i++)
        ab_buf_text(&text, "\xc3\xa9");
    page = json_pack("{s[{s:s%, s{ss}}]}", "tools", "name", text.p, text.n, "inputSchema", "type", "object");
    assert_non_null(page);
    assert_int_equal(mcp_tools_add(tools, page, &cursor, &why), 0);
    assert_true(tools->left_out.n && ab_utf8_ok(ab_buf_view(&tools->left_out)));
    json_decref(page);
    mcp_tools_unref(tools);

    struct world *world = world_create(false);
    take(world, "{\"id\":1,\"error\":{\"code\":1,\"message\":\"no\"}}");
    char *answer = ab_format("{\"id\":2,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},"
                             "\"serverInfo\":{\"name\":\"x%.*s\"}}}",
                             AB_VIEW_FMT(ab_buf_view(&text)));
    take(world, answer);
    assert_int_equal(strlen(mcp_core_server(world->core)), 199);
    assert_true(ab_utf8_ok(ab_view_of(mcp_core_server(world->core))));
    free(answer);
    world_destroy(world);
    ab_buf_finish(&text);
}

static void scrub(struct mcp_launch *launch, const char *text, const char *expected)
{
    struct ab_buf buf = {0};
    ab_buf_text(&buf, text);
    mcp_launch_scrub(launch, &buf);
    assert_string_equal(ab_buf_cstr(&buf), expected);
    ab_buf_finish(&buf);
}

static void secrets_are_taken_out_whole_and_where_a_text_was_cut(void **state)
{
    char *secrets[] = {"sesame", "sesame-and-more", "0123456789", NULL};
    struct mcp_launch launch = {.secrets = secrets, .secrets_n = 3};
    scrub(&launch, "a sesame b sesame-and-more c", "a *** b *** c");
    scrub(&launch, "sesamesesame0123456789", "*********");
    scrub(&launch, "it said 01234567", "it said ***");
    scrub(&launch, "it said 01234", "it said 01234"); /* too little to know it by */
    scrub(&launch, "it said 01234567 and went on", "it said 01234567 and went on");
    scrub(&launch, "", "");
    struct ab_buf much = {0};
    for (size_t i = 0; i < 800000; i++)
        ab_buf_text(&much, "0123456789");
    mcp_launch_scrub(&launch, &much); /* takes minutes if each moves all that follows it */
    assert_int_equal(much.n, 3 * 800000);
    ab_buf_finish(&much);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_out_whole_however_they_are_split),
        cmocka_unit_test(a_legacy_server_is_initialized),
        cmocka_unit_test(a_modern_server_is_not),
        cmocka_unit_test(silence_at_the_probe_is_legacy_but_a_late_answer_counts),
        cmocka_unit_test(a_modern_error_is_no_reason_to_initialize),
        cmocka_unit_test(a_server_that_ends_at_the_probe_is_greeted_without_one),
        cmocka_unit_test(a_start_that_takes_too_long_is_given_up),
        cmocka_unit_test(answers_go_to_their_calls_and_nowhere_else),
        cmocka_unit_test(progress_puts_the_end_off_but_not_for_ever),
        cmocka_unit_test(a_server_without_a_sign_of_life_is_given_up_with_all_its_calls),
        cmocka_unit_test(what_was_sent_is_lost_with_the_server_what_waits_is_not),
        cmocka_unit_test(a_call_that_waits_is_not_made_of_another_tool),
        cmocka_unit_test(a_tool_that_has_changed_is_not_called_by_its_old_definition),
        cmocka_unit_test(a_cancelled_call_is_told_and_never_done),
        cmocka_unit_test(broken_and_long_answers_end_their_call_only),
        cmocka_unit_test(a_message_of_too_many_values_is_not_read),
        cmocka_unit_test(a_request_with_an_id_that_is_none_is_not_answered),
        cmocka_unit_test(a_server_s_requests_are_answered),
        cmocka_unit_test(a_changed_list_is_read_again_but_not_too_often),
        cmocka_unit_test(damaged_messages_do_no_harm),
        cmocka_unit_test(a_lost_session_is_begun_again_with_the_call),
        cmocka_unit_test(a_lost_session_takes_its_lists_with_it),
        cmocka_unit_test(http_failures_say_what_they_are),
        cmocka_unit_test(headers_of_arguments),
        cmocka_unit_test(header_values),
        cmocka_unit_test(digests_tell_what_a_model_is_told),
        cmocka_unit_test(names_are_cut_at_whole_characters),
        cmocka_unit_test(secrets_are_taken_out_whole_and_where_a_text_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
