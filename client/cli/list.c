/* What is kept under names: lists, which storage answers page by page with a text in `next` while there is more; deleting. */
#include "client/cli/cli.h"
#include "common/tree.h"

enum { LIST_PAGE_MAX = 1000 };

int service_list(struct cli *cli, struct autobots *bots, const char *operation, json_t *request,
                 const char *field, uint64_t limit, void (*row)(const json_t *record), size_t *shown)
{
    int code = CLI_DONE;
    size_t i;
    json_t *record;
    *shown = 0;
    for (bool more = true; more;) {
        uint64_t page = limit - *shown > LIST_PAGE_MAX ? LIST_PAGE_MAX : limit - *shown;
        json_object_set_new(request, "limit", json_integer((json_int_t)page));
        json_t *answer = service_ask(cli, bots, operation, json_incref(request), &code);
        json_array_foreach (json_object_get(answer, field), i, record) {
            if (cli->json)
                term_json(stdout, json_incref(record));
            else
                row(record);
            ++*shown;
        }
        const char *next = ab_tree_str(answer, "next");
        more = next && *shown < limit;
        if (more)
            json_object_set_new(request, "after", json_string(next));
        json_decref(answer);
    }
    return code;
}

int service_forget(struct cli *cli, const char *operation, const char *note)
{
    int code = CLI_DONE;
    struct autobots *bots = service_open(cli, SERVICE_STORAGE, &code);
    json_t *answer =
        bots ? service_ask(cli, bots, operation, json_pack("{s:s}", "name", cli->words[0]), &code) : NULL;
    int64_t versions = ab_tree_int(answer, "deleted", 0);
    if (answer && cli->json)
        term_json(stdout, json_pack("{s:s, s:I}", "name", cli->words[0], "deleted", (json_int_t)versions));
    else if (answer && versions)
        printf("deleted, %lld version%s%s\n", (long long)versions, versions == 1 ? "" : "s", note);
    else if (answer)
        puts("was deleted already");
    json_decref(answer);
    autobots_close(bots);
    return code;
}
