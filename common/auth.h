/* Who may do what: the one place that decides it, for storage, broker and gateway alike. Pure: no clock, no I/O; only
 * making a token asks the system for random bytes.
 *
 * A caller of the protocol has a role, which says what it may ask. Behind a gateway stand people with tokens; a token has a
 * user and a scope, and the gateway acts for that user only.
 *
 * A token is "abt_" and 256 random bits in base64url. What is kept of it is its BLAKE2b-256: of so many random bits a plain
 * hash gives nothing away and cannot be searched for, so that a slow, salted one would only cost each request time. And as
 * tokens are looked up by that hash, how long a comparison takes tells nothing of the token: who could choose the bytes of a
 * hash would have broken BLAKE2b.
 */
#ifndef AB_COMMON_AUTH_H
#define AB_COMMON_AUTH_H

#include "common/wire/operations.h"

/* ---- callers of the protocol ---- */
unsigned ab_role_of(struct ab_view name); /* AB_BY_…; 0: there is no such role */
enum ab_service { AB_AT_STORAGE, AB_AT_BROKER };
/* May a caller of this role ask that operation of that service with QUERY? 0, or an error that says why not. */
int ab_auth_query(enum ab_service service, unsigned role, struct ab_view name, const struct ab_op_row **op,
                  struct ab_error *err);
/* A client asks it for a user, also where it could do without because workers and brokers ask it too. Not so the gallery,
 * which is everybody's: there `user` is a filter. */
bool ab_auth_of_user(const struct ab_op_row *op);
/* Does this request map name a user if it must? 0, or AB_EINVALID. */
int ab_auth_user(unsigned role, const struct ab_op_row *op, struct ab_view body, struct ab_error *err);

/* ---- tokens ---- */
/* Each holds those before it. */
enum ab_scope { AB_SCOPE_NONE, AB_SCOPE_READ, AB_SCOPE_WRITE, AB_SCOPE_ADMIN, AB_SCOPE_N };
extern const char *const ab_scope_names[AB_SCOPE_N]; /* [AB_SCOPE_NONE] = "none" */
enum ab_scope ab_scope_of(struct ab_view name);      /* AB_SCOPE_NONE: there is no such scope */

enum { AB_TOKEN_TEXT = 48 /* with the NUL */ };
/* 0, or AB_ESYSTEM: no random bytes. */
int ab_token_make(char text[AB_TOKEN_TEXT], struct ab_error *err);
/* It looks like one of ours. */
bool ab_token_shaped(struct ab_view text);
void ab_token_hash(struct ab_view text, uint8_t hash[AB_TOKEN_HASH_BYTES]);

/* A token of the user "*" acts for whom each request names: for a program that has users of its own. */
bool ab_auth_for_all(const char *user);
/* May a token of `user` and `has` do what needs `needs`, as `named` (NULL: the request names nobody)? 0, or AB_EDENIED. */
int ab_auth_token(const char *user, enum ab_scope has, enum ab_scope needs, const char *named,
                  struct ab_error *err);

#endif
