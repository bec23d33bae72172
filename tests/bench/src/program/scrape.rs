//! What a program says of itself at its admin port.

use std::{net::SocketAddr, str::FromStr};

use crate::Failure;

/// One answer of `/metrics`, in Prometheus' text format.
#[derive(Debug)]
pub struct Scrape(String);

impl Scrape {
    /// Asks a program.
    ///
    /// # Errors
    /// When it does not answer, or not well.
    pub async fn of(admin: SocketAddr) -> Result<Self, Failure> {
        let unread = |error| Failure::NotMeasured(format!("no metrics: {error}"));
        let answer = reqwest::get(format!("http://{admin}/metrics")).await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let text = answer.map_err(unread)?.text().await.map_err(unread)?;
        Ok(Self(text))
    }

    /// The value of one series, such as `hoard_shards{state="running"}`; nothing while it is not there.
    ///
    /// # Errors
    /// When it is not such a number.
    pub fn value<T: FromStr + Default>(&self, series: &str) -> Result<T, Failure> {
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ').map(str::parse);
        let found = self.0.lines().find_map(value);
        found
            .unwrap_or_else(|| Ok(T::default()))
            .map_err(|_| Failure::NotMeasured(format!("{series} is not a number")))
    }

    /// How many series there are.
    #[must_use]
    pub fn series(&self) -> usize {
        let samples = self.0.lines().filter(|line| !line.starts_with('#'));
        samples.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_from_those_whose_name_begins_alike() {
        let scrape = Scrape("# TYPE a counter\na_b 1\na{x=\"y\"} 2\na 3\nbad ?\n".to_owned());
        assert_eq!(scrape.value::<usize>("a").expect("a number"), 3);
        assert_eq!(scrape.value::<usize>("a{x=\"y\"}").expect("a number"), 2);
        assert_eq!(scrape.value::<usize>("absent").expect("nothing"), 0);
        assert!(scrape.value::<usize>("bad").is_err());
        assert_eq!(scrape.series(), 4);
    }
}
