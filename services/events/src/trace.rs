//! Where a request belongs in its caller's trace, by the header `traceparent`
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>).

use axum::http::HeaderMap;

/// The ids of a valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext<'h> {
    pub(crate) trace_id: &'h str,
    /// The caller's own part of the trace.
    pub(crate) parent_id: &'h str,
    /// Whether the caller records this trace.
    pub(crate) sampled: bool,
}

impl<'h> TraceContext<'h> {
    /// None where there is no such header or its value is not valid: then the request belongs to no
    /// trace, and nothing of the value goes anywhere.
    pub(crate) fn of(headers: &'h HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let value = values.next()?.to_str().ok().filter(|_| values.next().is_none())?;
        let mut parts = value.split('-');
        let mut next = |length| parts.next().filter(|part| is_hexadecimal(part, length));
        let (version, trace_id, parent_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        // Later versions may add parts behind these four; this one has no more.
        let more = parts.next().is_some();
        let known = version != "ff" && !(version == "00" && more);
        let zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (known && !zero(trace_id) && !zero(parent_id)).then_some(Self {
            trace_id,
            parent_id,
            sampled: flags & 1 == 1,
        })
    }
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == length && text.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn of(value: &str) -> Option<(String, String, bool)> {
        let value = HeaderValue::from_str(value).expect("a header");
        let headers = HeaderMap::from_iter([("traceparent".parse().expect("a name"), value)]);
        let context = TraceContext::of(&headers)?;
        Some((
            context.trace_id.to_owned(),
            context.parent_id.to_owned(),
            context.sampled,
        ))
    }

    #[test]
    fn a_valid_header_names_the_trace() {
        for (version, flags, sampled) in [
            ("00", "01", true),
            ("00", "00", false),
            ("00", "ff", true),
            ("cc", "01-what-the-future-brings", true),
        ] {
            let expected = Some((TRACE.to_owned(), PARENT.to_owned(), sampled));
            assert_eq!(of(&format!("{version}-{TRACE}-{PARENT}-{flags}")), expected);
        }
    }

    #[test]
    fn everything_else_names_none() {
        let zeros = "0".repeat(32);
        for value in [
            String::new(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}-{PARENT}-0x"),
            format!("00-{TRACE}0-{PARENT}-01"),
            format!(" 00-{TRACE}-{PARENT}-01"),
        ] {
            assert_eq!(of(&value), None, "{value}");
        }
        let value = HeaderValue::from_str(&format!("00-{TRACE}-{PARENT}-01")).expect("a header");
        let mut twice = HeaderMap::new();
        twice.append("traceparent", value.clone());
        twice.append("traceparent", value);
        assert_eq!(TraceContext::of(&twice), None);
    }
}
