//! A stub of a search cluster: as much of `_bulk` as its documentation says and the delivery relies on
//! (<https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>), and ways to misbehave.
//! It is not Elasticsearch: what a real cluster does with mappings and shards is not here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A cluster on a port of its own, until it is dropped.
pub(crate) struct SearchStub {
    pub(crate) url: String,
    shared: Arc<Mutex<Cluster>>,
    _server: JoinSet<()>,
}

/// What the cluster holds and how it behaves.
#[derive(Default)]
pub(crate) struct Cluster {
    /// Index → id → document.
    pub(crate) indices: BTreeMap<String, BTreeMap<String, Value>>,
    /// Every request waits for ever.
    pub(crate) hangs: bool,
    /// Every request is answered so.
    pub(crate) fails: Option<StatusCode>,
    /// Each document is refused so often with 429 inside an answer of 200.
    pub(crate) throttles_each: u32,
    /// Bodies may have so many bytes; 0 is no limit.
    pub(crate) body_bytes_max: usize,
    /// What `authorization` must be.
    pub(crate) credential: Option<String>,
    pub(crate) requests: u64,
    pub(crate) documents_seen: u64,
    throttled: HashMap<String, u32>,
}

impl SearchStub {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Cluster::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = Router::new()
            .route("/_bulk", post(bulk))
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self {
            url,
            shared,
            _server: server,
        }
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.shared.lock().expect("not poisoned")
    }

    /// Every document, whatever its index.
    pub(crate) fn documents(&self) -> BTreeMap<String, Value> {
        let indices = self.cluster().indices.clone();
        indices.into_values().flatten().collect()
    }
}

async fn bulk(State(shared): State<Arc<Mutex<Cluster>>>, headers: HeaderMap, body: Bytes) -> Response {
    let hangs = {
        let mut cluster = shared.lock().expect("not poisoned");
        cluster.requests += 1;
        cluster.hangs
    };
    if hangs {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    let mut cluster = shared.lock().expect("not poisoned");
    if let Some(status) = cluster.fails {
        return status.into_response();
    }
    if headers
        .get("content-type")
        .is_none_or(|found| found != "application/x-ndjson")
    {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if cluster.credential.as_deref() != given {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if cluster.body_bytes_max > 0 && body.len() > cluster.body_bytes_max {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    assert!(body.ends_with(b"\n"), "a body must end with a line break");
    let lines: Vec<Value> = body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    let items: Vec<Value> = lines
        .chunks(2)
        .map(|pair| cluster.create(&pair[0], &pair[1]))
        .collect();
    let errors = items.iter().any(|item| item["create"]["error"].is_object());
    json!({"errors": errors, "items": items})
        .to_string()
        .into_response()
}

impl Cluster {
    fn create(&mut self, action: &Value, document: &Value) -> Value {
        let (index, id) = (&action["create"]["_index"], &action["create"]["_id"]);
        let (index, id) = (index.as_str().expect("an index"), id.as_str().expect("an id"));
        assert!(id.len() <= 512, "an id has at most 512 bytes");
        self.documents_seen += 1;
        let failed = |status: u16, kind: &str| json!({"create": {"status": status, "error": {"type": kind}}});
        let throttled = self.throttled.entry(id.to_owned()).or_default();
        if *throttled < self.throttles_each {
            *throttled += 1;
            return failed(429, "es_rejected_execution_exception");
        }
        if document["text"].is_object() {
            return failed(400, "document_parsing_exception");
        }
        let documents = self.indices.entry(index.to_owned()).or_default();
        if documents.contains_key(id) {
            return failed(409, "version_conflict_engine_exception");
        }
        documents.insert(id.to_owned(), document.clone());
        json!({"create": {"status": 201}})
    }
}
