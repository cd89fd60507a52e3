/* The one error shape of the project.
 *
 * A function that can fail returns 0 or a negative AB_E… and takes `struct ab_error *err` as its last
 * argument (NULL is allowed: the caller wants the code only). The text says what is wrong, where, and what to
 * do about it. The same struct travels in ERROR, REJECT and RESULT messages and is what a user sees.
 */
#ifndef AB_COMMON_ERROR_H
#define AB_COMMON_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* code, name on the wire, whether the same request may succeed later, meaning */
#define AB_ERROR_CODES(X)                                                                                      \
    X(AB_EINVALID, "invalid", false, "the request or file is malformed; `path` says where")                    \
    X(AB_EUSAGE, "usage", false, "the command line or configuration is wrong")                                 \
    X(AB_EVERSION, "version", false, "no protocol version in common")                                          \
    X(AB_EDENIED, "denied", false, "this peer may not do that")                                                \
    X(AB_ENOTFOUND, "not_found", false, "no such job, session, message, item or operation")                    \
    X(AB_ECONFLICT, "conflict", false, "the id is taken by other content")                                     \
    X(AB_EEXPIRED, "expired", false, "older than the retention, or past its deadline")                         \
    X(AB_ESTALE, "stale", false, "a newer lease holder exists: drop the job")                                  \
    X(AB_EENDED, "already_ended", false, "the job has ended; an end is final")                                 \
    X(AB_EUNKNOWN_WORKFLOW, "unknown_workflow", true, "send the workflow's text with the hash")                \
    X(AB_EBUSY, "busy", true, "over a limit; nothing was stored; retry after `retry_after_ms`")                \
    X(AB_EUNAVAILABLE, "unavailable", true, "a part of the service is down or its disk is full")               \
    X(AB_ETOOLARGE, "too_large", false, "over a size limit, which the text names")                             \
    X(AB_ETIMEOUT, "timeout", true, "no answer in time")                                                       \
    X(AB_ECANCELLED, "cancelled", false, "cancelled on request")                                               \
    X(AB_EMODEL, "model", false, "the model's endpoint refused or misbehaved")                                 \
    X(AB_ENOMODEL, "no_model", false, "no model is configured for this agent")                                 \
    X(AB_ENONDETERMINISM, "nondeterminism", false, "the journal does not fit the workflow")                    \
    X(AB_EDAMAGED, "damaged", false, "stored data failed its checksum or schema check")                        \
    X(AB_ESYSTEM, "system", false, "the operating system refused; the text has its words")                     \
    X(AB_EINTERNAL, "internal", false, "a fault of this program")                                              \
    X(AB_EBUDGET, "budget", false, "a budget has no room for it; `text` says which")

enum ab_code {
    AB_OK = 0,
    AB_E_BASE = -100,
#define X(code, name, retryable, doc) code,
    AB_ERROR_CODES(X)
#undef X
        AB_E_END
};

enum { AB_ERROR_TEXT_MAX = 512, AB_ERROR_PATH_MAX = 160 };

struct ab_error {
    int code;                     /* 0 or AB_E… */
    bool retryable;               /* the same request may succeed later */
    uint32_t retry_after_ms;      /* 0 = unknown */
    char path[AB_ERROR_PATH_MAX]; /* JSON path, file:line or field name; "" if there is no place */
    char text[AB_ERROR_TEXT_MAX]; /* what, where, what to do; one line, no secret */
};

/* Fills *err (if not NULL) with code and formatted text, truncated at the caps; returns code. */
int ab_fail(struct ab_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, with the place. */
int ab_fail_at(struct ab_error *err, int code, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "busy" for AB_EBUSY; "ok" for 0; "internal" for anything else. */
const char *ab_code_name(int code);
/* The code of a wire name; AB_EINTERNAL for a name of a newer peer. */
int ab_code_of(const char *name, size_t bytes);
bool ab_code_retryable(int code);

/* A list of faults in one document: all of them are reported, not only the first. */
struct ab_fault {
    char *path; /* JSON path such as $.agents[0].agent.type, or line:column for a syntax error */
    char *what; /* what is wrong */
    char *hint; /* what to write instead; never NULL, may be "" */
};
struct ab_faults {
    struct ab_fault *items;
    size_t n;
    size_t dropped; /* faults over AB_FAULTS_MAX, counted only */
};
enum { AB_FAULTS_MAX = 100 };

void ab_faults_add(struct ab_faults *faults, const char *path, const char *what, const char *hint, ...)
    __attribute__((format(printf, 4, 5)));
void ab_faults_finish(struct ab_faults *faults);

#endif
