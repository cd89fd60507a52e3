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


class Cast:
    """Agents with a model each, on the shared model server."""

    def __init__(self, model):
        self.model, self.models = model, {}

    def behave(self, **behaviours):
        """agent=behaviour"""
        self.models.update({self.name(agent): behaviour for agent, behaviour in behaviours.items()})
        self.model.server.control(models=self.models)
        return self

    def name(self, agent):
        return f"{self.model.name}-{agent}"

    def llm(self, agent):
        return {"config_list": [endpoint(self.name(agent), self.model.url)]}

    def agent(self, name, **config):
        instruction = config.pop("task_instruction", None)
        made = {"name": name, "type": "assistant", "config": {"llm_config": self.llm(name), **config}}
        return {**made, "task_instruction": instruction} if instruction else made

    def flow(self, kind, receivers, user=None, **more):
        sender = {"name": "user", "type": "userproxy",
                  "config": {"llm_config": False, "max_consecutive_auto_reply": 0, **(user or {})}}
        return {"name": "test", "type": kind, "sender": sender, "receiver": receivers, **more}

    def group(self, name, members, **config):
        return {"name": name, "type": "groupchat", "config": config, "agents": members}

    def calls(self, *agents):
        names = {self.name(agent) for agent in agents} if agents else set(self.models)
        return [call for call in self.model.server.calls(self.model.first) if call.get("model") in names]
