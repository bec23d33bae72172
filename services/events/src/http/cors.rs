//! Which web pages may use the service (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! None, unless their origin is named in a setting. Browsers are never asked to send credentials of
//! their own accord (cookies, stored passwords): a page sends its key and secret as a header or not
//! at all.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::http::answer::REQUEST_ID;

/// How long a browser may remember what is allowed. Chromium forgets after two hours anyway.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The origins whose pages may use the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// These and no others; with none of them, no page at all.
    These(Vec<HeaderValue>),
    /// Every page.
    Any,
}

impl CorsOrigins {
    /// From the values of the setting.
    ///
    /// # Errors
    /// `*` beside other origins.
    pub(crate) fn new(origins: Vec<Origin>) -> Result<Self, &'static str> {
        if origins.contains(&Origin::Any) {
            return if origins.len() == 1 {
                Ok(Self::Any)
            } else {
                Err("must be * alone, or origins without it")
            };
        }
        let named = origins.into_iter().filter_map(|origin| match origin {
            Origin::Any => None,
            Origin::Named(value) => Some(value),
        });
        Ok(Self::These(named.collect()))
    }
}

/// One value of the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Any,
    Named(HeaderValue),
}

/// Takes `*`, or an origin exactly as browsers write it in their `Origin` header: one that is written
/// otherwise would never match.
pub(crate) fn parse_origin(text: &str) -> Result<Origin, String> {
    if text == "*" {
        return Ok(Origin::Any);
    }
    let wrong = || format!("{text:?} is not an origin such as https://app.example.com");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    let default_port = matches!(
        (scheme, authority.port_u16()),
        ("http", Some(80)) | ("https", Some(443))
    );
    if default_port || authority.as_str().contains('@') || authority.host().contains('*') {
        return Err(wrong());
    }
    // Neither a path nor a slash nor a capital letter: nothing but what was taken apart above.
    if text != format!("{scheme}://{authority}").to_ascii_lowercase() {
        return Err(wrong());
    }
    HeaderValue::from_str(text)
        .map(Origin::Named)
        .map_err(|_| wrong())
}

/// Adds the headers to every answer, errors included, and answers preflight requests. `None` where no
/// page may use the service.
pub(crate) fn layer(origins: &CorsOrigins) -> Option<CorsLayer> {
    let allowed = match origins {
        CorsOrigins::These(origins) if origins.is_empty() => return None,
        CorsOrigins::These(origins) => AllowOrigin::list(origins.iter().cloned()),
        CorsOrigins::Any => AllowOrigin::any(),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_ENCODING,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([header::ETAG, header::RETRY_AFTER, REQUEST_ID])
        .max_age(MAX_AGE);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for text in [
            "https://app.example.com",
            "http://localhost:5173",
            "https://[::1]:8443",
            "capacitor://localhost",
        ] {
            assert_eq!(
                parse_origin(text),
                Ok(Origin::Named(HeaderValue::from_static(text)))
            );
        }
        assert_eq!(parse_origin("*"), Ok(Origin::Any));
        for text in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://*.example.com",
            "https://user@app.example.com",
            "https://app.example.com?x",
            "a b",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_origin_and_some_origins_contradict_each_other() {
        let named = || parse_origin("https://app.example.com").expect("an origin");
        assert_eq!(CorsOrigins::new(Vec::new()), Ok(CorsOrigins::These(Vec::new())));
        assert_eq!(CorsOrigins::new(vec![Origin::Any]), Ok(CorsOrigins::Any));
        assert!(CorsOrigins::new(vec![Origin::Any, named()]).is_err());
        assert!(CorsOrigins::new(vec![named(), named()]).is_ok());
    }
}
