#!/usr/bin/env python3
"""Holds the policies in deploy/iam against the calls that the code makes, and against the table in
docs/operations.md: no action is missing, none is more than is needed, no resource is `*`."""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
POLICIES = ROOT / "deploy" / "iam"

# https://docs.aws.amazon.com/AmazonS3/latest/API and the service authorization reference: which
# permission each call of the SDK needs, where it is not named like the call.
PERMISSIONS = {
    "list_objects_v2": "s3:ListBucket", "head_object": "s3:GetObject", "get_object": "s3:GetObject",
    "put_object": "s3:PutObject", "delete_object": "s3:DeleteObject",
    "create_multipart_upload": "s3:PutObject", "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject", "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_parts": "s3:ListMultipartUploadParts", "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "get_object_tagging": "s3:GetObjectTagging", "put_object_tagging": "s3:PutObjectTagging",
    "put_records": "kinesis:PutRecords", "describe_stream_summary": "kinesis:DescribeStreamSummary",
    "list_shards": "kinesis:ListShards", "get_shard_iterator": "kinesis:GetShardIterator",
    "get_records": "kinesis:GetRecords", "receive_message": "sqs:ReceiveMessage",
    "delete_message": "sqs:DeleteMessage", "change_message_visibility": "sqs:ChangeMessageVisibility",
    "get_queue_url": "sqs:GetQueueUrl", "get_queue_attributes": "sqs:GetQueueAttributes",
    "send_message": "sqs:SendMessage",
}
# Needed with calls above by what they carry: a version id, tags, and the right to hear 404 instead of 403.
WITH_OTHERS = {
    "hoard": set(),
    "events": set(),
    "syncomatic": {"s3:GetObjectVersion", "s3:GetObjectVersionTagging", "s3:PutObjectTagging", "s3:ListBucket"},
}
PROGRAMS = {"events": ["events"], "hoard": ["hoard"], "syncomatic": ["syncomatic-source", "syncomatic-destination"]}


def called(program):
    """What the code of a program needs, its tests left out."""
    needed = set(WITH_OTHERS[program])
    for file in (ROOT / "services" / program / "src").rglob("*.rs"):
        if file.name != "tests.rs" and "tests" not in file.parts:
            code = file.read_text().partition("#[cfg(test)]")[0]
            calls = re.findall(r"\.\s*([a-z_0-9]+)\(\)", code)
            needed |= {PERMISSIONS[call] for call in calls if call in PERMISSIONS}
    return needed


def granted(policies):
    actions = set()
    for file in policies:
        for statement in json.loads(file.read_text())["Statement"]:
            actions |= set(statement["Action"])
    return actions


def documented(program):
    """Every permission in the rows of the table that begin with the program, but those with something more."""
    table = (ROOT / "docs" / "operations.md").read_text()
    rows = [row for row in table.splitlines() if row.startswith(f"| `{program}`")]
    return set(re.findall(r"`((?:s3|sqs|kinesis):[A-Za-z]+)`", "\n".join(rows)))


def problems():
    for program, names in PROGRAMS.items():
        files = [file for name in names for file in POLICIES.glob(f"*/{name}.json")]
        if not files:
            yield f"{program}: there is no policy"
        for partition in ("aws", "aws-cn"):
            if len(names) == 1 and not (POLICIES / partition / f"{program}.json").exists():
                yield f"{program}: there is no policy in {partition}"
        by_policy, by_code, by_page = granted(files), called(program), documented(program)
        for what, others in (("the code's calls need", by_code), ("docs/operations.md lists", by_page)):
            if by_policy != others:
                yield (f"{program}: the policies lack {sorted(others - by_policy)} of what {what}, "
                       f"and grant {sorted(by_policy - others)} beyond")
    for file in POLICIES.glob("*/*.json"):
        partition = file.parent.name
        for statement in json.loads(file.read_text())["Statement"]:
            resources = statement["Resource"]
            for resource in [resources] if isinstance(resources, str) else resources:
                if not resource.startswith(f"arn:{partition}:"):
                    yield f"{file.relative_to(ROOT)}: {resource} is not of {partition}"


def main():
    found = list(problems())
    if found:
        sys.exit("\n".join(found))
    print("permissions: policies, code and docs/operations.md agree")


if __name__ == "__main__":
    main()
