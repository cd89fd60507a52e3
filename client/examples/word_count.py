"""title: Counts words
description: How often each word stands in a text, the most frequent first.
idempotent: true
parameters:
  type: object
  properties:
    text: {type: string, description: the text}
    most: {type: integer, minimum: 1, description: how many words to list}
  required: [text]
"""
import collections
import json
import re
import sys


def count(text, most=3):
    """[(word, how often), …]"""
    return collections.Counter(re.findall(r"\w+", text.lower())).most_common(most)


if __name__ == "__main__":  # called as a tool; imported by code it only brings its functions
    for word, times in count(**json.load(sys.stdin)):
        print(times, word)
