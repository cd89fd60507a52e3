#include "common/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

static const struct {
    const char *name;
    bool retryable;
} codes[] = {
#define X(code, name, retryable, doc) {name, retryable},
    AB_ERROR_CODES(X)
#undef X
};

static bool known(int code)
{
    return code > AB_E_BASE && code < AB_E_END;
}

__attribute__((format(printf, 4, 0))) static int fill(struct ab_error *err, int code, const char *path,
                                                      const char *format, va_list args)
{
    if (!err)
        return code;
    err->code = code;
    err->retryable = ab_code_retryable(code);
    err->retry_after_ms = 0;
    snprintf(err->path, sizeof err->path, "%s", path);
    vsnprintf(err->text, sizeof err->text, format, args);
    return code;
}

int ab_fail(struct ab_error *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, code, "", format, args);
    va_end(args);
    return code;
}

int ab_fail_at(struct ab_error *err, int code, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, code, path, format, args);
    va_end(args);
    return code;
}

const char *ab_code_name(int code)
{
    if (code == AB_OK)
        return "ok";
    return known(code) ? codes[code - AB_E_BASE - 1].name : "internal";
}

int ab_code_of(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strlen(codes[i].name) == bytes && !memcmp(codes[i].name, name, bytes))
            return AB_E_BASE + 1 + (int)i;
    return bytes == 2 && !memcmp(name, "ok", 2) ? AB_OK : AB_EINTERNAL;
}

bool ab_code_retryable(int code)
{
    return known(code) && codes[code - AB_E_BASE - 1].retryable;
}

void ab_faults_add(struct ab_faults *faults, const char *path, const char *what, const char *hint, ...)
{
    if (faults->n >= AB_FAULTS_MAX) {
        faults->dropped++;
        return;
    }
    faults->items = ab_realloc(faults->items, (faults->n + 1) * sizeof *faults->items);
    struct ab_fault *fault = &faults->items[faults->n++];
    fault->path = ab_strdup(path);
    fault->what = ab_strdup(what);
    va_list args;
    va_start(args, hint);
    if (vasprintf(&fault->hint, hint, args) < 0)
        ab_out_of_memory();
    va_end(args);
}

void ab_faults_finish(struct ab_faults *faults)
{
    for (size_t i = 0; i < faults->n; i++) {
        free(faults->items[i].path);
        free(faults->items[i].what);
        free(faults->items[i].hint);
    }
    free(faults->items);
    *faults = (struct ab_faults){0};
}
