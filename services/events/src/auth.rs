//! First stage: who is it? Before a byte of the body is read.

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    credentials::{Client, Credentials},
    refusal::Refusal,
};

/// Longer than any key and secret of ours; what is longer is not decoded.
const MAX_HEADER: usize = 1024;

/// The client that the `Authorization` header proves (RFC 7617).
pub(crate) fn authenticate<'c>(
    headers: &HeaderMap,
    credentials: &'c Credentials,
) -> Result<&'c Client, Refusal> {
    let presented = presented(headers).ok_or(Refusal::Unauthenticated)?;
    let (key, secret) = presented.split_once(':').ok_or(Refusal::Unauthenticated)?;
    credentials.find(key, secret).ok_or(Refusal::Unauthenticated)
}

fn presented(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() || value.len() > MAX_HEADER {
        return None;
    }
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::credentials::tests::{KEY, SECRET, credentials};

    fn with(value: impl AsRef<str>) -> HeaderMap {
        let value = HeaderValue::from_str(value.as_ref()).expect("a header");
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn the_right_key_and_secret_prove_the_client() {
        let credentials = credentials();
        for value in [
            basic(&format!("{KEY}:{SECRET}")),
            basic(&format!("{KEY}:{SECRET}")).replace("Basic", "bAsIc"),
        ] {
            let client = authenticate(&with(value), &credentials).expect("known");
            assert_eq!(client.client_id(), "northwind-app");
        }
    }

    #[test]
    fn everything_else_is_refused_alike() {
        let credentials = credentials();
        let mut twice = with(basic(&format!("{KEY}:{SECRET}")));
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
        let mut cases = vec![HeaderMap::new(), twice];
        cases.extend(
            [
                basic(&format!("{KEY}:wrong")),
                basic(&format!("nobody:{SECRET}")),
                basic(&format!("{KEY}:")),
                basic(&format!("{KEY}{SECRET}")),
                basic(":"),
                basic(""),
                "Basic".to_owned(),
                "Basic !!!".to_owned(),
                format!("Bearer {SECRET}"),
                format!("Basic {}", BASE64_STANDARD.encode([0xff, 0xfe, b':', 0xff])),
                basic(&format!("{KEY}:{}", "x".repeat(100_000))),
            ]
            .map(with),
        );
        for headers in cases {
            let refusal = authenticate(&headers, &credentials).expect_err("not proven");
            assert_eq!(refusal, Refusal::Unauthenticated);
        }
    }
}
