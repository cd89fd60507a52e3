/* What the load generators share: payloads, percentiles, processor time of a process, the result line. */
#ifndef AB_BENCH_H
#define AB_BENCH_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_PAYLOAD = 1024 };

void bench_fill(char *p, size_t n); /* printable, not too compressible */
int64_t bench_now_ns(void);
double bench_cpu_seconds(int pid);       /* user + system so far; pid 0 = this process */
double bench_cpu_list(const char *pids); /* sum over "12 34 56" */

/* One line: NAME jobs=… jobs/s=… server_us/job=… ack_p50_us=… ack_p99_us=… cycle_p50_us=… cycle_p99_us=…
 * ack and cycle are n samples in ns (sorted in place). */
void bench_print(const char *name, size_t n, double seconds, double server_cpu_seconds, int64_t *ack,
                 int64_t *cycle);

void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
