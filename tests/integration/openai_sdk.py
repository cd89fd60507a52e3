"""The openai package from PyPI, unmodified, as a program would use it: the scenarios of openai_sdk.cjs, with the same lines in and
out, so that the same tests hold for both. Run with the python that has it (`make check-python-sdk`)."""

import json
import sys
import threading
import time
import traceback

import openai

OUT = threading.Lock()


def plain(thing):
    """As the npm package gives it: what the service did not send is not there, and a response has its text."""
    tree = thing.model_dump(mode="json", exclude_unset=True, warnings=False)
    if getattr(thing, "object", None) == "response":
        tree["output_text"] = thing.output_text
    return tree


def failure(error):
    response = getattr(error, "response", None)
    return {"error": {"class": type(error).__name__, "status": getattr(error, "status_code", None), "code": error.code, "type": error.type,
                      "param": error.param, "message": error.message, "headers": dict(response.headers) if response is not None else {}}}


class Scenarios:
    def __init__(self, given, tell):
        self.given, self.tell = given, tell
        self.client = self.client_with(given.get("retries", 0))

    def client_with(self, retries):
        query = {"user": self.given["user"]} if self.given.get("user") else {}
        return openai.OpenAI(base_url=self.given["url"], api_key=self.given.get("key") or "any", max_retries=retries, default_query=query,
                             default_headers=self.given.get("headers"), timeout=60)

    def body(self, field, value, more):
        given = {"model": self.given["model"], field: value, **(self.given.get("more") or {}), **more}
        known = {"model", "messages", "input", "stream", "stream_options", "background", "store", "instructions", "metadata",
                 "previous_response_id", "tools", "tool_choice", "n", "temperature"}
        extra = {key: value for key, value in given.items() if key not in known}
        return {**{key: value for key, value in given.items() if key in known}, **({"extra_body": extra} if extra else {})}

    def ask(self, **more):
        return self.body("messages", [{"role": "user", "content": self.given.get("text", "hello")}], more)

    def request(self, **more):
        return self.body("input", self.given.get("text", "hello"), more)

    def create(self, **more):
        return self.client.responses.create(**self.request(**more))

    def read(self, stream, most=float("inf")):
        seen = {"types": [], "numbers": [], "text": "", "response": None}
        for event in stream:
            seen["types"].append(event.type)
            seen["numbers"].append(event.sequence_number)
            if event.type == "response.output_text.delta":
                seen["text"] += event.delta
            if getattr(event, "response", None):
                seen["response"] = plain(event.response)
            if len(seen["numbers"]) >= most:
                break
        stream.close()
        return seen

    # -- models and chat ------------------------------------------------------------------------------------------------

    def models(self):
        self.tell({"all": [plain(one) for one in self.client.models.list()], "one": plain(self.client.models.retrieve(self.given["model"]))})

    def chat(self):
        raw = self.client.chat.completions.with_raw_response.create(**self.ask())
        self.tell({"data": plain(raw.parse()), "request_id": raw.request_id, "headers": dict(raw.headers)})

    def chat_stream(self):
        seen = {"content": "", "thoughts": "", "pieces": 0, "finish": [], "usage": None, "roles": []}
        for chunk in self.client.chat.completions.create(**self.ask(stream=True, stream_options={"include_usage": True})):
            if chunk.usage:
                seen["usage"] = plain(chunk.usage)
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            if choice.delta.role:
                seen["roles"].append(choice.delta.role)
            if choice.delta.content:
                seen["content"] += choice.delta.content
                seen["pieces"] += 1
            seen["thoughts"] += getattr(choice.delta, "reasoning_content", None) or ""
            if choice.finish_reason:
                seen["finish"].append(choice.finish_reason)
        self.tell(seen)

    def chat_helper(self):
        with self.client.chat.completions.stream(**self.ask()) as stream:
            self.tell({"content": stream.get_final_completion().choices[0].message.content})

    def chat_abort(self):
        stream = self.client.chat.completions.create(**self.ask(stream=True))
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        stream.close()
        self.tell("left")

    # -- responses ------------------------------------------------------------------------------------------------------

    def response(self):
        self.tell(plain(self.create()))

    def response_stream(self):
        self.tell(self.read(self.create(stream=True)))

    def response_helper(self):
        with self.client.responses.stream(**self.request()) as stream:
            final = stream.get_final_response()
        self.tell({"status": final.status, "text": "".join(item.content[0].text for item in final.output)})

    def background(self):
        response = self.create(background=True)
        first = response.status
        while response.status in ("queued", "in_progress"):
            time.sleep(0.05)
            response = self.client.responses.retrieve(response.id)
        following = self.client.responses.create(**{**self.request(previous_response_id=response.id), "input": "and then?"})
        self.tell({"first": first, "response": plain(response), "text": response.output_text, "next": following.output_text})

    def resume(self):
        part = self.read(self.create(background=True, stream=True), self.given["cut"])
        again = lambda **more: self.read(self.client.responses.retrieve(part["response"]["id"], stream=True, **more))
        self.tell({"part": part, "rest": again(starting_after=part["numbers"][-1]), "whole": again()})

    def outlive(self):
        seen = {"numbers": [], "types": [], "text": "", "id": None, "breaks": 0}
        stream = self.create(background=True, stream=True)
        patient = self.client_with(20)
        while True:
            try:
                for event in stream:
                    if getattr(event, "response", None):
                        seen["id"] = seen["id"] or event.response.id
                    seen["numbers"].append(event.sequence_number)
                    seen["types"].append(event.type)
                    if event.type == "response.output_text.delta":
                        seen["text"] += event.delta
                        self.tell({"got": event.delta})
                if seen["types"][-1] == "response.completed":
                    break
            except Exception as error:  # a cut connection; which exception depends on the transport below the SDK
                if isinstance(error, openai.APIStatusError):
                    raise
            seen["breaks"] += 1
            stream = patient.responses.retrieve(seen["id"], stream=True, starting_after=seen["numbers"][-1])
        self.tell(seen)

    def cancel(self):
        response = self.create(background=True)
        self.tell({"cancelled": plain(self.client.responses.cancel(response.id)), "after": plain(self.client.responses.retrieve(response.id))})

    def remove(self):
        response = self.create()
        self.client.responses.delete(response.id)
        self.client.responses.retrieve(response.id)

    def retrieve_stream(self):
        self.tell(self.read(self.client.responses.retrieve(self.given["id"], stream=True)))

    def retrieve(self):
        self.tell(plain(self.client.responses.retrieve(self.given["id"])))

    def together(self, call, n):
        """What n calls at once came to: values or errors."""
        found = [None] * n

        def one(i):
            try:
                found[i] = call()
            except openai.APIError as error:
                found[i] = error
        threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def crowd(self):
        refused = [failure(one)["error"] for one in self.together(lambda: list(self.client.models.list()), 4) if isinstance(one, Exception)]
        patient = self.client_with(9)
        then = self.together(lambda: list(patient.models.list()), 4)
        self.tell({"refused": refused, "then": ["rejected" if isinstance(one, Exception) else "fulfilled" for one in then]})

    def keyed(self):
        headers = {"Idempotency-Key": self.given["idempotency"]}
        chat = lambda **more: plain(self.client.chat.completions.create(**self.ask(**more), extra_headers=headers))

        def streamed():
            text = ""
            for chunk in self.client.chat.completions.create(**self.ask(stream=True), extra_headers=headers):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            return {"id": chunk.id, "text": text}

        def respond():
            key = {"Idempotency-Key": self.given["idempotency"] + " response"}
            return plain(self.client.responses.create(**self.request(), extra_headers=key))
        chats, again = self.together(chat, 2), chat()
        try:
            other = chat(messages=[{"role": "user", "content": "other"}])
        except openai.APIError as error:
            other = failure(error)
        self.tell({"chats": chats, "again": again, "streamed": streamed(), "responses": [respond(), respond()], "other": other})

    def items(self):
        content = [{"type": "input_text", "text": "what is it?"}, {"type": "input_image", "image_url": self.given["image"], "detail": "low"},
                   {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,QUJD"}]
        said = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "an answer"}, {"role": "user", "content": content}]
        made = self.create(input=said, instructions="be short")
        listed = lambda **query: [plain(item) for item in self.client.responses.input_items.list(made.id, **query)]
        self.tell({"newest": listed(), "oldest": listed(order="asc"), "paged": listed(limit=1)})


def say(line):
    with OUT:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def play(given):
    last = None

    def tell(value):
        nonlocal last
        last = value
        say({"id": given["id"], "value": value})
    try:
        getattr(Scenarios(given, tell), given["scenario"])()
    except openai.APIError as error:
        last = failure(error)
    except Exception:
        last = {"crash": traceback.format_exc()}
    say({"id": given["id"], "value": last, "last": True})


for text in sys.stdin:
    threading.Thread(target=play, args=(json.loads(text),), daemon=True).start()
