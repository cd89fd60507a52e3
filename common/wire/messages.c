/* The tables behind messages.h and operations.h. */
#include "common/wire/messages.h"

#include <assert.h>

#include "common/wire/operations.h"

#define FIELD_ROW(owner, type_, name_, required_, max_, doc_)                                                  \
    {#name_, sizeof #name_ - 1, AB_##type_, required_, offsetof(struct ab_##owner, name_), (max_), (doc_)},
/* The last row is empty and not counted: op_empty would have none. */
#define S(name_, LIST)                                                                                         \
    static const struct ab_field name_##_fields[] = {LIST(FIELD_ROW, name_){NULL, 0, 0, 0, 0, 0, NULL}};       \
    const struct ab_schema ab_##name_##_schema = {#name_, name_##_fields,                                      \
                                                  sizeof name_##_fields / sizeof *name_##_fields - 1,          \
                                                  sizeof(struct ab_##name_)};
AB_SCHEMAS(S)
AB_OP_SCHEMAS(S)
#undef S

const struct ab_command_row ab_commands[] = {
#define X(name, number, schema, who, body, doc) {number, #name, &ab_##schema##_schema, who, body, doc},
    AB_COMMANDS(X)
#undef X
};
const size_t ab_commands_n = sizeof ab_commands / sizeof *ab_commands;

const struct ab_command_row *ab_command_row(uint8_t command)
{
    static const struct ab_command_row *by_number[256];
    static bool filled;
    if (!filled) {
        for (size_t i = 0; i < ab_commands_n; i++)
            by_number[ab_commands[i].command] = &ab_commands[i];
        filled = true;
    }
    return by_number[command];
}

const struct ab_event_row ab_event_rows[AB_KINDS] = {
#define X(NAME, name, schema, who, doc) [AB_KIND_##NAME] = {#name, &ab_##schema##_schema, who, doc},
    AB_EVENT_KINDS(X)
#undef X
};

enum ab_event_kind ab_event_kind(struct ab_view event)
{
    struct ab_view kind = ab_any_str(ab_map_get(event, "kind"));
    for (int i = 1; kind.p && i < AB_KINDS; i++)
        if (ab_view_is(kind, ab_event_rows[i].kind))
            return (enum ab_event_kind)i;
    return AB_KIND_UNKNOWN;
}

void ab_event_encode(struct ab_buf *out, enum ab_event_kind kind, const void *event)
{
    assert(kind > AB_KIND_UNKNOWN && kind < AB_KINDS);
    ab_encode_kind(out, ab_event_rows[kind].schema, event, ab_event_rows[kind].kind);
}

const struct ab_op_row ab_ops[] = {
#define X(name, number, kind, by, request, answer, doc)                                                        \
    {number, AB_OP_##kind, by, #name, &ab_##request##_schema, &ab_##answer##_schema, doc},
    AB_OPERATIONS(X)
#undef X
};
const size_t ab_ops_n = sizeof ab_ops / sizeof *ab_ops;

const struct ab_op_row *ab_op_by_name(struct ab_view name)
{
    for (size_t i = 0; i < ab_ops_n; i++)
        if (ab_view_is(name, ab_ops[i].name))
            return &ab_ops[i];
    return NULL;
}

const struct ab_op_row *ab_op_by_number(uint64_t number)
{
    for (size_t i = 0; i < ab_ops_n; i++)
        if (ab_ops[i].number == number)
            return &ab_ops[i];
    return NULL;
}

void ab_error_to(const struct ab_error *err, struct ab_failure *failure)
{
    *failure = (struct ab_failure){
        .code = ab_view_of(ab_code_name(err->code)),
        .text = ab_view_of(err->text),
        .path = *err->path ? ab_view_of(err->path) : (struct ab_view){0},
        .retryable = err->retryable,
        .retry_after_ms = err->retry_after_ms,
    };
    /* a cut in the middle of a character would make the message invalid */
    while (failure->text.n && !ab_utf8_ok(failure->text))
        failure->text.n--;
    while (failure->path.n && !ab_utf8_ok(failure->path))
        failure->path.n--;
}

void ab_error_from(const struct ab_failure *failure, struct ab_error *err)
{
    ab_fail(err, ab_code_of(failure->code.p, failure->code.n), "%.*s", AB_VIEW_FMT(failure->text));
    err->retryable = failure->retryable;
    err->retry_after_ms = (uint32_t)failure->retry_after_ms;
    snprintf(err->path, sizeof err->path, "%.*s", (int)failure->path.n, failure->path.p ? failure->path.p : "");
}
