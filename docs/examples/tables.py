#!/usr/bin/env python3
"""Runs the recipes of docs/tables.md that can be run on files: those under its headings *DuckDB*, *Spark* and
*Hive* (HiveQL, in Spark). Needs the packages duckdb and pyspark, and Java.

    docs/examples/tables.py data/europe/s3/events-china-in-europe    # what `local --sample` wrote
    docs/examples/tables.py --columns                                # the columns of all schemas
"""

import collections
import json
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent.parent
SERVER_SET = ["eventid", "eventtype", "schemaversion", "partnerid", "clientid", "countrycode", "receivedtime", "correctedtime"]
TYPES = {"string": "string", "number": "double", "integer": "bigint", "boolean": "boolean"}


def columns():
    """Every field of the latest schema of each type: name → Hive's type."""
    found = collections.OrderedDict((name, "string") for name in SERVER_SET)
    for folder in sorted((ROOT / "schemas").iterdir()):
        latest = max(folder.glob("*.json"), key=lambda file: [int(part) for part in file.stem.split("-")])
        for name, schema in json.loads(latest.read_text())["properties"].items():
            kind = TYPES[schema.get("type", "string")]
            if found.setdefault(name, kind) != kind:
                raise SystemExit(f"{name} is {found[name]} and {kind}")
    return found


def statements(heading, folder, day):
    """The SQL under a heading, with its places filled in."""
    section = (ROOT / "docs" / "tables.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    if not blocks:
        raise SystemExit(f"docs/tables.md has no SQL under {heading}")
    text = "\n".join(blocks).replace("FOLDER", folder).replace("YYYY/MM/DD", day).replace("YYYY-MM-DD", day.replace("/", "-"))
    return [statement for statement in re.sub(r"--.*", "", text).split(";") if statement.strip()]


def expected(folder):
    """Events by type, counted without any engine."""
    import gzip

    counts = collections.Counter()
    for file in pathlib.Path(folder).rglob("*.jsonl.gz"):
        for line in gzip.open(file, "rt"):
            counts[json.loads(line)["eventtype"]] += 1
    return counts


def compare(name, rows, counts):
    got = {row[0]: row[1] for row in rows}
    if got != dict(counts):
        raise SystemExit(f"{name}: {got}, but there are {dict(counts)}")
    print(f"{name}: {sum(got.values())} events of {len(got)} types, as they should be")


def main():
    if sys.argv[1:] == ["--columns"]:
        print(",\n".join(f"  {name} {kind}" for name, kind in columns().items()))
        return
    folder = str(pathlib.Path(sys.argv[1]).resolve())
    days = {"/".join(file.parts[-4:-1]) for file in pathlib.Path(folder).rglob("*.jsonl.gz")}
    counts = expected(folder)
    if len(days) != 1 or not counts:
        raise SystemExit(f"{folder}: wanted events of one day, found {sorted(days)}")
    day = days.pop()

    import duckdb

    database = duckdb.connect()
    *first, last = statements("DuckDB", folder, day)
    for statement in first:
        database.execute(statement)
    compare("DuckDB", database.execute(last).fetchall(), counts)

    from pyspark.sql import SparkSession

    with tempfile.TemporaryDirectory() as warehouse:
        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").enableHiveSupport()
        builder = builder.config("spark.sql.warehouse.dir", warehouse)
        derby = f"-Dderby.system.home={warehouse} -Dderby.stream.error.file={warehouse}/derby.log"
        spark = builder.config("spark.driver.extraJavaOptions", derby).getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
        for heading in ("Spark", "Hive"):
            *first, last = statements(heading, folder, day)
            for statement in first:
                spark.sql(statement)
            compare(heading, spark.sql(last).collect(), counts)
        spark.stop()


if __name__ == "__main__":
    main()
