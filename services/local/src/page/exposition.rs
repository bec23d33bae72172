//! Reads what `/metrics` answers, the Prometheus text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>), as far as
//! the services write it: no time stamps.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    samples: BTreeMap<String, Vec<Sample>>,
}

#[derive(Debug, PartialEq)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A line that is not of the format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics is not of the text format")]
pub(crate) struct Malformed {
    line: usize,
}

impl Scrape {
    /// Takes the whole text apart.
    ///
    /// # Errors
    /// The first line that is no sample, no comment and not empty.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut scrape = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, sample) = sample(line).ok_or(Malformed { line: index + 1 })?;
            scrape.samples.entry(name.to_owned()).or_default().push(sample);
        }
        Ok(scrape)
    }

    /// The sum over all label values; 0 where there is none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|sample| sample.value).sum()
    }

    /// The largest over all label values; 0 where there is none.
    pub(crate) fn max(&self, name: &str) -> f64 {
        self.of(name).map(|sample| sample.value).fold(0.0, f64::max)
    }

    /// The sum where `label` has this value.
    pub(crate) fn sum_where(&self, name: &str, label: &str, value: &str) -> f64 {
        let chosen = self
            .of(name)
            .filter(|sample| sample.labels.get(label).is_some_and(|own| own == value));
        chosen.map(|sample| sample.value).sum()
    }

    /// The sums by the values of one label.
    pub(crate) fn sum_by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name) {
            let value = sample.labels.get(label).cloned().unwrap_or_default();
            *sums.entry(value).or_default() += sample.value;
        }
        sums
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.get(name).into_iter().flatten()
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<(&str, Sample)> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.trim().parse().ok()?;
    (!name.is_empty()).then_some((name, Sample { labels, value }))
}

/// The labels up to the closing brace, and what comes after it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        labels.insert(name.to_owned(), value);
        rest = after;
    }
}

/// A value up to its closing quote; `\\`, `\"` and `\n` are escapes.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, Registry, TextEncoder};

    use super::*;

    #[test]
    fn sums_are_taken_over_labels() {
        let text = "# HELP a_total What.\n# TYPE a_total counter\n\
                    a_total{kind=\"x\",by=\"p\"} 1\na_total{kind=\"x\",by=\"q\"} 2.5\na_total{kind=\"y\"} 4\n\n\
                    b_bucket{le=\"+Inf\"} 7\nc 1e3\n";
        let scrape = Scrape::parse(text).expect("the text format");
        assert_eq!(scrape.sum("a_total"), 7.5);
        assert_eq!(scrape.max("a_total"), 4.0);
        assert_eq!(scrape.sum_where("a_total", "by", "q"), 2.5);
        let by_kind = scrape.sum_by("a_total", "kind");
        assert_eq!(by_kind, [("x".to_owned(), 3.5), ("y".to_owned(), 4.0)].into());
        assert_eq!(
            (scrape.sum("c"), scrape.sum("none"), scrape.max("none")),
            (1000.0, 0.0, 0.0)
        );
    }

    #[test]
    fn what_the_services_encoder_writes_is_read_back() {
        let registry = Registry::new();
        let counters = IntCounterVec::new(Opts::new("a_total", "What."), &["kind"]).expect("a valid name");
        registry
            .register(Box::new(counters.clone()))
            .expect("registered once");
        let odd = "a \"quoted\" \\ back\nnew } line, {x=\"y\"} é";
        counters.with_label_values(&[odd]).inc_by(3);
        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("encodes");
        let scrape = Scrape::parse(&text).expect("the text format");
        assert_eq!(scrape.sum_where("a_total", "kind", odd), 3.0);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for text in [
            "a 1\nb",
            "a 1\nb x",
            "a 1\nb{c=\"d} 1",
            "a 1\nb{c} 1",
            "a 1\n{} 1",
            "a 1\n<html>",
        ] {
            assert_eq!(Scrape::parse(text), Err(Malformed { line: 2 }), "{text}");
        }
    }
}
