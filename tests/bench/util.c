#include "tests/bench/bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

void bench_fill(char *p, size_t n)
{
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (char)('a' + (state >> 16) % 26);
    }
}

int64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* proc(5): utime and stime are fields 14 and 15; the name in field 2 may hold spaces and brackets. */
double bench_cpu_seconds(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, pid ? "/proc/%d/stat" : "/proc/self/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        bench_die("no process %d", pid);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    unsigned long user = 0, system_time = 0;
    char *rest = strrchr(text, ')');
    if (!rest ||
        sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system_time) != 2)
        bench_die("%s: not as documented", path);
    return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

double bench_cpu_list(const char *pids)
{
    double sum = 0;
    char *end;
    for (long pid; (pid = strtol(pids, &end, 10)), end != pids; pids = end)
        sum += bench_cpu_seconds((int)pid);
    return sum;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(int64_t *samples, size_t n, int percent)
{
    qsort(samples, n, sizeof *samples, compare);
    return (double)samples[n * (size_t)percent / 100] / 1e3;
}

void bench_print(const char *name, size_t n, double seconds, double server_cpu_seconds, int64_t *ack,
                 int64_t *cycle)
{
    printf("%s jobs=%zu jobs/s=%.0f server_us/job=%.1f ack_p50_us=%.0f ack_p99_us=%.0f cycle_p50_us=%.0f "
           "cycle_p99_us=%.0f\n",
           name, n, (double)n / seconds, server_cpu_seconds * 1e6 / (double)n, percentile_us(ack, n, 50),
           percentile_us(ack, n, 99), percentile_us(cycle, n, 50), percentile_us(cycle, n, 99));
}

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "bench: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(NULL);
    _exit(1); /* open sockets would keep an orderly exit waiting */
}
