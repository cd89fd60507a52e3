/* Tools without a service: what the calculator makes of an expression, which hosts http_get may ask. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/workflow/tools.h"
#include "worker/tool/internal.h"

static void the_calculator_computes(void **state)
{
    static const struct {
        const char *expression, *result, *error;
    } cases[] = {
        {"1 + 2*3", "7", NULL},
        {" -2^2 ", "-4", NULL},
        {"2^3^2", "512", NULL},
        {"2^-1", "0.5", NULL},
        {"7 % 4 - -1", "4", NULL},
        {"(1+2)*(3-4)/8", "-0.375", NULL},
        {"sqrt(16) + max(1, 2.5e1, -3) - min(4)", "25", NULL},
        {"round(pi*100)/100", "3.14", NULL},
        {"ln(e)", "1", NULL},
        {"-0", "0", NULL},
        {"", NULL, "expected at character 1"},
        {"1 +", NULL, "expected at character 4"},
        {"1 2", NULL, "an operator is expected at character 3"},
        {"(1", NULL, "a ) is missing at character 3"},
        {"1/(2-2)", NULL, "division by zero"},
        {"sqrt(-1)", NULL, "no finite number"},
        {"10^999", NULL, "no finite number"},
        {"nan", NULL, "no such name"},
        {"0x10", NULL, "decimal"},
        {"system(1)", NULL, "no such function"},
        {"sqrt(1,2)", NULL, "one argument"},
        {"1;2", NULL, "operator"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ab_buf result = {0};
        struct ab_error err = {0};
        json_t *arguments = json_pack("{ss}", "expression", cases[i].expression);
        int code = tool_calculator.ops.call(NULL, arguments, NULL, &result, &err);
        print_message("  %s\n", cases[i].expression);
        assert_int_equal(!code, !cases[i].error);
        if (cases[i].error)
            assert_non_null(strstr(err.text, cases[i].error));
        else
            assert_string_equal(ab_buf_cstr(&result), cases[i].result);
        ab_buf_finish(&result);
        json_decref(arguments);
    }
}

static void hosts_are_named_with_their_ports(void **state)
{
    json_t *hosts =
        json_pack("[ssss]", "example.org", "*.example.net", "api.example.com:8443", "[fd00::1]:8080");
    static const struct {
        const char *host;
        int port;
        bool may;
    } cases[] = {
        {"example.org", 443, true},
        {"EXAMPLE.org", 80, true},
        {"example.org", 22, false},
        {"www.example.org", 443, false},
        {"notexample.org", 443, false},
        {"a.example.net", 443, true},
        {"a.b.example.net", 80, true},
        {"example.net", 443, false},
        {"evilexample.net", 443, false},
        {"api.example.com", 8443, true},
        {"api.example.com", 443, false},
        {"fd00::1", 8080, true},
        {"fd00::1", 80, false},
        {"example.org.evil.com", 443, false},
        {"", 443, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s:%d\n", cases[i].host, cases[i].port);
        assert_int_equal(hosts_allow(hosts, cases[i].host, cases[i].port), cases[i].may);
    }
    assert_false(hosts_allow(NULL, "example.org", 443));
    json_decref(hosts);
}

static bool may_at(const json_t *hosts, const char *text, int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return hosts_allow_address(hosts, (const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return hosts_allow_address(hosts, (const struct sockaddr *)&in6);
}

static bool may(const json_t *hosts, const char *text)
{
    return may_at(hosts, text, 8080);
}

static void addresses_that_are_not_public_must_be_named(void **state)
{
    static const char *const public[] = {"1.1.1.1",     "93.184.216.34",   "172.32.0.1",  "192.169.0.1",
                                         "100.128.0.1", "2606:4700::1111", "2a00:1450::1"};
    static const char *const private[] = {"127.0.0.1",
                                          "127.9.9.9",
                                          "10.1.2.3",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.168.1.1",
                                          "169.254.1.1",
                                          "0.0.0.0",
                                          "100.64.0.1",
                                          "224.0.0.1",
                                          "255.255.255.255",
                                          "198.18.0.1",
                                          "::1",
                                          "::",
                                          "fe80::1",
                                          "fd00::1",
                                          "ff02::1",
                                          "::ffff:127.0.0.1",
                                          "::ffff:8.8.8.8",
                                          "64:ff9b::a00:1",
                                          "2002:7f00:1::",
                                          "2001::1",
                                          "2001:db8::1"};
    json_t *named = json_pack("[sss]", "*", "10.1.2.3:8080", "[fd00::1]");
    struct sockaddr other = {.sa_family = AF_UNIX};
    (void)state;
    for (size_t i = 0; i < sizeof public / sizeof *public; i++)
        assert_true(may(NULL, public[i]));
    for (size_t i = 0; i < sizeof private / sizeof *private; i++) {
        bool is_named = !strcmp(private[i], "10.1.2.3") || !strcmp(private[i], "fd00::1");
        print_message("  %s\n", private[i]);
        assert_false(may(NULL, private[i]));
        assert_int_equal(may(named, private[i]), is_named);
    }
    assert_false(may_at(named, "10.1.2.3", 80)); /* although `*` lets the URL have it */
    assert_true(may_at(named, "fd00::1", 80));
    assert_false(hosts_allow_address(named, &other));
    json_decref(named);
}

/* --- names ---------------------------------------------------------------------------------------------------- */

static void names_that_models_can_be_given(void **state)
{
    static const struct {
        const char *server, *tool, *name; /* name: how it begins */
        bool same;
    } cases[] = {
        {"files", "read_file", "files__read_file", true},
        {"files", "read.file", "files__read_file_", false},
        {"files", "read file", "files__read_file_", false},
        {"f", "", "f___", false},
        {"f", "\xc3\xa9", "f_____", false},
        {"f", "a12345678901234567890123456789012345678901234567890123456789x", "f__a1234567890123456789", true},
        {"f", "a123456789012345678901234567890123456789012345678901234567890x", "f__a1234567890123456789",
         false},
    };
    char name[AB_TOOL_NAME_MAX + 1], other[AB_TOOL_NAME_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ab_tool_mcp_name(cases[i].server, cases[i].tool, name);
        char *plain = ab_format("%s__%s", cases[i].server, cases[i].tool);
        assert_memory_equal(name, cases[i].name, strlen(cases[i].name));
        assert_true(ab_tool_name_ok(ab_view_of(name)));
        assert_int_equal(!strcmp(name, plain), cases[i].same);
        free(plain);
    }
    ab_tool_mcp_name("files", "read.file", name);
    ab_tool_mcp_name("files", "read file", other);
    assert_string_not_equal(name, other);
}

static void whose_a_name_is(void **state)
{
    static const struct {
        const char *entry, *name;
        bool is;
    } cases[] = {
        {"{\"name\": \"now\"}", "now", true},
        {"{\"name\": \"now\"}", "now_", false},
        {"{\"mcp\": \"files\"}", "files__whatever", true},
        {"{\"mcp\": \"files\"}", "files_whatever", false},
        {"{\"mcp\": \"files\"}", "files2__x", false},
        {"{\"mcp\": \"files\"}", "files__aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
        {"{\"mcp\": \"files\"}", "files__aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"{\"mcp\": \"files\", \"allow\": [\"a\"]}", "files__a", true},
        {"{\"mcp\": \"files\", \"allow\": [\"a\"]}", "files__b", false},
        {"{\"skill\": \"s@2\"}", "s", true},
        {"{\"skill\": \"s@2\"}", "s@2", false},
        {"{\"skill\": \"s\"}", "ss", false},
        {"{\"agent\": \"A\", \"name\": \"ask_a\"}", "ask_a", true},
        {"{\"agent\": \"A\", \"name\": \"ask_a\"}", "A", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *entry = json_loads(cases[i].entry, 0, NULL);
        print_message("  %s %s\n", cases[i].entry, cases[i].name);
        assert_int_equal(ab_tool_is_of(entry, cases[i].name), cases[i].is);
        json_decref(entry);
    }
}

/* --- toolboxes ------------------------------------------------------------------------------------------------ */

/* A source whose answers the test gives, one for each entry that was opened. */
struct slow {
    struct tool_offer *offers[4];
    size_t opened, closed, changed;
};

static void *slow_open(void *self, const struct tool_scope *scope, const json_t *entry,
                       struct tool_offer *offer)
{
    struct slow *slow = self;
    assert_string_equal(scope->user, "ann");
    assert_non_null(json_object_get(entry, "mcp"));
    slow->offers[slow->opened++] = offer;
    return slow;
}

static void slow_close(void *opened)
{
    ((struct slow *)opened)->closed++;
}

static void slow_changed(void *user)
{
    ((struct slow *)user)->changed++;
}

static const struct tool_source slow_source = {.kind = "mcp", .open = slow_open, .close = slow_close};
static const struct tool_builtin *const builtins[] = {&tool_now, NULL};

struct bench {
    struct tools *tools;
    struct tool_builtins builtins;
    struct slow slow;
    json_t *entries;
    struct toolbox *box;
};

static void open_bench(struct bench *b, const char *entries)
{
    static const struct tool_scope scope = {.job = "j", .user = "ann", .session = "", .agent = "a"};
    *b = (struct bench){.builtins = {builtins, NULL}};
    b->tools = tools_create(NULL, NULL);
    tools_register(b->tools, &tool_builtin_source, &b->builtins);
    tools_register(b->tools, &slow_source, &b->slow);
    b->entries = json_loads(entries, 0, NULL);
    b->box = toolbox_open(b->tools, b->entries, &scope, slow_changed, &b->slow);
}

static void close_bench(struct bench *b)
{
    toolbox_close(b->box);
    assert_int_equal(b->slow.closed, b->slow.opened);
    tools_destroy(b->tools);
    json_decref(b->entries);
}

static void offer(struct tool_offer *offer, const char *name)
{
    assert_int_equal(tool_offer_add(offer, &(struct tool_spec){.name = name}, NULL), 0);
}

/* The names that a model is told, one after the other. */
static void assert_told(const struct bench *b, const char *expected)
{
    json_t *told = toolbox_described(b->box), *tool;
    struct ab_buf names = {0};
    size_t i;
    json_array_foreach (told, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        assert_string_equal(json_string_value(json_object_get(json_object_get(function, "parameters"), "type")),
                            "object");
        ab_buf_format(&names, "%s%s", i ? " " : "", json_string_value(json_object_get(function, "name")));
    }
    assert_string_equal(ab_buf_cstr(&names), expected);
    ab_buf_finish(&names);
    json_decref(told);
}

static void tools_are_known_when_all_sources_have_answered(void **state)
{
    struct ab_error err = {0};
    struct bench b;
    (void)state;
    open_bench(&b, "[{\"mcp\": \"x\"}, {\"name\": \"now\"}, {\"mcp\": \"y\"}]");
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_PREPARING);
    offer(b.slow.offers[1], "y__b");
    offer(b.slow.offers[1], "y__a");
    tool_offer_ready(b.slow.offers[1]);
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_PREPARING);
    tool_offer_ready(b.slow.offers[0]); /* it has no tools */
    assert_int_equal(b.slow.changed, 2);
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_READY);
    assert_told(&b, "now y__a y__b");
    assert_non_null(toolbox_find(b.box, "y__b"));
    assert_null(toolbox_find(b.box, "y__c"));
    close_bench(&b);
}

static void a_list_that_changes_is_told_when_it_is_whole(void **state)
{
    struct bench b;
    (void)state;
    open_bench(&b, "[{\"mcp\": \"x\"}]");
    offer(b.slow.offers[0], "x__old");
    tool_offer_ready(b.slow.offers[0]);
    struct tool *held = tool_ref(toolbox_find(b.box, "x__old")); /* a call is under way */
    tool_offer_clear(b.slow.offers[0]);
    offer(b.slow.offers[0], "x__new");
    assert_told(&b, "x__old");
    tool_offer_ready(b.slow.offers[0]);
    assert_told(&b, "x__new");
    assert_string_equal(held->name, "x__old");
    tool_unref(held);
    close_bench(&b);
}

static void a_later_list_that_is_too_much_is_not_used(void **state)
{
    struct ab_error err = {0};
    struct bench b;
    char name[32];
    (void)state;
    open_bench(&b, "[{\"mcp\": \"x\"}, {\"mcp\": \"y\"}]");
    offer(b.slow.offers[0], "x__a");
    tool_offer_ready(b.slow.offers[0]);
    offer(b.slow.offers[1], "y__a");
    tool_offer_ready(b.slow.offers[1]);
    for (int i = 0; i < TOOLBOX_TOOLS_MAX; i++) {
        snprintf(name, sizeof name, "y__%03d", i);
        offer(b.slow.offers[1], name);
    }
    tool_offer_ready(b.slow.offers[1]);
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_READY);
    assert_told(&b, "x__a y__a");
    tool_offer_clear(b.slow.offers[1]);
    offer(b.slow.offers[1], "y__b");
    tool_offer_ready(b.slow.offers[1]);
    assert_told(&b, "x__a y__b");
    close_bench(&b);
}

static void a_source_that_fails(void **state)
{
    struct ab_error err = {0}, why = {.code = AB_EUNAVAILABLE, .retryable = true, .text = "it does not start"};
    struct bench b;
    (void)state;
    open_bench(&b, "[{\"mcp\": \"x\"}, {\"mcp\": \"y\"}]");
    tool_offer_fail(b.slow.offers[1], &why);
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_FAILED);
    assert_true(err.retryable);
    assert_string_equal(err.text, why.text);
    close_bench(&b);
    open_bench(&b, "[{\"skill\": \"s\"}]");
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_FAILED);
    assert_string_equal(err.text, "this worker has no tools of the kind skill");
    close_bench(&b);
}

static void what_an_agent_cannot_have(void **state)
{
    struct ab_error err = {0};
    struct bench b;
    char name[32];
    json_t *text = json_pack("{ss}", "type", "string"), *deep = json_object(), *huge = json_object();
    (void)state;
    char *long_text = memset(ab_calloc(1, 200001), 'x', 200000);
    json_object_set_new(huge, "description", json_string(long_text));
    free(long_text);
    for (int i = 0; i < 5000; i++)
        deep = json_pack("{so}", "not", deep);
    struct tool_spec bad[] = {
        {.name = "no name"},
        {.name = "a", .parameters = text},
        {.name = "a", .parameters = deep},
        {.name = "a", .parameters = huge},
        {.name = "a", .version = json_string_value(json_object_get(huge, "description"))}};
    open_bench(&b, "[{\"mcp\": \"x\"}, {\"mcp\": \"y\"}]");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_not_equal(tool_offer_add(b.slow.offers[0], &bad[i], &err), 0);
    for (int i = 0; i < TOOLBOX_TOOLS_MAX; i++) {
        snprintf(name, sizeof name, "x__%03d", i);
        offer(b.slow.offers[0], name);
    }
    assert_int_equal(tool_offer_add(b.slow.offers[0], &(struct tool_spec){.name = "x__000"}, &err),
                     AB_ETOOLARGE);
    tool_offer_ready(b.slow.offers[0]);
    offer(b.slow.offers[1], "y__one_more");
    tool_offer_ready(b.slow.offers[1]);
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_FAILED);
    assert_non_null(strstr(err.text, "129 tools, at most 128"));
    tool_offer_clear(b.slow.offers[0]);
    offer(b.slow.offers[0], "y__one_more");
    tool_offer_ready(b.slow.offers[0]);
    assert_int_equal(toolbox_state(b.box, &err), TOOLBOX_FAILED);
    assert_non_null(strstr(err.text, "two tools that are called y__one_more"));
    close_bench(&b);
    json_decref(text);
    json_decref(deep);
    json_decref(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_calculator_computes),
        cmocka_unit_test(hosts_are_named_with_their_ports),
        cmocka_unit_test(addresses_that_are_not_public_must_be_named),
        cmocka_unit_test(names_that_models_can_be_given),
        cmocka_unit_test(whose_a_name_is),
        cmocka_unit_test(tools_are_known_when_all_sources_have_answered),
        cmocka_unit_test(a_list_that_changes_is_told_when_it_is_whole),
        cmocka_unit_test(a_later_list_that_is_too_much_is_not_used),
        cmocka_unit_test(a_source_that_fails),
        cmocka_unit_test(what_an_agent_cannot_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
