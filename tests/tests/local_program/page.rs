//! The page on `local`'s admin port: what it answers, and whom.

use std::path::Path;
use std::time::Duration;

use pipeline_tests::eventually;
use reqwest::header::{CONTENT_TYPE, HOST, ORIGIN};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::local;

/// Points that the page may be given at once.
const POINTS_MAX: usize = 180;

/// The page as its own scripts use it.
struct Page {
    http: Client,
    url: String,
}

impl Page {
    fn at(printed: &str) -> Self {
        let url = printed.split_whitespace().last().expect("an address");
        Self {
            http: Client::new(),
            url: url.trim_end_matches('/').to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.url));
        request.send().await.expect("an answer")
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.expect("JSON")
    }

    async fn post(&self, body: String, origin: Option<&str>) -> Response {
        let mut request = self.http.post(format!("{}/page/send", self.url)).body(body);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        request.send().await.expect("an answer")
    }

    async fn send(&self, client: &str, event: &str, dry_run: bool) -> Value {
        let wish = json!({ "client": client, "body": event, "dry_run": dry_run });
        let answer = self.post(wish.to_string(), Some(&self.url)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{wish}");
        answer.json().await.expect("JSON")
    }

    async fn until<T>(&self, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let look = async || found(&self.json("/page/live").await);
        eventually(what, Duration::from_secs(30), look)
            .await
            .expect("in time")
    }
}

/// How many events of a type have been accepted.
fn accepted(live: &Value, event_type: &str) -> u64 {
    live["counts"]["types"][event_type]["accepted"]
        .as_u64()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_sample_and_an_event_of_ones_own_on_both_sides() {
    let folder = TempDir::new().expect("a temporary folder");
    let program = local(folder.path(), &["--sample"]);
    let page = Page::at(&program.printed("page  http://").await);

    let live = page
        .until("the sample in Europe", |live| {
            let latest = live["objects"]["latest"].as_array()?;
            let there = |object: &Value| object["equal"] == true && object["events"].is_u64();
            let events: u64 = latest.iter().filter_map(|object| object["events"].as_u64()).sum();
            (events == 350 && latest.iter().all(there)).then(|| live.clone())
        })
        .await;
    for service in live["services"].as_array().expect("services") {
        assert_eq!(service["state"], "ready", "{service}");
    }
    let objects = live["objects"]["latest"].as_array().map(Vec::len);
    assert_eq!(
        live["objects"]["china"]["objects"].as_u64().map(|n| n as usize),
        objects
    );
    assert_eq!(live["objects"]["china"], live["objects"]["europe"]);

    // What happened adds up to what the counts say, in points without a gap.
    let live = page
        .until("the counts", |live| {
            let measured = |field: &str| {
                let points = live["points"].as_array();
                points.is_some_and(|points| points.iter().any(|point| point[field].as_f64() > Some(0.0)))
            };
            let told = accepted(live, "play") == 128
                && live["counts"]["archived_lines"] == 350
                && measured("freshness_seconds")
                && measured("replication_seconds");
            told.then(|| live.clone())
        })
        .await;
    let points = live["points"].as_array().expect("points");
    assert!(!points.is_empty() && points.len() <= POINTS_MAX);
    let plays = points
        .iter()
        .filter_map(|point| point["accepted"]["play"].as_u64());
    assert_eq!(plays.sum::<u64>(), 128);
    let last = points.len() as u64 - 1;
    assert!(
        points
            .iter()
            .zip(0..)
            .all(|(point, number)| point["number"] == json!(number))
    );
    let newer = page.json(&format!("/page/live?from={last}")).await;
    assert_eq!(newer["points"][0]["number"], json!(last));
    assert_eq!(page.json("/page/live?from=99999999").await["points"], json!([]));

    let text =
        r#"{"eventtype":"play","action":"play","musicsource":"tidal","track":"<script>alert(1)</script>"}"#;
    let verdict = page.send("northwind-platform", text, false).await;
    assert_eq!(verdict["status"], 200, "{verdict}");
    let id = verdict["answer"]["results"][0]["eventid"]
        .as_str()
        .expect("an id");
    let key = page
        .until("the event in Europe", |live| {
            let followed = live["objects"]["followed"].as_array()?;
            let mine = followed.iter().find(|event| event["eventid"] == id)?;
            assert!(mine["china_seconds"].as_f64() <= mine["europe_seconds"].as_f64().or(Some(f64::MAX)));
            mine["europe_seconds"].as_f64()?;
            mine["key"].as_str().map(str::to_owned)
        })
        .await;
    for side in ["china", "europe"] {
        let inside = page.json(&format!("/page/object?side={side}&key={key}")).await;
        let line = inside["lines"][0]["text"].as_str().expect("a line");
        assert!(
            line.contains(id) && line.contains("<script>alert(1)</script>"),
            "{inside}"
        );
        assert_eq!(inside["lines"][0]["whole"], true);
        assert_eq!(inside["metadata"]["record-count"], "1", "{inside}");
        assert_eq!(inside["content_type"], "application/x-ndjson");
    }
    assert!(program.terminate().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_answered_to_itself_alone_and_gives_no_secret_away() {
    let folder = TempDir::new().expect("a temporary folder");
    let program = local(folder.path(), &[]);
    let page = Page::at(&program.printed("page  http://").await);
    let at = page.url.trim_start_matches("http://").to_owned();

    let mut said = pages_files(&page).await;
    let choices = page.json("/page/choices").await;
    assert_eq!(choices["eventtypes"].as_array().map(Vec::len), Some(7));
    assert_eq!(choices["clients"][0]["name"], "northwind-platform");
    let play = choices["eventtypes"].as_array().into_iter().flatten();
    let play = play
        .clone()
        .find(|known| known["eventtype"] == "play")
        .expect("plays");
    let example = play["examples"][0].to_string();
    said += &choices.to_string();

    let refused = page
        .send("northwind-platform", &example.replace("\"tidal\"", "7"), false)
        .await;
    assert_eq!(refused["status"], 422);
    assert_eq!(
        refused["answer"]["results"][0]["errors"][0]["pointer"],
        "/musicsource"
    );
    let checked = page.send("northwind-speaker", &example, true).await;
    assert_eq!(
        (&checked["status"], &checked["answer"]["accepted"]),
        (&json!(200), &json!(1))
    );
    let forbidden = page
        .send("northwind-speaker", r#"{"eventtype":"voicefeedback"}"#, true)
        .await;
    assert_eq!(forbidden["status"], 403);
    let broken = page.send("northwind-platform", "{", false).await;
    assert_eq!(broken["status"], 400, "what was typed reaches the API as it is");
    let live = page
        .until("the rejection", |live| {
            (live["counts"]["rejections"]["invalid"] == 1).then(|| live.clone())
        })
        .await;
    let sum: u64 = ["play", "navigation"]
        .iter()
        .map(|name| accepted(&live, name))
        .sum();
    assert_eq!(sum, 0, "what was only checked is not sent");
    said += &format!("{refused}{checked}{forbidden}{broken}{live}");
    no_secret(folder.path(), &said);

    wrong_requests(&page).await;
    strangers(&page, &at).await;
    assert!(program.terminate().await.status.success());
}

/// Every file that the page is made of is here and of its type, and nothing in it is elsewhere.
async fn pages_files(page: &Page) -> String {
    let answer = page.get("/").await;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let policy = header("content-security-policy").expect("a policy").to_owned();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "trusted-types 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
    assert_eq!(header("cross-origin-resource-policy"), Some("same-origin"));
    assert_eq!(header("access-control-allow-origin"), None);
    let mut all = answer.text().await.expect("a page");
    let linked = |text: &str| -> Vec<String> {
        let quoted = text.split(['"', '\'']).map(|part| part.replace("./", "/page/"));
        quoted
            .filter(|part| {
                let name = part.strip_prefix("/page/").unwrap_or_default();
                [".js", ".css", ".svg"]
                    .iter()
                    .any(|extension| name.ends_with(extension))
            })
            .collect()
    };
    let mut waiting = linked(&all);
    let mut seen = Vec::new();
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = page.get(&path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let media_type = answer.headers()[CONTENT_TYPE].to_str().expect("text").to_owned();
        let expected = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(media_type, expected, "{path}");
        let text = answer.text().await.expect("a file");
        waiting.extend(linked(&text));
        all += &text;
        seen.push(path);
    }
    assert!(seen.len() >= 9, "{seen:?}");
    let elsewhere = all.matches("http://").count() + all.matches("https://").count();
    let names_of_xml = all.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(elsewhere, names_of_xml, "nothing is fetched from elsewhere");
    all
}

/// No secret of a demo client or of an account is in what the page was told.
fn no_secret(folder: &Path, said: &str) {
    let read = |name: &str| {
        let path = folder.join("credentials").join(name);
        std::fs::read_to_string(path).expect("it is there")
    };
    let clients: Vec<Value> = serde_json::from_str(&read("demo-secrets.json")).expect("JSON");
    assert_eq!(clients.len(), 9);
    let mut secrets: Vec<String> = Vec::new();
    for client in &clients {
        secrets.extend(["key", "secret"].map(|field| client[field].as_str().expect("text").to_owned()));
    }
    secrets.push(read("hash-key").trim().to_owned());
    secrets.push(read("china-secret-access-key").trim().to_owned());
    for secret in secrets {
        assert!(
            secret.len() > 8 && !said.contains(&secret),
            "a secret is given away"
        );
    }
}

/// Each is answered with its code and a sentence.
async fn wrong_requests(page: &Page) {
    let wish = |client: &str| json!({ "client": client, "body": "{}" }).to_string();
    let key = "2026/01/01/events-shardId-000000000000-1.jsonl.gz";
    let gets = [
        ("/page/live?from=x".to_owned(), StatusCode::BAD_REQUEST),
        ("/page/live?from=-1".to_owned(), StatusCode::BAD_REQUEST),
        ("/page/object".to_owned(), StatusCode::BAD_REQUEST),
        (
            format!("/page/object?side=moon&key={key}"),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/page/object?side=china&key=_hoard/events/state.json".to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        (
            format!("/page/object?side=china&key={key}"),
            StatusCode::NOT_FOUND,
        ),
        ("/page/nothing".to_owned(), StatusCode::NOT_FOUND),
        ("/page/send".to_owned(), StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (path, status) in gets {
        sentence(page.get(&path).await, status, &path).await;
    }
    let long = json!({ "client": "northwind-platform", "body": "x".repeat(200_000) }).to_string();
    for (body, status) in [
        (wish("nobody"), StatusCode::BAD_REQUEST),
        ("{".to_owned(), StatusCode::BAD_REQUEST),
        (
            r#"{"client":"northwind-platform","body":"{}","more":1}"#.to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        (long, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let what = body.chars().take(60).collect::<String>();
        sentence(page.post(body, Some(&page.url)).await, status, &what).await;
    }
}

/// Other names of this machine, and other pages, get nothing and send nothing.
async fn strangers(page: &Page, at: &str) {
    for host in [
        "evil.example",
        "evil.example:9600",
        "localhost.evil.example",
        "10.0.0.1",
    ] {
        for path in ["/", "/page/live", "/page/main.js"] {
            let request = page.http.get(format!("{}{path}", page.url)).header(HOST, host);
            let answer = request.send().await.expect("an answer");
            sentence(answer, StatusCode::FORBIDDEN, host).await;
        }
    }
    for host in [
        format!("localhost:{}", at.rsplit(':').next().expect("a port")),
        "127.0.0.1".to_owned(),
    ] {
        let request = page.http.get(&page.url).header(HOST, &host);
        assert_eq!(
            request.send().await.expect("an answer").status(),
            StatusCode::OK,
            "{host}"
        );
    }
    let wish = json!({ "client": "northwind-platform", "body": r#"{"eventtype":"play","action":"play","musicsource":"tidal"}"# });
    for origin in [
        None,
        Some("null"),
        Some("http://evil.example"),
        Some("http://localhost:8080"),
    ] {
        let answer = page.post(wish.to_string(), origin).await;
        sentence(answer, StatusCode::FORBIDDEN, &format!("{origin:?}")).await;
    }
    let request = page.http.get(format!("{}/page/live", page.url));
    let answer = request.header("sec-fetch-site", "cross-site").send().await;
    sentence(answer.expect("an answer"), StatusCode::FORBIDDEN, "another page").await;

    let metrics = page.get("/metrics").await.text().await.expect("metrics");
    for (reason, count) in [("host", 12), ("origin", 4), ("site", 1), ("busy", 0)] {
        let line = format!("local_page_refused_requests_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let live = page.json("/page/live").await;
    assert_eq!(accepted(&live, "play"), 0);
}

async fn sentence(answer: Response, status: StatusCode, what: &str) {
    assert_eq!(answer.status(), status, "{what}");
    assert!(answer.headers().contains_key("content-security-policy"), "{what}");
    let answer: Value = answer.json().await.expect("JSON");
    assert!(
        answer["error"].as_str().is_some_and(|error| error.contains(' ')),
        "{what}: {answer}"
    );
}
