/* See auth.h. */
#include "common/auth.h"

#include <sodium.h>

/* ---- callers of the protocol ---- */

static const struct {
    const char *name;
    unsigned role;
} roles[] = {{"broker", AB_BY_BROKER}, {"worker", AB_BY_WORKER}, {"client", AB_BY_CLIENT}};

unsigned ab_role_of(struct ab_view name)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (ab_view_is(name, roles[i].name))
            return roles[i].role;
    return 0;
}

int ab_auth_query(enum ab_service service, unsigned role, struct ab_view name, const struct ab_op_row **op,
                  struct ab_error *err)
{
    *op = ab_op_by_name(name);
    if (!*op)
        return ab_fail_at(err, AB_ENOTFOUND, "op", "there is no operation %.*s", AB_VIEW_FMT(name));
    if (service == AB_AT_STORAGE && (*op)->kind == AB_OP_BROKER)
        return ab_fail_at(err, AB_ENOTFOUND, "op", "the broker answers %s, storage does not", (*op)->name);
    if (service == AB_AT_BROKER && (*op)->kind != AB_OP_BROKER)
        return ab_fail_at(err, AB_EDENIED, "op", "%s is answered by storage; its endpoint is in WELCOME",
                          (*op)->name);
    if (!((*op)->by & role))
        return ab_fail_at(err, AB_EDENIED, "op", "a caller of this role may not ask %s", (*op)->name);
    if ((*op)->kind == AB_OP_WRITE && role == AB_BY_BROKER)
        return ab_fail_at(err, AB_EDENIED, "op", "a broker writes with BATCH");
    return 0;
}

bool ab_auth_of_user(const struct ab_op_row *op)
{
    for (int i = 0; op->number != AB_OP_get_gallery && i < op->request->n; i++)
        if (!strcmp(op->request->fields[i].key, "user"))
            return true;
    return false;
}

int ab_auth_user(unsigned role, const struct ab_op_row *op, struct ab_view body, struct ab_error *err)
{
    if (role != AB_BY_CLIENT || !ab_auth_of_user(op) || ab_any_str(ab_map_get(body, "user")).n)
        return 0;
    return ab_fail_at(err, AB_EINVALID, "user", "%s: a client says for which user it asks", op->name);
}

/* ---- tokens ---- */

enum { SECRET_BYTES = 32 };
static const char prefix[] = "abt_";
enum { PREFIX = sizeof prefix - 1 };
_Static_assert(sodium_base64_ENCODED_LEN(SECRET_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING) + PREFIX ==
                   AB_TOKEN_TEXT,
               "a token's length");

const char *const ab_scope_names[AB_SCOPE_N] = {"none", "read", "write", "admin"};

enum ab_scope ab_scope_of(struct ab_view name)
{
    for (int i = AB_SCOPE_NONE + 1; i < AB_SCOPE_N; i++)
        if (ab_view_is(name, ab_scope_names[i]))
            return (enum ab_scope)i;
    return AB_SCOPE_NONE;
}

int ab_token_make(char text[AB_TOKEN_TEXT], struct ab_error *err)
{
    unsigned char secret[SECRET_BYTES];
    if (sodium_init() < 0)
        return ab_fail(err, AB_ESYSTEM, "libsodium cannot start: the system gives no random numbers");
    randombytes_buf(secret, sizeof secret);
    memcpy(text, prefix, PREFIX);
    sodium_bin2base64(text + PREFIX, AB_TOKEN_TEXT - PREFIX, secret, sizeof secret,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(secret, sizeof secret);
    return 0;
}

bool ab_token_shaped(struct ab_view text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if (text.n != AB_TOKEN_TEXT - 1 || memcmp(text.p, prefix, PREFIX))
        return false;
    for (size_t i = PREFIX; i < text.n; i++)
        if (!memchr(digits, text.p[i], sizeof digits - 1))
            return false;
    return true;
}

void ab_token_hash(struct ab_view text, uint8_t hash[AB_TOKEN_HASH_BYTES])
{
    crypto_generichash(hash, AB_TOKEN_HASH_BYTES, (const unsigned char *)text.p, text.n, NULL, 0);
}

bool ab_auth_for_all(const char *user)
{
    return !strcmp(user, "*");
}

int ab_auth_token(const char *user, enum ab_scope has, enum ab_scope needs, const char *named,
                  struct ab_error *err)
{
    if (has < needs)
        return ab_fail_at(err, AB_EDENIED, "Authorization", "this token may %s, and that needs %s",
                          ab_scope_names[has], ab_scope_names[needs]);
    if (named && *named && strcmp(named, user) && !ab_auth_for_all(user))
        return ab_fail_at(err, AB_EDENIED, "user", "this token acts for its own user only");
    return 0;
}
