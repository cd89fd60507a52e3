/* The one table of what the gateway answers: method, path, who may ask, what is taken, who handles it, what comes
 * back. Dispatch, argument checks, Allow headers, /openapi.json and the test that plays every route derive from it.
 *
 * To add a route: a row in the table of its module (routes.c lists the tables), a handler unless it only forwards to
 * an operation, and its fields unless they are the operation's.
 */
#ifndef AUTOBOTS_GATEWAY_ROUTES_H
#define AUTOBOTS_GATEWAY_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/wire/operations.h"

enum { ROUTE_VALUES_MAX = 3, ROUTE_FIELDS_MAX = 24 };

/* What a token must allow. */
enum scope { SCOPE_NONE, SCOPE_READ, SCOPE_WRITE, SCOPE_ADMIN };

enum arg_type {
    ARG_STRING,
    ARG_UINT,
    ARG_INT,
    ARG_BOOL,
    ARG_ID, /* a UUID */
    ARG_OBJECT,
    ARG_STRINGS,  /* array of strings */
    ARG_WORKFLOW, /* an object, or the name of a stored one */
    ARG_CONTENT,  /* text, or an array of parts */
    ARG_ANY,
};

/* One argument. Its place follows from its name and the method: path if {name} stands there, else the body if the
 * method has one and `query` is not set, else the query. */
struct arg {
    const char *name;
    enum arg_type type;
    bool required, query;
    uint64_t max; /* bytes, or the greatest number; 0: the type's own limit */
    const char *doc;
    const char *field; /* of the operation, if it is called otherwise there */
};

enum {
    ROUTE_SEED = 1,    /* the seed's: unknown keys are ignored, faults are its 422, failures its envelope */
    ROUTE_STREAM = 2,  /* answers text/event-stream */
    ROUTE_PUBLIC = 4,  /* not of one user: no `user` argument */
    ROUTE_RAW = 8,     /* the handler reads the body itself */
    ROUTE_TEXT = 16,   /* answers text/plain */
    ROUTE_BYTES = 64,  /* answers bytes of any type */
    ROUTE_OPENAI = 32, /* of /v1: what a query has beside is ignored, as clients of OpenAI's add to it */
};

struct call;
struct route {
    const char *method, *path; /* "/api/jobs/{job}" */
    enum scope scope;
    unsigned flags;
    void (*handle)(struct call *call); /* NULL: forwards to `operation` */
    const char *operation;
    const struct arg *args; /* ends with a NULL name; NULL: the operation's fields */
    const char *answers;    /* statuses that may come beside those every route has, "202 409"; first: success */
    const char *body;       /* of a ROUTE_RAW: what it is called in /openapi.json */
    const char *shape;  /* of the successful answer: a name in /openapi.json; NULL: that of an operation … */
    const char *answer; /* … of this one, if it is not `operation` */
    const char *summary;
};

extern const struct route *const route_tables[]; /* each ends with a NULL method; the list with NULL */

enum route_found { ROUTE_FOUND, ROUTE_UNKNOWN, ROUTE_OTHER_METHOD };
/* `allow`, if it is not NULL, gets the methods of that path: "GET, HEAD, OPTIONS". */
enum route_found route_find(const char *method, struct ab_view path, const struct route **route,
                            struct ab_view values[ROUTE_VALUES_MAX], struct ab_buf *allow);
/* All arguments of a route, those of its operation included; the number of them. */
size_t route_args(const struct route *route, struct arg args[ROUTE_FIELDS_MAX]);
enum arg_place { PLACE_PATH, PLACE_QUERY, PLACE_BODY };
enum arg_place route_place(const struct route *route, const struct arg *arg);
/* Which {name} of the path it is, -1: none. */
int route_value_index(const struct route *route, const char *name);

/* The statuses that every such route may answer beside its own: "400 403 …". */
const char *route_common_answers(const struct route *route, bool body);

extern const struct route routes_service[], routes_submit[], routes_jobs[], routes_stored[], routes_seed[],
    routes_models[], routes_chat[], routes_responses[], routes_queues[];

#endif
