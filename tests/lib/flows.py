"""Workflows of the tests, in the seed's form (`flow_config`)."""


def agent(name, kind, link, **config):
    return {"agent": {"name": name, "type": kind, "config": config}, "link": {"agent_type": link}}


def endpoint(model, base_url=None, **more):
    entry = {"model": model, "base_url": base_url, **more}
    return {key: value for key, value in entry.items() if value is not None}


def chat(models, name="test chat", replies=0, auto_reply="go on", assistant=None, user=None, **top):
    """A user and an assistant. models: the assistant's config_list; replies: how often the user answers back, so
    that the model is called replies + 1 times."""
    models = models if isinstance(models, list) else [models]
    helper = {"llm_config": {"config_list": models}, "max_consecutive_auto_reply": 100, **(assistant or {})}
    person = {"llm_config": False, "human_input_mode": "NEVER", "max_consecutive_auto_reply": replies,
              "default_auto_reply": auto_reply, **(user or {})}
    return {"name": name, "type": "default",
            "agents": [agent("user", "userproxy", "sender", **person),
                       agent("assistant", "assistant", "receiver", **helper)], **top}


def http_chat(model, replies=0, **more):
    """A chat with a Model (fixture) over HTTP."""
    return chat(endpoint(model.name, model.url), replies=replies, **more)


def script(replies=None, **more):
    """A config_list entry of the offline script model."""
    body = {"replies": [{"text": text} for text in replies], **more} if replies else {"echo": True, **more}
    return {"model": "script", "api_type": "script", "script": body}


def script_chat(texts=None, replies=0, delay_ms=0, **more):
    """A chat without any network."""
    return chat(script(texts, **({"delay_ms": delay_ms} if delay_ms else {})), replies=replies, **more)
