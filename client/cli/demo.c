/* demo: a private service in a temporary folder, a few chats, and nothing left behind.
 *
 * Without MODEL it is offline: OPENAI_* are taken out of the environment, so that nobody pays for a demonstration by
 * accident. The service is this program's own `up`, in a process that dies with this one.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "common/clock.h"

enum { START_MS_MAX = 30000, STOP_MS_MAX = 15000, TAIL_BYTES = 4096, FOLDER_MAX = 72 };

/* The examples are part of the program, in case the program stands alone. */
__asm__(".pushsection .rodata\n"
        ".global demo_review, demo_tools, demo_code\n"
        "demo_review: .incbin \"client/examples/review.yaml\"\n"
        ".byte 0\n"
        "demo_tools: .incbin \"client/examples/tools.yaml\"\n"
        ".byte 0\n"
        "demo_code: .incbin \"client/examples/code.yaml\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char demo_review[], demo_tools[], demo_code[];

static const struct scene {
    const char *file, *text, *task;
} review = {"review.yaml", demo_review, "Explain in two sentences why a job queue needs fencing tokens."},
  tools_scene = {"tools.yaml", demo_tools,
                 "What is the area of a circle with a radius of 12.5 m, and what day is it today?"},
  code_scene = {"code.yaml", demo_code, "How fast do the squares of the first numbers grow? Make a table."};

struct demo {
    struct cli *cli;
    char folder[128];
    pid_t service;
    const char *model;
};

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static bool make_folder(struct demo *demo)
{
    const char *tmp = getenv("TMPDIR");
    if (!tmp || !*tmp || *tmp != '/' || strlen(tmp) > FOLDER_MAX) /* a socket's path has 107 bytes */
        tmp = "/tmp";
    snprintf(demo->folder, sizeof demo->folder, "%s/autobots-demo-XXXXXX", tmp);
    if (mkdtemp(demo->folder))
        return true;
    demo->folder[0] = 0;
    return false;
}

/* ---- the service ---- */

/* In the child. Never returns. */
static void become_service(const struct demo *demo, int out, pid_t parent)
{
    sigset_t none;
    char *log = ab_format("%s/demo.log", demo->folder);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(111);
    setpgid(0, 0);
    dup2(out, 1);
    dup2(fd, 2);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl("/proc/self/exe", "autobots", "up", "--dir", demo->folder, "--workers", "1", "--http", "off",
          demo->model ? "--offline=false" : "--offline", (char *)NULL);
    _exit(111);
}

/* Where the demonstration runs is not what the caller has configured for the real thing. */
static void clean_environment(bool offline)
{
    static const char *const ours[] = {
        "AUTOBOTS_DIR",    "AUTOBOTS_ENDPOINT", "AUTOBOTS_WORKER_ENDPOINT", "AUTOBOTS_STORAGE_ENDPOINT",
        "AUTOBOTS_CONFIG", "AUTOBOTS_WORKERS",  "AUTOBOTS_OFFLINE",         "AUTOBOTS_USER",
        "AUTOBOTS_HTTP"};
    static const char *const models[] = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE",
                                         "OPENAI_ORGANIZATION", "OPENAI_PROJECT"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        unsetenv(ours[i]);
    for (size_t i = 0; offline && i < sizeof models / sizeof *models; i++)
        unsetenv(models[i]);
}

/* Until the line `ready` has come. */
static bool wait_ready(int fd)
{
    char line[512] = "";
    size_t n = 0;
    int64_t until = ab_mono_ms() + START_MS_MAX;
    while (n < sizeof line - 1 && !memchr(line, '\n', n)) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        int64_t left = until - ab_mono_ms();
        if (left <= 0 || view_interrupted())
            return false;
        if (poll(&item, 1, left < 200 ? (int)left : 200) <= 0)
            continue;
        ssize_t got = read(fd, line + n, sizeof line - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    return n >= 5 && !memcmp(line, "ready", 5);
}

static bool start_service(struct demo *demo)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC))
        return false;
    pid_t parent = getpid();
    demo->service = fork();
    if (!demo->service)
        become_service(demo, fds[1], parent);
    close(fds[1]);
    bool ready = demo->service > 0 && wait_ready(fds[0]);
    close(fds[0]);
    return ready;
}

static void stop_service(struct demo *demo)
{
    int64_t until = ab_mono_ms() + STOP_MS_MAX;
    sigset_t set;
    if (demo->service <= 0)
        return;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    kill(demo->service, SIGTERM);
    while (waitpid(demo->service, NULL, WNOHANG) == 0) {
        struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
        sigtimedwait(&set, NULL, &pause); /* SIGCHLD is blocked since the start */
        if (ab_mono_ms() > until) {
            kill(demo->service, SIGKILL); /* its own children die with it */
            until += STOP_MS_MAX;
        }
    }
}

/* ---- the chat ---- */

/* The example: beside an installed program, in the source tree, else the one inside. */
static char *example(struct cli *cli, const struct scene *scene, int *code)
{
    static const char *const places[] = {"../share/autobots/examples", "../../../client/examples"};
    char *folder = own_folder(), *text = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places && !text; i++) {
        char *path = ab_format("%s/%s/%s", folder, places[i], scene->file);
        if (!access(path, R_OK))
            text = workflow_read(cli, path, code);
        free(path);
    }
    free(folder);
    return text ? text : workflow_parse_yaml(scene->text);
}

static int chat(struct demo *demo, const char *workflow, const char *task)
{
    struct autobots_error err;
    char id[AUTOBOTS_ID_TEXT];
    struct autobots *bots =
        autobots_open(&(struct autobots_options){.dir = demo->folder, .user = "demo"}, &err);
    struct autobots_job job = {.workflow = workflow, .text = task};
    if (!bots || autobots_submit(bots, &job, id, NULL, &err)) {
        autobots_close(bots);
        return cli_fail(demo->cli, &err);
    }
    struct view *view = view_create(demo->cli, stdout, demo->cli->json);
    int code = view_follow(view, bots, id, 0);
    view_destroy(view);
    autobots_close(bots);
    return code;
}

static int show_scene(struct demo *demo, const struct scene *scene)
{
    int code = CLI_DONE;
    char *workflow = example(demo->cli, scene, &code);
    if (workflow)
        code = chat(demo, workflow, scene->task);
    free(workflow);
    return code;
}

static int show_tools(struct demo *demo)
{
    fputs("\n--- an agent calls tools and goes on from their results\n\n", demo->cli->json ? stderr : stdout);
    return show_scene(demo, &tools_scene);
}

/* Where code cannot be sandboxed it is not run; that is said, and is no failure of the demonstration. */
static int show_code(struct demo *demo)
{
    char *text;
    bool good = worker_check(demo->cli, "local", &text);
    FILE *out = demo->cli->json ? stderr : stdout;
    char *clean = term_line(text, 0);
    fprintf(out,
            good ? "\n--- an agent writes code and another one runs it (%s)\n\n"
                 : "\n--- skipped: an agent that writes and runs code; %s\n",
            clean);
    free(clean);
    free(text);
    return good ? show_scene(demo, &code_scene) : CLI_DONE;
}

static void say_last_line(const struct demo *demo)
{
    if (demo->cli->json)
        return;
    if (demo->model)
        printf("this was %s, on a real endpoint; without MODEL the demonstration is offline\n", demo->model);
    else
        printf("this was offline, from a script; with a real model: MODEL=… OPENAI_API_KEY=… make demo\n");
}

static int run(struct demo *demo)
{
    int code = CLI_FAILED;
    char *workflow = demo->model ? workflow_builtin(demo->model) : example(demo->cli, &review, &code);
    if (!workflow)
        return code;
    if (start_service(demo)) {
        code = chat(demo, workflow, review.task);
        if (code == CLI_DONE && !demo->model)
            code = show_tools(demo);
        if (code == CLI_DONE && !demo->model)
            code = show_code(demo);
        if (code == CLI_DONE)
            say_last_line(demo);
    } else {
        char *log = ab_format("%s/demo.log", demo->folder);
        cli_failf(demo->cli, CLI_FAILED, "the service did not start");
        log_tail(log, TAIL_BYTES, stderr);
        free(log);
    }
    free(workflow);
    return code;
}

int verb_demo(struct cli *cli)
{
    const char *model = getenv("MODEL");
    struct demo demo = {.cli = cli, .model = model && *model ? model : NULL};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    view_catch_signals();
    clean_environment(!demo.model);
    if (!make_folder(&demo))
        return cli_failf(cli, CLI_FAILED, "no temporary folder: %s", strerror(errno));
    int code = run(&demo);
    stop_service(&demo);
    nftw(demo.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}
