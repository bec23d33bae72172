//! What clients ask for: the heads of HTTP/1.1 requests, found in the bytes that pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Further ones are not kept.
const HEADS_MAX: usize = 100_000;
/// So much of the end of a line is kept: no line of a head is longer.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How requests begin.
const METHODS: [&str; 5] = ["GET /", "PUT /", "POST /", "HEAD /", "DELETE /"];

/// The heads that were heard so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<Mutex<Vec<Head>>>);

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Such as `PUT`.
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header; `name` in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// From the first line of a request.
    fn begin(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix(" HTTP/1.1")?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        words.next().is_none().then(|| Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
        })
    }
}

impl Heads {
    /// Everything that was heard so far; a request is heard before its answer is.
    pub fn heard(&self) -> Vec<Head> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Head>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens to what one client sends. It looks for lines that begin a request, and knows nothing of
/// lengths: a body that holds such a line is heard as a request.
pub(crate) struct Listener {
    heads: Heads,
    /// The end of the line that is being heard.
    line: Vec<u8>,
    head: Option<Head>,
}

impl Listener {
    pub(crate) fn new(heads: Heads) -> Self {
        Self {
            heads,
            line: Vec::new(),
            head: None,
        }
    }

    pub(crate) fn hear(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            let line = std::mem::take(&mut self.line);
            self.end_line(&line);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.line.extend_from_slice(bytes);
        if self.line.len() > 2 * LINE_BYTES_MAX {
            self.line.drain(..self.line.len() - LINE_BYTES_MAX);
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        let Some(line) = line.strip_suffix(b"\r") else {
            self.head = None;
            return;
        };
        let text = String::from_utf8_lossy(line);
        match &mut self.head {
            Some(_) if text.is_empty() => {
                let mut heads = self.heads.lock();
                if heads.len() < HEADS_MAX {
                    heads.extend(self.head.take());
                }
            }
            Some(head) => match text.split_once(':') {
                Some((name, value)) => {
                    let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
                    head.headers.push((name, value));
                }
                None => self.head = None,
            },
            // A body need not end with a line: the next request begins in the midst of one.
            None => {
                let begins = METHODS.iter().filter_map(|method| text.rfind(method)).max();
                self.head = begins.and_then(|begin| Head::begin(&text[begin..]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> Vec<Head> {
        let heads = Heads::default();
        let mut listener = Listener::new(heads.clone());
        for piece in pieces {
            listener.hear(piece);
        }
        heads.heard()
    }

    #[test]
    fn requests_are_heard_however_they_are_cut_and_whatever_their_bodies_are() {
        let mut first = b"PUT /b/k?partNumber=1 HTTP/1.1\r\nX-A: one: two\r\n\r\n".to_vec();
        first.extend([0xff; 5 * LINE_BYTES_MAX]);
        let second: &[u8] = b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n";
        let whole = [&first, second].concat();
        let at_once = heard(&[&whole]);
        assert_eq!(at_once.len(), 2, "{at_once:?}");
        assert_eq!(at_once[0].method, "PUT");
        assert_eq!(at_once[0].target, "/b/k?partNumber=1");
        assert_eq!(at_once[0].header("x-a"), Some("one: two"));
        assert_eq!(at_once[1].header("host"), Some("h"));
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(heard(&bytes), at_once);
    }

    #[test]
    fn what_is_no_head_is_not_heard() {
        for text in [
            b"GET / HTTP/1.1\n\n".as_slice(),
            b"GET / HTTP/1.1\r\nno header\r\n\r\n",
            b"PUT / \r\n\r\n",
        ] {
            assert_eq!(heard(&[text]), []);
        }
    }
}
