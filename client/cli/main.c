/* autobots: the command line client. The table of verbs, and main. */
#include <locale.h>
#include <stdlib.h>

#include "client/cli/cli.h"

#define LISTING   (BIT(user) | BIT(limit))
#define BUDGET_OF (BIT(user) | BIT(session) | BIT(job))

/* clang-format off */
const struct verb cli_verbs[] = {
    {"up", "[-d] [--dir D] [--workers N] [--http A:P|off] [--config F] [--offline]",
     "start the service: storage, broker, workers, HTTP gateway\n\n"
     "Prints a line that starts with `ready` once jobs are taken. In the foreground the logs go to standard error and\n"
     "Ctrl-C stops everything; with -d they go to DIR/log/*.log and `autobots down` stops it.",
     BIT(daemon), 0, 0, verb_up},
    {"down", "", "stop the service that `up -d` started, and wait for its end", 0, 0, 0, verb_down},
    {"status", "", "the service, its workers and its queue", BIT(user), 0, 0, verb_status},
    {"logs", "[-f] [JOB]", "log lines of the service, of one job only if it is named", BIT(follow) | BIT(limit) | BIT(user), 0, 1, verb_logs},
    {"config", "", "every configuration key with its value and where that came from", 0, 0, 0, verb_config},
    {"doctor", "", "check programs, folder, disk, sockets, service, model key, clock; say what to do", BIT(user), 0, 0, verb_doctor},
    {"submit", "[-w WORKFLOW] [-s SESSION] [--if-busy HOW] [--attach FILE] [--file FILE] [--detach] TEXT|-",
     "submit a message and watch the agents answer\n\n"
     "TEXT is all words that follow; - reads standard input. A workflow with a task of its own needs none.\n"
     "Ctrl-C detaches; the job goes on. On a terminal a question of the job is asked here, and the line you type is the\n"
     "answer.\n"
     "If the last job of SESSION waits for a person, TEXT is the answer, unless --if-busy is new-job. If it still runs, TEXT\n"
     "comes after it (enqueue), is refused (reject) or takes its place (interrupt: that job is cancelled).\n"
     "WORKFLOW is a file if it has a slash, ends in .json, .yaml or .yml, or exists; else NAME or NAME@VERSION of one that\n"
     "`workflows add` has stored.",
     BIT(workflow) | BIT(model) | BIT(user) | BIT(session) | BIT(attach) | BIT(file) | BIT(detach) | BIT(deadline) | BIT(if_busy) | BIT(budget), 0, -1,
     verb_submit},
    {"chat", "[-w WORKFLOW] [-s SESSION] [--if-busy HOW]",
     "talk in one session: each line is a message, the agents answer\n\n"
     "A question of a job is answered in the next line. Ctrl-C leaves the running job alone and returns to the prompt,\n"
     "Ctrl-D ends the chat; /help lists the commands. Ends with 0; if standard input is no terminal, with the code of the\n"
     "first message that failed.",
     BIT(workflow) | BIT(model) | BIT(user) | BIT(session) | BIT(if_busy), 0, 0, verb_chat},
    {"watch", "JOB [--after SEQ]", "show a job's events from the beginning, then live", BIT(after) | BIT(user), 1, 1, verb_watch},
    {"jobs", "[--state S] [--since T] [--user U]", "list jobs, newest first", LISTING | BIT(state) | BIT(since) | BIT(session), 0, 0, verb_jobs},
    {"show", "JOB [--timeline]",
     "everything about one job\n\n"
     "With --timeline: who worked when, one row per agent, as wide as the terminal; instants are turns without a model.",
     BIT(user) | BIT(timeline), 1, 1, verb_show},
    {"export", "JOB [--files]", "the whole run as one JSON object: job, workflow, events; `import` takes it", BIT(user) | BIT(files), 1, 1, verb_export},
    {"cancel", "JOB [REASON]", "end a job", BIT(user), 1, 2, verb_cancel},
    {"pause", "JOB [REASON]",
     "let a job rest until it is resumed\n\n"
     "A running job stops at its next step: the model calls under way finish and are kept, no new one is made. A paused\n"
     "job holds no worker and survives restarts; its deadline still counts.",
     BIT(user), 1, 2, verb_pause},
    {"resume", "JOB", "let a paused job go on", BIT(user), 1, 1, verb_resume},
    {"retry", "JOB [-w WORKFLOW] [--detach]",
     "a new job that goes on where one failed\n\n"
     "For a job that failed, died, expired or was cancelled: the new one begins with a copy of its journal, so nothing that\n"
     "is in there is done or paid again, and goes on in the same session. A workflow with keys of its own in it must be\n"
     "given again, as they were sealed to that job.",
     BIT(workflow) | BIT(user) | BIT(detach) | BIT(deadline), 1, 1, verb_retry},
    {"fork", "JOB [--at SEQ|--step STEP] [--text TEXT]",
     "a new job that begins as another one did\n\n"
     "It begins with a copy of the journal up to that event and goes on from there, in a new session unless -s names one.\n"
     "With --text somebody said something else there: a model, an agent or a person. Without --at and --step it begins anew,\n"
     "with the message and the history the other one had; then TEXT is the message. What is copied is not paid again.",
     BIT(workflow) | BIT(user) | BIT(session) | BIT(detach) | BIT(deadline) | BIT(at) | BIT(step) | BIT(text), 1, 1, verb_fork},
    {"input", "JOB TEXT|-", "answer the question a job waits with", BIT(user), 2, -1, verb_input},
    {"files", "JOB", "list the files that a job's code made", BIT(user), 1, 1, verb_files},
    {"files list", "JOB", "list the files that a job's code made", BIT(user), 1, 1, verb_files},
    {"files get", "JOB PATH [-o FILE]", "the content of one of them", BIT(user) | BIT(save), 2, 2, verb_files_get},
    {"sessions", "", "list the user's sessions", LISTING, 0, 0, verb_stored},
    {"sessions list", "", "list the user's sessions", LISTING, 0, 0, verb_stored},
    {"sessions search", "TEXT",
     "find sessions by name, description, id and what was said in them\n\n"
     "Each word, \"phrase\" or prefix* of TEXT stands in one of these.", LISTING, 1, -1, verb_stored},
    {"sessions show", "SESSION", "one session with its workflow", BIT(user), 1, 1, verb_stored},
    {"sessions create", "[SESSION] [--name N] [-w WORKFLOW]", "make a session; prints its id",
     BIT(user) | BIT(name) | BIT(description) | BIT(workflow), 0, 1, verb_stored},
    {"sessions rename", "SESSION NAME", "change its name", BIT(user) | BIT(description), 2, 2, verb_stored},
    {"sessions delete", "SESSION", "remove it with its messages; its live jobs are cancelled", BIT(user), 1, 1, verb_stored},
    {"sessions clear", "SESSION", "remove its messages, keep the session", BIT(user), 1, 1, verb_stored},
    {"sessions export", "SESSION", "the session and all its messages as one JSON object", BIT(user), 1, 1, verb_sessions_export},
    {"sessions publish", "SESSION [--tag T,…] [--name N]", "put a snapshot of it into the gallery",
     BIT(user) | BIT(tag) | BIT(name) | BIT(description), 1, 1, verb_stored},
    {"search", "TEXT [-s SESSION]",
     "find messages by what they say, the best first\n\n"
     "TEXT is words, phrases and prefixes (prog*), all of which stand in the message; case and accents do not matter. A word\n"
     "of the command line with spaces in it is a phrase: autobots search budget 'first quarter'. A message can be found\n"
     "a moment after it was sent.",
     LISTING | BIT(session), 1, -1, verb_stored},
    {"messages", "SESSION", "messages of a session, oldest first", LISTING, 1, 1, verb_stored},
    {"messages list", "SESSION", "messages of a session, oldest first", LISTING, 1, 1, verb_stored},
    {"messages delete", "MESSAGE [SESSION]", "remove one message", BIT(user), 1, 2, verb_stored},
    {"messages clear", "SESSION", "remove all messages of a session", BIT(user), 1, 1, verb_stored},
    {"gallery", "[--tag T] [--mine]", "list published sessions", LISTING | BIT(tag) | BIT(mine), 0, 0, verb_stored},
    {"gallery list", "[--tag T] [--mine]", "list published sessions", LISTING | BIT(tag) | BIT(mine), 0, 0, verb_stored},
    {"gallery show", "ITEM", "one of them with its messages", BIT(user), 1, 1, verb_stored},
    {"gallery search", "WORDS", "find by words in name, description, tags or messages", LISTING | BIT(tag) | BIT(mine), 1, -1, verb_stored},
    {"gallery tags", "[--mine]", "all tags, and how many items have each", LISTING | BIT(mine), 0, 0, verb_stored},
    {"gallery export", "ITEM", "the whole item as one JSON object; `gallery import` takes it", BIT(user), 1, 1, verb_stored},
    {"gallery import", "FILE|-", "publish an item that `gallery export` wrote, also that of another service", BIT(user), 1, 1, verb_stored},
    {"gallery start", "ITEM", "a new session with the workflow and the messages of an item", BIT(user), 1, 1, verb_stored},
    {"gallery rename", "ITEM NAME", "change its name", BIT(user) | BIT(description), 2, 2, verb_stored},
    {"gallery delete", "ITEM", "remove it", BIT(user), 1, 1, verb_stored},
    {"import", "FILE [-s SESSION]",
     "take over a run that `export` wrote, or a database of the seed\n\n"
     "A run becomes an ended job of this user with the id, state and events it had, so that show, watch and --timeline\n"
     "work on it here; with --session its question and answer go there too. The same run again changes nothing.\n"
     "What is damaged, changed by hand or not ended is refused.\n\n"
     "A database.sqlite of the Python service is read, never changed. Ids, times and order are kept, what\n"
     "is there already is left as it is: a second import changes nothing. An api_key in it is not taken over. All users\n"
     "of the file, or with --user only that one. Ends with 1 if something had to be skipped; each such row is named.",
     BIT(user) | BIT(session), 1, 1, verb_import},
    {"workflows", "", "list the workflows that can be run by name", LISTING, 0, 0, verb_workflows},
    {"workflows list", "[NAME]", "the same; all versions of NAME, newest first", LISTING, 0, 1, verb_workflows},
    {"workflows add", "FILE [--name N]",
     "store a workflow under a name, so that `submit -w NAME` runs it\n\n"
     "The name is that in the workflow, unless --name gives another. The content that the name has already changes\n"
     "nothing; another one is its next version. All faults are told with their lines. An api_key is not stored: jobs use\n"
     "those of the workers. ${…} is replaced now, from this environment.",
     BIT(user) | BIT(name), 1, 1, verb_workflows_add},
    {"workflows show", "NAME[@VERSION]", "one as canonical JSON, which can be run or added again", BIT(user) | BIT(model), 1, 1, verb_workflows_show},
    {"workflows rm", "NAME", "forget a name with all its versions; jobs that ran with it keep it", BIT(user), 1, 1, verb_workflows_rm},
    {"validate", "FILE", "check a workflow file: every fault with its line and what to write instead", 0, 1, 1, verb_validate},
    {"skills", "", "list the skills that agents can use", LISTING, 0, 0, verb_skills},
    {"skills list", "[NAME]", "the same; all versions of NAME, newest first", LISTING, 0, 1, verb_skills},
    {"skills search", "WORDS", "find by words in name, title or description", LISTING, 1, -1, verb_skills},
    {"skills add", "FILE [--name N] [--title T] [--description D] [--parameters FILE]",
     "store a Python or shell file that agents call as a tool and import\n\n"
     "The leading comment, or the docstring of a Python file, may be its header, in YAML: title, description, name,\n"
     "parameters (JSON Schema), idempotent, timeout_s. An option counts before it. Without a name it is the file's. The\n"
     "content that the name has already changes nothing; another one is its next version. All faults are told with their\n"
     "lines. Called by an agent it gets its arguments as JSON on standard input and writes its result to standard output.",
     BIT(user) | BIT(name) | BIT(title) | BIT(description) | BIT(parameters), 1, 1, verb_skills_add},
    {"skills show", "NAME[@VERSION]", "what is known of one, and its content", BIT(user), 1, 1, verb_skills_show},
    {"skills test", "FILE|NAME[@VERSION] [--arguments JSON]",
     "call one as an agent would, in the sandbox of this machine\n\n"
     "Its result goes to standard output; the files it made are listed and gone. Ends with 1 if a model would be told that it\n"
     "failed. A file needs no service.",
     BIT(user) | BIT(arguments) | BIT(name) | BIT(parameters), 1, 1, verb_skills_test},
    {"skills rm", "NAME", "delete one with all its versions; jobs that need it fail", BIT(user), 1, 1, verb_skills_rm},
    {"mcp", "", "list the MCP servers of the configuration, and their tools", 0, 0, 0, verb_mcp},
    {"mcp list", "[SERVER]",
     "the same; of SERVER with descriptions and parameters\n\n"
     "Each server is started, or connected to, from here, with the environment of this shell. Ends with 1 if one gives no\n"
     "answer.",
     0, 0, 1, verb_mcp},
    {"mcp pin", "[SERVER]",
     "approve the tools of the servers as they are now\n\n"
     "What a tool says of itself is told to models. Workers do not use a tool that is not as it was approved, unless the\n"
     "server has `pin: report`. Written to mcp_pins, else DIR/mcp-pins.json; workers see it at once.",
     0, 0, 1, verb_mcp_pin},
    {"prices", "", "what models cost: list all rows", BIT(user), 0, 0, verb_prices},
    {"prices list", "", "what models cost: list all rows", BIT(user), 0, 0, verb_prices},
    {"prices set", "MODEL --input USD --output USD",
     "set what calls of a model cost, in USD per million tokens\n\n"
     "MODEL is a pattern: * is any text, ? any character. Of the rows in force at the time of a call the one with the\n"
     "longest pattern counts, of these one that names the provider, of these the latest. A row of the same pattern,\n"
     "provider and date is replaced. It counts for calls from about a second later on; what is journaled stays.",
     BIT(user) | BIT(input) | BIT(cached) | BIT(output) | BIT(reasoning) | BIT(from) | BIT(provider) | BIT(source) | BIT(note),
     1, 1, verb_prices_set},
    {"prices rm", "MODEL [--from DATE]", "remove the rows of a pattern", BIT(user) | BIT(from) | BIT(provider), 1, 1, verb_prices_rm},
    {"prices import", "FILE",
     "set all rows of a file, or none if one is faulty\n\n"
     "FILE is YAML or JSON: `prices`, a list of {model, provider, from, input, cached_input, output, reasoning, source,\n"
     "note}; see deploy/prices.yaml. Importing it again changes nothing.",
     BIT(user), 1, 1, verb_prices_import},
    {"budget", "[-s SESSION] [--job JOB]", "limits, and what of them is spent", BUDGET_OF, 0, 0, verb_budget},
    {"budget list", "", "all limits of the user, of the user's sessions and open jobs", BIT(user), 0, 0, verb_budget},
    {"budget show", "[-s SESSION] [--job JOB]", "those of one session or job", BUDGET_OF, 0, 0, verb_budget},
    {"budget set", "LIMITS [-s SESSION] [--job JOB] [--per day|month]",
     "limit what a user, a session or a job may use\n\n"
     "LIMITS is tokens=N,usd=N,calls=N,turns=N,seconds=N, or some of these; usd=none takes one away. Without -s and --job it\n"
     "is the user's, which may start again each day or month. Counted is what is used from then on. A job that finds no\n"
     "room waits, and goes on when there is some: see README.",
     BUDGET_OF | BIT(per), 1, 1, verb_budget_set},
    {"budget raise", "LIMITS [-s SESSION] [--job JOB] [--per day|month]",
     "add to limits; jobs that wait for room go on", BUDGET_OF | BIT(per), 1, 1, verb_budget_set},
    {"budget rm", "UNIT,… [-s SESSION] [--job JOB] [--per day|month]", "take limits away", BUDGET_OF | BIT(per), 1, 1, verb_budget_set},
    {"usage", "[--by model|agent|session|day|user] [--since 7d]",
     "what models were used for: jobs, calls, tokens, seconds, money\n\n"
     "Counted when a model's reply is journaled and when a job ends; it stays when sessions and journals are deleted, except\n"
     "that a deleted session is no row of --by session any more. A fork's copied calls and imported runs are not among it.\n"
     "Days are those of UTC, and whole: --since 2h counts from 0:00 on. --by user tells of all users unless -u names one.",
     BIT(user) | BIT(by) | BIT(since) | BIT(until) | BIT(session) | BIT(model), 0, 0, verb_usage},
    {"queues", "", "what waits in each pool: depth, age, running, who halted it", BIT(user), 0, 0, verb_queues},
    {"queues list", "", "the same", BIT(user), 0, 0, verb_queues},
    {"queues pause", "POOL [REASON] [--of USER]",
     "give no more jobs of a pool to workers\n\n"
     "New jobs are taken and wait, running ones go on. It lasts until `queues resume`, whatever is restarted; `show`\n"
     "and `watch` of a job tell REASON. POOL is default unless jobs name another; '*' is every pool.",
     BIT(user) | BIT(of), 1, 2, verb_queues_control},
    {"queues drain", "POOL [REASON] [--of USER]",
     "the same, and refuse new jobs\n\n"
     "A submission is told to come again in a minute; answers to questions and what was taken before are no new jobs.",
     BIT(user) | BIT(of), 1, 2, verb_queues_control},
    {"queues resume", "POOL [--of USER]", "let it go on", BIT(user) | BIT(of), 1, 1, verb_queues_control},
    {"tokens", "", "list the tokens of the HTTP gateway, of one user with --user", BIT(user), 0, 0, verb_tokens},
    {"tokens list", "", "list the tokens of the HTTP gateway, of one user with --user", BIT(user), 0, 0, verb_tokens},
    {"tokens create", "[--user U] [--scope S] [--expires 30d] [--name N]",
     "make a token for the HTTP gateway; prints it, once\n\n"
     "Whoever has it acts for that user and sees only what is that user's: `curl -H \"Authorization: Bearer $TOKEN\"`.\n"
     "read: look at everything of the user. write: that, and submit, answer, change, delete. admin: that, and what concerns\n"
     "the whole service, such as prices. Only a hash of it is stored: a token that is lost cannot be shown again.\n"
     "Standard output has the token alone: TOKEN=$(autobots tokens create --user ada)",
     BIT(user) | BIT(scope) | BIT(expires) | BIT(name), 0, 0, verb_tokens_create},
    {"tokens revoke", "ID", "refuse a token from now on; gateways know it within two seconds, streams end within three", BIT(user), 1, 1, verb_tokens_revoke},
    {"demo", "", "run an example chat in a temporary service; MODEL=… for a real model", 0, 0, 0, verb_demo},
    {"version", "", "print the version", 0, 0, 0, verb_version},
    {"help", "[VERB]", "this overview, or the help of one verb", 0, 0, 2, verb_help},
};
/* clang-format on */
const size_t cli_verbs_n = sizeof cli_verbs / sizeof *cli_verbs;

int verb_version(struct cli *cli)
{
    if (cli->json)
        term_json(stdout, json_pack("{s:s}", "version", autobots_version()));
    else
        printf("autobots %s\n", autobots_version());
    return CLI_DONE;
}

static const char *user_of(const struct cli *cli)
{
    const char *user = cli->option[OPT_user] ? cli->option[OPT_user] : getenv("AUTOBOTS_USER");
    return user && *user ? user : ab_config_text(cli->config, AB_CONF_DEFAULT_USER_ID);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct ab_error err;
    setlocale(LC_CTYPE, "");
    cli.json = args_want_json(argc, argv);
    if (ab_config_create(&cli.config, AB_PROGRAM_CLI, argc, argv, &err)) {
        struct autobots_error shown;
        memcpy(&shown, &err, sizeof shown);
        cli_fail(&cli, &shown);
        return CLI_USAGE;
    }
    int n, code;
    char **rest = ab_config_rest(cli.config, &n);
    code = args_parse(&cli, n, rest);
    cli.user = user_of(&cli);
    if (!code)
        code = cli.verb->run(&cli);
    if (code == CLI_HELPED)
        code = CLI_DONE;
    if (fflush(stdout) && code == CLI_DONE)
        code = CLI_FAILED;
    ab_config_destroy(cli.config);
    return code;
}
