//! Who may use the page: a browser on this machine, and in it this page alone.
//!
//! The port is bound to loopback, but every web page that the user has open can make the browser send
//! requests there. So:
//!
//! - the `Host` must be this machine: a name that was made to resolve to 127.0.0.1 (DNS rebinding) is
//!   refused;
//! - what other pages cause, which browsers say in `Sec-Fetch-Site`
//!   (<https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>), is refused, and no answer has a CORS
//!   header;
//! - what changes something needs the `Origin` of this page;
//! - only so many requests are answered at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::Semaphore;

/// Requests that are answered at once; more are told to come again.
pub(crate) const REQUESTS_AT_ONCE: usize = 16;
/// Everything comes from here, nothing is inline, text never becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Stands before every route of the page. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    bound: Option<SocketAddr>,
    permits: Arc<Semaphore>,
    refused: IntCounterVec,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Host,
    Site,
    Origin,
    Busy,
}

impl Guard {
    /// Before a page that is bound there; counts what it refuses.
    pub(crate) fn new(bound: Option<SocketAddr>, registry: &Registry) -> prometheus::Result<Self> {
        let refused = IntCounterVec::new(
            Opts::new(
                "local_page_refused_requests_total",
                "Requests of the page that were refused, by why.",
            ),
            &["reason"],
        )?;
        for refusal in [Refusal::Host, Refusal::Site, Refusal::Origin, Refusal::Busy] {
            refused.with_label_values(&[refusal.reason()]);
        }
        let limit = IntGauge::new(
            "local_page_requests_limit",
            "Requests of the page that are answered at once.",
        )?;
        limit.set(i64::try_from(REQUESTS_AT_ONCE).unwrap_or(i64::MAX));
        registry.register(Box::new(limit))?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self {
            bound,
            permits: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            refused,
        })
    }

    /// Why the request does not come from this page in a browser on this machine.
    fn stranger(&self, method: &Method, headers: &HeaderMap) -> Option<Refusal> {
        let host = text(headers, header::HOST).unwrap_or_default();
        if !self.is_own(host) {
            return Some(Refusal::Host);
        }
        // `none` is a person: an address typed, a bookmark.
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Some(Refusal::Site);
        }
        let own_origin = || text(headers, header::ORIGIN) == Some(format!("http://{host}").as_str());
        if method != Method::GET && !own_origin() {
            return Some(Refusal::Origin);
        }
        None
    }

    /// Whether `Host` is this machine, by a name that nobody else can give an address to.
    fn is_own(&self, host: &str) -> bool {
        let uri = host.parse::<Uri>().ok();
        let Some(name) = uri.as_ref().and_then(Uri::host) else {
            return false;
        };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() else {
            return false;
        };
        // Whoever binds another address says that it is to be reached by it.
        let bound = self.bound.map(|bound| bound.ip());
        address.is_loopback() || bound.is_some_and(|bound| bound.is_unspecified() || bound == address)
    }
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Site => "site",
            Self::Origin => "origin",
            Self::Busy => "busy",
        }
    }

    fn answer(self) -> Response {
        let (status, because) = match self {
            Self::Host => (
                StatusCode::FORBIDDEN,
                "this page answers by the name localhost or 127.0.0.1 alone",
            ),
            Self::Site => (StatusCode::FORBIDDEN, "other web pages may not use this one"),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "this is for the page itself: its Origin is missing",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests at once, try again",
            ),
        };
        let mut response = super::problem(status, because);
        if self == Self::Busy {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Lets a request through or refuses it, and writes on every answer what browsers must not do with it.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let stranger = guard.stranger(request.method(), request.headers());
    let mut response = match (stranger, guard.permits.try_acquire()) {
        (Some(refusal), _) => refuse(&guard, refusal),
        (None, Err(_)) => refuse(&guard, Refusal::Busy),
        (None, Ok(_permit)) => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refuse(guard: &Guard, refusal: Refusal) -> Response {
    guard.refused.with_label_values(&[refusal.reason()]).inc();
    refusal.answer().into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use tower::ServiceExt;

    use super::*;

    fn guard_at(bound: &str) -> Guard {
        let bound = bound.parse().expect("an address");
        Guard::new(Some(bound), &Registry::new()).expect("a new registry")
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = of.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a header value");
            (header::HeaderName::from_static(name), value)
        });
        pairs.collect()
    }

    #[test]
    fn only_names_that_nobody_else_can_point_here_are_answered() {
        let guard = guard_at("127.0.0.1:9600");
        for own in [
            "localhost",
            "localhost:9600",
            "LocalHost:1",
            "127.0.0.1:9600",
            "127.9.9.9",
            "[::1]:9600",
        ] {
            assert!(guard.is_own(own), "{own}");
        }
        let others = [
            "",
            "evil.example",
            "evil.example:9600",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1:9600",
            "localhost:9600@evil.example",
            "evil.example#localhost",
            "localhost/..",
            "2130706433",
        ];
        for other in others {
            assert!(!guard.is_own(other), "{other}");
        }
        assert!(guard_at("192.0.2.7:9600").is_own("192.0.2.7:9600"));
        assert!(!guard_at("192.0.2.7:9600").is_own("192.0.2.8:9600"));
        assert!(guard_at("0.0.0.0:9600").is_own("192.0.2.8:9600"));
        assert!(!guard_at("0.0.0.0:9600").is_own("evil.example:9600"));
    }

    #[tokio::test]
    async fn only_so_many_requests_are_answered_at_once() {
        let own = guard_at("127.0.0.1:9600");
        let router = Router::new()
            .route("/", get(async || "a page"))
            .layer(middleware::from_fn_with_state(own.clone(), guard));
        let ask = async || {
            let request = Request::get("/").header("host", "localhost").body(Body::empty());
            let answer = router.clone().oneshot(request.expect("a request")).await;
            answer.unwrap_or_else(|never| match never {})
        };
        let others = Arc::clone(&own.permits)
            .acquire_many_owned(REQUESTS_AT_ONCE as u32)
            .await;
        let busy = ask().await;
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        drop(others.expect("they are open"));
        for _ in 0..REQUESTS_AT_ONCE * 2 {
            assert_eq!(
                ask().await.status(),
                StatusCode::OK,
                "what is answered makes room"
            );
        }
        assert_eq!(own.refused.with_label_values(&["busy"]).get(), 1);
    }

    #[test]
    fn other_pages_are_refused_and_changes_need_this_pages_origin() {
        let guard = guard_at("127.0.0.1:9600");
        let host = ("host", "127.0.0.1:9600");
        let own = ("origin", "http://127.0.0.1:9600");
        let refusal = |method: Method, of: &[(&'static str, &str)]| guard.stranger(&method, &headers(of));
        assert_eq!(refusal(Method::GET, &[host]), None);
        assert_eq!(refusal(Method::GET, &[]), Some(Refusal::Host));
        for site in ["same-origin", "none"] {
            assert_eq!(refusal(Method::GET, &[host, ("sec-fetch-site", site)]), None);
        }
        for site in ["cross-site", "same-site", ""] {
            let refused = refusal(Method::GET, &[host, ("sec-fetch-site", site)]);
            assert_eq!(refused, Some(Refusal::Site), "{site:?}");
        }
        assert_eq!(refusal(Method::POST, &[host, own]), None);
        assert_eq!(refusal(Method::POST, &[host]), Some(Refusal::Origin));
        let foreign = [
            "null",
            "http://127.0.0.1:8080",
            "https://127.0.0.1:9600",
            "http://localhost:9600",
            "",
        ];
        for foreign in foreign {
            let refused = refusal(Method::POST, &[host, ("origin", foreign)]);
            assert_eq!(refused, Some(Refusal::Origin), "{foreign:?}");
        }
    }
}
