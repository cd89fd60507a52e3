/* What the gateway makes of a request's text: its path, the values in it, and bodies of /v1. The whole way over a socket, with
 * requests damaged at random, is in tests/integration/test_gateway_wire.py. */
#include <assert.h>
#include <stdlib.h>

#include "client/gateway/gateway.h"
#include "client/gateway/v1_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_path(struct ab_view path)
{
    static const char *const methods[] = {"GET", "POST", "DELETE", "OPTIONS", ""};
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        const struct route *route = NULL;
        struct ab_view values[ROUTE_VALUES_MAX] = {{0}};
        struct ab_buf allow = {0};
        enum route_found found = route_find(methods[m], path, &route, values, &allow);
        assert((found == ROUTE_FOUND) == (route != NULL));
        for (int i = 0; found == ROUTE_FOUND && i < ROUTE_VALUES_MAX; i++)
            assert(!values[i].p || (values[i].p >= path.p && values[i].p + values[i].n <= path.p + path.n));
        ab_buf_finish(&allow);
    }
    char *text = percent_decode(path);
    assert(!text || (ab_utf8_ok(ab_view_of(text)) && strlen(text) <= path.n));
    free(text);
}

static void read_body(struct ab_view text, int (*read)(const json_t *, struct v1_request *, struct ab_error *))
{
    struct v1_request request;
    struct ab_error err = {0};
    json_t *body = NULL;
    if (!ab_json_parse(text, &body, &err)) {
        int rc = read(body, &request, &err);
        assert(!rc == !err.code);
        v1_request_finish(&request);
    }
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ab_view text = ab_view(data, n);
    if (n && *data == '{') {
        read_body(text, v1_read_chat);
        read_body(text, v1_read_response);
    } else
        read_path(text);
    return 0;
}
