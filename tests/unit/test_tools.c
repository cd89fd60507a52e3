/* Tools without a service: what the calculator makes of an expression, which hosts http_get may ask. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

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
        int code = tool_calculator.call(arguments, 0, &result, &err);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_calculator_computes),
        cmocka_unit_test(hosts_are_named_with_their_ports),
        cmocka_unit_test(addresses_that_are_not_public_must_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
