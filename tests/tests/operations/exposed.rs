//! What the services expose: every metric with its labels and their values.

use std::collections::{BTreeMap, BTreeSet};

use crate::promql::{self, Asked, Selector};

type Labels = BTreeMap<String, BTreeSet<String>>;

/// Metrics of a scrape, with all that Prometheus adds.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    metrics: BTreeMap<String, Labels>,
}

/// What Prometheus puts on every series that it scrapes.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

impl Exposed {
    /// What Prometheus has by itself, and what rules record.
    pub(crate) fn by_prometheus(recorded: impl IntoIterator<Item = String>) -> Self {
        let mut exposed = Self::default();
        let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let jobs = values(&["events", "hoard", "syncomatic"]);
        exposed
            .metrics
            .insert("up".to_owned(), [("job".to_owned(), jobs)].into());
        let alerts = [
            ("alertstate".to_owned(), values(&["firing", "pending"])),
            ("alertname".to_owned(), BTreeSet::new()),
        ];
        exposed.metrics.insert("ALERTS".to_owned(), alerts.into());
        let recorded = recorded.into_iter().map(|name| (name, Labels::new()));
        exposed.metrics.extend(recorded);
        exposed
    }

    /// Adds a scrape in Prometheus' text format.
    pub(crate) fn add(&mut self, scrape: &str) {
        for line in scrape.lines().filter(|line| !line.starts_with('#')) {
            let (name, rest) = promql::name(line);
            let labels = self.metrics.entry(name.to_owned()).or_default();
            let written = rest.strip_prefix('{').map(|inside| promql::matchers(inside).0);
            for label in written.unwrap_or_default() {
                labels.entry(label.label).or_default().insert(label.value);
            }
        }
    }

    /// Adds values that a label of a metric can take, as the service itself lists them.
    pub(crate) fn declare(&mut self, metric: &str, label: &str, values: impl IntoIterator<Item = String>) {
        if let Some(labels) = self.metrics.get_mut(metric) {
            labels.entry(label.to_owned()).or_default().extend(values);
        }
    }

    /// Whether there is a metric of this name, or a histogram.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.metrics.contains_key(name) || self.metrics.contains_key(&format!("{name}_bucket"))
    }

    /// What of it is not exposed, in words.
    pub(crate) fn problems(&self, asked: &Asked) -> Vec<String> {
        let mut problems: Vec<String> = asked
            .selectors
            .iter()
            .flat_map(|selector| self.problems_of(selector))
            .collect();
        let known = |label: &String| {
            let of = |selector: &Selector| {
                let labels = self.metrics.get(&selector.metric);
                labels.is_some_and(|labels| labels.contains_key(label))
            };
            TARGET_LABELS.contains(&label.as_str()) || asked.selectors.iter().any(of)
        };
        let unknown = asked.by.iter().filter(|label| !known(label));
        problems.extend(unknown.map(|label| format!("no metric has the label {label} that it groups by")));
        problems
    }

    fn problems_of(&self, selector: &Selector) -> Vec<String> {
        let metric = &selector.metric;
        let Some(labels) = self.metrics.get(metric) else {
            return vec![format!("{metric} is not exposed")];
        };
        let mut problems = Vec::new();
        for matcher in &selector.matchers {
            let label = &matcher.label;
            match labels.get(label) {
                None if TARGET_LABELS.contains(&label.as_str()) => {}
                None => problems.push(format!("{metric} has no label {label}")),
                Some(values) => {
                    let missing = matcher
                        .named()
                        .into_iter()
                        .filter(|value| !values.contains(*value));
                    problems.extend(
                        missing.map(|value| format!("{metric} has no {label}={value:?}, only {values:?}")),
                    );
                }
            }
        }
        problems
    }
}
