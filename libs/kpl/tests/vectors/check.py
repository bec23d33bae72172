"""Holds the vectors of this folder against AWS's own aggregation library for Python.

    python3 -m venv venv && venv/bin/pip install aws-kinesis-agg six
    venv/bin/python check.py            # each vector is what AWS makes, and AWS opens it to its records
    venv/bin/python check.py --write    # makes the vectors anew

`cases.json` says what is in each `<name>.bin`. The tests of the crate make the same bytes of the same
records, and open them; so what the crate makes is what AWS opens. This script is not part of the build.
"""

import base64
import hashlib
import json
import pathlib
import sys

from aws_kinesis_agg import MAGIC, aggregator, deaggregator, messages_pb2

FOLDER = pathlib.Path(__file__).parent


def made(case):
    """The aggregate that the library makes of the records."""
    if case["by"] == "message":
        return by_message(case)
    record = aggregator.AggRecord()
    for user in case["records"]:
        data = base64.b64decode(user["data"])
        assert record.add_user_record(user["partition_key"], data, user["explicit_hash_key"])
    return record.get_contents()[2]


def by_message(case):
    """With what the aggregator never writes: tags, and a key for each record, even if it is there already."""
    message = messages_pb2.AggregatedRecord()
    for index, user in enumerate(case["records"]):
        message.partition_key_table.append(user["partition_key"])
        record = message.records.add()
        record.partition_key_index = index
        record.data = base64.b64decode(user["data"])
        tag = record.tags.add()
        tag.key = "origin"
        if index % 2 == 0:
            tag.value = "test"
    body = message.SerializeToString()
    return MAGIC + body + hashlib.md5(body).digest()


def opened(bytes_):
    record = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": "1",
            "approximateArrivalTimestamp": 0,
            "partitionKey": "outer",
            "data": base64.b64encode(bytes_),
        }
    }
    return [user["kinesis"] for user in deaggregator.deaggregate_records([record])]


def main():
    cases = json.loads((FOLDER / "cases.json").read_text())
    for case in cases:
        file = FOLDER / (case["name"] + ".bin")
        if "--write" in sys.argv:
            file.write_bytes(made(case))
        bytes_ = file.read_bytes()
        assert bytes_ == made(case), case["name"]
        users = opened(bytes_)
        assert len(users) == len(case["records"]), case["name"]
        # The library reads a record without explicit hash key as one with the first of the table.
        mixed = len({user["explicit_hash_key"] is None for user in case["records"]}) > 1
        for number, (user, expected) in enumerate(zip(users, case["records"])):
            assert user["partitionKey"] == expected["partition_key"]
            assert user["data"].decode() == expected["data"]
            assert user["subSequenceNumber"] == number and user["aggregated"]
            assert mixed or user["explicitHashKey"] == expected["explicit_hash_key"]
        print(f"{case['name']}: {len(users)} records, {len(bytes_)} bytes")


main()
