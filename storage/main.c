/* autobots-storage: the only owner of the database.
 *
 *   autobots-storage [--dir D] [--storage-endpoint E] …      serve until SIGTERM
 *   autobots-storage --check [--dir D]                       read all of it, name what is wrong
 *   autobots-storage --reindex [--dir D]                     have the text index made anew by the next start
 *
 * Exit: 0 after SIGTERM or a clean check, 1 a check that found faults, 100 usage or configuration, 111 system.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/program.h"
#include "storage/server.h"

enum { EXIT_FAULTS = 1, EXIT_USAGE = 100, EXIT_SYSTEM = 111 };
enum { MS_PER_DAY = 24 * 60 * 60 * 1000 };

static int exit_of(int code)
{
    return code == AB_EUSAGE || code == AB_EINVALID || code == AB_EDAMAGED ? EXIT_USAGE : EXIT_SYSTEM;
}

static int fail(const struct ab_error *err)
{
    fprintf(stderr, "autobots-storage: %s%s%s\n", err->path, *err->path ? ": " : "", err->text);
    return exit_of(err->code);
}

/* The lock says who owns the database; it ends with the process, however that ends. */
static int take_lock(const char *dir, int *fd, struct ab_error *err)
{
    if (mkdir(dir, 0700) && errno != EEXIST)
        return ab_fail_at(err, AB_EUSAGE, dir, "cannot make this folder: %s", strerror(errno));
    char *path = ab_format("%s/storage.lock", dir), pid[32] = "";
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int code = 0;
    if (*fd < 0) {
        code = ab_fail_at(err, AB_EUSAGE, path, "cannot open the lock: %s", strerror(errno));
    } else if (flock(*fd, LOCK_EX | LOCK_NB)) {
        ssize_t n = read(*fd, pid, sizeof pid - 1);
        code = ab_fail_at(
            err, AB_EUSAGE, path,
            "the database is in use by another autobots-storage, process %.*s: stop it or use another --dir",
            n > 0 ? (int)strcspn(pid, "\n") : 1, n > 0 ? pid : "?");
    } else {
        int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        if (ftruncate(*fd, 0) || pwrite(*fd, pid, (size_t)n, 0) != n)
            code = ab_fail_at(err, AB_ESYSTEM, path, "cannot write the lock: %s", strerror(errno));
    }
    free(path);
    return code;
}

/* Threads that the store starts must not take the signals that the loop waits for. */
static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int serve(const struct ab_config *config)
{
    struct ab_error err = {0};
    struct store *store = NULL;
    struct store_options options = {
        .dir = ab_config_text(config, AB_CONF_DIR),
        .retention_ms = ab_config_int(config, AB_CONF_RETENTION_DAYS) * MS_PER_DAY,
    };
    struct server_options server = {
        .endpoint = ab_config_text(config, AB_CONF_STORAGE_ENDPOINT),
        .heartbeat_ms = ab_config_int(config, AB_CONF_HEARTBEAT_MS),
        .message_bytes_max = (uint64_t)ab_config_int(config, AB_CONF_MESSAGE_BYTES_MAX),
    };
    int lock = -1, code = take_lock(options.dir, &lock, &err);
    block_signals();
    if (!code)
        code = store_sqlite_open(&options, &store, &err);
    if (!code)
        code = storage_serve(&server, store, &err);
    store_close(store);
    if (lock >= 0)
        close(lock);
    return code ? fail(&err) : 0;
}

static int reindex(const struct ab_config *config)
{
    struct ab_error err = {0};
    const char *dir = ab_config_text(config, AB_CONF_DIR);
    struct store_options options = {.dir = dir, .reindex = true};
    struct store *store = NULL;
    int lock = -1, code = take_lock(dir, &lock, &err);
    if (!code)
        code = store_sqlite_open(&options, &store, &err);
    store_close(store);
    if (lock >= 0)
        close(lock);
    if (!code)
        printf("%s: the text index is empty; the service makes it anew when it runs\n", dir);
    return code ? fail(&err) : 0;
}

static int check(const struct ab_config *config)
{
    struct ab_error err = {0};
    const char *dir = ab_config_text(config, AB_CONF_DIR);
    int faults = store_sqlite_check(dir, stdout, &err);
    if (faults < 0)
        return fail(&err);
    printf("%s: %d faults\n", dir, faults);
    return faults ? EXIT_FAULTS : 0;
}

int main(int argc, char **argv)
{
    bool only_check = ab_take_check(&argc, argv), only_reindex = ab_take_flag(&argc, argv, "--reindex");
    struct ab_config *config = NULL;
    struct ab_error err = {0};
    int code = ab_config_create(&config, AB_PROGRAM_STORAGE, argc, argv, &err);
    if (code)
        return code > 0 ? 0 : fail(&err);
    ab_log_init("storage", (enum ab_log_level)ab_config_enum(config, AB_CONF_LOG_LEVEL),
                ab_config_enum(config, AB_CONF_LOG_FORMAT) == 1);
    code = only_check ? check(config) : only_reindex ? reindex(config) : serve(config);
    ab_config_destroy(config);
    return code;
}
