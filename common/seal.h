/* Sealing: a secret that travels with a job is encrypted to the public key of a worker pool, so that broker, storage,
 * their files and their backups never have it in clear.
 *
 * Format: libsodium's crypto_box_seal (X25519, XSalsa20-Poly1305, an ephemeral sender key) over
 *   "AS1" · context length (u16, big endian) · context · secret
 * The context is what the secret belongs to (the job's id): a sealed value that is copied to another job does not
 * open there. The length of the secret is visible. Opening needs the private key: worker/secrets.h.
 */
#ifndef AB_COMMON_SEAL_H
#define AB_COMMON_SEAL_H

#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"

enum {
    AB_SEAL_KEY_BYTES = 32,   /* of a public key, and of a private one */
    AB_SEAL_OVERHEAD = 48,    /* crypto_box_SEALBYTES */
    AB_SEAL_HEADER_BYTES = 5, /* "AS1" and the length */
    AB_SEAL_CONTEXT_BYTES_MAX = 256,
    AB_SEAL_SECRET_BYTES_MAX = 4096,
};

/* Appends the sealed bytes to *out. */
int ab_seal(const uint8_t public_key[AB_SEAL_KEY_BYTES], struct ab_view context, struct ab_view secret,
            struct ab_buf *out, struct ab_error *err);

#endif
