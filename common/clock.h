/* The only place that reads clocks. Cores take the time as an argument. */
#ifndef AB_COMMON_CLOCK_H
#define AB_COMMON_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AB_ISO8601_MAX = 32 };

int64_t ab_mono_ms(void); /* monotonic, for deadlines and leases */
int64_t ab_mono_us(void);
int64_t ab_wall_ms(void); /* milliseconds since 1970 UTC, for people and stored times */
/* "2026-01-31T12:00:00.123Z" */
const char *ab_iso8601(int64_t wall_ms, char text[AB_ISO8601_MAX]);
/* "2026-01-31T12:00:00.123456+01:00", with a space for the T, without seconds, fraction or zone (then it is UTC), or
 * the date alone. False if it is none; *wall_ms is then as before. */
bool ab_iso8601_read(const char *text, size_t bytes, int64_t *wall_ms);

#endif
