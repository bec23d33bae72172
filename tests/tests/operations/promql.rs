//! The part of PromQL that matters here: which metrics an expression asks for, by which labels.
//! Whether it is well formed is for `promtool` and Prometheus to say (`deploy/check`).

use std::collections::BTreeSet;

/// What an expression asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) selectors: Vec<Selector>,
    /// Labels that it groups or joins by.
    pub(crate) by: BTreeSet<String>,
}

/// `metric{label="value"}`
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

impl Matcher {
    /// The values that it names, where it names some: all alternatives of a simple pattern.
    pub(crate) fn named(&self) -> Vec<&str> {
        let pattern = self.operator.ends_with('~');
        let plain = |value: &str| !value.chars().any(|c| ".*+?()[]$^\\".contains(c));
        match pattern {
            _ if self.value.contains('$') => Vec::new(),
            false => vec![self.value.as_str()],
            true => self.value.split('|').filter(|value| plain(value)).collect(),
        }
    }
}

/// Words that are neither metrics nor functions.
const KEYWORDS: [&str; 11] = [
    "and", "or", "unless", "bool", "offset", "inf", "nan", "Inf", "NaN", "start", "end",
];
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What `expression` asks for.
pub(crate) fn asked(expression: &str) -> Asked {
    let mut asked = Asked::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' => quoted(rest).1,
            '[' => after(rest, ']'),
            _ if first.is_ascii_digit() => {
                rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.')
            }
            _ if is_name(first) => word(rest, &mut asked),
            _ => &rest[first.len_utf8()..],
        };
    }
    asked
}

fn word<'a>(text: &'a str, asked: &mut Asked) -> &'a str {
    let (name, rest) = name(text);
    let next = rest.trim_start();
    if GROUPINGS.contains(&name) {
        if let Some(inside) = next.strip_prefix('(') {
            let labels = inside.split(')').next().unwrap_or_default();
            let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
            asked.by.extend(labels.map(str::to_owned));
            return after(inside, ')');
        }
        return rest;
    }
    let is_function = next.starts_with('(') || GROUPINGS.contains(&self::name(next).0);
    if is_function || KEYWORDS.contains(&name) {
        return rest;
    }
    let (matchers, rest) = match rest.strip_prefix('{') {
        Some(inside) => matchers(inside),
        None => (Vec::new(), rest),
    };
    asked.selectors.push(Selector {
        metric: name.to_owned(),
        matchers,
    });
    rest
}

/// `label="value", …}`, and what follows. Also how a scrape writes labels.
pub(crate) fn matchers(mut text: &str) -> (Vec<Matcher>, &str) {
    let mut matchers = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',', '\n']);
        if text.is_empty() || text.starts_with('}') {
            return (matchers, text.strip_prefix('}').unwrap_or_default());
        }
        let (label, rest) = name(text);
        let at = rest.find(['"', '\'']).unwrap_or(rest.len());
        let (value, rest_of_text) = quoted(&rest[at..]);
        matchers.push(Matcher {
            label: label.to_owned(),
            operator: rest[..at].trim().to_owned(),
            value,
        });
        assert!(rest_of_text.len() < text.len(), "labels that end nowhere: {text}");
        text = rest_of_text;
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

pub(crate) fn name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !is_name(c) && !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// The text between the quotation mark that `text` begins with and the next, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut characters = text.char_indices();
    let Some((_, quote)) = characters.next() else {
        return (String::new(), "");
    };
    let mut value = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c if c == quote => return (value, &text[at + c.len_utf8()..]),
            c => value.push(c),
        }
    }
    (value, "")
}

#[test]
fn selectors_and_groupings_are_found() {
    let asked = asked(
        r#"histogram_quantile(0.99, sum by (le, step) (rate(hoard_commit_seconds_bucket{instance=~"$i", step!=""}[5m])))
           / on (shard) (max(a:b:rate5m offset 1w) > bool 2e3) or label_replace(up{job=~"x|y"} == 0, "a", "b", "", "")"#,
    );
    let found: Vec<_> = asked
        .selectors
        .iter()
        .map(|selector| selector.metric.as_str())
        .collect();
    assert_eq!(found, ["hoard_commit_seconds_bucket", "a:b:rate5m", "up"]);
    let matchers = &asked.selectors[0].matchers;
    assert_eq!(
        (matchers[0].label.as_str(), matchers[0].operator.as_str()),
        ("instance", "=~")
    );
    assert!(matchers[0].named().is_empty(), "a variable");
    assert_eq!(matchers[1].named(), [""]);
    assert_eq!(asked.selectors[2].matchers[0].named(), ["x", "y"]);
    assert_eq!(asked.by, ["le", "shard", "step"].map(str::to_owned).into());
}
