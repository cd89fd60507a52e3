/* The command line client: one table of verbs, one table of options, and what the verbs share.
 *
 * Untrusted text (anything a model, a file or another user wrote) reaches a terminal only through term_*.
 */
#ifndef AUTOBOTS_CLI_H
#define AUTOBOTS_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/autobots.h"
#include "common/bytes.h"
#include "common/config.h"
#include "common/error.h"
#include "common/tree.h"

/* What the program ends with. */
enum {
    CLI_DONE = 0,
    CLI_FAILED = 1, /* also: the job failed, died, expired or was cancelled */
    CLI_USAGE = 2,
    CLI_NO_SERVICE = 3,
    CLI_WAITING = 4, /* the job waits for a person */
    CLI_DETACHED = 130
};

/* ---- options: name, letter or 0, what it takes or NULL, help ---- */
/* clang-format off */
#define CLI_OPTIONS(X)                                                                                     \
    X(json, 0, NULL, "machine-readable output: JSON, one object per line")                                 \
    X(help, 'h', NULL, "this help")                                                                        \
    X(user, 'u', "USER", "who asks (AUTOBOTS_USER, else default_user_id of the configuration)")            \
    X(workflow, 'w', "WORKFLOW", "a file, or the name of a stored workflow (without it: a user and one assistant)") \
    X(model, 'm', "NAME", "model of the built-in workflow (MODEL, else the configuration's first)")        \
    X(session, 's', "SESSION", "the session to go on with")                                                \
    X(attach, 0, "FILE", "an image or file the models are shown, or an image's address; several with commas, or repeated") \
    X(file, 0, "FILE", "any file, put into the directory of the agents' code; the models are told its name; may be repeated") \
    X(detach, 'd', NULL, "print the id and return")                                                        \
    X(daemon, 'd', NULL, "run in the background; returns once it is ready")                                \
    X(follow, 'f', NULL, "go on with new lines")                                                           \
    X(after, 0, "SEQ", "start behind this event")                                                          \
    X(state, 0, "STATE", "open, waiting, paused, succeeded, failed, cancelled, expired or dead")                   \
    X(since, 0, "TIME", "at or after: 10m, 2h, 7d ago, or 2026-01-31[T12:00:00Z]")                \
    X(limit, 'n', "N", "at most so many (default 20 for jobs, else 100)")                                  \
    X(if_busy, 0, "HOW", "if the session's job has not ended: enqueue, reject, interrupt or new-job")       \
    X(deadline, 0, "DURATION", "ends as expired if it takes longer: 90s, 10m, 2h")                         \
    X(name, 0, "NAME", "name")                                                                             \
    X(description, 0, "TEXT", "description")                                                               \
    X(title, 0, "TEXT", "what it does, in a few words")                                                    \
    X(parameters, 0, "FILE", "JSON Schema of its arguments, JSON or YAML")                                 \
    X(arguments, 0, "JSON", "what it is called with: an object (default: {})")                              \
    X(tag, 't', "TAG", "tag; publish: several with commas")                                                \
    X(mine, 0, NULL, "only what this user published")                                                      \
    X(at, 0, "SEQ", "the last event that is copied; 0: none")                                              \
    X(step, 0, "STEP", "likewise, by the step it names, as `watch --json` shows them")                     \
    X(text, 0, "TEXT", "instead of what is said there; without --at and --step: instead of the message")   \
    X(save, 'o', "FILE", "write it there; - is standard output")                                           \
    X(files, 0, NULL, "with the contents of the files that its code made")                                \
    X(timeline, 0, NULL, "draw who worked when, one row per agent")                                        \
    X(input, 0, "USD", "price of a million tokens of the prompt")                                          \
    X(cached, 0, "USD", "of a million cached ones (default: as --input)")                                  \
    X(output, 0, "USD", "price of a million tokens of the reply")                                          \
    X(reasoning, 0, "USD", "of a million tokens of thoughts (default: as --output)")                       \
    X(from, 0, "DATE", "in force from then on: 2026-01-31[T12:00:00Z] (default: always)")                  \
    X(provider, 0, "NAME", "only for openai, azure or script (default: all)")                              \
    X(source, 0, "TEXT", "where the figures come from")                                                    \
    X(note, 0, "TEXT", "shown with the row") \
    X(budget, 0, "LIMITS", "the job's own: tokens=N,usd=N,calls=N,turns=N,seconds=N") \
    X(job, 0, "JOB", "of this job") \
    X(per, 0, "PERIOD", "total (default), day or month, in UTC") \
    X(by, 0, "WHAT", "one row for each model, agent, session, day or user")                               \
    X(of, 0, "USER", "only jobs of this user")                                                            \
    X(until, 0, "TIME", "only before that: 1d ago, or a date")                                            \
    X(scope, 0, "SCOPE", "what it allows: read, write (default; holds read) or admin (all)")              \
    X(expires, 0, "DURATION", "after which it is refused: 12h, 30d (default: never)")
/* clang-format on */

enum cli_option {
#define X(name, letter, arg, help) OPT_##name,
    CLI_OPTIONS(X)
#undef X
        OPT_N
};
#define BIT(option) (1ull << OPT_##option)

enum { CLI_WORDS_MAX = 256, CLI_GIVEN_MAX = 128, CLI_OF_NOUN_MAX = 16 };

struct verb;
struct cli {
    struct ab_config *config;
    const struct verb *verb;
    const char *option[OPT_N]; /* NULL: not given; "" for one without argument; the last one counts */
    struct {
        int option;
        const char *value;
    } given[CLI_GIVEN_MAX]; /* all of them, in order, for those that may be repeated */
    size_t given_n;
    int n; /* words after the verb */
    char *words[CLI_WORDS_MAX];
    bool json;
    const char *user;
};

struct verb {
    const char *name;  /* "jobs", "sessions list" */
    const char *usage; /* what follows the name */
    const char *help;  /* first line: the summary */
    uint64_t options;  /* BIT(…) beside json, help and the configuration's flags */
    int least, most;   /* words; most -1: any number */
    int (*run)(struct cli *cli);
};
extern const struct verb cli_verbs[];
extern const size_t cli_verbs_n;

extern const struct option_row {
    const char *name, *arg, *help;
    char letter;
} cli_options[OPT_N];
#define OPTIONS_ALWAYS (BIT(json) | BIT(help))

/* ---- help.c ---- */
void help_overview(FILE *out);
void help_verb(const struct verb *verb);
void help_usage(FILE *out, const struct verb *verb); /* the line "usage: …" */
void help_json(const struct verb *only);             /* a line for each verb; NULL: all */
char *option_written(const char *name);              /* as it is typed, with - for _; malloc'ed */

/* args.c: fills verb, options and words from what the configuration left over. 0, CLI_USAGE after a message, or
 * CLI_HELPED after help was printed. */
enum { CLI_HELPED = 256 };
int args_parse(struct cli *cli, int argc, char **argv);
/* Known before the words are: what is wrong with them is told as JSON too. */
bool args_want_json(int argc, char **argv);
int verb_help(struct cli *cli);
/* "90s", "10m", "2h", "7d" in ms; false if it is none. */
bool parse_duration(const char *text, int64_t *ms);
bool parse_number(const char *text, uint64_t *number);
/* A duration ago or an ISO 8601 date, as wall clock ms. */
bool parse_since(const char *text, int64_t now_ms, int64_t *ms);

/* ---- term.c: what a terminal may show ---- */
bool term_colours(FILE *out); /* a terminal, and neither NO_COLOR nor TERM=dumb */
/* Text with control, C1, bidirectional and invalid characters replaced; newline and tab stay. */
void term_text(FILE *out, const char *text, size_t bytes);
/* The same on one line (newline becomes a space), at most `columns` characters (0: all); malloc'ed. */
char *term_line(const char *text, size_t columns);
/* "\033[36m" for that name, or "" without colours. */
const char *term_agent_colour(bool colours, const char *name);
const char *term_reset(bool colours);
const char *term_dim(bool colours);
/* JSON on one line, safe on a terminal; takes the tree. */
void term_json(FILE *out, json_t *tree);
void term_json_text(FILE *out, const char *json);
/* "2026-01-31 12:00:00" local time. */
void term_time(int64_t wall_ms, char text[32]);

/* ---- layout.c: how it is laid out ---- */
size_t term_columns(FILE *out); /* 0: it is no terminal */
/* One line, cut to the terminal's width; not cut if it is none. Safe on a terminal. */
void term_row(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text broken between words into lines of at most so many columns (0: any), the later ones indented. The first begins in column
 * `at`. A newline is a space, an empty line stays one. */
void term_wrapped(FILE *out, const char *text, size_t at, size_t indent, size_t columns);

/* ---- service.c: finding and asking it ---- */
/* "autobots: PATH: TEXT" on stderr, and with --json {"error": …} on stdout. Returns the exit code for err. */
int cli_fail(struct cli *cli, const struct autobots_error *err);
int cli_failf(struct cli *cli, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum service { SERVICE_BROKER = 1, SERVICE_STORAGE = 2 };
/* A client of a service that is there, or NULL with the exit code. */
struct autobots *service_open(struct cli *cli, unsigned needs, int *code);
/* Asks one operation; NULL with the exit code after a message. `request` is taken. */
json_t *service_ask(struct cli *cli, struct autobots *bots, const char *operation, json_t *request, int *code);
/* list.c: prints at most `limit` of what it lists in `field` of its answers, each with `row`, or as JSON; returns the exit code.
 * The request's `limit` and `after` are set here. */
int service_list(struct cli *cli, struct autobots *bots, const char *operation, json_t *request,
                 const char *field, uint64_t limit, void (*row)(const json_t *record), size_t *shown);
/* list.c: deletes all versions of the name that is the verb's first word, and says so with `note` behind; returns the exit code. */
int service_forget(struct cli *cli, const char *operation, const char *note);
/* The full id of JOB (id, unique prefix, last); false with *code. */
bool service_job(struct cli *cli, struct autobots *bots, const char *word, char id[AUTOBOTS_ID_TEXT],
                 int *code);
/* The process id of the supervisor that holds the folder's lock, 0 if none; *offline: how it runs (may be NULL). */
int service_supervisor(const char *dir, bool *offline);
char *service_lock_path(const char *dir);

/* ---- run.c: a whole run ---- */
/* All events of a job, each with its seq, as an array; NULL with the exit code after a message. `bytes` gets them as they
 * are stored, in base 16; NULL: not wanted. */
json_t *run_events(struct cli *cli, struct autobots *bots, const char *id, struct ab_buf *bytes, int *code);
/* Bytes of an answer: 16 of them come as an id, with dashes. NULL is none. */
void run_add_hex(struct ab_buf *out, const char *hex);
/* run_contents.c: what a job's files hold, {hash: base64}; NULL with the exit code after a message. And back: of a job that was
 * imported; returns the exit code. */
json_t *run_contents_read(struct cli *cli, struct autobots *bots, const char *job, int *code);
int run_contents_write(struct cli *cli, struct autobots *bots, const char *job, const json_t *contents);
/* run_file.c: whether a file looks like an exported run (else it may be a database), and its import. */
bool run_file_is(const char *path);
int run_file_import(struct cli *cli);
/* The timeline of a job record; returns the exit code. */
int run_timeline(struct cli *cli, struct autobots *bots, const json_t *job);

/* ---- view.c: a job's events as they come ---- */
struct view;
struct view *view_create(struct cli *cli, FILE *out, bool json);
void view_destroy(struct view *view);
/* Shows the job until it ends, waits for a person, or Ctrl-C; returns the exit code. May be called again: for the same
 * job behind view_seq(), or for another one. Destroy the view after the last call of its client. */
int view_follow(struct view *view, struct autobots *bots, const char *job, uint64_t after);
/* signals.c: blocks SIGINT and SIGTERM for good: view_follow takes them as the wish to detach. */
void view_catch_signals(void);
/* True if one came since (and forgets it). */
bool view_interrupted(void);
/* SIGTERM was among them. */
bool view_terminated(void);
int view_signal_fd(void); /* readable once one came; -1 before view_catch_signals() */
/* The seq of the last event that was shown. */
uint64_t view_seq(const struct view *view);
/* The question that was shown last; NULL: none. An answer that names it cannot be taken for that to a later one. */
const char *view_ask(const struct view *view);

/* ---- chat.c ---- */
/* As view_follow, but a question is asked on the terminal and its answer sent. Says what to do with a
 * job that is left. */
int follow_and_answer(struct cli *cli, struct autobots *bots, struct view *view, const char *job,
                      uint64_t after);
/* submit.c: what became of a message. */
struct submitted {
    char job[AUTOBOTS_ID_TEXT];
    char *session;  /* owned; NULL: none */
    bool answer;    /* it was the answer to the job's question */
    uint64_t after; /* its events so far */
};
/* Submits it, with --if-busy; says so on standard error if it was taken for an answer. 0, or the exit code after a message. */
int submit_message(struct cli *cli, struct autobots *bots, const struct autobots_job *job,
                   struct submitted *out);
/* Submits and, unless --detach is given, follows the job; returns the exit code. */
int submit_and_follow(struct cli *cli, struct autobots *bots, const struct autobots_job *job);
/* --deadline, if it is given; false with *code. */
bool read_deadline(struct cli *cli, struct autobots_job *job, int *code);
/* jobs.c: the service and the full id of the job that is named first; NULL with *code. */
struct autobots *open_for_job(struct cli *cli, char id[AUTOBOTS_ID_TEXT], int *code);
/* submit.c: all words as one message, `-` is standard input, no words are ""; malloc'ed, NULL with *code. */
char *message_text(struct cli *cli, int *code);
/* attach.c: the text (NULL: none) and what --attach and --file name, as JSON of parts; NULL with the exit code after a
 * message. The caller frees it. */
char *content_with(struct cli *cli, const char *text, int *code);
/* jobs.c: prints how to watch, cancel or answer a job that is left with this exit code, which it returns. */
int say_what_next(struct cli *cli, int code, const char *job);

/* ---- workflow_file.c, workflows.c ---- */
/* Reads FILE, expands ${…}, and gives its text as JSON; NULL after all faults were printed. */
char *workflow_read(struct cli *cli, const char *file, int *code);
/* One line for each fault, with its place in the file. */
void faults_print(const struct ab_places *places, const char *file, const struct ab_faults *faults,
                  const char *kind, FILE *out);
/* The same on standard error, and with --json as an error on standard output. Returns the exit code. */
int faults_tell(struct cli *cli, const struct ab_places *places, const char *file,
                const struct ab_faults *faults);
/* What -w names is a file: it has a slash, ends in .json, .yaml or .yml, is -, or exists. Else it is NAME[@VERSION]. */
bool workflow_is_file(const char *word);
/* The text of a stored workflow, or of the built-in one; NULL with *code after a message. */
char *workflow_stored(struct cli *cli, struct autobots *bots, const char *word, int *code);
/* YAML that is known to be right, as JSON; malloc'ed. */
char *workflow_parse_yaml(const char *yaml);
char *workflow_builtin(const char *model);
/* The built-in one with the model that is meant here. */
char *workflow_default(struct cli *cli, int *code);

/* ---- skills.c ---- */
/* A skill's file with the options beside it, as save_skill takes it; all faults are told with their lines. NULL with *code
 * after a message. */
json_t *skill_request(struct cli *cli, const char *file, int *code);

/* ---- children.c ---- */
/* The bin folder of this program; malloc'ed. */
char *own_folder(void);
char *log_path(const char *dir, const char *name);
/* The last lines of a file, sanitised. */
void log_tail(const char *path, size_t bytes_max, FILE *out);

/* ---- worker_check.c ---- */
/* Whether a worker on this machine could do that: `local` = run code in the sandbox. *text says how it is protected, or
 * why not and what to do; the caller frees it. */
bool worker_check(struct cli *cli, const char *kind, char **text);
/* What the worker's program writes when it is started with this flag and the configuration's; malloc'ed, NULL if it could not be
 * run. input: what it reads; NULL: nothing of its own. */
char *worker_ask(struct cli *cli, const char *flag, const char *input, size_t bytes_max);

/* ---- mcp.c ---- */
/* What the configured MCP servers say (worker/mcp/list.h), one tree for each; only: NULL: all. NULL: there is no answer. */
json_t *mcp_servers(struct cli *cli, const char *only);

/* ---- verbs ---- */
int verb_up(struct cli *cli);
int verb_down(struct cli *cli);
int verb_status(struct cli *cli);
int verb_logs(struct cli *cli);
int verb_config(struct cli *cli);
int verb_doctor(struct cli *cli);
int verb_submit(struct cli *cli);
int verb_chat(struct cli *cli);
int verb_watch(struct cli *cli);
int verb_jobs(struct cli *cli);
int verb_show(struct cli *cli);
int verb_export(struct cli *cli);
int verb_cancel(struct cli *cli);
int verb_pause(struct cli *cli);
int verb_resume(struct cli *cli);
int verb_retry(struct cli *cli);
int verb_fork(struct cli *cli);
int verb_input(struct cli *cli);
int verb_stored(struct cli *cli); /* sessions, messages, gallery */
int verb_sessions_export(struct cli *cli);
int verb_workflows(struct cli *cli);
int verb_workflows_add(struct cli *cli);
int verb_workflows_show(struct cli *cli);
int verb_workflows_rm(struct cli *cli);
int verb_skills(struct cli *cli); /* and list, search */
int verb_skills_add(struct cli *cli);
int verb_skills_show(struct cli *cli);
int verb_skills_rm(struct cli *cli);
int verb_skills_test(struct cli *cli);
int verb_files(struct cli *cli);
int verb_files_get(struct cli *cli);
int verb_import(struct cli *cli);
int verb_mcp(struct cli *cli);
int verb_mcp_pin(struct cli *cli);
int verb_prices(struct cli *cli);
int verb_budget(struct cli *cli);
int verb_budget_set(struct cli *cli); /* and raise, rm */
int verb_prices_set(struct cli *cli);
int verb_prices_rm(struct cli *cli);
int verb_prices_import(struct cli *cli);
int verb_usage(struct cli *cli);
int verb_queues(struct cli *cli);
int verb_queues_control(struct cli *cli); /* pause, drain, resume */
int verb_tokens(struct cli *cli);
int verb_tokens_create(struct cli *cli);
int verb_tokens_revoke(struct cli *cli);
int verb_validate(struct cli *cli);
int verb_demo(struct cli *cli);
int verb_version(struct cli *cli);

#endif
