/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), eight bytes at a time by the processor where it can. */
#include "storage/sqlite/db.h"

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_fast(const uint8_t *p, size_t n)
{
    uint64_t crc = 0xffffffff;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; n; p++, n--)
        crc = _mm_crc32_u8((uint32_t)crc, *p);
    return ~(uint32_t)crc;
}
#endif

static uint32_t crc_slow(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (; n; p++, n--) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

uint32_t crc32c(struct ab_view bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return crc_fast(p, bytes.n);
#endif
    return crc_slow(p, bytes.n);
}
