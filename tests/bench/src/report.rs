//! Figures of several rounds, what they should reach, and how they are shown.

use std::{
    fmt::{self, Display, Formatter, Write as _},
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;

use crate::Failure;

/// Files that a table is written to, beside being shown.
#[derive(Args, Clone, Debug, Default)]
pub struct Output {
    /// Also writes the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also writes the table to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

impl Output {
    fn write(&self, figures: &impl Serialize, table: &str) -> Result<(), Failure> {
        let json = serde_json::to_vec_pretty(figures).expect("our own types are JSON");
        let files = [(&self.json, json.as_slice()), (&self.markdown, table.as_bytes())];
        for (path, content) in files {
            let Some(path) = path else { continue };
            std::fs::write(path, content)
                .map_err(Failure::system(format!("cannot write {}", path.display())))?;
        }
        Ok(())
    }
}

/// What a figure should reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {}", number(*limit)),
            Self::AtLeast(limit) => write!(f, "≥ {}", number(*limit)),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
        })
    }
}

/// Whether it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The median does.
    Reached,
    /// The median does not.
    Missed,
}

/// One line of the table: a value from each round.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was measured.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// One value a round.
    pub rounds: Vec<f64>,
    /// The middle one.
    pub median: f64,
    /// The smallest and the largest.
    pub spread: (f64, f64),
    /// What it should reach, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether the median does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl Line {
    /// A line without a target. There must be a round.
    #[must_use]
    pub fn new(what: &'static str, unit: &'static str, rounds: Vec<f64>) -> Self {
        let median = median(&rounds);
        let smallest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self {
            what,
            unit,
            rounds,
            median,
            spread: (smallest, largest),
            target: None,
            verdict: None,
        }
    }

    /// The line with a target, which its median is held against.
    #[must_use]
    pub fn with_target(self, target: Target) -> Self {
        let reached = match target {
            Target::AtMost(limit) => self.median <= limit,
            Target::AtLeast(limit) => self.median >= limit,
        };
        let verdict = if reached {
            Verdict::Reached
        } else {
            Verdict::Missed
        };
        Self {
            target: Some(target),
            verdict: Some(verdict),
            ..self
        }
    }
}

/// Round by round, what the one came to more than the other.
#[must_use]
pub fn difference(rounds: &[f64], others: &[f64]) -> Vec<f64> {
    rounds
        .iter()
        .zip(others)
        .map(|(round, other)| round - other)
        .collect()
}

/// The middle value, or the mean of the middle two; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => 0.0,
        (1, Some(value)) => *value,
        (_, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

/// A table and where it comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured.
    pub title: String,
    /// The day, the machine and how it was measured.
    pub facts: Vec<(&'static str, String)>,
    /// The figures.
    pub lines: Vec<Line>,
    /// What a reader has to know.
    pub notes: Vec<String>,
}

impl Report {
    /// The table as text, one line a figure.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut put = |line: fmt::Arguments<'_>| {
            text.write_fmt(line).expect("a text takes every line");
            text.push('\n');
        };
        for (name, value) in &self.facts {
            put(format_args!("{name:>10}  {value}"));
        }
        put(format_args!(""));
        put(format_args!(
            "{:<58} {:>10} {:>21}  {:<14} {:>9}",
            self.title, "median", "spread", "unit", "target"
        ));
        for line in &self.lines {
            let (smallest, largest) = line.spread;
            let spread = format!("{} … {}", number(smallest), number(largest));
            let target = line.target.map_or_else(String::new, |target| target.to_string());
            let verdict = line
                .verdict
                .map_or_else(String::new, |verdict| verdict.to_string());
            let text = format!(
                "{:<58} {:>10} {spread:>21}  {:<14} {target:>9} {verdict}",
                line.what,
                number(line.median),
                line.unit
            );
            put(format_args!("{}", text.trim_end()));
        }
        for note in &self.notes {
            put(format_args!("\n{note}"));
        }
        text
    }

    /// The same for a page: a table of Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            text.push_str(&format!("{name}: {value}  \n"));
        }
        text.push_str(&format!(
            "\n| {} | median | spread | unit | target |\n|---|---|---|---|---|\n",
            self.title
        ));
        for line in &self.lines {
            let (smallest, largest) = line.spread;
            let target = match (line.target, line.verdict) {
                (Some(target), Some(verdict)) => format!("{target} {verdict}"),
                _ => String::new(),
            };
            let (median, smallest, largest) = (number(line.median), number(smallest), number(largest));
            let (what, unit) = (line.what, line.unit);
            text.push_str(&format!(
                "| {what} | {median} | {smallest} … {largest} | {unit} | {target} |\n"
            ));
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }

    /// Shows the table on standard output, and writes the files that are asked for.
    ///
    /// # Errors
    /// When a file cannot be written.
    #[expect(clippy::print_stdout, reason = "its output is for people")]
    pub fn show(&self, output: &Output) -> Result<(), Failure> {
        println!("{}", self.table());
        output.write(self, &self.markdown())
    }
}

/// Figures that belong together, row by row.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What was measured.
    pub title: String,
    /// The day, the machine and how it was measured.
    pub facts: Vec<(&'static str, String)>,
    /// The names of the columns, with their units.
    pub columns: Vec<&'static str>,
    /// A figure for each column.
    pub rows: Vec<Vec<f64>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(title: String, columns: &[&'static str]) -> Self {
        Self {
            title,
            facts: Vec::new(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// The table in Markdown, which a person can read as it is.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        for (name, value) in &self.facts {
            text.push_str(&format!("{name}: {value}  \n"));
        }
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().map(|value| number(*value)).collect());
        let rows: Vec<Vec<String>> = rows.collect();
        let width = |column: usize| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells
                .chain([self.columns[column].chars().count()])
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut put = |cells: &mut dyn Iterator<Item = &str>| {
            for (cell, width) in cells.zip(&widths) {
                text.push_str(&format!("| {cell:>width$} "));
            }
            text.push_str("|\n");
        };
        put(&mut self.columns.iter().copied());
        let rules: Vec<String> = widths
            .iter()
            .map(|width| format!("{}:", "-".repeat(width - 1)))
            .collect();
        put(&mut rules.iter().map(String::as_str));
        for row in &rows {
            put(&mut row.iter().map(String::as_str));
        }
        text
    }

    /// Shows the table on standard output, and writes the files that are asked for.
    ///
    /// # Errors
    /// When a file cannot be written.
    #[expect(clippy::print_stdout, reason = "its output is for people")]
    pub fn show(&self, output: &Output) -> Result<(), Failure> {
        println!("{}", self.markdown());
        output.write(self, &self.markdown())
    }
}

/// Three significant digits, and thousands apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 2,
        middling if middling < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

/// Day, machine and command of a measurement.
#[must_use]
pub fn provenance() -> Vec<(&'static str, String)> {
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cores.lines().filter(|line| line.starts_with("processor")).count();
    let of_file = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
            .unwrap_or_else(|| "unknown".to_owned())
    };
    let processor = of_file("/proc/cpuinfo", "model name");
    let memory = of_file("/proc/meminfo", "MemTotal");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    vec![
        ("date", day),
        ("machine", format!("{processor}, {cores} cores, {memory}")),
        (
            "load",
            format!("{load} processes wanted a core in the minute before"),
        ),
        (
            "command",
            format!("cargo run --release -p bench -- {}", arguments.join(" ")),
        ),
    ]
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
