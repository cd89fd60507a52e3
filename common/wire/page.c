/* Prints the tables of the protocol page (common/README.md) from the tables the code runs on. */
#include "common/wire/operations.h"

static const char *type_text(const struct ab_field *field)
{
    static const char *const names[] = {
#define X(type, c_type, name) [AB_##type] = name,
        AB_FIELD_TYPES(X)
#undef X
    };
    return names[field->type];
}

static void print_fields(FILE *out, const struct ab_schema *schema)
{
    if (!schema->n) {
        fprintf(out, "No fields.\n\n");
        return;
    }
    fprintf(out, "| field | type | | limit | meaning |\n|---|---|---|---|---|\n");
    for (int i = 0; i < schema->n; i++) {
        const struct ab_field *field = &schema->fields[i];
        fprintf(out, "| `%s` | %s | %s | ", field->key, type_text(field), field->required ? "required" : "");
        if (field->max)
            fprintf(out, "%llu%s", (unsigned long long)field->max,
                    field->type == AB_UINT || field->type == AB_MAYBE ? "" : " bytes");
        fprintf(out, " | %s |\n", field->doc);
    }
    fprintf(out, "\n");
}

static void print_commands(FILE *out)
{
    fprintf(out,
            "## Commands\n\n| number | command | who | header | body | meaning |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < ab_commands_n; i++) {
        const struct ab_command_row *row = &ab_commands[i];
        fprintf(out, "| %u | %s | %s | [%s](#%s) | %s | %s |\n", row->command, row->name, row->who,
                row->schema->name, row->schema->name, *row->body ? row->body : "empty", row->doc);
    }
    fprintf(out, "\n## Headers and bodies\n\n");
#define S(name, LIST)                                                                                          \
    fprintf(out, "### %s\n\n", #name);                                                                         \
    print_fields(out, &ab_##name##_schema);
    AB_SCHEMAS(S)
#undef S
}

static void print_seen(FILE *out, const char *what, bool durable, const struct ab_schema *schema,
                       const char *who, const char *doc)
{
    fprintf(out, "| `%s` | %s | %s | [%s](#%s):", what, durable ? "yes" : "no", who, schema->name,
            schema->name);
    for (int i = 0; i < schema->n; i++)
        fprintf(out, "%s `%s`%s", i ? "," : "", schema->fields[i].key, schema->fields[i].required ? "" : "?");
    fprintf(out, " | %s |\n", doc);
}

static void print_events(FILE *out)
{
    fprintf(out,
            "## What a watcher sees\n\n"
            "Events of the job's journal come in EVENT, each `{kind, …fields}`: they are durable, numbered by "
            "`seq` "
            "without gap, and the same\nwhenever they are read. Messages that are not kept come as themselves. "
            "`?`: the field may be absent.\n\n"
            "| what | durable | written by | fields | meaning |\n|---|---|---|---|---|\n");
    for (int i = 1; i < AB_KINDS; i++)
        print_seen(out, ab_event_rows[i].kind, true, ab_event_rows[i].schema, ab_event_rows[i].who,
                   ab_event_rows[i].doc);
#define X(command, who, doc) print_seen(out, #command, false, ab_command_row(AB_##command)->schema, who, doc);
    AB_EPHEMERAL(X)
#undef X
    fprintf(out, "\n");
}

static void print_askers(FILE *out, unsigned by)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{AB_BY_BROKER, "broker "}, {AB_BY_WORKER, "worker "}, {AB_BY_CLIENT, "client "}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (by & names[i].bit)
            fputs(names[i].name, out);
}

static void print_operations(FILE *out)
{
    static const char *const kinds[] = {"read", "write", "broker"};
    fprintf(out, "## Operations\n\n| number | operation | kind | asked by | request | answer | meaning |\n"
                 "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < ab_ops_n; i++) {
        const struct ab_op_row *row = &ab_ops[i];
        fprintf(out, "| %u | `%s` | %s | ", row->number, row->name, kinds[row->kind]);
        print_askers(out, row->by);
        fprintf(out, "| [%s](#%s) | [%s](#%s) | %s |\n", row->request->name, row->request->name,
                row->answer->name, row->answer->name, row->doc);
    }
    fprintf(out, "\n### Requests, answers, records\n\n");
#define S(name, LIST)                                                                                          \
    fprintf(out, "### %s\n\n", #name);                                                                         \
    print_fields(out, &ab_##name##_schema);
    AB_OP_SCHEMAS(S)
#undef S
}

static void print_errors(FILE *out)
{
    fprintf(out, "## Error codes\n\n| code | retryable | meaning |\n|---|---|---|\n");
#define X(code, name, retryable, doc) fprintf(out, "| `%s` | %s | %s |\n", name, retryable ? "yes" : "no", doc);
    AB_ERROR_CODES(X)
#undef X
    fprintf(out, "\n");
}

void ab_print_protocol(FILE *out)
{
    print_commands(out);
    print_events(out);
    print_operations(out);
    print_errors(out);
}
