/* The back end of containers: the Docker Engine API (dockerd, podman) over its unix socket.
 *
 *   create → attach → start → … output … → wait → inspect → delete
 *
 * The version spoken is the newest that both sides know (GET /version); what is used of it has been the same since
 * 1.25. The job's directory is mounted as /workspace, so the daemon must be on the worker's machine. Nothing is pulled: an
 * image that is not there is an error that says so. Containers of dead workers of this machine are removed by the next
 * probe; each has the worker's process id and host name as labels.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/tree.h"
#include "worker/exec/docker.h"

/* --- a container's life ------------------------------------------------------------------------------------------ */

static void give_up(struct exec_run *run, const char *doing, const char *fault)
{
    if (!run->error.code)
        ab_fail(&run->error, AB_EUNAVAILABLE, "the container service at %s could not %s: %s",
                run->exec->options.docker_socket, doing, fault);
}

static void on_deleted(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)answer;
    if (fault && status != 404) /* another delete of it may be under way: 409 */
        ab_log(AB_WARN, "exec.container", "name", run->container->name, "delete", fault, NULL);
    run->container->gone = true;
    run_gone(run);
}

static void remove_container(struct exec_run *run)
{
    if (run->container->gone)
        return;
    while (!SLIST_EMPTY(&run->container->requests))
        docker_forget_request(run, SLIST_FIRST(&run->container->requests));
    if (run->container->made)
        docker_ask(run, "DELETE", NULL, on_deleted, "/containers/%s?force=1&v=1", run->container->name);
    else
        on_deleted(run, 0, NULL, NULL);
}

static void on_inspected(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    (void)fault;
    if (ab_tree_bool(json_object_get(answer, "State"), "OOMKilled", false) && !run->stopped)
        run->stopped = ab_format("it used more than %llu MiB of memory",
                                 (unsigned long long)run->exec->options.memory_bytes_max >> 20);
    remove_container(run);
}

/* Its end and that of its output come in any order. */
static void end_if(struct exec_run *run)
{
    if (run->ran && run->container->exit_code >= 0 && !run->container->attached)
        docker_ask(run, "GET", NULL, on_inspected, "/containers/%s/json", run->container->name);
}

static void on_waited(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    if (fault) {
        give_up(run, "wait for a container", fault);
        remove_container(run);
        return;
    }
    run->container->exit_code = (int)ab_tree_int(answer, "StatusCode", EXEC_KILLED);
    if (!run->stopped)
        run->exit_code = run->container->exit_code;
    end_if(run);
}

static void on_started(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    (void)answer;
    if (fault) {
        give_up(run, "start a container", fault);
        remove_container(run);
        return;
    }
    run->ran = true;
    struct request *wait =
        docker_ask(run, "POST", NULL, on_waited, "/containers/%s/wait", run->container->name);
    curl_easy_setopt(wait->easy, CURLOPT_TIMEOUT_MS, 0L);
}

static void on_detached(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)status;
    (void)answer;
    run->container->attached = false;
    if (fault && !run->ran) {
        give_up(run, "attach to a container", fault);
        remove_container(run);
        return;
    }
    end_if(run);
}

static void on_created(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)answer;
    if (fault && status == 404)
        ab_fail(&run->error, AB_ESYSTEM,
                "code cannot be run: the container service at %s has no image %s; pull or build it there "
                "(docker pull "
                "%s), or set docker_image",
                run->exec->options.docker_socket, run->exec->options.docker_image,
                run->exec->options.docker_image);
    else if (fault)
        give_up(run, "make a container", fault);
    if (fault) {
        remove_container(run);
        return;
    }
    run->container->made = true;
    run->container->attached = true;
    struct request *attach =
        docker_ask(run, "POST", NULL, on_detached, "/containers/%s/attach?stream=1&stdout=1&stderr=1",
                   run->container->name);
    attach->attach = true;
    curl_easy_setopt(attach->easy, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(attach->easy, CURLOPT_HEADERFUNCTION, docker_on_header);
    curl_easy_setopt(attach->easy, CURLOPT_HEADERDATA, attach);
}

static json_t *limit(const char *name, json_int_t value)
{
    return json_pack("{s:s, s:I, s:I}", "Name", name, "Soft", value, "Hard", value);
}

static json_t *host_config(const struct exec_run *run)
{
    json_int_t memory = (json_int_t)run->exec->options.memory_bytes_max;
    char tmp[64];
    snprintf(tmp, sizeof tmp, "rw,nosuid,nodev,mode=1777,size=%d", EXEC_TMP_BYTES_MAX);
    json_t *host =
        json_pack("{s:s, s:I, s:I, s:i, s:i, s:b, s:b, s:[s], s:[s], s:{s:s}, s:{s:s}, s:[o,o,o,o]}",
                  "NetworkMode", "none", "Memory", memory, "MemorySwap", memory, "PidsLimit",
                  EXEC_PROCESSES_MAX, "ShmSize", EXEC_TMP_BYTES_MAX, "ReadonlyRootfs", 1, "Init", 0, "CapDrop",
                  "ALL", "SecurityOpt", "no-new-privileges", "Tmpfs", "/tmp", tmp, "LogConfig", "Type", "none",
                  "Ulimits", limit("nofile", EXEC_OPEN_FILES_MAX), limit("nproc", USER_PROCESSES),
                  limit("core", 0), limit("fsize", WORKDIR_FILE_BYTES_MAX));
    char *bind = run->probe ? NULL : ab_format("%s:/workspace:rw", workdir_path(run->request.dir));
    if (bind)
        json_object_set_new(host, "Binds", json_pack("[s]", bind));
    free(bind);
    if (run->request.library)
        json_array_append_new(json_object_get(host, "Binds"),
                              json_sprintf("%s:/skills:ro", workdir_path(run->request.library)));
    return host;
}

static void create(struct exec_run *run)
{
    struct docker *docker = docker_of(run->exec);
    char host[64] = "", user[32], pid[24];
    if (gethostname(host, sizeof host - 1))
        host[0] = 0;
    unsigned inside = geteuid() ? (unsigned)geteuid() : USER_INSIDE;
    snprintf(user, sizeof user, "%u:%u", inside, inside);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    snprintf(run->container->name, NAME_BYTES, "autobots-%s-%lu-%lx", pid, ++docker->made,
             (unsigned long)ab_mono_us());
    char *cwd = ab_format("/workspace%s%s", *run->request.folder ? "/" : "", run->request.folder);
    json_t *body = json_pack("{s:s, s:o, s:o, s:s, s:s, s:b, s:b, s:b, s:{s:s, s:s}, s:o}", "Image",
                             run->exec->options.docker_image, "Cmd", args_json(run), "Env",
                             args_environment_json(run), "User", user, "WorkingDir", run->probe ? "/" : cwd,
                             "NetworkDisabled", 1, "AttachStdout", 1, "AttachStderr", 1, "Labels",
                             "autobots.pid", pid, "autobots.host", host, "HostConfig", host_config(run));
    free(cwd);
    struct request *request =
        docker_ask(run, "POST", body, on_created, "/containers/create?name=%s", run->container->name);
    run->container->made = request != NULL; /* from here on there may be one */
}

/* --- the daemon -------------------------------------------------------------------------------------------------- */

static void on_removed(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    (void)run;
    (void)status;
    (void)answer;
    (void)fault;
}

static void on_listed(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    char host[64] = "";
    json_t *one;
    size_t i;
    (void)status;
    (void)fault;
    if (gethostname(host, sizeof host - 1))
        host[0] = 0;
    json_array_foreach (answer, i, one) {
        const json_t *labels = json_object_get(one, "Labels");
        const char *pid = ab_tree_str(labels, "autobots.pid"), *where = ab_tree_str(labels, "autobots.host");
        long number = pid ? strtol(pid, NULL, 10) : 0;
        if (number > 0 && where && !strcmp(where, host) && kill((pid_t)number, 0) && errno == ESRCH)
            docker_ask(run, "DELETE", NULL, on_removed, "/containers/%.80s?force=1&v=1",
                       ab_tree_str(one, "Id"));
    }
    create(run);
}

/* "1.41" → 41 */
static int minor_of(const char *version)
{
    return version && !strncmp(version, "1.", 2) ? (int)strtol(version + 2, NULL, 10) : 0;
}

static void on_version(struct exec_run *run, long status, const json_t *answer, const char *fault)
{
    int newest = minor_of(ab_tree_str(answer, "ApiVersion")),
        least = minor_of(ab_tree_str(answer, "MinAPIVersion"));
    int version = newest < API_NEWEST ? newest : API_NEWEST;
    (void)status;
    if (fault || !newest)
        ab_fail(&run->error, AB_ESYSTEM,
                "code cannot be run: no container service answers at %s (%s); start one, or "
                "set docker_socket",
                run->exec->options.docker_socket, fault ? fault : "it tells no version");
    else if (version < least || version < API_LEAST)
        ab_fail(&run->error, AB_ESYSTEM,
                "code cannot be run: the container service at %s speaks versions 1.%d to 1.%d of its API, this "
                "worker 1.%d "
                "to 1.%d",
                run->exec->options.docker_socket, least, newest, API_LEAST, API_NEWEST);
    if (run->error.code) {
        remove_container(run);
        return;
    }
    docker_of(run->exec)->version = version;
    docker_ask(run, "GET", NULL, on_listed,
               "/containers/json?all=1&filters=%%7B%%22label%%22%%3A%%5B%%22autobots.pid%%22%%5D%%7D");
}

static int start_docker(struct exec_run *run, struct ab_error *err)
{
    run->container = ab_calloc(1, sizeof *run->container);
    run->container->exit_code = -1;
    SLIST_INIT(&run->container->requests);
    if (run->probe) {
        docker_of(run->exec)->version = 0;
        docker_ask(run, "GET", NULL, on_version, "/version");
        return 0;
    }
    if (!geteuid() && (workdir_give(run->request.dir, USER_INSIDE, err) ||
                       (run->request.library && workdir_give(run->request.library, USER_INSIDE, err))))
        return err->code;
    create(run);
    return 0;
}

/* May be called while curl hands bytes over, when none of its handles may be touched. */
static void kill_docker(struct exec_run *run)
{
    run->container->kill_due = true;
    exec_again(run->exec);
}

/* What callbacks of curl only took note of. */
static void tick_docker(struct exec_run *run)
{
    struct container *container = run->container;
    if (container->kill_due) {
        container->kill_due = false;
        remove_container(run);
    } else if (container->heard && !container->start_sent) {
        container->start_sent = true;
        docker_ask(run, "POST", NULL, on_started, "/containers/%s/start", container->name);
    }
}

static void wait_docker(struct exec_run *run, int64_t until_ms)
{
    struct exec *exec = run->exec;
    while (!run->container->gone && ab_mono_ms() < until_ms) {
        struct pollfd one = {.fd = exec->docker->epoll, .events = POLLIN};
        tick_docker(run);
        int64_t left_ms = until_ms - ab_mono_ms(), curl_ms = exec->docker->at_ms - ab_mono_ms();
        left_ms = curl_ms < left_ms ? curl_ms : left_ms;
        poll(&one, 1, left_ms > 0 ? (int)left_ms : 0);
        docker_events(exec);
        docker_time(exec, ab_mono_ms());
    }
}

void docker_forget(struct exec_run *run)
{
    if (!run->container)
        return;
    while (!SLIST_EMPTY(&run->container->requests))
        docker_forget_request(run, SLIST_FIRST(&run->container->requests));
    ab_buf_finish(&run->container->frames);
    free(run->container);
    run->container = NULL;
}

static int judge_docker(const struct exec_run *probe, char protections[EXEC_PROTECTIONS_MAX],
                        struct ab_error *err)
{
    struct ab_buf text = {0};
    ab_buf_add(&text, probe->kept.p, probe->kept.n);
    const char *lacks = probe_missing(ab_buf_cstr(&text), true);
    int code = 0;
    if (probe->exit_code || !probe->ran)
        code = ab_fail(err, AB_ESYSTEM,
                       "code cannot be run: a container of %s does not run a shell (exit code %d): %.*s",
                       probe->exec->options.docker_image, probe->exit_code, (int)strcspn(text.p, "\n"), text.p);
    else if (lacks)
        code = ab_fail(err, AB_ESYSTEM, "code cannot be run: containers have no %s here", lacks);
    else
        snprintf(protections, EXEC_PROTECTIONS_MAX,
                 "container of %.100s: namespaces pid net ipc uts mnt; read-only system; no capabilities; "
                 "seccomp; rlimits; "
                 "cgroup memory pids",
                 probe->exec->options.docker_image);
    ab_buf_finish(&text);
    return code;
}

const struct exec_backend exec_docker = {.name = "docker",
                                         .kill_ms = ANSWER_MS_MAX,
                                         .lingers = true,
                                         .look_ms = LOOK_MS,
                                         .start = start_docker,
                                         .kill = kill_docker,
                                         .wait = wait_docker,
                                         .tick = tick_docker,
                                         .judge = judge_docker};
