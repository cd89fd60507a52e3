/* Inside of the container back end: its requests (docker_http.c) and what they are for (docker.c). */
#ifndef AB_WORKER_EXEC_DOCKER_H
#define AB_WORKER_EXEC_DOCKER_H

#include <curl/curl.h>

#include "worker/exec/internal.h"
#include "worker/exec/users.h"

enum {
    API_LEAST = 25, /* 1.25: NetworkDisabled, Init, PidsLimit, no-new-privileges */
    API_NEWEST = 47,
    ANSWER_BYTES_MAX = 1 << 20,
    ANSWER_MS_MAX = 30000, /* for each request but attach and wait */
    FRAME_HEAD = 8,
    NAME_BYTES = 96,
    USER_PROCESSES = 4096, /* of that user in all containers; PidsLimit bounds each of them */
};

struct docker {
    CURLM *multi;
    int epoll;
    int64_t at_ms; /* when curl wants to be called */
    int version;   /* 1.N; 0: not asked yet */
    unsigned long made;
};

/* One request. */
struct request {
    struct exec_run *run;
    CURL *easy;
    struct curl_slist *headers;
    char *json;
    struct ab_buf answer;
    bool attach, over;
    void (*done)(struct exec_run *run, long status, const json_t *answer, const char *fault);
    SLIST_ENTRY(request) in_run;
};
struct container {
    SLIST_HEAD(requests, request) requests;
    char name[NAME_BYTES];
    struct ab_buf frames; /* of attach, not yet read */
    bool made, gone;
    bool heard; /* attach was answered: what follows is not missed */
    bool start_sent, attached, kill_due;
    int exit_code;
};

struct docker *docker_of(struct exec *exec); /* made if it is not there */
/* Begins a request; takes the body. `done` is called from docker_events or docker_time, with fault NULL if it succeeded. */
struct request *docker_ask(struct exec_run *run, const char *method, json_t *body,
                           void (*done)(struct exec_run *run, long status, const json_t *answer,
                                        const char *fault),
                           const char *format, ...) __attribute__((format(printf, 5, 6)));
void docker_forget_request(struct exec_run *run, struct request *request);
/* For a request of attach: notes the empty line that ends the head of its answer. */
size_t docker_on_header(char *line, size_t one, size_t n, void *user);

#endif
