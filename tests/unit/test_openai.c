/* Replies of OpenAI-compatible servers: all the shapes there are, at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/tree.h"
#include "worker/model/openai_content.h"
#include "worker/model/json_repair.h"
#include "worker/model/openai_parse.h"

struct seen {
    struct ab_buf text, reasoning;
};

static void on_text(void *user, struct ab_view text)
{
    ab_buf_add(&((struct seen *)user)->text, text.p, text.n);
}

static void on_reasoning(void *user, struct ab_view text)
{
    ab_buf_add(&((struct seen *)user)->reasoning, text.p, text.n);
}

static const struct openai_text_fns fns = {on_text, on_reasoning};

/* Feeds `first` bytes, then pieces of `step` (0 = the rest). The result of the feed or the end that failed first. */
static int parse(const char *body, size_t first, size_t step, struct model_reply *reply,
                 struct openai_error *error, struct seen *seen)
{
    struct openai_parse state;
    struct ab_error err;
    size_t n = strlen(body), at = 0;
    int rc = 0;
    *seen = (struct seen){0};
    openai_parse_init(&state, &fns, seen, "job:a:1");
    for (size_t piece = first; !rc && at < n; piece = step && step < n - at ? step : n - at) {
        char *copy = ab_strndup(body + at, piece < n - at ? piece : n - at);
        rc = openai_parse_feed(&state, ab_view(copy, strlen(copy)), &err);
        at += strlen(copy);
        free(copy);
    }
    *reply = (struct model_reply){0};
    if (!rc)
        rc = openai_parse_end(&state, reply, &err);
    *error = state.error;
    openai_parse_finish(&state);
    return rc;
}

static void seen_finish(struct seen *seen)
{
    ab_buf_finish(&seen->text);
    ab_buf_finish(&seen->reasoning);
}

/* The reply as one comparable text: content|reasoning|finish|tool calls|usage. */
static char *show(const struct model_reply *reply)
{
    char *calls =
        reply->tool_calls ? json_dumps(reply->tool_calls, JSON_COMPACT | JSON_SORT_KEYS) : ab_strdup("");
    char *text =
        ab_format("%s|%s|%s|%s|%d:%d:%d:%d:%d", reply->content, reply->reasoning ? reply->reasoning : "",
                  reply->finish_reason, calls, reply->usage.reported, (int)reply->usage.prompt,
                  (int)reply->usage.completion, (int)reply->usage.cached, (int)reply->usage.reasoning);
    free(calls);
    return text;
}

static void expect_once(const char *body, size_t first, size_t step, const char *expected)
{
    struct model_reply reply;
    struct openai_error error;
    struct seen seen;
    assert_int_equal(parse(body, first, step, &reply, &error, &seen), 0);
    char *got = show(&reply);
    assert_string_equal(got, expected);
    assert_string_equal(ab_buf_cstr(&seen.text), reply.content);
    assert_string_equal(ab_buf_cstr(&seen.reasoning), reply.reasoning ? reply.reasoning : "");
    free(got);
    model_reply_finish(&reply);
    seen_finish(&seen);
}

static void expect(const char *body, const char *expected)
{
    for (size_t first = 0; first <= strlen(body); first++)
        expect_once(body, first, 0, expected);
    expect_once(body, 1, 1, expected);
}

static int expect_failure(const char *body, struct openai_error *error)
{
    struct model_reply reply;
    struct seen seen;
    int rc = 0;
    for (size_t first = 0; first <= strlen(body); first++) {
        rc = parse(body, first, 1, &reply, error, &seen);
        assert_true(rc < 0);
        assert_null(reply.content);
        seen_finish(&seen);
    }
    return rc;
}

#define CHUNK(delta) "data: {\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]}\n\n"
#define FINISH(why)  "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" why "\"}]}\n\n"
#define DONE         "data: [DONE]\n\n"
#define TOOL(fields) CHUNK("{\"tool_calls\":[{" fields "}]}")
#define STOP         FINISH("stop") DONE

static void a_plain_stream(void **state)
{
    expect(
        "data: "
        "{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
        "\"content\":\"\"}}]}\n\n" CHUNK("{\"content\":\"Hel\"}") CHUNK("{\"content\":\"lo\"}") FINISH(
            "stop") "data: "
                    "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{"
                    "\"reasoning_tokens\":1}}}\n\n" DONE,
        "Hello||stop||1:7:2:4:1");
}

static void choices_and_deltas_may_be_missing_or_null(void **state)
{
    expect("data: {\"choices\":null}\n\ndata: {\"choices\":[]}\n\ndata: {}\n\ndata: {\"choices\":[{}]}\n\n"
           "data: {\"choices\":[{\"delta\":null}]}\n\n" CHUNK("{\"content\":null}")
               CHUNK("{\"content\":\"x\"}") "data: "
                                            "{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":null,"
                                            "\"error\":null}\n\n" DONE,
           "x||stop||0:0:0:0:0");
}

static void content_may_be_parts_and_reasoning_has_three_names(void **state)
{
    expect(CHUNK("{\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",{\"type\":\"thinking\",\"thinking\":[{"
                 "\"type\":\"text\",\"text\":\"t\"}]}]}") CHUNK("{\"reasoning_content\":\"u\"}")
               CHUNK("{\"reasoning\":\"v\"}") CHUNK("{\"content\":{\"text\":\"c\"}}") STOP,
           "abc|tuv|stop||0:0:0:0:0");
}

static void other_choices_are_not_ours(void **state)
{
    expect(CHUNK("{\"content\":\"a\"}") "data: "
                                        "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"zzz\"},\"finish_"
                                        "reason\":\"length\"}]}\n\n" STOP,
           "a||stop||0:0:0:0:0");
}

#define CALL(id, name, args)                                                                                   \
    "{\"function\":{\"arguments\":\"" args "\",\"name\":\"" name "\"},\"id\":\"" id "\",\"type\":"             \
    "\"function\"}"

static void tool_calls_by_index_in_fragments(void **state)
{
    expect(
        TOOL("\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}")
            TOOL("\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"[\"}")
                TOOL("\"index\":0,\"function\":{\"arguments\":\"{1\"}")
                    TOOL("\"index\":1,\"function\":{\"arguments\":\"]\"}")
                        TOOL("\"index\":0,\"id\":null,\"function\":{\"name\":null,\"arguments\":\"}\"}")
                            FINISH("tool_calls") DONE,
        "||tool_calls|[" CALL("a", "f", "{1}") "," CALL("b", "g", "[]") "]|0:0:0:0:0");
}

static void tool_calls_by_id_and_by_new_name(void **state)
{
    expect(TOOL("\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"1\"}")
               TOOL("\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":\"2\"}")
                   TOOL("\"id\":\"a\",\"function\":{\"arguments\":\"3\"}") FINISH("tool_calls"),
           "||tool_calls|[" CALL("a", "f", "13") "," CALL("b", "f", "2") "]|0:0:0:0:0");
    expect(TOOL("\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"1\"}")
               TOOL("\"function\":{\"arguments\":\"2\"}")
                   TOOL("\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"3\"}")
                       TOOL("\"function\":{\"arguments\":\"4\"}") FINISH("tool_calls"),
           "||tool_calls|[" CALL("a", "f", "12") "," CALL("b", "g", "34") "]|0:0:0:0:0");
}

static void tool_calls_that_all_have_index_zero(void **state)
{
    expect(TOOL("\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"1\"}")
               TOOL("\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":\"2\"}")
                   FINISH("tool_calls"),
           "||tool_calls|[" CALL("a", "f", "1") "," CALL("b", "f", "2") "]|0:0:0:0:0");
}

static void repeated_names_and_ids_are_not_doubled(void **state)
{
    expect(TOOL("\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"1\"}")
               TOOL("\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"2\"}")
                   TOOL("\"index\":0,\"id\":\"other\",\"function\":{\"arguments\":\"3\"}") FINISH("tool_calls"),
           "||tool_calls|[" CALL("a", "f", "123") "]|0:0:0:0:0");
}

static void arguments_may_be_an_object_and_unknown_fields_are_kept(void **state)
{
    expect(TOOL("\"index\":0,\"id\":\"a\",\"extra_content\":{\"google\":{\"thought_signature\":\"s\"}},"
                "\"function\":{\"name\":\"f\",\"arguments\":{\"k\":1}}") FINISH("tool_calls"),
           "||tool_calls|[{\"extra_content\":{\"google\":{\"thought_signature\":\"s\"}},\"function\":{"
           "\"arguments\":\"{\\\"k\\\":1}\",\"name\":\"f\"},\"id\":\"a\",\"type\":\"function\"}]|0:0:0:0:0");
}

static void missing_ids_are_made_and_differ(void **state)
{
    struct model_reply reply;
    struct openai_error error;
    struct seen seen;
    const char *body = TOOL("\"function\":{\"name\":\"f\"}")
        TOOL("\"id\":\"\",\"function\":{\"name\":\"g\",\"arguments\":null}") FINISH("stop");
    assert_int_equal(parse(body, 5, 1, &reply, &error, &seen), 0);
    assert_int_equal(json_array_size(reply.tool_calls), 2);
    const char *one = json_string_value(json_object_get(json_array_get(reply.tool_calls, 0), "id"));
    const char *two = json_string_value(json_object_get(json_array_get(reply.tool_calls, 1), "id"));
    assert_true(one && two && *one && strcmp(one, two));
    const json_t *function = json_object_get(json_array_get(reply.tool_calls, 1), "function");
    assert_string_equal(json_string_value(json_object_get(function, "arguments")), "{}");
    model_reply_finish(&reply);
    seen_finish(&seen);
}

static void an_answer_that_is_one_document(void **state)
{
    expect(" \n{\"id\":\"x\",\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"hi\","
           "\"reasoning\":\"r\"},\"finish_reason\":\"length\"}],"
           "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
           "hi|r|length||1:1:2:0:0");
    expect("{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":null}]}", "hi||stop||0:0:0:0:0");
}

static void text_that_strict_json_refuses_is_repaired(void **state)
{
    expect(CHUNK("{\"content\":\"a\\ud83db\\u0000c\\ude00d\\ud83d\\ude00\"}") STOP,
           "a\xEF\xBF\xBD"
           "b\xEF\xBF\xBD"
           "c\xEF\xBF\xBD"
           "d\xF0\x9F\x98\x80||stop||0:0:0:0:0");
    expect(CHUNK("{\"content\":\"x\xFF\xC3y\xED\xA0\x80\xE2\x82\xAC\tz\"}") STOP,
           "x\xEF\xBF\xBD\xEF\xBF\xBDy\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xE2\x82\xAC\tz||stop||0:0:0:0:0");
}

static void repair_leaves_good_text_alone(void **state)
{
    static const char *const good[] = {"{\"a\":\"\\\\u0000 \\\" \\ud83d\\ude00 \xE2\x82\xAC\"}", "[1,\"\\\\\"]",
                                       "\"", "\"\\", "\"\\u12"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ab_buf out = {0};
        assert_false(json_repair(ab_view_of(good[i]), &out));
        ab_buf_finish(&out);
    }
}

static void a_stream_without_finish_reason_was_cut(void **state)
{
    struct openai_error error;
    assert_int_equal(expect_failure(CHUNK("{\"content\":\"half\"}"), &error), AB_EMODEL);
    assert_false(error.found);
    assert_int_equal(expect_failure(CHUNK("{\"content\":\"half\"}") DONE, &error), AB_EMODEL);
    assert_int_equal(expect_failure(CHUNK("{\"content\":\"half\"}") "data: {\"choices\":[{\"delta\"", &error),
                     AB_EMODEL);
    assert_int_equal(expect_failure("", &error), AB_EMODEL);
    assert_int_equal(expect_failure("{\"choices\":[]}", &error), AB_EMODEL);
    assert_int_equal(expect_failure("<html>busy</html>", &error), AB_EMODEL);
    assert_int_equal(expect_failure("data: [1]\n\n", &error), AB_EMODEL);
}

static void errors_in_a_stream(void **state)
{
    struct openai_error error;
    expect_failure(CHUNK("{\"content\":\"a\"}") "data: "
                                                "{\"error\":{\"message\":\"over\\nloaded\",\"type\":\"server_"
                                                "error\",\"code\":503}}\n\n",
                   &error);
    assert_true(error.found);
    assert_int_equal(error.status, 503);
    assert_string_equal(error.text, "over loaded");
    assert_false(error.request);
    expect_failure(
        "data: [{\"error\":{\"code\":429,\"message\":\"slow down\",\"status\":\"RESOURCE_EXHAUSTED\"}}]\n\n",
        &error);
    assert_int_equal(error.status, 429);
    assert_string_equal(error.code, "429");
    expect_failure("[{\"error\":{\"code\":400,\"message\":\"no\",\"status\":\"INVALID_ARGUMENT\"}}]", &error);
    assert_true(error.request);
    expect_failure("data: {\"error\":\"just text\"}\n\n", &error);
    assert_string_equal(error.text, "just text");
}

static void errors_in_a_body(void **state)
{
    static const struct {
        const char *body;
        bool found, quota, context;
    } rows[] = {
        {"{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\"}}",
         true, true, false},
        {"{\"error\":{\"message\":\"This model's maximum context length is "
         "1.\",\"code\":\"context_length_exceeded\"}}",
         true, false, true},
        {"{\"error\":{\"code\":400,\"message\":\"the request exceeds the available context "
         "size\",\"type\":\"exceed_context_size_error\"}}",
         true, false, true},
        {"{\"object\":\"error\",\"message\":\"old vLLM\",\"code\":400}", true, false, false},
        {"{\"detail\":\"Not Found\"}", true, false, false},
        {"{\"detail\":[1]}", false, false, false},
        {"<html>", false, false, false},
        {"", false, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct openai_error error;
        openai_error_of_body(ab_view_of(rows[i].body), &error);
        assert_int_equal(error.found, rows[i].found);
        assert_int_equal(error.quota, rows[i].quota);
        assert_int_equal(error.context, rows[i].context);
    }
}

static void a_reply_is_capped(void **state)
{
    struct openai_parse parser;
    struct ab_error err;
    int rc = 0;
    struct ab_buf chunk = {0};
    ab_buf_text(&chunk, "data: {\"choices\":[{\"delta\":{\"content\":\"");
    for (int i = 0; i < 1 << 16; i++)
        ab_buf_text(&chunk, "0123456789abcdef");
    ab_buf_text(&chunk, "\"}}]}\n\n");
    openai_parse_init(&parser, &(struct openai_text_fns){0}, NULL, NULL);
    int chunks = 0;
    while (!rc && chunks++ < 100)
        rc = openai_parse_feed(&parser, ab_buf_view(&chunk), &err);
    assert_int_equal(rc, AB_ETOOLARGE);
    assert_int_equal(chunks, MODEL_REPLY_BYTES_MAX / (1 << 20) + 1);
    openai_parse_finish(&parser);
    ab_buf_finish(&chunk);
}

/* Short parts of ours in OpenAI's shape; all others as they are, and nothing copied if nothing changes. */
static void parts_of_messages(void **state)
{
    static const struct {
        const char *content, *sent;
    } rows[] = {
        {"\"text\"", "\"text\""},
        {"[{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"image_url\", \"image_url\": {\"url\": \"u\"}}]",
         NULL},
        {"[{\"type\": \"image\", \"url\": \"https://h/a.png\", \"detail\": \"low\"}]",
         "[{\"image_url\":{\"detail\":\"low\",\"url\":\"https://h/a.png\"},\"type\":\"image_url\"}]"},
        {"[{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"image\", \"data\": \"QUJD\", \"media_type\": "
         "\"image/jpeg\"}]",
         "[{\"text\":\"a\",\"type\":\"text\"},{\"image_url\":{\"url\":\"data:image/"
         "jpeg;base64,QUJD\"},\"type\":"
         "\"image_url\"}]"},
        {"[{\"type\": \"file\", \"data\": \"QUJD\", \"media_type\": \"application/pdf\", \"name\": \"a.pdf\"}]",
         "[{\"file\":{\"file_data\":\"data:application/"
         "pdf;base64,QUJD\",\"filename\":\"a.pdf\"},\"type\":\"file\"}]"},
        {"[{\"type\": \"file\", \"file\": {\"file_id\": \"f\"}}, {\"type\": \"image\"}]", NULL},
        {"[{\"type\": \"file\", \"data\": \"QUJDRA==\", \"name\": \"a.bin\", \"for\": \"code\"}]",
         "[{\"text\":\"[The file a.bin, 4 bytes, is in the working directory of the "
         "code.]\",\"type\":\"text\"}]"},
        {"[{\"type\": \"file\", \"data\": \"\", \"name\": \"e\", \"for\": \"code\"}]",
         "[{\"text\":\"[The file e, 0 bytes, is in the working directory of the code.]\",\"type\":\"text\"}]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ab_buf text = {0};
        json_t *content = json_loads(rows[i].content, JSON_DECODE_ANY, NULL);
        json_t *messages = json_pack("[{ss ss}, {ss so}]", "role", "system", "content", "s", "role", "user",
                                     "content", content);
        json_t *before = json_deep_copy(messages), *sent = openai_messages(messages);
        assert_true(json_equal(before, messages)); /* not changed itself */
        assert_true(rows[i].sent || sent == messages);
        ab_json_text(json_object_get(json_array_get(sent, 1), "content"), &text);
        if (rows[i].sent)
            assert_string_equal(ab_buf_cstr(&text), rows[i].sent);
        ab_buf_finish(&text);
        json_decref(sent);
        json_decref(before);
        json_decref(messages);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_stream),
        cmocka_unit_test(choices_and_deltas_may_be_missing_or_null),
        cmocka_unit_test(content_may_be_parts_and_reasoning_has_three_names),
        cmocka_unit_test(other_choices_are_not_ours),
        cmocka_unit_test(tool_calls_by_index_in_fragments),
        cmocka_unit_test(tool_calls_by_id_and_by_new_name),
        cmocka_unit_test(tool_calls_that_all_have_index_zero),
        cmocka_unit_test(repeated_names_and_ids_are_not_doubled),
        cmocka_unit_test(arguments_may_be_an_object_and_unknown_fields_are_kept),
        cmocka_unit_test(missing_ids_are_made_and_differ),
        cmocka_unit_test(an_answer_that_is_one_document),
        cmocka_unit_test(text_that_strict_json_refuses_is_repaired),
        cmocka_unit_test(repair_leaves_good_text_alone),
        cmocka_unit_test(a_stream_without_finish_reason_was_cut),
        cmocka_unit_test(errors_in_a_stream),
        cmocka_unit_test(errors_in_a_body),
        cmocka_unit_test(a_reply_is_capped),
        cmocka_unit_test(parts_of_messages),
    };
    return cmocka_run_group_tests_name("openai", tests, NULL, NULL);
}
