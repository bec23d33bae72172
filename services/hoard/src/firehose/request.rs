//! Lines into requests within Firehose's limits, and the lines of a request that were not accepted.
//!
//! Each line is a record of its own and brings its line break, for Firehose puts nothing between records
//! (<https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html>).

/// The most records of one call.
pub const RECORDS_MAX: usize = 500;
/// The largest record, in bytes before base64: 1,000 KiB.
pub const RECORD_BYTES_MAX: usize = 1_024_000;
/// What a call may carry, in bytes before base64. Firehose takes four times as much; but so many calls are
/// out at a time, and together they must fit into what a read may hold.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// So many calls of one shard are out at a time.
pub const REQUESTS_AT_ONCE: usize = 4;

/// The lines of one call, without their line breaks.
pub type Request<'a> = Vec<&'a [u8]>;

/// Divides lines among calls, in their order. No line may be longer than a record takes.
pub fn divide<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<Request<'a>> {
    let mut requests: Vec<Request<'a>> = Vec::new();
    let mut bytes = 0;
    for line in lines {
        debug_assert!(line.len() < RECORD_BYTES_MAX, "unpack made an error line of it");
        bytes += line.len() + 1;
        match requests.last_mut() {
            Some(request) if request.len() < RECORDS_MAX && bytes <= REQUEST_BYTES_MAX => request.push(line),
            _ => {
                bytes = line.len() + 1;
                requests.push(vec![line]);
            }
        }
    }
    requests
}

/// The lines that must be sent again. A result stands where its line stood; a line without a result was
/// not accepted.
pub fn unaccepted<'a>(request: &Request<'a>, accepted: impl IntoIterator<Item = bool>) -> Request<'a> {
    let accepted = accepted.into_iter().chain(std::iter::repeat(false));
    let lines = request.iter().zip(accepted);
    lines
        .filter(|(_, accepted)| !accepted)
        .map(|(line, _)| *line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_fills_a_record_is_sent() {
        let largest = vec![b'x'; RECORD_BYTES_MAX - 1];
        assert_eq!(divide([&largest[..], &largest[..]]).len(), 2);
    }

    #[test]
    fn only_what_has_a_result_that_says_so_is_accepted() {
        let request: Request<'_> = vec![b"0", b"1", b"2", b"3"];
        assert_eq!(unaccepted(&request, [true, false, true]), [b"1", b"3"]);
        assert_eq!(unaccepted(&request, []), request);
        assert!(unaccepted(&request, [true; 9]).is_empty());
    }

    proptest! {
        #[test]
        fn requests_hold_every_line_once_in_order_and_within_the_limits(
            lengths in proptest::collection::vec(prop_oneof![0_usize..300, 0..RECORD_BYTES_MAX], 0..1200)
        ) {
            let bytes = vec![b'x'; RECORD_BYTES_MAX];
            let lines: Vec<&[u8]> = lengths.iter().map(|length| &bytes[..*length]).collect();
            let requests = divide(lines.iter().copied());
            for request in &requests {
                prop_assert!((1..=RECORDS_MAX).contains(&request.len()));
                prop_assert!(request.iter().map(|line| line.len() + 1).sum::<usize>() <= REQUEST_BYTES_MAX);
            }
            let sent: Vec<usize> = requests.iter().flatten().map(|line| line.len()).collect();
            prop_assert_eq!(sent, lengths);
        }
    }
}
