/* The pure half of /v1: what a journal and early pieces come to (v1_talk), how bodies are read (v1_body), ids (v1_shape). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/gateway/v1_body.h"
#include "client/gateway/v1_shape.h"
#include "client/gateway/v1_talk.h"

/* ---- talks ---- */

struct heard {
    struct v1_talk talk;
    struct ab_buf text, thoughts, whole;
};

static void on_text(void *owner, uint64_t turn, uint64_t offset, struct ab_view text)
{
    struct heard *h = owner;
    ab_buf_format(&h->text, "[%d@%d %.*s]", (int)turn, (int)offset, AB_VIEW_FMT(text));
}

static void on_turn(void *owner, uint64_t turn, struct ab_view whole)
{
    struct heard *h = owner;
    ab_buf_format(&h->whole, "%d=%.*s;", (int)turn, AB_VIEW_FMT(whole));
}

static void on_thought(void *owner, struct ab_view text)
{
    struct heard *h = owner;
    ab_buf_add(&h->thoughts, text.p, text.n);
}

static struct heard *listen(const char *output)
{
    struct heard *h = calloc(1, sizeof *h);
    h->talk.output = output;
    h->talk.on_text = on_text;
    h->talk.on_turn = on_turn;
    h->talk.on_thought = on_thought;
    h->talk.owner = h;
    return h;
}

static void forget(struct heard *h)
{
    v1_talk_finish(&h->talk);
    ab_buf_finish(&h->text);
    ab_buf_finish(&h->thoughts);
    ab_buf_finish(&h->whole);
    free(h);
}

static void event(struct heard *h, const char *kind, json_t *tree)
{
    v1_talk_event(&h->talk, kind, tree);
    json_decref(tree);
}

static void reply(struct heard *h, const char *step, const char *agent, const char *text)
{
    event(h, "model_reply",
          json_pack("{s:s, s:s, s:s, s:s}", "step", step, "agent", agent, "content", text, "finish_reason",
                    "stop"));
}

static void piece(struct heard *h, const char *step, const char *agent, int attempt, int offset,
                  const char *text)
{
    v1_talk_delta(&h->talk, step, agent, (uint64_t)attempt, (uint64_t)offset, ab_view_of(text));
}

static void done(struct heard *h, const char *content)
{
    event(h, "end", json_pack("{s:s, s:s}", "state", "succeeded", "content", content));
}

static void test_pieces_and_the_rest_of_a_turn(void **state)
{
    struct heard *h = listen("w");
    (void)state;
    piece(h, "c:1", "w", 256, 0, "Hel");
    piece(h, "c:1", "w", 256, 0, "Hel");  /* shown again to a listener that had no room */
    piece(h, "c:1", "w", 256, 2, "llo");  /* overlaps */
    piece(h, "c:1", "w", 256, 9, "gone"); /* behind a gap */
    reply(h, "c:1", "w", "Hello you");
    reply(h, "c:2", "w", "again");
    done(h, "again");
    assert_string_equal(ab_buf_cstr(&h->text), "[0@0 Hel][0@3 lo][0@5  you][1@0 again]");
    assert_string_equal(ab_buf_cstr(&h->whole), "0=Hello you;1=again;");
    assert_int_equal(h->talk.end, V1_DONE);
    forget(h);
}

static void test_others_are_thoughts_with_their_names(void **state)
{
    struct heard *h = listen("w");
    (void)state;
    piece(h, "c:1", "critic", 256, 0, "so ");
    reply(h, "d:1", "other", "whole"); /* at the same time */
    reply(h, "c:1", "critic", "so so");
    event(h, "model_reply",
          json_pack("{s:s, s:s, s:s, s:s}", "step", "g:1", "agent", "boss", "content", "critic", "purpose",
                    "speaker"));
    event(h, "turn",
          json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "step", "c:2", "agent", "user", "content", "type", "text",
                    "text", "go on"));
    assert_string_equal(ab_buf_cstr(&h->thoughts), "critic: so \n\nother: wholeso\n\nuser: go on");
    assert_int_equal(h->text.n, 0);
    forget(h);
}

static void test_without_an_output_the_result_is_the_answer(void **state)
{
    struct heard *h = listen(NULL);
    (void)state;
    piece(h, "c:1", "a", 256, 0, "x");
    reply(h, "c:1", "a", "x");
    done(h, "the result");
    assert_string_equal(ab_buf_cstr(&h->text), "[0@0 the result]");
    forget(h);
    h = listen("silent"); /* the same if it never spoke */
    done(h, "");
    assert_string_equal(ab_buf_cstr(&h->whole), "0=;");
    forget(h);
}

static void test_a_new_attempt_breaks_what_was_said(void **state)
{
    struct heard *h = listen("w");
    (void)state;
    piece(h, "c:1", "w", 256, 0, "one");
    piece(h, "c:1", "w", 257, 0, "two");
    assert_int_equal(h->talk.end, V1_BROKEN);
    forget(h);
    h = listen("w");
    piece(h, "c:1", "w", 256, 0, "one");
    event(h, "attempt_failed", json_object());
    assert_int_equal(h->talk.end, V1_BROKEN);
    forget(h);
    h = listen("w");
    piece(h, "c:1", "w", 256, 0, "one");
    reply(h, "c:1", "w", "two");
    assert_int_equal(h->talk.end, V1_BROKEN);
    forget(h);
    h = listen("w"); /* nothing was said yet */
    event(h, "attempt_failed", json_object());
    event(h, "started", json_object());
    piece(h, "c:1", "w", 512, 0, "fine");
    assert_int_equal(h->talk.end, V1_GOES_ON);
    forget(h);
}

static void test_the_word_that_ends_the_chat_is_not_told(void **state)
{
    struct heard *h = listen("w");
    (void)state;
    h->talk.stop = "TERMINATE";
    piece(h, "c:1", "w", 256, 0, "Fine");
    piece(h, "c:1", "w", 256, 4, ". T");
    piece(h, "c:1", "w", 256, 7, "ERM"); /* may be it */
    piece(h, "c:1", "w", 256, 10, "S. TERMI");
    piece(h, "c:1", "w", 256, 18, "NATE \n");
    reply(h, "c:1", "w", "Fine. TERMS. TERMINATE \n");
    assert_string_equal(ab_buf_cstr(&h->text), "[0@0 Fine][0@4 .][0@5  TERMS.]");
    assert_string_equal(ab_buf_cstr(&h->whole), "0=Fine. TERMS.;");
    piece(h, "c:2", "w", 256, 0, "TERMINATE");
    reply(h, "c:2", "w", "TERMINATE"); /* nothing was said */
    reply(h, "c:3", "w", "TERMINATED ");
    assert_string_equal(ab_buf_cstr(&h->whole), "0=Fine. TERMS.;1=TERMINATED ;");
    forget(h);
}

static void test_half_characters_wait_for_their_other_half(void **state)
{
    struct heard *h = listen("w");
    (void)state;
    piece(h, "c:1", "w", 256, 0, "gr\xc3");
    reply(h, "c:1", "w", "gr\xc3\xbc\xc3\x9f");
    assert_string_equal(ab_buf_cstr(&h->text), "[0@0 gr\xc3\xbc\xc3\x9f]");
    forget(h);
}

static void test_ends(void **state)
{
    static const struct {
        const char *json, *code;
        enum v1_end end;
    } rows[] = {
        {"{\"state\": \"failed\", \"code\": \"model\", \"text\": \"no\"}", "model", V1_FAILED},
        {"{\"state\": \"cancelled\"}", "cancelled", V1_CANCELLED},
        {"{\"state\": \"dead\", \"code\": \"\"}", "", V1_FAILED},
        {"{\"state\": \"expired\", \"code\": \"expired\"}", "expired", V1_FAILED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heard *h = listen("w");
        event(h, "end", json_loads(rows[i].json, 0, NULL));
        assert_int_equal(h->talk.end, rows[i].end);
        assert_string_equal(h->talk.code, rows[i].code);
        assert_true(h->talk.error.code < 0);
        forget(h);
    }
}

static void test_waiting_for_people_and_for_budgets(void **state)
{
    struct heard *h = listen("w");
    (void)state;
    h->talk.known = 3;
    event(h, "waiting", json_pack("{s:s, s:i}", "reason", "person", "seq", 3)); /* answered long ago */
    event(h, "waiting", json_pack("{s:s, s:i}", "reason", "timer", "seq", 4));
    assert_int_equal(h->talk.end, V1_GOES_ON);
    reply(h, "c:1", "other", "It is done.");
    event(h, "waiting", json_pack("{s:s, s:i, s:s}", "reason", "person", "seq", 5, "prompt", "Well?"));
    assert_int_equal(h->talk.end, V1_ASKS);
    v1_talk_question(&h->talk, &h->whole);
    assert_string_equal(ab_buf_cstr(&h->whole), "It is done.\n\nWell?");
    forget(h);
    h = listen("w");
    event(h, "waiting", json_pack("{s:s, s:i}", "reason", "budget", "seq", 5));
    assert_int_equal(h->talk.end, V1_BUDGET);
    assert_int_equal(h->talk.error.code, AB_EBUDGET);
    forget(h);
}

/* ---- bodies ---- */

static int read_body(int (*read)(const json_t *, struct v1_request *, struct ab_error *), const char *text,
                     struct v1_request *out, json_t **body, struct ab_error *err)
{
    *err = (struct ab_error){0};
    *body = json_loads(text, 0, NULL);
    assert_non_null(*body);
    return read(*body, out, err);
}

static void is_json(json_t *tree, const char *text)
{
    char *line = json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(line ? line : "null", text);
    free(line);
}

static void test_a_chat_becomes_message_history_and_instructions(void **state)
{
    struct v1_request q;
    struct ab_error err;
    json_t *body;
    (void)state;
    assert_int_equal(
        read_body(
            v1_read_chat,
            "{\"model\": \"m\", \"stream\": true, \"stream_options\": {\"include_usage\": true}, \"n\": 1,"
            " \"tools\": [{}], \"temperature\": 0.3, \"unknown\": {},"
            " \"messages\": [{\"role\": \"developer\", \"content\": \"Be brief.\"},"
            " {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", "
            "\"text\": \"b\"}]},"
            " {\"role\": \"assistant\", \"content\": null, \"tool_calls\": []},"
            " {\"role\": \"tool\", \"tool_call_id\": \"c1\", \"content\": \"42\"},"
            " {\"role\": \"assistant\", \"content\": \"c\"},"
            " {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"see\"},"
            " {\"type\": \"image_url\", \"image_url\": {\"url\": \"u\"}}]}]}",
            &q, &body, &err),
        0);
    assert_true(q.stream && q.include_usage && q.tools_ignored);
    is_json(q.content,
            "[{\"type\":\"text\",\"text\":\"see\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}}]");
    json_t *all = v1_history(&q, false), *told = v1_history(&q, true);
    is_json(all, "[{\"role\":\"user\",\"content\":\"a\\nb\"},{\"role\":\"user\",\"content\":\"Result of tool "
                 "call c1: 42\"},"
                 "{\"role\":\"assistant\",\"content\":\"c\"},{\"role\":\"system\",\"content\":\"Be brief.\"}]");
    is_json(told, "[{\"role\":\"system\",\"content\":\"Be brief.\"}]");
    json_decref(all);
    json_decref(told);
    v1_request_finish(&q);
    json_decref(body);
}

static void test_a_response_request_is_read(void **state)
{
    struct v1_request q;
    struct ab_error err;
    json_t *body;
    (void)state;
    assert_int_equal(
        read_body(v1_read_response,
                  "{\"model\": \"m\", \"instructions\": \"Rhyme.\", \"background\": true, "
                  "\"previous_response_id\": \"resp_1\","
                  " \"metadata\": {\"a\": \"b\"}, \"input\": [{\"type\": \"reasoning\", \"summary\": []},"
                  " {\"role\": \"assistant\", \"content\": [{\"type\": \"output_text\", \"text\": \"x\"}]},"
                  " {\"type\": \"message\", \"role\": \"user\", \"content\": [{\"type\": \"input_text\", "
                  "\"text\": \"t\"},"
                  " {\"type\": \"input_image\", \"image_url\": \"u\", \"detail\": \"low\"},"
                  " {\"type\": \"input_file\", \"file_data\": \"d\"}]}]}",
                  &q, &body, &err),
        0);
    assert_true(q.background && q.store && !q.stream);
    assert_string_equal(q.previous, "resp_1");
    is_json(q.content, "[{\"type\":\"text\",\"text\":\"t\"},{\"type\":\"image_url\",\"image_url\":{\"url\":"
                       "\"u\",\"detail\":\"low\"}},"
                       "{\"type\":\"file\",\"file\":{\"file_data\":\"d\"}}]");
    is_json(q.said, "[{\"role\":\"assistant\",\"content\":\"x\"}]");
    v1_request_finish(&q);
    json_decref(body);
}

static void test_what_cannot_be_honoured_is_refused_with_its_place(void **state)
{
    static const struct {
        int (*read)(const json_t *, struct v1_request *, struct ab_error *);
        const char *body, *path;
    } rows[] = {
        {v1_read_chat, "[]", "body"},
        {v1_read_chat, "{}", "model"},
        {v1_read_chat, "{\"model\": \"m\"}", "messages"},
        {v1_read_chat, "{\"model\": \"m\", \"messages\": []}", "messages"},
        {v1_read_chat, "{\"model\": \"m\", \"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}",
         "messages"},
        {v1_read_chat, "{\"model\": \"m\", \"messages\": [{\"content\": \"x\"}]}", "messages"},
        {v1_read_chat, "{\"model\": \"m\", \"messages\": [{\"role\": \"king\", \"content\": \"x\"}]}",
         "messages"},
        {v1_read_chat, "{\"model\": \"m\", \"messages\": [{\"role\": \"user\"}]}", "content"},
        {v1_read_chat,
         "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"video\"}]}]}",
         "content"},
        {v1_read_chat,
         "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]}",
         "content"},
        {v1_read_chat, "{\"model\": \"m\", \"n\": 2}", "n"},
        {v1_read_chat, "{\"model\": \"m\", \"stream\": \"yes\"}", "stream"},
        {v1_read_chat, "{\"model\": \"m\", \"tool_choice\": \"required\"}", "tool_choice"},
        {v1_read_chat, "{\"model\": \"m\", \"tool_choice\": {\"type\": \"function\"}}", "tool_choice"},
        {v1_read_response, "{\"model\": \"m\"}", "input"},
        {v1_read_response, "{\"model\": \"m\", \"conversation\": \"c\"}", "conversation"},
        {v1_read_response, "{\"model\": \"m\", \"metadata\": 1}", "metadata"},
        {v1_read_response, "{\"model\": \"m\", \"background\": true, \"store\": false}", "background"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct v1_request q;
        struct ab_error err;
        json_t *body;
        assert_int_equal(read_body(rows[i].read, rows[i].body, &q, &body, &err), AB_EINVALID);
        assert_string_equal(err.path, rows[i].path);
        v1_request_finish(&q);
        json_decref(body);
    }
}

/* ---- ids ---- */

static void test_ids_lead_back_to_their_jobs(void **state)
{
    static const char job[] = "01a20338-4b10-72cd-bdd8-95c4aaa22655";
    static const char *const wrong[] = {"",
                                        "resp_",
                                        "resp_01a203384b1072cdbdd895c4aaa2265",
                                        "chat_01a203384b1072cdbdd895c4aaa22655",
                                        "resp_01a203384b1072cdbdd895c4aaa2265g",
                                        "resp_01a203384b1042cdbdd895c4aaa22655"};
    char id[V1_ID_MAX], back[AB_ID_TEXT];
    (void)state;
    assert_string_equal(v1_id("resp_", job, id), "resp_01a203384b1072cdbdd895c4aaa22655");
    assert_true(v1_job_of("resp_", ab_view_of(id), back));
    assert_string_equal(back, job);
    assert_int_equal(v1_created(job), 0x01a203384b10 / 1000);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(v1_job_of("resp_", ab_view_of(wrong[i]), back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_and_the_rest_of_a_turn),
        cmocka_unit_test(test_others_are_thoughts_with_their_names),
        cmocka_unit_test(test_without_an_output_the_result_is_the_answer),
        cmocka_unit_test(test_a_new_attempt_breaks_what_was_said),
        cmocka_unit_test(test_the_word_that_ends_the_chat_is_not_told),
        cmocka_unit_test(test_half_characters_wait_for_their_other_half),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_waiting_for_people_and_for_budgets),
        cmocka_unit_test(test_a_chat_becomes_message_history_and_instructions),
        cmocka_unit_test(test_a_response_request_is_read),
        cmocka_unit_test(test_what_cannot_be_honoured_is_refused_with_its_place),
        cmocka_unit_test(test_ids_lead_back_to_their_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
