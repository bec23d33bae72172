//! Durations and sizes as people write them, for `clap`'s `value_parser`.

use std::time::Duration;

use bytesize::ByteSize;

/// Reads `250ms`, `5s`, `5m`, `1h 30m`. A bare number has no unit and is refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a duration such as 250ms, 5s or 5m"))
}

/// Writes a duration so that [`parse_duration`] reads it back.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads `65536`, `64KiB`, `5MiB`, `1GiB`, and decimal units (`5MB` = 5,000,000 bytes).
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|error| format!("{error}; write a size such as 64KiB, 5MiB or a number of bytes"))?;
    Ok(size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_the_unit_that_makes_them_clear() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert!(parse_duration("5").is_err());
        let odd = Duration::from_millis(90_250);
        assert_eq!(parse_duration(&format_duration(odd)), Ok(odd));
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("5MB"), Ok(5_000_000));
        assert_eq!(parse_bytes("1000"), Ok(1_000));
        assert!(parse_bytes("many").expect_err("not a size").contains("64KiB"));
    }
}
