#!/usr/bin/env python3
"""Writes prometheus-rule.yaml: the rules of rules/*.yml as one PrometheusRule, text for text.

    deploy/prometheus/prometheus_rule.py            writes it
    deploy/prometheus/prometheus_rule.py --check    says whether it is what this file gives
"""

import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
FILE = FOLDER / "prometheus-rule.yaml"
HEAD = """\
# Written by prometheus_rule.py from rules/*.yml: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: event-pipeline
  labels: {app.kubernetes.io/part-of: event-pipeline}
spec:
  groups:
"""


def groups(file):
    """What stands below `groups:`, indented to stand below `spec:`."""
    _, _, body = file.read_text().partition("groups:\n")
    return "".join(f"  {line}" if line.strip() else line for line in body.splitlines(keepends=True))


def main():
    text = HEAD + "\n".join(groups(file) for file in sorted((FOLDER / "rules").glob("*.yml")))
    if sys.argv[1:] != ["--check"]:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        sys.exit(f"{FILE.name}: not what rules/*.yml give; run deploy/prometheus/prometheus_rule.py")


if __name__ == "__main__":
    main()
