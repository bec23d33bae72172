#!/usr/bin/env python3
"""Sends events as a platform service would: ids of its own, so that a lost answer is no duplicate, and
what is not accepted yet once more. Needs nothing beyond Python's own library.

    EVENTS_URL=http://127.0.0.1:8080 EVENTS_CREDENTIAL=KEY:SECRET docs/examples/send.py
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ["EVENTS_URL"] + "/v1/events"
AUTHORIZATION = "Basic " + base64.b64encode(os.environ["EVENTS_CREDENTIAL"].encode()).decode()
TRIES = 6


def post(events):
    """The results in the order of the events, and how long to wait before what is left is sent again."""
    request = urllib.request.Request(URL, json.dumps(events).encode(), method="POST")
    request.add_header("content-type", "application/json")
    request.add_header("authorization", AUTHORIZATION)
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as refused:
        # 422 has results too. What else is not worth another try is a mistake of ours.
        if refused.code not in (408, 422, 429, 503):
            raise SystemExit(f"{refused.code}: {refused.read().decode()}") from None
        answer = refused
    body = json.load(answer)
    wait = float(answer.headers.get("retry-after", 1))
    return body.get("results") or [{"status": "retry"} for _ in events], wait


def send(events):
    """Until each is accepted or rejected; gives those that are rejected, with the reason."""
    for event in events:
        event.setdefault("eventid", str(uuid.uuid4()))
    rejected = []
    for attempt in range(TRIES):
        try:
            results, wait = post(events)
        except (urllib.error.URLError, TimeoutError):
            wait = 2**attempt
            results = [{"status": "retry"} for _ in events]
        rejected += [(event, result) for event, result in zip(events, results) if result["status"] == "rejected"]
        events = [event for event, result in zip(events, results) if result["status"] == "retry"]
        if not events:
            return rejected
        time.sleep(wait)
    raise SystemExit(f"{len(events)} events were not accepted in {TRIES} tries")


if __name__ == "__main__":
    batch = [
        {"eventtype": "play", "deviceid": "python-1", "action": "stop", "musicsource": "tidal", "secondslistened": 187.4},
        {"eventtype": "play", "deviceid": "python-1", "action": "stop", "musicsource": "tidal", "secondslistened": "long"},
    ]
    rejected = send(batch)
    for event, result in rejected:
        print("rejected:", result["code"], result.get("errors"))
    sys.exit(len(rejected) != 1)
