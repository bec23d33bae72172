//! What a person reads on standard output: one line a happening, its name first.

use std::io::Write;

/// Says what happened. A reader that has gone away is no reason to stop.
pub(crate) fn say(what: &str, text: &str) {
    let line = format!("{what:>10}  {text}\n");
    if let Err(error) = std::io::stdout().lock().write_all(line.as_bytes()) {
        tracing::debug!(%error, "nobody reads standard output");
    }
}

/// Bytes for a person: `9.8 KiB`.
pub(crate) fn size(bytes: usize) -> String {
    bytesize::ByteSize(bytes as u64).display().iec().to_string()
}
