"""Values of the wire flattened to bytes, to search them for what must not be there."""

import json


def flat(value):
    if isinstance(value, dict):
        return b"".join(flat(k) + flat(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return b"".join(flat(v) for v in value)
    if isinstance(value, bytes):
        return value
    return str(value).encode()


__all__ = ["flat", "json"]
