/* The reply of an OpenAI-compatible server, incrementally and purely: body bytes in, a struct model_reply out.
 *
 * Takes what is out there, not only what the specification says. A body that starts with `{` or `[` is one JSON
 * document, whatever was asked for; anything else is an event stream. In both: choices null, empty or missing; `message`
 * where `delta` is due and the reverse; content null, text or an array of parts; tool calls with index, with id, with
 * neither, their arguments whole, in fragments or as an object; missing ids (made here); reasoning as
 * `reasoning_content`, `reasoning` or a thinking part; unknown fields of a tool call kept, because some servers want
 * them back; errors as an object, a text or Gemini's array, in the middle of a stream too. Unpaired surrogates, \u0000
 * and bytes that are not UTF-8 become U+FFFD.
 *
 * A stream that ends without finish_reason was cut: it is a failed attempt.
 */
#ifndef AB_WORKER_MODEL_OPENAI_PARSE_H
#define AB_WORKER_MODEL_OPENAI_PARSE_H

#include "worker/model/model.h"
#include "worker/model/sse.h"

enum {
    OPENAI_TOOL_CALLS_MAX = 256,
    OPENAI_BODY_BYTES_MAX = 2 * MODEL_REPLY_BYTES_MAX, /* a body that is one document; escapes take room */
    OPENAI_ERROR_TEXT_MAX = 400,
};

/* An error a server reported, in whichever shape. */
struct openai_error {
    bool found;
    int status;    /* a numeric code 400…599, else 0 */
    char code[64]; /* code, else type, else status as text; "" if there is none */
    char text[OPENAI_ERROR_TEXT_MAX];
    bool quota;   /* insufficient_quota */
    bool context; /* the input is longer than the model's context */
    bool request; /* by its type or code a fault of the request: asking again is of no use */
};

struct openai_text_fns {
    void (*on_text)(void *user, struct ab_view text);      /* NULL allowed */
    void (*on_reasoning)(void *user, struct ab_view text); /* NULL allowed */
};

struct openai_tool {
    json_t *call;            /* all fields but function.arguments; owned */
    struct ab_buf arguments; /* as far as they have come */
    int64_t index;           /* as the server numbers it; -1 = it does not */
};

/* Fields are for openai_parse.c, except `error`, which is set when a function returned AB_EMODEL. */
struct openai_parse {
    enum openai_form { OPENAI_UNDECIDED, OPENAI_EVENTS, OPENAI_DOCUMENT } form;
    struct openai_text_fns fns;
    void *user;
    struct openai_error error;
    struct sse sse;
    struct ab_buf document;
    struct ab_buf content, reasoning, refusal;
    struct openai_tool *tools;
    size_t tool_count;
    char *finish_reason, *model, *id;
    struct model_usage usage;
    size_t reply_bytes; /* content, reasoning, refusal and arguments so far */
    bool done;          /* [DONE] was seen: what follows is ignored */
    uint64_t id_seed;   /* of made ids */
};

/* id_seed: a text that differs between the calls of a conversation (made ids must too); borrowed, may be NULL. */
void openai_parse_init(struct openai_parse *parse, const struct openai_text_fns *fns, void *user,
                       const char *id_seed);
void openai_parse_finish(struct openai_parse *parse);

/* Negative: AB_EMODEL with parse->error set if the server reported an error, AB_EMODEL without for what is not the
 * protocol, AB_ETOOLARGE over a cap. After that only finish may follow. */
int openai_parse_feed(struct openai_parse *parse, struct ab_view bytes, struct ab_error *err);
/* The body has ended. On success the reply's text, tool calls, finish_reason, model, request_id (the reply's id) and
 * usage are moved into *reply, which is zeroed first; usage.reported is false if the server gave none. */
int openai_parse_end(struct openai_parse *parse, struct model_reply *reply, struct ab_error *err);

/* The error in the body of an HTTP status that is not 2xx; `found` is false if it has none in a known shape. */
void openai_error_of_body(struct ab_view body, struct openai_error *out);

#endif
