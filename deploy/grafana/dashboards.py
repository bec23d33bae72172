#!/usr/bin/env python3
"""Writes dashboards/*.json. Each panel below is one line of title, unit and queries; where it stands on
the page, and Grafana's many defaults, are the same for all and said once.

    deploy/grafana/dashboards.py            writes them
    deploy/grafana/dashboards.py --check    says whether they are what this file gives
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24  # Grafana's grid


def target(query, legend):
    return {"datasource": DATA_SOURCE, "expr": query, "legendFormat": legend, "refId": "A"}


def panel(kind, title, unit, queries, description, width, height, **options):
    """`queries`: legend → PromQL."""
    targets = [target(query, legend) for legend, query in queries.items()]
    for letter, one in zip("ABCDEFGH", targets, strict=False):
        one["refId"] = letter
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATA_SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, **options.pop("defaults", {})}, "overrides": []},
        "options": options,
        "gridPos": {"w": width, "h": height},
    }


def lines(title, unit, queries, description="", width=8, stacked=False):
    custom = {"lineWidth": 1, "fillOpacity": 30 if stacked else 5, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    legend = {"displayMode": "list", "placement": "bottom"}
    defaults = {"min": 0, "custom": custom}
    tooltip = {"mode": "multi", "sort": "desc"}
    return panel("timeseries", title, unit, queries, description, width, 8,
                 defaults=defaults, legend=legend, tooltip=tooltip)


def number(title, unit, query, description="", warn=None, bad=None, width=4):
    """One number, green, or yellow from `warn` on, or red from `bad` on."""
    steps = [{"color": "green", "value": None}]
    steps += [{"color": "yellow", "value": warn}] if warn is not None else []
    steps += [{"color": "red", "value": bad}] if bad is not None else []
    defaults = {"thresholds": {"mode": "absolute", "steps": steps}}
    calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return panel("stat", title, unit, {title: query}, description, width, 4, defaults=defaults,
                 reduceOptions=calculation, colorMode="value", graphMode="area")


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}}


def p99(metric, by="", window="$__rate_interval", selector=""):
    by = f", {by}" if by else ""
    return f"histogram_quantile(0.99, sum by (le{by}) (rate({metric}_bucket{selector}[{window}])))"


def laid_out(panels):
    """From left to right, a new line where a panel does not fit; ids in that order."""
    x = y = line_height = 0
    for number_of, one in enumerate(panels, start=1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, line_height = 0, y + line_height, 0
        place.update(x=x, y=y)
        one["id"] = number_of
        x, line_height = x + place["w"], max(line_height, place["h"])
    return panels


def dashboard(uid, title, description, panels, job=None):
    variables = [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
    if job:
        query = f'label_values(up{{job="{job}"}}, instance)'
        variables.append({
            "name": "instance", "label": "Instance", "type": "query", "datasource": DATA_SOURCE,
            "query": {"query": query, "refId": "instance"}, "definition": query,
            "refresh": 2, "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        })
    return {
        "uid": uid, "title": title, "description": description, "tags": ["event-pipeline"],
        "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"}, "refresh": "30s", "timezone": "utc",
        "templating": {"list": variables}, "panels": laid_out(panels),
        "links": [{"type": "dashboards", "title": "Pipeline", "tags": ["event-pipeline"], "asDropdown": True,
                   "includeVars": False, "keepTime": True}],
        "annotations": {"list": []},
    }


OVERVIEW = [
    row("From a request to Europe, in the chosen time"),
    number("Received", "short", "sum(increase(events_received_total[$__range]))", "Events that clients sent."),
    number("Accepted", "short",
           "sum(increase(events_published_total[$__range])) + sum(increase(events_spooled_total[$__range]))",
           "In the stream, or on disk and on their way there. Events sent again are not counted twice."),
    number("Archived", "short", "sum(increase(hoard_records_committed_total[$__range]))",
           "Records of the stream that are in an object, their checkpoint durable."),
    number("Objects in China", "short", 'sum(increase(hoard_objects_total{kind="lines"}[$__range]))',
           "Objects that hoard wrote."),
    number("Objects in Europe", "short", 'sum(increase(syncomatic_records_total{outcome="copied"}[$__range]))',
           "Objects that syncomatic copied and proved equal, or redacted as declared."),
    number("Rejected", "percentunit",
           "sum(increase(events_rejected_total[$__range])) / (sum(increase(events_received_total[$__range])) > 0)",
           "Refused for good.", warn=0.02, bad=0.05),
    row("How old it is"),
    number("In the spool", "s", "max(events_spool_oldest_age_seconds)", "Age of the oldest spooled event.", 60, 300),
    number("Behind the stream", "s", "max(hoard_shard_lag_seconds)", "The shard that is farthest behind.", 300, 900),
    number("Used of the retention", "percentunit", "max(hoard_shard_retention_risk_ratio)",
           "At 100 % records are lost.", 0.25, 0.5),
    number("Archive, p99", "s", "pipeline:hoard_freshness_seconds:p99_15m",
           "From a record's arrival in the stream to its object.", 120, 180),
    number("Europe, p99", "s", "pipeline:syncomatic_replication_lag_seconds:p99_15m",
           "From an object's creation to the proof that it is in Europe.", 60, 300),
    number("Oldest in hand", "s", "max(syncomatic_oldest_in_hand_seconds)",
           "Age of the oldest message that syncomatic works on.", 300, 900),
    row("The flow"),
    lines("Events by type", "cps", {"{{eventtype}}": "sum by (eventtype) (rate(events_received_total[$__rate_interval]))"},
          "What comes in.", stacked=True),
    lines("Events now and usual", "cps", {
        "now": "pipeline:events_received:rate5m",
        "usual at this hour of the week": "pipeline:events_received:rate1h_usual",
    }, "Usual is the median of the last three weeks; it is there after a week. Below half of it an alert fires."),
    lines("What became of them", "cps", {
        "published": "sum(rate(events_published_total[$__rate_interval]))",
        "spooled": "sum(rate(events_spooled_total[$__rate_interval]))",
        "duplicate": "sum(rate(events_duplicate_total[$__rate_interval]))",
        "rejected": "sum(rate(events_rejected_total[$__rate_interval]))",
        "retry": "sum(rate(events_retry_total[$__rate_interval]))",
    }, "Adds up to what is received.", stacked=True),
    lines("Into and out of the stream", "cps", {
        "published": "sum(rate(events_published_total[$__rate_interval]))",
        "archived": "sum(rate(hoard_records_committed_total[$__rate_interval]))",
    }, "With --aggregate a record holds several events, and archived counts those."),
    lines("Objects", "cps", {
        "written in China": 'sum(rate(hoard_objects_total{kind="lines"}[$__rate_interval]))',
        "in Europe": 'sum(rate(syncomatic_records_total{outcome="copied"}[$__rate_interval]))',
    }),
    lines("What waits", "short", {
        "events in spools": "sum(events_spool_records)",
        "notifications in the queue": 'max(syncomatic_queue_messages{state="visible"})',
        "notifications in hand": "sum(syncomatic_in_flight_messages)",
    }),
    row("Health"),
    lines("Ready instances", "short", {
        "events": "sum(events_ready)", "hoard": "sum(hoard_ready)", "syncomatic": "sum(syncomatic_ready)",
    }),
    lines("Partners", "cps", {"{{partner}}": "sum by (partner) (rate(events_received_total[$__rate_interval]))"},
          stacked=True),
    lines("Alerts that fire", "short", {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"})'},
          "Each has its runbook in docs/runbooks."),
]

IN = '{instance=~"$instance"}'


def here(more=""):
    """The selector of the chosen instances."""
    return f'{{instance=~"$instance"{", " + more if more else ""}}}'


def rate(metric, by="", more=""):
    by = f" by ({by})" if by else ""
    return f"sum{by} (rate({metric}{here(more)}[$__rate_interval]))"


EVENTS = [
    row("Requests"),
    lines("Requests by status", "reqps", {"{{status}}": rate("events_requests_total", "status")}, stacked=True),
    lines("Refused as a whole", "reqps", {"{{refusal}}": rate("events_requests_total", "refusal", 'refusal!=""')},
          "Why requests were refused before their events were looked at."),
    lines("Where the time goes, p99", "s", {"{{stage}}": p99("events_stage_seconds", "stage", selector=IN)},
          "publish lasts until every event of the request is settled."),
    row("Events"),
    lines("Received by type", "cps", {"{{eventtype}}": rate("events_received_total", "eventtype")}, stacked=True),
    lines("Rejected by reason", "cps", {"{{reason}}": rate("events_rejected_total", "reason")}),
    lines("Rejected by partner", "cps", {"{{partner}} {{eventtype}}": rate("events_rejected_total", "partner, eventtype")},
          "Whose client or schema is wrong."),
    lines("Duplicates and retries", "cps", {
        "duplicate": rate("events_duplicate_total"), "retry": rate("events_retry_total"),
    }),
    lines("Remembered ids", "short", {
        "remembered": f"sum(events_dedupe_ids{IN})",
        "limit": f"sum(events_dedupe_ids_limit{IN})",
        "forgotten early in 5 min": f"sum(increase(events_dedupe_forgotten_early_total{IN}[5m]))",
    }, "Ids forgotten early mean that the window for duplicates is shorter than configured."),
    lines("In progress", "short", {"events": f"sum(events_in_progress{IN})", "connections": f"sum(events_connections{IN})"}),
    row("Kinesis"),
    lines("PutRecords, seconds", "s", {
        "p99": p99("events_put_seconds", selector=IN),
        "p50": p99("events_put_seconds", selector=IN).replace("0.99", "0.5"),
    }),
    lines("Records not taken", "cps", {"{{cause}}": rate("events_put_failed_records_total", "cause")},
          "Most are sent again by the service."),
    lines("Calls that may be out", "short", {"{{instance}}": f"events_put_concurrency_limit{IN}"},
          "Halved by throttling."),
    lines("Records by shard", "cps", {"{{shard}}": rate("events_shard_records_total", "shard")}),
    lines("Throttles by shard", "cps", {"{{shard}}": rate("events_shard_throttles_total", "shard")},
          "One shard far above the others is hot."),
    lines("How full calls are", "short", {
        "records a call, p50": p99("events_put_batch_records", selector=IN).replace("0.99", "0.5"),
        "events a packed record, p50": p99("events_aggregate_events", selector=IN).replace("0.99", "0.5"),
    }, "Packed records: with --aggregate only."),
    lines("Shards that events are packed by", "short", {
        "shards": f"max(events_shard_map_shards{IN})",
        "mispredicted in 5 min": f"sum(increase(events_mispredicted_records_total{IN}[5m]))",
    }, "With --aggregate only; 0 while events are sent unpacked."),
    row("Bounds"),
    lines("Bytes in flight", "bytes", {"{{instance}}": f"events_in_flight_bytes{IN}"},
          "Bounded by --in-flight-bytes; devices are shed from 80 % on, apps from 90 %."),
    lines("Spool", "bytes", {
        "in it": f"sum(events_spool_bytes{IN})", "limit": f"sum(events_spool_limit_bytes{IN})",
    }),
    lines("Oldest spooled event", "s", {"{{instance}}": f"events_spool_oldest_age_seconds{IN}"}),
    lines("Spool, events", "cps", {
        "into it": rate("events_spooled_total"), "out of it": rate("events_spool_drained_total"),
        "put aside": rate("events_spool_buried_total"),
    }),
    lines("Spool, for a person", "short", {
        "put aside": f"sum(events_spool_dead_records{IN})",
        "disk errors in 5 min": f"sum(increase(events_spool_errors_total{IN}[5m]))",
    }, "Anything but 0 wants a look."),
    lines("Quotas and guesses", "cps", {
        "events over the quota of a {{scope}}": rate("events_quota_refused_events_total", "scope"),
        "failed attempts {{outcome}}": rate("events_failed_attempts_total", "outcome"),
    }),
    row("What it was told"),
    number("Credentials read", "dateTimeFromNow", f"min(events_credentials_loaded_timestamp_seconds{IN}) * 1000"),
    number("Schemas read", "dateTimeFromNow", f"min(events_schemas_loaded_timestamp_seconds{IN}) * 1000"),
    lines("Changed files that cannot be used", "cps", {
        "credentials": rate("events_credentials_reload_failures_total"),
        "schemas": rate("events_schemas_reload_failures_total"),
        "country database": rate("events_country_database_reload_failures_total"),
    }, "Anything but 0: what is in use is not what the files say.", width=16),
]

HOARD = [
    row("Is the archive behind?"),
    lines("Behind the stream, by shard", "s", {"{{shard}}": f"max by (shard) (hoard_shard_lag_seconds{IN})"}),
    lines("Age of the last record read", "s", {"{{shard}}": f"max by (shard) (hoard_shard_record_age_seconds{IN})"}),
    lines("Used of the retention", "percentunit", {"{{shard}}": f"max by (shard) (hoard_shard_retention_risk_ratio{IN})"},
          "At 100 % records are lost."),
    lines("Freshness", "s", {
        "p99": p99("hoard_freshness_seconds", selector=IN),
        "p50": p99("hoard_freshness_seconds", selector=IN).replace("0.99", "0.5"),
        "flush interval": f"max(hoard_flush_interval_seconds{IN})",
    }, "From the arrival of a cut's first record to its commit."),
    lines("Records", "cps", {
        "read": rate("hoard_records_read_total"), "committed": rate("hoard_records_committed_total"),
        "given twice by the stream": rate("hoard_records_repeated_total"),
    }),
    lines("Bytes", "Bps", {
        "read": rate("hoard_bytes_read_total"), "lines": rate("hoard_uncompressed_bytes_total"),
        "stored": rate("hoard_stored_bytes_total"),
    }),
    row("Objects"),
    lines("Cuts by cause", "cps", {"{{cause}}": rate("hoard_cuts_total", "cause")},
          "Many by memory want a larger budget, by partitions a larger --max-partitions.", stacked=True),
    lines("Objects and lines", "cps", {
        "objects, {{kind}}": rate("hoard_objects_total", "kind"), "lines, {{kind}}": rate("hoard_lines_total", "kind"),
    }),
    lines("Size of objects, p50", "bytes", {
        "{{kind}}": p99("hoard_object_bytes", "kind", selector=IN).replace("0.99", "0.5"),
    }),
    lines("Objects of a cut, p99", "short", {"objects": p99("hoard_cut_objects", selector=IN)}),
    lines("Records that cannot be filed", "cps", {"{{reason}}": rate("hoard_records_bad_total", "reason")},
          "They become error lines under the error prefix."),
    lines("Days marked", "short", {"days": f"sum(increase(hoard_days_marked_total{IN}[1d]))"},
          "With --day-marker-delay only."),
    row("Who archives what"),
    lines("Shards by state", "short", {"{{state}}": f"sum by (state) (hoard_shards{IN})"}, stacked=True),
    lines("Replicas", "short", {"{{standing}}": f"max by (standing) (hoard_replicas{IN})"}),
    lines("Changes of owners in 1 h", "short", {"{{cause}}": f"sum by (cause) (increase(hoard_owner_changes_total{IN}[1h]))"}),
    lines("Hand-over, p99", "s", {"hand-over": p99("hoard_hand_over_seconds", window="15m", selector=IN)}),
    lines("Heartbeats", "cps", {"{{outcome}}": rate("hoard_heartbeats_total", "outcome")}),
    lines("Defects of the hash ranges", "short", {"{{defect}}": f"max by (defect) (hoard_stream_hash_range_defects{IN})"},
          "Anything but 0 for long is the stream's own fault."),
    row("S3, Kinesis and memory"),
    lines("Calls to S3", "cps", {"{{operation}}": rate("hoard_s3_calls_total", "operation")}),
    lines("Failed calls", "cps", {"{{step}} {{failure}}": rate("hoard_retries_total", "step, failure")}),
    lines("Commit, p99", "s", {"{{step}}": p99("hoard_commit_seconds", "step", selector=IN)}),
    lines("Buffers", "bytes", {"taken": f"sum(hoard_buffer_bytes{IN})", "budget": f"sum(hoard_buffer_limit_bytes{IN})"}),
    lines("Refused conditional writes in 1 h", "short", {
        "{{meaning}}": f"sum by (meaning) (increase(hoard_conflicts_total{IN}[1h]))",
    }, "own is a lost answer; foreign and changed want a person."),
    lines("Lost, and recovered", "short", {
        "records missing": f"sum(hoard_records_missing_total{IN})",
        "gaps that may hold records": f"sum(hoard_possible_losses_total{IN})",
        "recovered cuts, {{how}}": f"sum by (how) (hoard_recovered_cuts_total{IN})",
    }, "Since the start. Anything missing is loss."),
    row("Search (with --elasticsearch-url only)"),
    lines("Behind", "s", {"{{shard}}": f"max by (shard) (hoard_elasticsearch_lag_seconds{IN})"}),
    lines("Documents", "cps", {
        "{{outcome}}": rate("hoard_elasticsearch_documents_total", "outcome"),
        "sent again": rate("hoard_elasticsearch_retried_documents_total"),
    }),
    lines("Failed requests, and what was skipped", "cps", {
        "{{failure}}": rate("hoard_elasticsearch_request_failures_total", "failure"),
        "seconds skipped": rate("hoard_elasticsearch_skipped_seconds_total"),
    }),
    row("Firehose (with --deliver firehose only)"),
    lines("Accepted", "cps", {"records": rate("hoard_firehose_records_total")}),
    lines("Sent again, and given up", "cps", {
        "{{cause}}": rate("hoard_firehose_retried_records_total", "cause"),
        "given up at a drain or hand-over": rate("hoard_firehose_abandoned_records_total"),
    }),
    lines("From arrival to acceptance", "s", {"p99": p99("hoard_firehose_freshness_seconds", selector=IN)}),
]

SYNCOMATIC = [
    row("Is Europe behind?"),
    lines("Replication lag", "s", {
        "p99": p99("syncomatic_replication_lag_seconds", selector=IN),
        "p50": p99("syncomatic_replication_lag_seconds", selector=IN).replace("0.99", "0.5"),
    }, "From an object's creation to the proof that it is in place."),
    lines("Oldest message in hand", "s", {"{{instance}}": f"syncomatic_oldest_in_hand_seconds{IN}"}),
    lines("The queue", "short", {"{{state}}": f"max by (state) (syncomatic_queue_messages{IN})"}, "As SQS estimates it."),
    row("What became of it"),
    lines("Records", "cps", {"{{outcome}}": rate("syncomatic_records_total", "outcome")}, stacked=True),
    lines("Messages", "cps", {
        "{{outcome}}": rate("syncomatic_messages_total", "outcome"), "received": rate("syncomatic_messages_received_total"),
    }),
    lines("Objects by route", "cps", {"{{route}} {{outcome}}": rate("syncomatic_objects_total", "route, outcome")}),
    lines("Bytes by route", "Bps", {"{{route}} {{outcome}}": rate("syncomatic_object_bytes_total", "route, outcome")}),
    lines("Copied bytes", "Bps", {"copied": rate("syncomatic_copied_bytes_total")}),
    lines("A copy takes", "s", {
        "p99": p99("syncomatic_copy_duration_seconds", selector=IN),
        "p50": p99("syncomatic_copy_duration_seconds", selector=IN).replace("0.99", "0.5"),
    }),
    row("What goes wrong"),
    lines("Tries after the first", "cps", {"{{cause}}": rate("syncomatic_retries_total", "cause")}),
    lines("Refusals that stop receiving, in 1 h", "short", {
        "{{cause}}": f"sum by (cause) (increase(syncomatic_circuit_openings_total{IN}[1h]))",
    }),
    lines("Failed receives and queue operations", "cps", {
        "receive: {{cause}}": rate("syncomatic_receive_errors_total", "cause"),
        "{{operation}}": rate("syncomatic_queue_errors_total", "operation"),
        "depth": rate("syncomatic_queue_depth_errors_total"),
    }),
    lines("Bytes that differed", "short", {
        "mismatches": f"sum(syncomatic_checksum_mismatches_total{IN})",
        "without a checksum at the source": f"sum(syncomatic_unattested_objects_total{IN})",
    }, "Since the start; none that differed was acknowledged."),
    lines("Transfers that may be out", "short", {"{{side}}": f"min by (side) (syncomatic_transfers_allowed{IN})"},
          "Fewer while a side throttles."),
    lines("Uploads in parts", "cps", {
        "{{begun}}": rate("syncomatic_multipart_uploads_total", "begun"), "parts": rate("syncomatic_parts_total"),
        "abandoned ones ended": rate("syncomatic_swept_uploads_total"), "failed looks": rate("syncomatic_sweep_errors_total"),
    }),
    row("Bounds"),
    lines("Memory for copies", "bytes", {
        "reserved": f"sum(syncomatic_in_flight_bytes{IN})", "bound": f"sum(syncomatic_in_flight_bytes_max{IN})",
    }),
    lines("Messages in hand", "short", {
        "in hand": f"sum(syncomatic_in_flight_messages{IN})", "bound": f"sum(syncomatic_in_flight_messages_max{IN})",
    }),
    lines("Ledger", "short", {
        "lines waiting": f"sum(syncomatic_ledger_waiting_lines{IN})",
        "lines written in 5 min": f"sum(increase(syncomatic_ledger_lines_total{IN}[5m]))",
        "errors in 5 min: {{cause}}": f"sum by (cause) (increase(syncomatic_ledger_errors_total{IN}[5m]))",
        "wait in s, p99": p99("syncomatic_ledger_wait_seconds", selector=IN),
    }, "With --ledger-bucket only."),
    row("Reconcile (with --reconcile-interval only)"),
    lines("Differences when the last one ended", "short", {
        "{{route}} {{kind}}": f"max by (route, kind) (syncomatic_reconcile_differences{IN})",
    }, "unrepaired and failed are left."),
    lines("Ends", "short", {"{{outcome}}": f"sum by (outcome) (syncomatic_reconcile_runs_total{IN})"}, "Since the start."),
    lines("Oldest uncopied, and how long it took", "s", {
        "oldest uncopied": f"max(syncomatic_reconcile_oldest_uncopied_seconds{IN})",
        "took": f"max(syncomatic_reconcile_last_duration_seconds{IN})",
    }),
    row("Redaction (with a redacted route only)"),
    lines("Fields by action", "cps", {"{{action}}": rate("syncomatic_redacted_fields_total", "action")}),
    lines("Lines", "cps", {
        "passed": rate("syncomatic_redacted_lines_total"),
        "quarantined: {{reason}}": rate("syncomatic_quarantined_lines_total", "reason"),
    }),
    lines("Kept values that look personal", "cps", {"{{pattern}}": rate("syncomatic_canary_lines_total", "pattern")},
          "An alert fires on any."),
]

DASHBOARDS = {
    "overview": dashboard("pipeline-overview", "Event pipeline", "The journey from a request to Europe.", OVERVIEW),
    "events": dashboard("pipeline-events", "Event pipeline: events", "HTTP → Kinesis.", EVENTS, "events"),
    "hoard": dashboard("pipeline-hoard", "Event pipeline: hoard", "Kinesis → S3.", HOARD, "hoard"),
    "syncomatic": dashboard("pipeline-syncomatic", "Event pipeline: syncomatic", "S3 → S3.", SYNCOMATIC, "syncomatic"),
}


def main():
    stale = []
    for name, content in DASHBOARDS.items():
        path = FOLDER / f"{name}.json"
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        if sys.argv[1:] == ["--check"]:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what deploy/grafana/dashboards.py gives; run it")


if __name__ == "__main__":
    main()
