/* The sandbox: a script that does nothing, sandboxed and as a plain process, one after the other in turns.
 *
 *   bench_exec              one line: medians in ms, of the wall clock from the start until all of it is gone
 *
 * The sandboxed run includes the control group, the namespaces, the filter and the listing of its directory. The plain
 * one is fork, exec of /bin/true, wait.
 */
#include "tests/bench/bench.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/exec/exec.h"

enum { ROUNDS = 101 };

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double median_ms(int64_t times[ROUNDS])
{
    qsort(times, ROUNDS, sizeof *times, ascending);
    return (double)times[ROUNDS / 2] / 1e6;
}

static int64_t plain(void)
{
    int64_t begin = bench_now_ns();
    pid_t pid = fork();
    if (!pid) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    int status = 1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        bench_die("/bin/true does not run");
    return bench_now_ns() - begin;
}

static void on_done(void *user, const struct exec_result *result, const struct ab_error *error)
{
    bool *done = user;
    *done = true;
    if (error)
        bench_die("%s", error->text);
    if (result->exit_code)
        bench_die("true failed: %.*s", AB_VIEW_FMT(result->output));
}

static int64_t sandboxed(struct exec *exec, struct workdir *dir)
{
    static const struct exec_callbacks callbacks = {.on_done = on_done};
    struct exec_request request = {.kind = EXEC_LOCAL,
                                   .dir = dir,
                                   .language = "sh",
                                   .file = "true.sh",
                                   .keep_file = true,
                                   .timeout_ms = 10000};
    bool done = false;
    int64_t begin = bench_now_ns();
    exec_start(exec, &request, &callbacks, &done, ab_mono_ms());
    while (!done) {
        struct pollfd one = {.fd = exec_fd(exec), .events = POLLIN};
        int64_t left_ms = exec_deadline_ms(exec) - ab_mono_ms();
        poll(&one, 1, left_ms > 1000 ? 1000 : left_ms > 0 ? (int)left_ms : 0);
        exec_poll(exec, ab_mono_ms());
    }
    return bench_now_ns() - begin;
}

int main(void)
{
    struct exec_options options = {.memory_bytes_max = 1 << 30};
    char folder[] = "/tmp/bench-exec-XXXXXX", protections[EXEC_PROTECTIONS_MAX];
    struct ab_error err = {0};
    struct exec *exec;
    struct workdirs *dirs;
    struct workdir *dir;
    static int64_t without[ROUNDS], with[ROUNDS];

    ab_log_init("bench", AB_WARN, false);
    if (!mkdtemp(folder) || exec_create(&options, &exec, &err) || workdirs_create(folder, &dirs, &err) ||
        workdir_create(dirs, "job", &dir, &err) ||
        workdir_write(dir, "true.sh", 0, ab_view_of("true\n"), false, &err) ||
        exec_check(exec, EXEC_LOCAL, protections, &err))
        bench_die("%s", err.text);
    for (size_t i = 0; i < ROUNDS; i++) {
        without[i] = plain();
        with[i] = sandboxed(exec, dir);
    }
    double plain_ms = median_ms(without), sandboxed_ms = median_ms(with);
    printf("exec true runs=%d plain_ms=%.2f sandboxed_ms=%.2f over_ms=%.2f\n", ROUNDS, plain_ms, sandboxed_ms,
           sandboxed_ms - plain_ms);
    workdir_destroy(dir);
    workdirs_destroy(dirs);
    exec_destroy(exec);
    return rmdir(folder);
}
