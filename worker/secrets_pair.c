/* The pool's key pair of secrets.h: one small file, and opening what was sealed to it. */
#include "worker/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEX_BYTES = 2 * AB_SEAL_KEY_BYTES };

static int system_fault(struct ab_error *err, const char *path, const char *what)
{
    return ab_fail_at(err, AB_ESYSTEM, path, "cannot %s the pool's private key: %s", what, strerror(errno));
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno != EINTR)
            return -1;
        if (written > 0) {
            p += written;
            n -= (size_t)written;
        }
    }
    return 0;
}

/* Makes the entry of a file in its directory durable. */
static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash ? ab_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : ab_strdup(".");
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(directory);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

/* Writes a new key beside `path` and links it there: link(2) fails if another worker was first, and then its key is
 * the pool's. */
static int make_file(const char *path, struct ab_error *err)
{
    uint8_t public_key[AB_SEAL_KEY_BYTES], private_key[AB_SEAL_KEY_BYTES];
    char hex[HEX_BYTES + 2];
    int rc = 0;
    char *temporary = ab_format("%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        free(temporary);
        return system_fault(err, path, "create");
    }
    crypto_box_keypair(public_key, private_key);
    sodium_bin2hex(hex, HEX_BYTES + 1, private_key, sizeof private_key);
    hex[HEX_BYTES] = '\n';
    if (write_all(fd, hex, HEX_BYTES + 1) || fsync(fd))
        rc = system_fault(err, path, "write");
    else if (link(temporary, path) && errno != EEXIST)
        rc = system_fault(err, path, "place");
    else if (sync_directory(path))
        rc = system_fault(err, path, "sync");
    close(fd);
    unlink(temporary);
    free(temporary);
    sodium_memzero(private_key, sizeof private_key);
    sodium_memzero(hex, sizeof hex);
    return rc;
}

static int read_file(struct secrets_pair *pair, int fd, const char *path, struct ab_error *err)
{
    char hex[HEX_BYTES + 2];
    struct stat st;
    size_t bytes = 0;
    if (fstat(fd, &st))
        return system_fault(err, path, "look at");
    if (st.st_mode & 077)
        return ab_fail_at(err, AB_EUSAGE, path, "others may read the pool's private key; chmod 600 it");
    ssize_t n = read(fd, hex, sizeof hex);
    if (n < 0)
        return system_fault(err, path, "read");
    bool whole = n >= HEX_BYTES && n <= HEX_BYTES + 1 &&
                 !sodium_hex2bin(pair->private_key, AB_SEAL_KEY_BYTES, hex, HEX_BYTES, NULL, &bytes, NULL) &&
                 bytes == AB_SEAL_KEY_BYTES;
    sodium_memzero(hex, sizeof hex);
    if (!whole)
        return ab_fail_at(err, AB_EDAMAGED, path, "the pool's private key is not %d hexadecimal digits",
                          HEX_BYTES);
    crypto_scalarmult_base(pair->public_key, pair->private_key);
    return 0;
}

int secrets_pair_load(struct secrets_pair *pair, const char *path, struct ab_error *err)
{
    if (sodium_init() < 0)
        return ab_fail(err, AB_ESYSTEM, "libsodium cannot start: the system gives no random numbers");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        int rc = make_file(path, err);
        if (rc)
            return rc;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return system_fault(err, path, "open");
    int rc = read_file(pair, fd, path, err);
    close(fd);
    return rc;
}

/* The secret inside the clear text, if that is for this context. */
static bool unwrap(const unsigned char *clear, size_t n, struct ab_view context, struct ab_view *secret)
{
    if (n <= AB_SEAL_HEADER_BYTES || memcmp(clear, "AS1", 3))
        return false;
    size_t context_bytes = (size_t)clear[3] << 8 | clear[4];
    if (context_bytes != context.n || n - AB_SEAL_HEADER_BYTES <= context_bytes)
        return false;
    if (context.n && memcmp(clear + AB_SEAL_HEADER_BYTES, context.p, context.n))
        return false;
    size_t skip = AB_SEAL_HEADER_BYTES + context_bytes;
    *secret = ab_view(clear + skip, n - skip);
    return true;
}

int secrets_open(const struct secrets_pair *pair, struct ab_view context, struct ab_view sealed,
                 struct ab_buf *out, struct ab_error *err)
{
    unsigned char clear[AB_SEAL_HEADER_BYTES + AB_SEAL_CONTEXT_BYTES_MAX + AB_SEAL_SECRET_BYTES_MAX];
    struct ab_view secret;
    if (sealed.n <= AB_SEAL_OVERHEAD || sealed.n - AB_SEAL_OVERHEAD > sizeof clear)
        return ab_fail(err, AB_EINVALID, "a sealed key of %zu bytes cannot be one", sealed.n);
    size_t n = sealed.n - AB_SEAL_OVERHEAD;
    bool opened = !crypto_box_seal_open(clear, (const unsigned char *)sealed.p, sealed.n, pair->public_key,
                                        pair->private_key);
    bool fits = opened && unwrap(clear, n, context, &secret);
    if (fits)
        ab_buf_add(out, secret.p, secret.n);
    sodium_memzero(clear, sizeof clear);
    if (!opened)
        return ab_fail(err, AB_EDENIED,
                       "the job's key was sealed for another worker pool; submit the job again");
    return fits ? 0 : ab_fail(err, AB_EDENIED, "the sealed key belongs to another job");
}

void secrets_pair_finish(struct secrets_pair *pair)
{
    sodium_memzero(pair, sizeof *pair);
}

void secrets_wipe(struct ab_buf *secret)
{
    if (secret->p)
        sodium_memzero(secret->p, secret->cap);
    ab_buf_finish(secret);
}
