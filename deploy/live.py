#!/usr/bin/env python3
"""Asks every panel of every dashboard for data: starts the pipeline (`local`, a release build, or what
PIPELINE_BINARY names) and a Prometheus that scrapes it with the rules of deploy/prometheus, sends events for a
while, and evaluates each query as Grafana would. Grafana itself is not needed, and not tested."""

import base64
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent
SENDING_SECONDS = 45
PATIENCE_SECONDS = 60

# What a pipeline that is young, small and well has nothing of; everything else must answer.
EMPTY = {
    "pipeline:events_received:rate1h_usual": "usual is there after a week",
    "ALERTS": "nothing fires",
    "hoard_elasticsearch_": "no search cluster is configured",
    "syncomatic_reconcile_(differences|runs_total)": "no reconcile runs",
    "hoard_firehose_": "nothing is delivered to Firehose",
    "syncomatic_redacted_fields_total": "no route redacts",
    "hoard_retries_total": "no call has failed",
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"waited {PATIENCE_SECONDS} s in vain for {what}")


class Pipeline:
    """`local`, with ports of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {name: free_port() for name in ("events", "events-admin", "hoard-admin", "syncomatic-admin", "source", "destination")}
        binary = os.environ.get("PIPELINE_BINARY", ROOT / "target" / "release" / "local")
        command = [binary, "--sample", "--data-folder", folder, "--admin-listen", f"127.0.0.1:{free_port()}"]
        for name, port in self.ports.items():
            command += [f"--{name}-port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually("the pipeline to be ready", lambda: all(
            "ready" in get(f"http://127.0.0.1:{self.ports[f'{name}-admin']}/readyz") for name in ("events", "hoard", "syncomatic")
        ))
        clients = json.loads((pathlib.Path(folder) / "credentials" / "demo-secrets.json").read_text())
        self.client = next(client for client in clients if client["name"] == "northwind-speaker")

    def send_unknown(self):
        """A request that is refused as a whole."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.ports['events']}/v1/events", b"[]", timeout=10)
        except urllib.error.HTTPError:
            pass

    def send(self, number):
        """20 events, one of them not what its schema says."""
        events = [{"deviceid": f"speaker-{number % 9}", "action": "stop", "musicsource": "tidal", "secondslistened": i} for i in range(20)]
        events[0]["secondslistened"] = "long"
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['events']}/v1/events/play", json.dumps(events).encode())
        request.add_header("content-type", "application/json")
        credential = f"{self.client['key']}:{self.client['secret']}".encode()
        request.add_header("authorization", "Basic " + base64.b64encode(credential).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            if json.load(answer)["accepted"] != 19:
                raise SystemExit("events were not accepted")


class Prometheus:
    """A Prometheus with the rules, and the three programs as jobs."""

    def __init__(self, folder, ports):
        config = pathlib.Path(folder) / "prometheus.yml"
        jobs = [{"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{ports[f'{name}-admin']}"]}]} for name in ("events", "hoard", "syncomatic")]
        rules = str(ROOT / "deploy" / "prometheus" / "rules" / "*.yml")
        # JSON is YAML.
        config.write_text(json.dumps({"global": {"scrape_interval": "1s", "evaluation_interval": "2s"}, "rule_files": [rules], "scrape_configs": jobs}))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
            stderr=open(pathlib.Path(folder) / "prometheus.log", "w"),
        )
        eventually("Prometheus to be ready", lambda: "Ready" in get(f"{self.url}/-/ready"))

    def query(self, expression):
        try:
            answer = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{expression}\n{error.read().decode()}") from None
        return json.loads(answer)["data"]["result"]


def queries():
    for file in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield file.stem, panel["title"], target["expr"]


def as_grafana_sends(expression):
    expression = expression.replace("$__rate_interval", "30s").replace("$__range", "5m").replace("$instance", ".*")
    if "$" in expression:
        raise SystemExit(f"a variable that is not known: {expression}")
    return expression


def ask_all(prometheus):
    answered = excused = not_numbers = 0
    silent = []
    for dashboard, panel, expression in queries():
        result = prometheus.query(as_grafana_sends(expression))
        if result:
            answered += 1
            not_numbers += all(math.isnan(float(series["value"][1])) for series in result)
        elif any(re.search(rf"\b{name}", expression) for name in EMPTY):
            excused += 1
        else:
            silent.append(f"{dashboard}: {panel}: {expression}")
    print(f"{answered} queries have data ({not_numbers} of them NaN: a quantile of nothing), {excused} have none and need none here, {len(silent)} are silent")
    return silent


def main():
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(folder + "/data")
        prometheus = Prometheus(folder, pipeline.ports)
        try:
            started = time.monotonic()
            number = 0
            while time.monotonic() < started + SENDING_SECONDS:
                pipeline.send(number)
                pipeline.send_unknown()
                number += 1
                time.sleep(0.1)
            silent = ask_all(prometheus)
            rules = json.loads(get(f"{prometheus.url}/api/v1/rules"))["data"]["groups"]
            rules = [rule for group in rules for rule in group["rules"]]
            broken = [rule["name"] for rule in rules if rule["health"] == "err"]
            firing = [rule["name"] for rule in rules if rule.get("state") in ("firing", "pending")]
            print(f"{len(rules)} rules, broken: {broken}, firing or pending: {firing}")
            if "--stay" in sys.argv:
                input(f"{prometheus.url} is there until you press return ")
        finally:
            for process in (prometheus.process, pipeline.process):
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)
    if silent or broken:
        sys.exit("\n".join(["no data:", *silent]))


if __name__ == "__main__":
    main()
