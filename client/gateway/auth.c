/* See auth.h. */
#include "client/gateway/auth.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "client/gateway/gateway.h"
#include "common/clock.h"
#include "common/log.h"

enum { BUCKETS = 1024 };

struct token {
    struct token *next;
    uint8_t hash[AB_TOKEN_HASH_BYTES];
    char id[AB_ID_TEXT];
    char *user;
    enum ab_scope scope;
    int64_t expires_ms; /* wall clock; 0: never */
    uint64_t version;   /* under which storage said that it is valid */
    int64_t told_ms;    /* wall clock: when storage was last told of its use */
    int refs;           /* calls that act under it, and a question about it */
    struct gateway *gateway;
    int64_t asked_ms; /* … that question */
    bool asking;      /* whether it still is valid */
    bool gone;        /* it is not: freed with its last call */
};

struct auth {
    bool required;
    uint64_t version; /* the newest one that storage named … */
    int64_t known_ms; /* … to a question of that time; 0: none was answered */
    bool asking;      /* for the version, at asked_ms */
    int64_t asked_ms;
    size_t n;
    struct token *buckets[BUCKETS];
    struct rates rates, wrong; /* by token, by address */
};

struct auth *auth_create(bool required, int64_t rate)
{
    struct auth *auth = ab_calloc(1, sizeof *auth);
    auth->required = required;
    auth->rates.per_second = rate;
    auth->wrong.per_second = WRONG_PER_SECOND;
    return auth;
}

static void token_free(struct token *token)
{
    free(token->user);
    free(token);
}

void auth_destroy(struct auth *auth)
{
    for (int i = 0; auth && i < BUCKETS; i++)
        for (struct token *token = auth->buckets[i], *next; token; token = next) {
            next = token->next;
            token_free(token);
        }
    free(auth);
}

bool auth_required(const struct auth *auth)
{
    return auth->required;
}

/* ---- what is remembered ---- */

static struct token **place_of(struct auth *auth, const uint8_t hash[AB_TOKEN_HASH_BYTES])
{
    struct token **at = &auth->buckets[(hash[0] << 8 | hash[1]) % BUCKETS];
    while (*at && memcmp((*at)->hash, hash, AB_TOKEN_HASH_BYTES) != 0)
        at = &(*at)->next;
    return at;
}

static bool trusted(const struct auth *auth, const struct token *token, int64_t now_ms)
{
    return token->version == auth->version && auth->known_ms && now_ms - auth->known_ms <= FRESH_MS &&
           !(token->expires_ms && ab_wall_ms() >= token->expires_ms);
}

static void forget(struct auth *auth, struct token **at)
{
    struct token *token = *at;
    *at = token->next;
    auth->n--;
    token->gone = true;
    if (!token->refs)
        token_free(token);
}

/* Those that nobody uses make room. */
static void make_room(struct auth *auth)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct token **at = &auth->buckets[i]; *at;)
            if ((*at)->refs)
                at = &(*at)->next;
            else
                forget(auth, at);
}

/* What storage said of a valid token. */
static struct token *remember(struct auth *auth, const uint8_t hash[AB_TOKEN_HASH_BYTES], const json_t *record,
                              uint64_t version)
{
    const char *id = ab_tree_str(record, "id"), *user = ab_tree_str(record, "user"),
               *scope = ab_tree_str(record, "scope");
    struct token **at = place_of(auth, hash), *token = *at;
    if (!id || !user || !scope || !ab_scope_of(ab_view_of(scope)))
        return NULL;
    if (!token) {
        if (auth->n >= TOKENS_UNUSED_MAX)
            make_room(auth);
        at = place_of(auth, hash);
        token = *at = ab_calloc(1, sizeof *token);
        memcpy(token->hash, hash, sizeof token->hash);
        snprintf(token->id, sizeof token->id, "%s", id);
        token->user = ab_strdup(user); /* user and scope of a token never change */
        token->scope = ab_scope_of(ab_view_of(scope));
        token->told_ms = ab_tree_int(record, "used_ms", 0);
        auth->n++;
    }
    token->expires_ms = ab_tree_int(record, "expires_ms", 0);
    token->version = version;
    return token;
}

/* The version in an answer to what was asked at `asked_ms`. */
static uint64_t learn(struct auth *auth, const json_t *tree, int64_t asked_ms)
{
    uint64_t version = (uint64_t)ab_tree_int(tree, "version", 0);
    if (asked_ms >= auth->known_ms) {
        auth->version = version;
        auth->known_ms = asked_ms;
    }
    return version;
}

/* ---- asking storage ---- */

static int ask(struct gateway *gateway, const uint8_t *hash, autobots_done *done, void *context,
               struct autobots_error *err)
{
    char request[2 * AB_TOKEN_HASH_BYTES + 16] = "{}";
    if (hash) {
        int at = snprintf(request, sizeof request, "{\"hash\":\"");
        for (int i = 0; i < AB_TOKEN_HASH_BYTES; i++, at += 2)
            snprintf(request + at, 3, "%02x", hash[i]);
        snprintf(request + at, sizeof request - (size_t)at, "\"}");
    }
    return autobots_start_query(gateway->bots, "check_token", request, done, context, err);
}

static void on_told(void *context, const struct autobots_answer *answer)
{
    (void)context;
    if (answer->error && answer->error->code != AB_ENOTFOUND)
        ab_log(AB_WARN, "token.used", "text", answer->error->text, NULL);
}

/* Last use: a word a minute, not one for each request. */
static void tell_use(struct gateway *gateway, struct token *token)
{
    int64_t now = ab_wall_ms();
    char *request;
    if (now - token->told_ms < USE_TOLD_MS)
        return;
    token->told_ms = now;
    request = ab_format("{\"id\":\"%s\"}", token->id);
    autobots_start_query(gateway->bots, "token_used", request, on_told, NULL, NULL);
    free(request);
}

/* ---- a request ---- */

static bool unauthorised(struct ab_error *err, int *status, const char *text)
{
    *status = MHD_HTTP_UNAUTHORIZED;
    ab_fail_at(err, AB_EDENIED, "Authorization", "%s", text);
    return false;
}

static bool too_often(struct call *call, struct ab_error *err, int *status, uint32_t wait_ms, const char *text)
{
    *status = MHD_HTTP_TOO_MANY_REQUESTS;
    call->gateway->counters.refused_busy++;
    ab_fail(err, AB_EBUSY, "%s", text);
    err->retry_after_ms = wait_ms;
    return false;
}

/* Under a token for all, whom the request is for may stand in a header: not every client can name it in a body. */
static bool read_acts_for(struct call *call, const struct token *token, struct ab_error *err, int *status)
{
    struct ab_view user = call_header(call, "X-Autobots-User");
    if (!user.n)
        return true;
    if (!ab_auth_for_all(token->user))
        return !ab_auth_token(token->user, token->scope, AB_SCOPE_NONE, user.p, err);
    if (user.n > AB_USER_MAX || !ab_utf8_ok(user) || ab_auth_for_all(user.p)) {
        *status = MHD_HTTP_BAD_REQUEST;
        ab_fail_at(err, AB_EINVALID, "X-Autobots-User", "a user has 1 to %d bytes of UTF-8, and is not *",
                   AB_USER_MAX);
        return false;
    }
    call->acts_for = ab_view_dup(user);
    return true;
}

/* From here on the call acts under this token. */
static bool admit(struct call *call, struct token *token, struct ab_error *err, int *status)
{
    struct auth *auth = call->gateway->auth;
    uint64_t key;
    memcpy(&key, token->hash, sizeof key);
    uint32_t wait_ms = rate_take(&auth->rates, key | 1, ab_mono_us());
    if (wait_ms)
        return too_often(call, err, status, wait_ms,
                         "too many requests per second with this token (http_token_rate)");
    *status = MHD_HTTP_FORBIDDEN;
    if (ab_auth_token(token->user, token->scope, (enum ab_scope)call->route->scope, NULL, err) ||
        !read_acts_for(call, token, err, status))
        return false;
    call->token = token;
    token->refs++;
    tell_use(call->gateway, token);
    return true;
}

/* 0, or for how long nobody new is let in from its address. */
static uint32_t guesses_wait(struct call *call)
{
    return rate_wait(&call->gateway->auth->wrong, guard_address(call), ab_mono_us());
}

static const char too_many_wrong[] = "too many wrong tokens from this address";

static bool wrong(struct call *call, struct ab_error *err, int *status)
{
    uint32_t wait_ms = guesses_wait(call);
    if (wait_ms)
        return too_often(call, err, status, wait_ms, too_many_wrong);
    rate_take(&call->gateway->auth->wrong, guard_address(call), ab_mono_us());
    return unauthorised(err, status, "this token is unknown, expired or revoked");
}

struct check {
    struct call *call;
    int64_t asked_ms;
    uint8_t hash[AB_TOKEN_HASH_BYTES];
};

static bool settle(struct check *check, const struct autobots_answer *answer, struct ab_error *err, int *status)
{
    struct auth *auth = check->call->gateway->auth;
    json_t *tree = NULL;
    if (answer->error) {
        memcpy(err, answer->error, sizeof *err);
        *status = status_of(err->code);
        return false;
    }
    if (ab_json_parse(ab_view_of(answer->json), &tree, err)) {
        *status = status_of(err->code);
        return false;
    }
    uint64_t version = learn(auth, tree, check->asked_ms);
    json_t *record = json_object_get(tree, "token");
    struct token *token = record ? remember(auth, check->hash, record, version) : NULL;
    bool ok = token ? admit(check->call, token, err, status) : wrong(check->call, err, status);
    json_decref(tree);
    return ok;
}

static void on_checked(void *context, const struct autobots_answer *answer)
{
    struct check *check = context;
    struct call *call = check->call;
    struct ab_error err = {0};
    int status = 0;
    if (call->connection && call->checking) {
        call->checking = false;
        call->late_ms = 0;
        if (!settle(check, answer, &err, &status))
            call_refuse(call, status, &err);
        call_go_on(call);
    }
    free(check);
    call_drop(call);
}

static void unanswered(struct call *call)
{
    struct ab_error err;
    call->checking = false;
    call->late_ms = 0;
    ab_fail(&err, AB_EUNAVAILABLE, "storage, which knows the tokens, does not answer");
    call_refuse(call, MHD_HTTP_SERVICE_UNAVAILABLE, &err);
    call_go_on(call);
}

static bool start_check(struct call *call, const uint8_t hash[AB_TOKEN_HASH_BYTES], struct ab_error *err,
                        int *status)
{
    struct check *check = ab_calloc(1, sizeof *check);
    struct autobots_error error;
    *check = (struct check){.call = call_hold(call), .asked_ms = ab_mono_ms()};
    memcpy(check->hash, hash, sizeof check->hash);
    call->checking = true;
    call->late_ms = check->asked_ms + CHECK_MS_MAX;
    call->late = unanswered;
    if (!ask(call->gateway, hash, on_checked, check, &error))
        return true;
    memcpy(err, &error, sizeof *err);
    *status = status_of(err->code);
    call->checking = false;
    call->late_ms = 0;
    free(check);
    call_drop(call);
    return false;
}

static struct ab_view bearer(const struct call *call)
{
    static const char scheme[] = "Bearer ";
    struct ab_view value = call_header(call, "Authorization");
    if (value.n < sizeof scheme - 1 || strncasecmp(value.p, scheme, sizeof scheme - 1) != 0)
        return ab_view(NULL, 0);
    size_t blanks = strspn(value.p + sizeof scheme - 1, " ");
    return ab_view_of(value.p + sizeof scheme - 1 + blanks);
}

/* Without required tokens a key that is none of ours is nobody's concern: OpenAI's clients always send one. */
bool auth_begin(struct call *call, struct ab_error *err, int *status)
{
    struct auth *auth = call->gateway->auth;
    struct ab_view text = bearer(call);
    uint8_t hash[AB_TOKEN_HASH_BYTES];
    if (!ab_token_shaped(text)) {
        if (!auth->required)
            return true;
        return text.n ? wrong(call, err, status)
                      : unauthorised(err, status,
                                     "a token is needed: Authorization: Bearer abt_… (autobots tokens create)");
    }
    ab_token_hash(text, hash);
    struct token *token = *place_of(auth, hash);
    if (token && trusted(auth, token, ab_mono_ms()))
        return admit(call, token, err, status);
    uint32_t wait_ms = token ? 0 : guesses_wait(call);
    if (wait_ms)
        return too_often(call, err, status, wait_ms, too_many_wrong);
    return start_check(call, hash, err, status);
}

static void drop(struct token *token)
{
    if (!--token->refs && token->gone)
        token_free(token);
}

void auth_end(struct call *call)
{
    struct token *token = call->token;
    call->token = NULL;
    if (token)
        drop(token);
}

const char *auth_user(const struct call *call)
{
    bool all = call->token && ab_auth_for_all(call->token->user);
    return all ? call->acts_for : call->token ? call->token->user : NULL;
}

bool auth_must_name(const struct call *call)
{
    return call->token && !auth_user(call);
}

bool auth_has(const struct call *call, enum ab_scope scope)
{
    return !call->token || call->token->scope >= scope;
}

bool auth_may_name(struct call *call, const char *named)
{
    struct ab_error err;
    const struct token *token = call->token;
    const char *user = token ? auth_user(call) : NULL;
    if (!token || !ab_auth_token(user ? user : token->user, token->scope, AB_SCOPE_NONE, named, &err))
        return true;
    call_fail(call, &err, NULL);
    return false;
}

/* ---- what goes on ---- */

/* Its streams, and what waits under it. */
static void cut(struct gateway *gateway, const struct token *token)
{
    for (struct conn *conn = gateway->conns; conn; conn = conn->next)
        if (conn->call && conn->call->token == token) {
            conn->call->abandoned = true;
            call_wake(conn->call);
            shutdown(conn->fd, SHUT_RDWR);
        }
    gateway->resumed = true;
}

static void on_asked_again(void *context, const struct autobots_answer *answer)
{
    struct token *token = context;
    struct auth *auth = token->gateway->auth;
    json_t *tree = NULL;
    token->asking = false;
    if (!token->gone && !answer->error && !ab_json_parse(ab_view_of(answer->json), &tree, NULL)) {
        uint64_t version = learn(auth, tree, token->asked_ms);
        json_t *record = json_object_get(tree, "token");
        if (record)
            remember(auth, token->hash, record, version);
        else {
            cut(token->gateway, token);
            forget(auth, place_of(auth, token->hash));
        }
    }
    json_decref(tree);
    drop(token);
}

static void ask_again(struct gateway *gateway, struct token *token)
{
    token->gateway = gateway;
    token->asked_ms = ab_mono_ms();
    token->asking = !ask(gateway, token->hash, on_asked_again, token, NULL);
    token->refs += token->asking;
}

static void on_version(void *context, const struct autobots_answer *answer)
{
    struct auth *auth = context;
    json_t *tree = NULL;
    auth->asking = false;
    if (!answer->error && !ab_json_parse(ab_view_of(answer->json), &tree, NULL))
        learn(auth, tree, auth->asked_ms);
    json_decref(tree);
}

void auth_tick(struct gateway *gateway, int64_t now_ms)
{
    struct auth *auth = gateway->auth;
    int64_t wall_ms = ab_wall_ms();
    if (!auth->asking && auth->n) {
        auth->asked_ms = now_ms;
        auth->asking = !ask(gateway, NULL, on_version, auth, NULL);
    }
    for (int i = 0; i < BUCKETS; i++)
        for (struct token **at = &auth->buckets[i]; *at;) {
            struct token *token = *at;
            if (token->expires_ms && wall_ms >= token->expires_ms) {
                cut(gateway, token);
                forget(auth, at);
                continue;
            }
            if (token->refs && auth->known_ms && token->version != auth->version && !token->asking)
                ask_again(gateway, token);
            at = &token->next;
        }
}
