/* `prices`: what models cost. Figures are USD per million tokens, as vendors write them; on the wire they are 1e-12 USD
 * per token, which is a millionth of that. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/money.h"
#include "common/tree.h"
#include "common/wire/operations.h"

enum { PRICE_PLACES = 6, FILE_BYTES_MAX = 1 << 20 };

/* ---- reading ---- */

/* A price of an option or of a file: a number, or the same as text. */
static bool read_price(const json_t *value, uint64_t *pico_usd)
{
    if (json_is_string(value))
        return ab_decimal_read(ab_view(json_string_value(value), json_string_length(value)), PRICE_PLACES,
                               pico_usd) &&
               *pico_usd <= AB_PRICE_MAX;
    double scaled = json_number_value(value) * 1e6, whole = round(scaled);
    *pico_usd = whole >= 0 && whole <= (double)AB_PRICE_MAX ? (uint64_t)whole : 0;
    return json_is_number(value) && whole >= 0 && whole <= (double)AB_PRICE_MAX && fabs(scaled - whole) < 1e-3;
}

static bool read_time(const json_t *value, uint64_t *at_ms)
{
    int64_t ms = -1;
    if (!json_is_string(value) || !ab_iso8601_read(json_string_value(value), json_string_length(value), &ms) ||
        ms < 0)
        return false;
    *at_ms = (uint64_t)ms;
    return true;
}

/* What a row consists of: key in files, option, field on the wire, what it is. */
static const struct part {
    const char *key;
    enum cli_option option;
    const char *field;
    enum { TEXT, PRICE, TIME } type;
    bool required;
} parts[] = {
    {"provider", OPT_provider, "provider", TEXT, false},
    {"from", OPT_from, "from_ms", TIME, false},
    {"input", OPT_input, "input_pico_usd", PRICE, true},
    {"cached_input", OPT_cached, "cached_input_pico_usd", PRICE, false},
    {"output", OPT_output, "output_pico_usd", PRICE, true},
    {"reasoning", OPT_reasoning, "reasoning_pico_usd", PRICE, false},
    {"source", OPT_source, "source", TEXT, false},
    {"note", OPT_note, "note", TEXT, false},
};
enum { PARTS = sizeof parts / sizeof *parts };

/* Puts the value into the row; NULL or what is wrong with it. */
static const char *add_part(json_t *row, const struct part *part, json_t *value)
{
    uint64_t number;
    if (part->type == TEXT && !json_is_string(value))
        return "must be text";
    if (part->type == TEXT) {
        json_object_set(row, part->field, value);
        return NULL;
    }
    if (part->type == PRICE ? !read_price(value, &number) : !read_time(value, &number))
        return part->type == PRICE ? "is a price in USD per million tokens: at least 0, with at most 6 decimals"
                                   : "is a time: 2026-01-31 or 2026-01-31T12:00:00Z";
    json_object_set_new(row, part->field, json_integer((json_int_t)number));
    return NULL;
}

/* ---- set and rm ---- */

static int row_of_options(struct cli *cli, json_t *row)
{
    for (size_t i = 0; i < PARTS; i++) {
        const char *text = cli->option[parts[i].option];
        json_t *value = text ? json_string(text) : NULL;
        const char *fault = value ? add_part(row, &parts[i], value) : NULL;
        json_decref(value);
        if (fault)
            return cli_failf(cli, CLI_USAGE, "--%s %s %s",
                             parts[i].option == OPT_cached ? "cached" : parts[i].key, text, fault);
    }
    return CLI_DONE;
}

/* One change; what is said has the number of rows. */
static int change(struct cli *cli, const char *operation, json_t *request, const char *said)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer = bots ? service_ask(cli, bots, operation, json_incref(request), &code) : NULL;
    if (answer && cli->json)
        term_json(stdout, json_incref(answer));
    else if (answer)
        printf("%lld %s\n", (long long)ab_tree_int(answer, "changed", 0), said);
    if (answer && !ab_tree_int(answer, "changed", 0))
        code = cli_failf(cli, CLI_FAILED,
                         "there is no such row; `autobots prices` shows the patterns as they were set");
    json_decref(answer);
    autobots_close(bots);
    return code;
}

int verb_prices_set(struct cli *cli)
{
    json_t *row = json_pack("{s:s}", "model", cli->words[0]);
    json_t *request = json_pack("{s:[O]}", "prices", row);
    int code = row_of_options(cli, row);
    if (!code && (!cli->option[OPT_input] || !cli->option[OPT_output]))
        code = cli_failf(cli, CLI_USAGE, "--input and --output are needed, in USD per million tokens");
    if (!code)
        code = change(cli, "set_prices", request, "row set");
    json_decref(row);
    json_decref(request);
    return code;
}

int verb_prices_rm(struct cli *cli)
{
    json_t *request = json_pack("{s:s}", "model", cli->words[0]);
    int code = row_of_options(cli, request);
    if (!code)
        code = change(cli, "delete_price", request, "removed");
    json_decref(request);
    return code;
}

/* ---- import ---- */

static int read_file(struct cli *cli, const char *file, struct ab_buf *text)
{
    FILE *in = fopen(file, "re");
    int code = CLI_DONE;
    if (!in)
        return cli_failf(cli, CLI_USAGE, "%s: %s", file, strerror(errno));
    ab_buf_reserve(text, FILE_BYTES_MAX + 1);
    text->n = fread(text->p, 1, FILE_BYTES_MAX + 1, in);
    if (ferror(in))
        code = cli_failf(cli, CLI_USAGE, "%s: %s", file, strerror(errno));
    else if (text->n > FILE_BYTES_MAX)
        code = cli_failf(cli, CLI_USAGE, "%s: a price file has at most %d bytes", file, FILE_BYTES_MAX);
    fclose(in);
    return code;
}

struct import {
    struct cli *cli;
    const char *file;
    struct ab_places *places;
    int faults;
};

/* All faults of a file are told in one run. */
static void fault(struct import *import, size_t row, const char *key, const char *what)
{
    struct ab_buf path = {0};
    ab_buf_text(&path, "$.prices");
    ab_path_index(&path, row);
    if (key)
        ab_path_key(&path, key);
    char *place = ab_places_describe(import->places, import->file, ab_buf_cstr(&path));
    cli_failf(import->cli, CLI_USAGE, "%s %s", place, what);
    free(place);
    ab_buf_finish(&path);
    import->faults++;
}

static const struct part *part_of(const char *key)
{
    for (size_t i = 0; i < PARTS; i++)
        if (!strcmp(parts[i].key, key))
            return &parts[i];
    return NULL;
}

static json_t *import_row(struct import *import, size_t at, const json_t *given)
{
    const char *model = ab_tree_str(given, "model"), *key;
    json_t *row = json_object(), *value;
    if (model && *model)
        json_object_set_new(row, "model", json_string(model));
    else
        fault(import, at, NULL, "needs `model`, a pattern such as gpt-4o*");
    json_object_foreach ((json_t *)(uintptr_t)given, key, value) {
        const struct part *part = part_of(key);
        const char *wrong = part
                                ? add_part(row, part, value)
                                : "is no key of a price; there are model, provider, from, input, cached_input, "
                                  "output, reasoning, source, note";
        if (wrong && strcmp(key, "model"))
            fault(import, at, key, wrong);
    }
    for (size_t i = 0; i < PARTS; i++)
        if (parts[i].required && !json_object_get(given, parts[i].key))
            fault(import, at, NULL, i == 2 ? "needs `input`" : "needs `output`");
    return row;
}

static json_t *import_rows(struct import *import, const json_t *tree)
{
    const json_t *list = json_object_get(tree, "prices");
    json_t *rows = json_array();
    if (!json_is_array(list) || !json_array_size(list) || json_object_size(tree) != 1) {
        cli_failf(import->cli, CLI_USAGE, "%s: a price file has one key, `prices`, a list of rows",
                  import->file);
        import->faults++;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        json_array_append_new(rows, import_row(import, i, json_array_get(list, i)));
    return rows;
}

int verb_prices_import(struct cli *cli)
{
    struct import import = {.cli = cli, .file = cli->words[0], .places = ab_places_create()};
    struct ab_buf text = {0};
    struct ab_error err;
    json_t *tree = NULL, *request = NULL;
    int code = read_file(cli, import.file, &text);
    if (!code && ab_tree_parse(ab_buf_view(&text), import.file, &tree, import.places, &err))
        code = cli_failf(cli, CLI_USAGE, "%s: %s: %s", import.file, err.path, err.text);
    if (!code) {
        request = json_pack("{s:o}", "prices", import_rows(&import, tree));
        code = import.faults ? CLI_USAGE : change(cli, "set_prices", request, "rows set");
    }
    json_decref(request);
    json_decref(tree);
    ab_buf_finish(&text);
    ab_places_destroy(import.places);
    return code;
}

/* ---- list ---- */

static const char *price_text(const json_t *row, const char *field, char text[AB_USD_TEXT])
{
    int64_t pico_usd = ab_tree_int(row, field, -1);
    return pico_usd < 0 ? "-" : ab_decimal_text((uint64_t)pico_usd, PRICE_PLACES, 2, text);
}

static void print_price(const json_t *row)
{
    char from[AB_ISO8601_MAX] = "always", prices[4][AB_USD_TEXT];
    const char *provider = ab_tree_str(row, "provider"), *model = ab_tree_str(row, "model");
    const char *source = ab_tree_str(row, "source"), *note = ab_tree_str(row, "note");
    char *name = term_line(model ? model : "?", 40), *by = term_line(provider ? provider : "any", 10);
    char *words = ab_format("%s%s%s", note ? note : "", note && source ? " · " : "", source ? source : "");
    char *said = term_line(words, 80);
    if (ab_tree_int(row, "from_ms", 0))
        ab_iso8601(ab_tree_int(row, "from_ms", 0), from);
    if (!strcmp(from + strcspn(from, "T"), "T00:00:00.000Z"))
        from[strcspn(from, "T")] = 0;
    term_row(stdout, "%-20s  %-8s  %-10.19s  %7s  %7s  %7s  %9s  %s", name, by, from,
             price_text(row, "input_pico_usd", prices[0]), price_text(row, "cached_input_pico_usd", prices[1]),
             price_text(row, "output_pico_usd", prices[2]), price_text(row, "reasoning_pico_usd", prices[3]),
             said);
    free(name);
    free(by);
    free(words);
    free(said);
}

int verb_prices(struct cli *cli)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer = bots ? service_ask(cli, bots, "list_prices", json_object(), &code) : NULL, *row;
    const json_t *rows = json_object_get(answer, "prices");
    size_t i;
    if (answer && !cli->json && !json_array_size(rows))
        fprintf(stderr, "no prices: every call is unpriced; see `autobots prices set --help`\n");
    else if (answer && !cli->json)
        printf("%-20s  %-8s  %-10s  %7s  %7s  %7s  %9s\n", "USD per 1M tokens of", "provider", "from", "input",
               "cached", "output", "reasoning");
    json_array_foreach (rows, i, row) {
        if (cli->json)
            term_json(stdout, json_incref(row));
        else
            print_price(row);
    }
    json_decref(answer);
    autobots_close(bots);
    return code;
}
