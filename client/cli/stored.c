/* Verbs of what is stored: sessions, messages, gallery. One table: each row is one operation of storage, where its
 * fields come from, and how its answer is shown.
 */
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/tree.h"
#include "common/wire/operations.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000, PAGE_MAX = 1000 };

struct stored {
    const char *verb, *operation;
    const char *words[3];                             /* request fields of the words, in order */
    uint64_t options;                                 /* those that are request fields by their own name */
    int (*prepare)(struct cli *cli, json_t *request); /* whatever else; NULL: nothing */
    const char *list;                /* the answer's array, or object, that is shown; NULL: none */
    void (*row)(const json_t *item); /* one item as text; NULL: the whole as fields */
    const char *said;                /* what is printed when nothing is shown */
};

/* ---- rows ---- */

static char *cell(const json_t *item, const char *key, size_t columns)
{
    const char *text = ab_tree_str(item, key);
    return term_line(text ? text : "", columns);
}

/* The instant without its thousandths, as they are for programs. */
static char *when_cell(const json_t *item)
{
    char *text = cell(item, "timestamp", 24);
    if (strlen(text) == sizeof "2026-01-31T12:00:00.000Z" - 1 && text[19] == '.')
        memcpy(text + 19, "Z", sizeof "Z");
    return text;
}

static void session_row(const json_t *item)
{
    char *id = cell(item, "session_id", 0), *when = when_cell(item), *name = cell(item, "name", 60);
    term_row(stdout, "%-36s  %-20s  %s", id, when, name);
    free(id);
    free(when);
    free(name);
}

static void message_row(const json_t *item)
{
    const json_t *content = json_object_get(item, "content");
    char *id = cell(item, "msg_id", 0), *role = cell(item, "role", 10), *when = when_cell(item);
    bool colours = term_colours(stdout);
    printf("%s%s%s  %s%s  %s%s\n", term_agent_colour(colours, role), role, term_reset(colours),
           term_dim(colours), when, id, term_reset(colours));
    char *text =
        json_is_string(content) ? ab_strdup(json_string_value(content)) : json_dumps(content, JSON_ENCODE_ANY);
    term_text(stdout, text ? text : "", text ? strlen(text) : 0);
    fputs("\n\n", stdout);
    free(text);
    free(id);
    free(role);
    free(when);
}

static void gallery_row(const json_t *item)
{
    struct ab_buf tags = {0};
    const json_t *list = json_object_get(item, "tags");
    for (size_t i = 0; i < json_array_size(list); i++)
        ab_buf_format(&tags, "%s%s", i ? "," : "", json_string_value(json_array_get(list, i)));
    char *id = cell(item, "id", 0), *name = cell(item, "name", 40), *clean = term_line(ab_buf_cstr(&tags), 30);
    size_t messages = json_array_size(json_object_get(item, "messages"));
    term_row(stdout, "%-36s  %3zu message%s  %-24s  %s", id, messages, messages == 1 ? " " : "s", name, clean);
    free(id);
    free(name);
    free(clean);
    ab_buf_finish(&tags);
}

static void tag_row(const json_t *item)
{
    char *tag = cell(item, "tag", 60);
    printf("%6lld  %s\n", (long long)ab_tree_int(item, "items", 0), tag);
    free(tag);
}

/* The bytes of so many characters. */
static size_t character_bytes(const char *text, json_int_t n)
{
    size_t at = 0;
    for (; n > 0 && text[at]; n--)
        do
            at++;
        while (((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static void print_piece(const char *text, size_t n, const char *on, const char *off)
{
    char *piece = ab_strndup(text, n), *clean = term_line(piece, 0);
    printf("%s%s%s", on, clean, off);
    free(clean);
    free(piece);
}

/* What was found stands out, on a terminal. */
static void print_snippet(const json_t *item)
{
    bool colours = term_colours(stdout);
    const char *text = ab_tree_str(item, "snippet");
    const json_t *marks = json_object_get(item, "marks"), *mark;
    json_int_t seen = 0;
    size_t i;
    text = text ? text : "";
    json_array_foreach (marks, i, mark) {
        json_int_t first = json_integer_value(json_array_get(mark, 0)),
                   n = json_integer_value(json_array_get(mark, 1));
        size_t before = character_bytes(text, first - seen), found = character_bytes(text + before, n);
        print_piece(text, before, "", "");
        print_piece(text + before, found, term_agent_colour(colours, "found"), term_reset(colours));
        text += before + found;
        seen = first + n;
    }
    print_piece(text, strlen(text), "", "\n\n");
}

static void hit_row(const json_t *item)
{
    char *when = when_cell(item), *role = cell(item, "role", 10), *session = cell(item, "session_id", 0),
         *name = cell(item, "session_name", 60), *id = cell(item, "msg_id", 0);
    bool colours = term_colours(stdout);
    char *head = ab_format("%s  %-9s  %s  %s  %s", when, role, session, id, name);
    char *line = term_line(head, term_columns(stdout)); /* --json has what is cut */
    printf("%s%s%s\n", term_dim(colours), line, term_reset(colours));
    free(head);
    free(line);
    print_snippet(item);
    free(when);
    free(role);
    free(session);
    free(name);
    free(id);
}

static void gallery_json(const json_t *item)
{
    term_json(stdout, json_incref((json_t *)(uintptr_t)item));
}

static void gallery_whole(const json_t *item)
{
    gallery_row(item);
    const json_t *messages = json_object_get(item, "messages");
    fputs("\n", stdout);
    for (size_t i = 0; i < json_array_size(messages); i++)
        message_row(json_array_get(messages, i));
}

static void session_whole(const json_t *item)
{
    session_row(item);
    const char *description = ab_tree_str(item, "description");
    if (description) {
        term_text(stdout, description, strlen(description));
        fputs("\n", stdout);
    }
    if (json_is_object(json_object_get(item, "flow_config"))) {
        char *text = json_dumps(json_object_get(item, "flow_config"), JSON_INDENT(2));
        term_text(stdout, text, strlen(text));
        fputs("\n", stdout);
        free(text);
    }
}

/* ---- what is not simply a word or an option ---- */

/* The id is made here, so that it can be printed and the request repeated. */
static int prepare_create(struct cli *cli, json_t *request)
{
    char id[AB_ID_TEXT];
    int code = 0;
    json_t *session = json_object();
    json_object_set_new(session, "user_id", json_string(cli->user));
    json_object_set_new(session, "session_id",
                        json_string(cli->n ? cli->words[0] : ab_id_text(ab_id_make(ab_wall_ms()), id)));
    static const struct {
        enum cli_option option;
        const char *field;
    } fields[] = {{OPT_name, "name"}, {OPT_description, "description"}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (cli->option[fields[i].option])
            json_object_set_new(session, fields[i].field, json_string(cli->option[fields[i].option]));
    const char *file = cli->option[OPT_workflow];
    char *workflow = file && workflow_is_file(file) ? workflow_read(cli, file, &code) : NULL;
    if (workflow)
        json_object_set_new(session, "flow_config", json_loads(workflow, 0, NULL));
    free(workflow);
    json_object_set_new(request, "session", session);
    return code;
}

/* The id is made here: an answer that is lost does not publish it twice. */
static int prepare_publish(struct cli *cli, json_t *request)
{
    char id[AB_ID_TEXT];
    json_t *tags = json_array();
    json_object_set_new(request, "id", json_string(ab_id_text(ab_id_make(ab_wall_ms()), id)));
    const char *at = cli->option[OPT_tag] ? cli->option[OPT_tag] : "";
    for (size_t n; *at; at += n + (at[n] == ',')) {
        n = strcspn(at, ",");
        if (n)
            json_array_append_new(tags, json_stringn(at, n));
    }
    json_object_set_new(request, "tags", tags);
    return 0;
}

static int prepare_tags(struct cli *cli, json_t *request)
{
    if (cli->option[OPT_mine])
        json_object_set_new(request, "publisher", json_string(cli->user));
    return 0;
}

static int prepare_start(struct cli *cli, json_t *request)
{
    char id[AB_ID_TEXT];
    (void)cli;
    json_object_set_new(request, "session", json_string(ab_id_text(ab_id_make(ab_wall_ms()), id)));
    return 0;
}

/* Whoever imports an item is its publisher here. */
static int prepare_item(struct cli *cli, json_t *request)
{
    json_error_t fault;
    const char *path = cli->words[0];
    json_t *item = strcmp(path, "-") ? json_load_file(path, JSON_REJECT_DUPLICATES, &fault)
                                     : json_loadf(stdin, JSON_REJECT_DUPLICATES, &fault);
    if (!json_is_object(item)) {
        json_decref(item);
        return cli_failf(cli, CLI_USAGE, "%s: line %d: %s", path, item ? 1 : fault.line,
                         item ? "is no item that `gallery export` wrote" : fault.text);
    }
    json_object_del(item, "user_id");
    json_object_set_new(request, "gallery", item);
    return 0;
}

static int prepare_gallery(struct cli *cli, json_t *request)
{
    if (cli->option[OPT_mine])
        json_object_set_new(request, "user", json_string(cli->user));
    if (cli->option[OPT_tag])
        json_object_set_new(request, "tag", json_string(cli->option[OPT_tag]));
    return 0;
}

static int prepare_search(struct cli *cli, json_t *request)
{
    struct ab_buf text = {0};
    for (int i = 0; i < cli->n; i++)
        ab_buf_format(&text, "%s%s", i ? " " : "", cli->words[i]);
    json_object_set_new(request, "search", json_string(ab_buf_cstr(&text)));
    ab_buf_finish(&text);
    return prepare_gallery(cli, request);
}

/* The shell has taken the quotation marks off a phrase: a word with a space in it is one. */
static int prepare_query(struct cli *cli, json_t *request)
{
    struct ab_buf text = {0};
    for (int i = 0; i < cli->n; i++) {
        bool phrase = cli->n > 1 && strchr(cli->words[i], ' ') && !strchr(cli->words[i], '"');
        ab_buf_format(&text, phrase ? "%s\"%s\"" : "%s%s", i ? " " : "", cli->words[i]);
    }
    json_object_set_new(request, "query", json_string(ab_buf_cstr(&text)));
    if (cli->option[OPT_session])
        json_object_set_new(request, "session", json_string(cli->option[OPT_session]));
    ab_buf_finish(&text);
    return 0;
}

static int prepare_all(struct cli *cli, json_t *request)
{
    (void)cli;
    json_object_set_new(request, "delete_all", json_true());
    return 0;
}

static const struct stored table[] = {
    {"sessions", "get_sessions", {0}, 0, NULL, "sessions", session_row, NULL},
    {"sessions list", "get_sessions", {0}, 0, NULL, "sessions", session_row, NULL},
    {"sessions search", "search_sessions", {0}, 0, prepare_query, "sessions", session_row, NULL},
    {"search", "search_messages", {0}, 0, prepare_query, "hits", hit_row, NULL},
    {"sessions show", "get_sessions", {"session"}, 0, NULL, "sessions", session_whole, NULL},
    {"sessions create", "create_session", {0}, 0, prepare_create, NULL, NULL, NULL},
    {"sessions rename", "rename_session", {"session", "name"}, BIT(description), NULL, NULL, NULL, "renamed"},
    {"sessions delete", "delete_user_sessions", {"session"}, 0, NULL, NULL, NULL, "deleted"},
    {"sessions clear", "clear_session", {"session"}, 0, NULL, NULL, NULL, "cleared"},
    {"sessions publish",
     "publish_session",
     {"session"},
     BIT(name) | BIT(description),
     prepare_publish,
     "gallery",
     gallery_row,
     NULL},
    {"messages", "load_messages", {"session"}, 0, NULL, "messages", message_row, NULL},
    {"messages list", "load_messages", {"session"}, 0, NULL, "messages", message_row, NULL},
    {"messages delete", "delete_message", {"msg_id", "session"}, 0, NULL, NULL, NULL, "deleted"},
    {"messages clear", "delete_message", {"session"}, 0, prepare_all, NULL, NULL, "deleted"},
    {"gallery", "get_gallery", {0}, 0, prepare_gallery, "gallery", gallery_row, NULL},
    {"gallery list", "get_gallery", {0}, 0, prepare_gallery, "gallery", gallery_row, NULL},
    {"gallery show", "get_gallery", {"gallery"}, 0, NULL, "gallery", gallery_whole, NULL},
    {"gallery search", "get_gallery", {0}, 0, prepare_search, "gallery", gallery_row, NULL},
    {"gallery tags", "gallery_tags", {0}, 0, prepare_tags, "tags", tag_row, NULL},
    {"gallery export", "get_gallery", {"gallery"}, 0, NULL, "gallery", gallery_json, NULL},
    {"gallery import", "import_gallery", {0}, 0, prepare_item, "gallery", gallery_row, NULL},
    {"gallery start", "start_gallery", {"gallery"}, 0, prepare_start, "sessions", session_row, NULL},
    {"gallery rename", "rename_gallery", {"gallery", "name"}, BIT(description), NULL, NULL, NULL, "renamed"},
    {"gallery delete", "delete_gallery", {"gallery"}, 0, NULL, NULL, NULL, "deleted"},
};

static const struct stored *stored_of(const struct verb *verb)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].verb, verb->name))
            return &table[i];
    return NULL;
}

static int build_request(struct cli *cli, const struct stored *stored, json_t *request)
{
    for (int i = 0; i < cli->n && i < 3 && stored->words[i]; i++)
        json_object_set_new(request, stored->words[i], json_string(cli->words[i]));
    if (stored->options & BIT(name) && cli->option[OPT_name])
        json_object_set_new(request, "name", json_string(cli->option[OPT_name]));
    if (stored->options & BIT(description) && cli->option[OPT_description])
        json_object_set_new(request, "description", json_string(cli->option[OPT_description]));
    return stored->prepare ? stored->prepare(cli, request) : 0;
}

/* ---- showing ---- */

static void show_item(struct cli *cli, const struct stored *stored, json_t *item)
{
    if (cli->json)
        term_json(stdout, json_incref(item));
    else
        stored->row(item);
}

static size_t show_list(struct cli *cli, const struct stored *stored, const json_t *answer, size_t limit)
{
    json_t *list = json_object_get(answer, stored->list);
    size_t i = 0;
    if (json_is_object(list))
        show_item(cli, stored, list);
    for (; i < json_array_size(list) && i < limit; i++)
        show_item(cli, stored, json_array_get(list, i));
    return json_is_object(list) ? 1 : i;
}

/* Page after page, until the limit. */
static int run_listing(struct cli *cli, struct autobots *bots, const struct stored *stored, json_t *request,
                       uint64_t limit)
{
    int code = CLI_DONE;
    const struct ab_op_row *op = ab_op_by_name(ab_view_of(stored->operation));
    bool pages = op && op->kind == AB_OP_READ;
    size_t shown = 0;
    for (bool more = true; more;) {
        if (pages)
            json_object_set_new(
                request, "limit",
                json_integer((json_int_t)(limit - shown > PAGE_MAX ? PAGE_MAX : limit - shown)));
        json_t *answer = service_ask(cli, bots, stored->operation, json_incref(request), &code);
        if (!answer)
            return code;
        shown += show_list(cli, stored, answer, limit - shown);
        const char *next = ab_tree_str(answer, "next");
        more = next && shown < limit;
        if (!more && ab_tree_bool(answer, "behind", false))
            fprintf(stderr, "some messages are not indexed yet: ask again a little later\n");
        if (more)
            json_object_set_new(request, "after", json_string(next));
        json_decref(answer);
    }
    if (shown || cli->json)
        return CLI_DONE;
    if (stored->words[0] && strcmp(stored->list, "messages"))
        return cli_failf(cli, CLI_FAILED, "no such thing: %s", cli->words[0]);
    fprintf(stderr, "none\n");
    return CLI_DONE;
}

static int run_change(struct cli *cli, struct autobots *bots, const struct stored *stored, json_t *request)
{
    int code = CLI_DONE;
    const char *made = ab_tree_str(json_object_get(request, "session"), "session_id");
    json_t *answer = service_ask(cli, bots, stored->operation, json_incref(request), &code);
    if (!answer)
        return code;
    if (cli->json && made)
        term_json(stdout, json_pack("{s:s}", "session_id", made));
    else if (cli->json)
        term_json(stdout, json_incref(answer));
    else
        printf("%s\n", made ? made : stored->said);
    json_decref(answer);
    return CLI_DONE;
}

/* -w NAME: what could not be read before the service was open. */
static int add_flow(struct cli *cli, struct autobots *bots, json_t *request)
{
    int code = CLI_DONE;
    const char *word = cli->option[OPT_workflow];
    char *workflow = word && !workflow_is_file(word) ? workflow_stored(cli, bots, word, &code) : NULL;
    if (workflow)
        json_object_set_new(json_object_get(request, "session"), "flow_config", json_loads(workflow, 0, NULL));
    free(workflow);
    return code;
}

/* The same object as GET /api/sessions/SESSION/export. */
int verb_sessions_export(struct cli *cli)
{
    int code = CLI_DONE;
    json_t *request = json_pack("{s:s}", "session", cli->words[0]), *messages = json_array(), *session = NULL;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer = bots ? service_ask(cli, bots, "get_sessions", json_incref(request), &code) : NULL;
    session = json_incref(json_array_get(json_object_get(answer, "sessions"), 0));
    json_object_set_new(request, "limit", json_integer(PAGE_MAX));
    for (bool more = answer; more;) {
        json_decref(answer);
        answer = service_ask(cli, bots, "load_messages", json_incref(request), &code);
        json_array_extend(messages, json_object_get(answer, "messages"));
        more = json_object_get(answer, "next");
        if (more)
            json_object_set(request, "after", json_object_get(answer, "next"));
    }
    if (answer)
        term_json(stdout, json_pack("{s:s, s:i, s:O, s:O}", "format", "autobots.session", "version", 1,
                                    "session", session, "messages", messages));
    json_decref(answer);
    json_decref(session);
    json_decref(messages);
    json_decref(request);
    autobots_close(bots);
    return code;
}

int verb_stored(struct cli *cli)
{
    const struct stored *stored = stored_of(cli->verb);
    uint64_t limit = LIMIT_DEFAULT;
    if (cli->option[OPT_limit] &&
        (!parse_number(cli->option[OPT_limit], &limit) || !limit || limit > LIMIT_MAX))
        return cli_failf(cli, CLI_USAGE, "--limit is a number from 1 to %d", LIMIT_MAX);
    json_t *request = json_object();
    int code = build_request(cli, stored, request);
    struct autobots *bots = code ? NULL : service_open(cli, SERVICE_STORAGE, &code);
    if (bots)
        code = add_flow(cli, bots, request);
    if (bots && !code)
        code = stored->list ? run_listing(cli, bots, stored, request, limit)
                            : run_change(cli, bots, stored, request);
    autobots_close(bots);
    json_decref(request);
    return code;
}
