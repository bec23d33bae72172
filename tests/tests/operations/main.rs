//! Dashboards, rules and runbooks speak of what the services really expose: every metric, label and value
//! in every query is held against scrapes of a pipeline that has just carried events.

mod exposed;
mod manifests;
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_firehose::types::ExtendedS3DestinationConfiguration;
use exposed::Exposed;
use local_cloud::Rule;
use pipeline_tests::{Pipeline, Process, eventually};
use serde_json::Value;

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DELIVERY_STREAM: &str = "to-firehose";
/// Longer than events take to Europe on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a service shows only when its first reconcile has ended, which is after a minute at the earliest: in the
/// words of `services/syncomatic/src/metrics/reconcile.rs`.
const AFTER_A_RECONCILE: &str = "\
syncomatic_reconcile_differences{route=\"r\",kind=\"missing\"} 0
syncomatic_reconcile_differences{route=\"r\",kind=\"different\"} 0
syncomatic_reconcile_differences{route=\"r\",kind=\"extra\"} 0
syncomatic_reconcile_differences{route=\"r\",kind=\"pending\"} 0
syncomatic_reconcile_differences{route=\"r\",kind=\"failed\"} 0
syncomatic_reconcile_differences{route=\"r\",kind=\"unrepaired\"} 0
";

/// A query and where it stands.
#[derive(Debug)]
struct Query {
    place: String,
    expression: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_asks_for_what_is_exposed() {
    let rules = Rules::read();
    let mut queries = dashboard_queries();
    assert!(queries.len() > 100, "the dashboards are read: {}", queries.len());
    queries.extend(rules.queries);
    let named = metrics_named_in_documents();

    let pipeline = Pipeline::start(PIPELINE).await;
    // With all that has metrics of its own: a search cluster that is not there, redaction, a ledger.
    let hash_key = pipeline.file("hash-key", &"5a".repeat(32));
    let redacted = [
        ("--route", "=>copy/:redacted"),
        ("--hash-key-file", &hash_key),
        ("--ledger-bucket", local::aws::SOURCE_BUCKET),
        ("--ledger-side", "source"),
    ];
    let search = [("--elasticsearch-url", "http://127.0.0.1:1")];
    let (events, hoard, syncomatic) = tokio::join!(
        pipeline.events_with_spool(),
        pipeline.hoard_with(&search),
        pipeline.syncomatic_with(&redacted),
    );
    make_delivery_stream(&pipeline).await;
    let into_firehose = pipeline.hoard_before_ready(
        "firehose-0",
        &[
            ("--deliver", "firehose"),
            ("--delivery-stream", DELIVERY_STREAM),
            ("--state-prefix", "_firehose/"),
        ],
    );
    // What shows only when it happens: a call of the archive that fails. Its objects are written by it
    // alone, while several read the stream.
    let faults = pipeline.aws.source.cloud.faults();
    let archive = Rule::on("s3:PutObject").resource_containing("/events-shardId-");
    faults.inject(archive.fail(503, "SlowDown").times(1));
    let client = pipeline.client(&events, "northwind-speaker").await;
    client.send(40).await;

    let mut left = Vec::new();
    let checked = eventually("all that is asked for to be exposed", PATIENCE, async || {
        let mut exposed = Exposed::by_prometheus(rules.recorded.iter().cloned());
        for program in [&events, &hoard, &into_firehose, &syncomatic] {
            exposed.add(&get(&admin(program).await, "/metrics").await);
        }
        declare_refusals(&mut exposed, &events).await;
        exposed.add(AFTER_A_RECONCILE);
        left = problems(&exposed, &queries, &named);
        left.is_empty().then_some(())
    });
    let checked = checked.await;
    assert!(checked.is_ok(), "{checked:?}:\n{}", left.join("\n"));
}

/// What `hoard --deliver firehose` delivers to.
async fn make_delivery_stream(pipeline: &Pipeline) {
    let arn = |service, resource| pipeline.aws.source.cloud.account().arn(service, resource);
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn(arn("iam", "role/firehose"))
        .bucket_arn(arn("s3", local::aws::SOURCE_BUCKET))
        .build()
        .expect("complete");
    let create = aws_clients::firehose(&pipeline.aws.source.config)
        .create_delivery_stream()
        .delivery_stream_name(DELIVERY_STREAM)
        .extended_s3_destination_configuration(destination);
    Box::pin(create.send()).await.expect("created");
}

fn problems(exposed: &Exposed, queries: &[Query], named: &BTreeMap<String, PathBuf>) -> Vec<String> {
    let mut problems = Vec::new();
    for Query { place, expression } in queries {
        let of_query = exposed.problems(&promql::asked(expression));
        problems.extend(of_query.into_iter().map(|problem| format!("{place}: {problem}")));
    }
    let unknown = named.iter().filter(|(metric, _)| !exposed.has(metric));
    problems.extend(unknown.map(|(metric, page)| format!("{}: {metric} is not exposed", page.display())));
    problems
}

/// The service's own description lists why requests are refused; a test need not bring each about.
async fn declare_refusals(exposed: &mut Exposed, events: &Process) {
    let address = events.logged("listening", "address").await;
    let description: Value = serde_json::from_str(&get(&address, "/openapi.json").await).expect("JSON");
    let mut codes = BTreeSet::new();
    collect_enums(&description, &mut codes);
    assert!(
        codes.contains("overloaded"),
        "the description lists refusals: {codes:?}"
    );
    exposed.declare(
        "events_requests_total",
        "refusal",
        codes.into_iter().chain([String::new()]),
    );
}

/// Every value of every `"code": {"enum": […]}`.
fn collect_enums(description: &Value, codes: &mut BTreeSet<String>) {
    match description {
        Value::Object(members) => {
            let listed = members.get("code").and_then(|code| code.get("enum")?.as_array());
            let listed = listed.into_iter().flatten().filter_map(Value::as_str);
            codes.extend(listed.map(str::to_owned));
            members.values().for_each(|member| collect_enums(member, codes));
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_enums(element, codes)),
        _ => {}
    }
}

async fn admin(program: &Process) -> String {
    program.logged("starting", "admin").await
}

async fn get(address: &str, path: &str) -> String {
    let answer = reqwest::get(format!("http://{address}{path}"))
        .await
        .expect("an answer");
    answer.text().await.expect("a text")
}

/// The queries of all panels and variables.
fn dashboard_queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for file in files("deploy/grafana/dashboards", "json") {
        let dashboard: Value = serde_json::from_str(&read(&file)).expect("a dashboard is JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                queries.push(Query {
                    place: format!("{}: {}", file.display(), panel["title"]),
                    expression: target["expr"].as_str().expect("a query").to_owned(),
                });
            }
        }
    }
    queries
}

/// The rules of Prometheus. YAML as these files are written: `expr:` is one line, or a folded block.
#[derive(Debug, Default)]
struct Rules {
    queries: Vec<Query>,
    recorded: BTreeSet<String>,
    alerts: BTreeSet<String>,
    runbooks: BTreeSet<String>,
}

impl Rules {
    fn read() -> Self {
        let mut rules = Self::default();
        for file in files("deploy/prometheus/rules", "yml") {
            let text = read(&file);
            let mut lines = text.lines().peekable();
            let mut name = String::new();
            while let Some(line) = lines.next() {
                let indent = line.len() - line.trim_start().len();
                let Some((key, value)) = line.trim_start().trim_start_matches("- ").split_once(": ") else {
                    continue;
                };
                match key {
                    "alert" => name = insert(&mut rules.alerts, value),
                    "record" => name = insert(&mut rules.recorded, value),
                    "runbook_url" => drop(insert(&mut rules.runbooks, value)),
                    "expr" => {
                        let mut expression = value.replace(">-", "");
                        let deeper = |line: &&str| line.len() - line.trim_start().len() > indent;
                        while let Some(line) = lines.next_if(deeper) {
                            expression.push('\n');
                            expression.push_str(line);
                        }
                        rules.queries.push(Query {
                            place: format!("{}: {name}", file.display()),
                            expression,
                        });
                    }
                    _ => {}
                }
            }
        }
        let (queries, named) = (rules.queries.len(), rules.alerts.len() + rules.recorded.len());
        assert_eq!(queries, named, "every rule has its expression");
        rules
    }
}

fn insert(names: &mut BTreeSet<String>, name: &str) -> String {
    names.insert(name.to_owned());
    name.to_owned()
}

/// Metrics of the services that operations and runbooks name.
fn metrics_named_in_documents() -> BTreeMap<String, PathBuf> {
    let mut named = BTreeMap::new();
    let pages = files("docs/runbooks", "md").into_iter();
    for page in pages.chain([Path::new(ROOT).join("docs/operations.md")]) {
        for code in read(&page).split('`').skip(1).step_by(2) {
            let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            let metrics = words.filter(|word| {
                let prefixes = ["events_", "hoard_", "syncomatic_"];
                prefixes.iter().any(|prefix| word.starts_with(prefix))
            });
            named.extend(metrics.map(|metric| (metric.to_owned(), page.clone())));
        }
    }
    assert!(named.len() > 50, "the pages are read: {named:?}");
    named
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let rules = Rules::read();
    let expected: BTreeSet<String> = rules
        .alerts
        .iter()
        .map(|alert| format!("docs/runbooks/{alert}.md"))
        .collect();
    assert_eq!(rules.runbooks, expected, "runbook_url is named after its alert");
    let there: BTreeSet<String> = files("docs/runbooks", "md")
        .iter()
        .filter_map(|page| Some(format!("docs/runbooks/{}", page.file_name()?.to_str()?)))
        .filter(|page| !page.ends_with("/README.md"))
        .collect();
    assert_eq!(there, expected);
    for page in files("docs/runbooks", "md") {
        let (text, name) = (
            read(&page),
            page.file_stem().expect("a name").display().to_string(),
        );
        assert!(
            name == "README" || text.starts_with(&format!("# {name}\n")),
            "{}",
            page.display()
        );
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(ROOT).join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
