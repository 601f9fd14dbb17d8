#!/usr/bin/env python3
"""A worker for `troupe consume --exec`: counts the words of each record, and says how many there were.

    troupe consume --bootstrap-server localhost:9092 --topic texts --group counter \
        --exec 'python3 examples/workers/count.py' --order key --concurrency 4

A line of JSON comes for each record; one line goes back, flushed at once. What goes to stderr is shown with the worker's number.
"""

import base64
import json
import sys


def value_of(record):
    """The value's bytes, or None: what is no text comes as base64, under another name."""
    if "value_base64" in record:
        return base64.b64decode(record["value_base64"])
    value = record["value"]
    return None if value is None else value.encode()


def handle(record):
    """The answer for one record."""
    value = value_of(record)
    if value is None:
        return "ok"  # a tombstone: nothing to count
    try:
        words = len(value.decode().split())
    except UnicodeDecodeError:
        # No attempt will make text of it, so nobody should make one: the run ends, and says where.
        return json.dumps({"outcome": "stop", "cause": "the value is no text"})
    print(f"{record['topic']}[{record['partition']}] offset {record['offset']}: {words} words", file=sys.stderr)
    return "ok"


# Ends with its input: what is read to the end here is all answered for by then.
for line in sys.stdin:
    try:
        answer = handle(json.loads(line))
    except Exception as error:  # a failed attempt: there is another, after a pause
        answer = f"error {type(error).__name__}: {error}".replace("\n", " ")
    print(answer, flush=True)
