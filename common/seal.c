/* seal.h. The clear text lives in one buffer on the stack, which is wiped. */
#include "common/seal.h"

#include <sodium.h>

_Static_assert(AB_SEAL_KEY_BYTES == crypto_box_PUBLICKEYBYTES, "key size");
_Static_assert(AB_SEAL_KEY_BYTES == crypto_box_SECRETKEYBYTES, "key size");
_Static_assert(AB_SEAL_OVERHEAD == crypto_box_SEALBYTES, "overhead");

int ab_seal(const uint8_t public_key[AB_SEAL_KEY_BYTES], struct ab_view context, struct ab_view secret,
            struct ab_buf *out, struct ab_error *err)
{
    unsigned char clear[AB_SEAL_HEADER_BYTES + AB_SEAL_CONTEXT_BYTES_MAX + AB_SEAL_SECRET_BYTES_MAX];
    if (sodium_init() < 0)
        return ab_fail(err, AB_ESYSTEM, "libsodium cannot start: the system gives no random numbers");
    if (context.n > AB_SEAL_CONTEXT_BYTES_MAX)
        return ab_fail(err, AB_ETOOLARGE, "the context of a sealed secret is over %d bytes",
                       AB_SEAL_CONTEXT_BYTES_MAX);
    if (!secret.n || secret.n > AB_SEAL_SECRET_BYTES_MAX)
        return ab_fail(err, AB_EINVALID, "a secret has 1 to %d bytes", AB_SEAL_SECRET_BYTES_MAX);
    memcpy(clear, "AS1", 3);
    clear[3] = (unsigned char)(context.n >> 8);
    clear[4] = (unsigned char)context.n;
    size_t n = AB_SEAL_HEADER_BYTES;
    if (context.n)
        memcpy(clear + n, context.p, context.n);
    n += context.n;
    memcpy(clear + n, secret.p, secret.n);
    n += secret.n;
    ab_buf_reserve(out, n + AB_SEAL_OVERHEAD);
    int rc = crypto_box_seal((unsigned char *)out->p + out->n, clear, n, public_key);
    sodium_memzero(clear, sizeof clear);
    if (rc)
        return ab_fail(err, AB_EINVALID, "the pool's public key is not usable; restart its workers");
    out->n += n + AB_SEAL_OVERHEAD;
    return 0;
}
