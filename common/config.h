/* Configuration: one typed table for all programs.
 *
 * Every key has one row in AB_CONFIG_KEYS; its flag (--lease-ms), its environment variable (AUTOBOTS_LEASE_MS), the
 * file's key (lease_ms), --help, `autobots config` and the checks derive from that row. A new key is one new row.
 *
 * Precedence: flag, then environment, then file (--config FILE or AUTOBOTS_CONFIG; YAML or JSON), then default. All
 * programs may share one file: a key of another program is checked and otherwise ignored, a key of none is an error
 * that names file and line and the nearest key there is. An empty environment variable counts as absent.
 *
 * How values are written:
 *   BOOL      true/false, yes/no, on/off, 1/0; the bare flag means true
 *   INT       a decimal integer
 *   DURATION  milliseconds, or with a unit: 2500, 250ms, 10s, 5m, 1h, 1d
 *   BYTES     bytes, or with a unit: 8388608, 64KiB, 8MiB, 1GiB, 1TiB
 *   STRING    any text without control characters
 *   PATH      a file's or folder's name; ~/ is the home folder; a relative one counts from the configuration file's
 *             folder if it stands there, else from the current folder; the value is always absolute
 *   ENDPOINT  a ZeroMQ endpoint (ipc://…, tcp://…)
 *   ENUM      one of the words in `choices`
 *   LIST      texts: a list in the file, comma-separated elsewhere
 *   TREE      nested values: YAML/JSON in the file, JSON text elsewhere
 *
 * models: a list of endpoints the worker knows, with where their keys are:
 *   - {name: "gpt-*", base_url: "https://…/v1", api_key_env: OPENAI_API_KEY}       # or api_key_file: PATH
 *     `name` is a pattern (fnmatch) on the names of models that live there, for workflows that name no base_url. A key
 *     itself is refused here: it would end up in listings and backups.
 * limits: how many jobs may run at once, by name, "*" for those not named:
 *   {tenant: {"*": 10, alice: 50}, pool: {gpu: 4}, concurrency_key: {"crm": 1}}
 * mcp_servers: programs and addresses whose tools agents may call (worker/mcp/README.md has all members):
 *   {files: {command: [npx, -y, "@modelcontextprotocol/server-filesystem", /srv/files]},
 *    crm: {url: "https://…/mcp", headers: {Authorization: "Bearer ${CRM_TOKEN}"}, per: worker}}
 *
 * Borrowed values live as long as the configuration. It is immutable after creation: any thread may read it.
 */
#ifndef AB_COMMON_CONFIG_H
#define AB_COMMON_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"

/* Who uses a key. The command line client takes all of them: `up` hands them on to what it starts. */
enum ab_program {
    AB_PROGRAM_BROKER = 1,
    AB_PROGRAM_STORAGE = 2,
    AB_PROGRAM_WORKER = 4,
    AB_PROGRAM_CLI = 8,
    AB_PROGRAM_GATEWAY = 16,
    AB_PROGRAM_ALL = 31
};

#define AB_CONFIG_INT_MAX 1000000000000000 /* "as much as you like", still exact as a JSON number */

/* clang-format off */
/* X(KEY, key, type, default, least, greatest, choices, programs, help). least and greatest count for numbers, in the
 * key's unit (ms, bytes); ALL, BROKER … are short for AB_PROGRAM_…. */
#define AB_CONFIG_KEYS(X)                                                                                              \
    X(CONFIG, config, PATH, "", 0, 0, NULL, ALL, "configuration file, YAML or JSON")                                   \
    X(DIR, dir, PATH, "${XDG_STATE_HOME:-~/.local/state}/autobots", 0, 0, NULL, ALL,                                   \
      "folder of the database, the sockets and the logs")                                                              \
    X(ENDPOINT, endpoint, ENDPOINT, "ipc://DIR/client.sock", 0, 0, NULL, BROKER | GATEWAY,                             \
      "where the broker takes clients")                                                                                \
    X(WORKER_ENDPOINT, worker_endpoint, ENDPOINT, "ipc://DIR/worker.sock", 0, 0, NULL, BROKER | WORKER,                \
      "where the broker takes workers")                                                                                \
    X(STORAGE_ENDPOINT, storage_endpoint, ENDPOINT, "ipc://DIR/storage.sock", 0, 0, NULL,                              \
      BROKER | STORAGE | GATEWAY, "where the storage takes the broker and queries")                                    \
    X(WORKERS, workers, INT, "1", 0, 256, NULL, CLI, "worker processes that `up` starts")                              \
    X(SLOTS, slots, INT, "64", 1, 4096, NULL, WORKER, "jobs a worker runs at once")                                    \
    X(POOL, pool, STRING, "default", 0, 0, NULL, WORKER, "pool the worker takes jobs for")                             \
    X(HEARTBEAT_MS, heartbeat_ms, DURATION, "2500", 50, 60000, NULL, BROKER | STORAGE,                                 \
      "how often a peer says it is alive")                                                                             \
    X(LEASE_MS, lease_ms, DURATION, "10s", 200, 3600000, NULL, BROKER,                                                 \
      "silence after which a worker's jobs go to another; at least two heartbeats")                                    \
    X(MESSAGE_BYTES_MAX, message_bytes_max, BYTES, "8MiB", 65536, 1073741824, NULL, ALL,                               \
      "greatest body of a message")                                                                                    \
    X(QUEUE_JOBS_MAX, queue_jobs_max, INT, "1000000", 1, 100000000, NULL, BROKER,                                      \
      "jobs not yet ended, of all tenants, before new ones are refused as busy")                                       \
    X(QUEUE_BYTES_MAX, queue_bytes_max, BYTES, "4GiB", 1048576, AB_CONFIG_INT_MAX, NULL, BROKER,                       \
      "their bytes, of all tenants")                                                                                   \
    X(TENANT_JOBS_MAX, tenant_jobs_max, INT, "1000000", 1, 100000000, NULL, BROKER,                                    \
      "jobs not yet ended of one tenant")                                                                              \
    X(RETENTION_DAYS, retention_days, INT, "30", 1, 36500, NULL, STORAGE, "how long journals of ended jobs are kept")   \
    X(LOG_LEVEL, log_level, ENUM, "info", 0, 0, "debug|info|warn|error", ALL, "least important line to log")           \
    X(LOG_FORMAT, log_format, ENUM, "text", 0, 0, "text|json", ALL, "log lines as key=value or JSON")                  \
    X(OFFLINE, offline, BOOL, "false", 0, 0, NULL, WORKER, "answer every model call from the script model, no network") \
    X(MODELS, models, TREE, "", 0, 0, NULL, WORKER, "model endpoints and where their keys are")                        \
    X(LIMITS, limits, TREE, "", 0, 0, NULL, BROKER, "jobs running at once, per tenant, pool and concurrency key")      \
    X(JOB_CALLS_MAX, job_calls_max, INT, "1000", 1, AB_CONFIG_INT_MAX, NULL, WORKER, "model calls of one job")         \
    X(JOB_TOKENS_MAX, job_tokens_max, INT, "10000000", 1, AB_CONFIG_INT_MAX, NULL, WORKER, "tokens of one job")        \
    X(JOB_SECONDS_MAX, job_seconds_max, INT, "86400", 1, AB_CONFIG_INT_MAX, NULL, WORKER, "running time of one job")   \
    X(ISOLATION, isolation, ENUM, "sandbox", 0, 0, "sandbox|unsafe-host", WORKER,                                      \
      "how code of `local` runs: sandboxed, or with all rights of the worker")                                         \
    X(DOCKER_SOCKET, docker_socket, PATH, "/var/run/docker.sock", 0, 0, NULL, WORKER,                                  \
      "unix socket of the container service for code of `docker`")                                                     \
    X(DOCKER_IMAGE, docker_image, STRING, "python:3-slim", 0, 0, NULL, WORKER, "image for code of `docker`; not pulled") \
    X(HTTP_GET_HOSTS, http_get_hosts, LIST, "", 0, 0, NULL, WORKER,                                                    \
      "hosts the tool http_get may ask: HOST, *.DOMAIN or *, each with :PORT unless 80 or 443; and private addresses") \
    X(TOOL_SECONDS_MAX, tool_seconds_max, INT, "600", 1, 86400, NULL, WORKER,                                          \
      "time of one call of a tool, and of finding out which tools an agent has")                                       \
    X(MCP_SERVERS, mcp_servers, TREE, "", 0, 0, NULL, WORKER, "MCP servers whose tools workflows may name")               \
    X(MCP_PINS, mcp_pins, PATH, "", 0, 0, NULL, WORKER | CLI,                                                          \
      "file of approved tools of MCP servers; empty: DIR/mcp-pins.json")                                               \
    X(MCP_PROCESSES_MAX, mcp_processes_max, INT, "64", 1, 4096, NULL, WORKER, "processes of MCP servers at once")        \
    X(WORK_DIR, work_dir, PATH, "", 0, 0, NULL, WORKER, "folder for the directories of jobs' code; empty: DIR/work")   \
    X(CODE_MEMORY_BYTES_MAX, code_memory_bytes_max, BYTES, "1GiB", 67108864, AB_CONFIG_INT_MAX, NULL, WORKER,          \
      "memory of a code block")                                                                                        \
    X(CODE_UIDS, code_uids, STRING, "", 0, 0, NULL, WORKER,                                                            \
      "FIRST-LAST: user ids, nobody's, for code of workers run as root; empty: made from the worker's process id")     \
    X(DEFAULT_USER_ID, default_user_id, STRING, "default", 0, 0, NULL, CLI | GATEWAY, "user if none is named")         \
    X(DEFAULT_SESSION_ID, default_session_id, STRING, "", 0, 0, NULL, CLI | GATEWAY, "session if none is named")       \
    X(DEFAULT_GALLERY_ID, default_gallery_id, STRING, "", 0, 0, NULL, CLI | GATEWAY, "gallery item if none is named")  \
    X(DEFAULT_USER_DIR, default_user_dir, PATH, "", 0, 0, NULL, CLI | GATEWAY, "folder of a user's files")             \
    X(DEFAULT_QUERY, default_query, STRING, "", 0, 0, NULL, CLI | GATEWAY, "message if none is given")                 \
    X(DEFAULT_CONNECTION_ID, default_connection_id, STRING, "", 0, 0, NULL, CLI | GATEWAY, "connection if none is named") \
    X(HTTP, http, STRING, "127.0.0.1:8081", 0, 0, NULL, CLI | GATEWAY,                                                 \
      "address of the HTTP gateway: ADDR:PORT (port 0: any free one), or off")                                         \
    X(HTTP_CONNECTIONS_MAX, http_connections_max, INT, "10000", 8, 1000000, NULL, GATEWAY,                             \
      "connections of HTTP clients at once")                                                                           \
    X(HTTP_ADDRESS_CONNECTIONS_MAX, http_address_connections_max, INT, "1000", 0, 1000000, NULL, GATEWAY,              \
      "of these from one address, if it is not this machine's; 0: any number")                                         \
    X(HTTP_RATE, http_rate, INT, "10000", 0, 1000000, NULL, GATEWAY,                                                   \
      "requests per second from one address before it is told to wait; 0: any number")                                 \
    X(HTTP_AUTH, http_auth, ENUM, "auto", 0, 0, "auto|tokens", CLI | GATEWAY,                                          \
      "who may use the HTTP gateway: auto = without tokens at a loopback address, else with; tokens = only with")      \
    X(HTTP_TOKEN_RATE, http_token_rate, INT, "200", 0, 1000000, NULL, GATEWAY,                                         \
      "requests per second with one token before it is told to wait; 0: any number")                                   \
    X(HTTP_IDLE_MS, http_idle_ms, DURATION, "75s", 100, 86400000, NULL, GATEWAY,                                       \
      "how long a connection may wait for its next request")                                                           \
    X(HTTP_SLOW_MS, http_slow_ms, DURATION, "20s", 100, 86400000, NULL, GATEWAY,                                       \
      "how long the headers of a request, and then its body, may take to come in")                                     \
    X(ALLOW_ORIGINS, allow_origins, LIST,                                                                              \
      "http://localhost:8000,http://127.0.0.1:8000,http://localhost:8001,http://localhost:8081", 0, 0, NULL, GATEWAY,  \
      "origins whose pages may call the HTTP gateway")
/* clang-format on */

enum ab_config_key {
#define X(KEY, ...) AB_CONF_##KEY,
    AB_CONFIG_KEYS(X)
#undef X
        AB_CONF_N
};

struct ab_config;

/* Reads flags, environment and file. 0 with *out set; 1 if --help or --version was answered on stdout (exit 0 then);
 * AB_EUSAGE with *out NULL, err->path naming the place ("FILE:LINE", "AUTOBOTS_X", "--x") and the text what to write.
 *
 * A server's command line has flags only. The command line client keeps what it does not find in the table, its
 * order kept, for its verbs (ab_config_rest), --help and --version too; flags after "--" are not looked at.
 * argv is borrowed for the configuration's life. */
int ab_config_create(struct ab_config **out, enum ab_program program, int argc, char **argv,
                     struct ab_error *err);
void ab_config_destroy(struct ab_config *config); /* NULL is allowed */

/* What was not taken as a flag of the table, argv[0] left out; NULL-terminated; *n may be NULL. */
char **ab_config_rest(const struct ab_config *config, int *n);

/* Each getter asserts that the key has its type. */
bool ab_config_bool(const struct ab_config *config, enum ab_config_key key);
int64_t ab_config_int(const struct ab_config *config, enum ab_config_key key); /* INT, DURATION (ms), BYTES */
int ab_config_enum(const struct ab_config *config,
                   enum ab_config_key key); /* position in choices; log_level fits
                                                                                   enum ab_log_level */
const char *ab_config_text(const struct ab_config *config,
                           enum ab_config_key key); /* STRING, PATH, ENDPOINT, ENUM;
                                                                                          "" if unset, never NULL */
const json_t *ab_config_tree(const struct ab_config *config,
                             enum ab_config_key key); /* LIST (array of strings),
                                                                                          TREE; NULL if unset */
/* "default", "env AUTOBOTS_SLOTS", "file /etc/autobots.yaml:3", "flag --slots" */
const char *ab_config_source(const struct ab_config *config, enum ab_config_key key);

/* The flags that give another program, started in the same environment, the same configuration: --config, --dir and
 * what came from flags, if that program uses it. NULL-terminated; freed with ab_config_flags_destroy. */
char **ab_config_flags(const struct ab_config *config, enum ab_program program);
void ab_config_flags_destroy(char **flags); /* NULL is allowed */

/* Key, value and source of every key of the program, as lines or as one JSON object {key: {value, source}}. */
void ab_config_print(const struct ab_config *config, FILE *out, bool json);
/* The flags of a program, one per line, for --help. */
void ab_config_help(enum ab_program program, FILE *out);
/* The flag nearest to a mistyped one ("--slot" → "--slots"; malloc'ed), or NULL. */
char *ab_config_nearest_flag(enum ab_program program, const char *flag);

#endif
