//! What a reconcile prints: a line for each object that is not in place, and a table or a summary.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;
use service_runtime::units::format_duration;

use super::checkpoint::Checkpoints;
use super::progress::{Progress, rate};
use crate::reconcile::{End, Finding, Position, Report, State, Tally, Watch};
use crate::sync::traceable;

/// Where results go.
pub(super) struct Output<W> {
    out: W,
    json: bool,
    show_keys: bool,
    progress: Progress,
    checkpoints: Option<Checkpoints>,
    clears_progress: bool,
}

/// An object that is not simply in place.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    route: &'a str,
    /// What the logs have in place of the source key.
    object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair_failed: Option<&'a str>,
}

/// The last line.
#[derive(Serialize)]
struct Summary<'a> {
    kind: &'a str,
    /// `complete`, `stopped` or `failed`.
    end: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    /// Everything was compared, and what travels is in place or pending.
    equal: bool,
    seconds: f64,
    routes: Vec<Route<'a>>,
    total: Counts<'a>,
}

#[derive(Serialize)]
struct Route<'a> {
    route: &'a str,
    #[serde(flatten)]
    counts: Counts<'a>,
}

#[derive(Serialize)]
struct Counts<'a> {
    objects: u64,
    differences: u64,
    #[serde(flatten)]
    tally: &'a Tally,
}

fn counts(tally: &Tally) -> Counts<'_> {
    Counts {
        objects: tally.objects(),
        differences: tally.differences(),
        tally,
    }
}

impl<W: Write + Send> Output<W> {
    pub(super) fn new(
        out: W,
        json: bool,
        show_keys: bool,
        progress: Progress,
        checkpoints: Option<Checkpoints>,
    ) -> Self {
        Self {
            out,
            json,
            show_keys,
            progress,
            checkpoints,
            clears_progress: io::stdout().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// What it came to.
    pub(super) fn finish(&mut self, report: &Report, end: &End, took: Duration) -> io::Result<()> {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.ended(report, *end == End::Complete)?;
        }
        let text = if self.json {
            summary(report, end, took)?
        } else {
            table(report, end, took)
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write + Send> Watch for Output<W> {
    fn found(&mut self, route: &str, finding: &Finding) -> io::Result<()> {
        let line = line(route, finding, self.show_keys);
        if self.json {
            let mut text = serde_json::to_string(&line)?;
            text.push('\n');
            return self.out.write_all(text.as_bytes());
        }
        if !self.show_keys {
            return Ok(());
        }
        if self.clears_progress {
            write!(self.out, "\r\x1b[K")?;
        }
        // A key may hold what a terminal takes for a command.
        let key = match finding.state {
            State::Extra => finding.destination_key.escape_debug(),
            _ => finding.source_key.escape_debug(),
        };
        let why = line.why.map(|why| format!(" ({why})")).unwrap_or_default();
        let repaired = match finding.repaired {
            Some(Ok(_)) => ", repaired".to_owned(),
            Some(Err(cause)) => format!(", not repaired ({cause})"),
            None => String::new(),
        };
        writeln!(self.out, "{}{why}{repaired}  {key}", line.kind)
    }

    fn reached(&mut self, report: &Report, position: &Position) -> io::Result<()> {
        self.progress.reached(report, &position.route);
        self.out.flush()?;
        match &mut self.checkpoints {
            Some(checkpoints) => checkpoints.reached(report, position),
            None => Ok(()),
        }
    }
}

fn line<'a>(route: &'a str, finding: &'a Finding, show_keys: bool) -> Line<'a> {
    let (kind, why) = match finding.state {
        State::Equal(_) => ("equal", None),
        State::Missing => ("missing", None),
        State::Different(why) => ("different", Some(why.as_str())),
        State::Extra => ("extra", None),
        State::Pending => ("pending", None),
        State::Denied(denial) => ("denied", Some(denial.as_str())),
        State::Vanished => ("vanished", None),
        State::Failed(cause) => ("failed", Some(cause)),
    };
    Line {
        kind,
        why,
        route,
        object: traceable(&finding.source_key),
        key: show_keys.then_some(&finding.source_key),
        destination_key: show_keys.then_some(&finding.destination_key),
        age_seconds: finding.age_seconds,
        repaired: finding.repaired.map(|repaired| repaired.is_ok()),
        repair_failed: finding.repaired.and_then(Result::err),
    }
}

fn summary(report: &Report, end: &End, took: Duration) -> io::Result<String> {
    let total = report.total();
    let (end_name, problem) = match end {
        End::Complete => ("complete", None),
        End::Stopped => ("stopped", None),
        End::Failed(problem) => ("failed", Some(problem.as_str())),
    };
    let summary = Summary {
        kind: "summary",
        end: end_name,
        problem,
        equal: *end == End::Complete && total.differences() + total.failed() == 0,
        seconds: took.as_secs_f64(),
        routes: report
            .routes
            .iter()
            .map(|(route, tally)| Route {
                route,
                counts: counts(tally),
            })
            .collect(),
        total: counts(&total),
    };
    Ok(serde_json::to_string(&summary)? + "\n")
}

fn table(report: &Report, end: &End, took: Duration) -> String {
    let total = report.total();
    let heads = [
        "objects",
        "equal",
        "missing",
        "different",
        "extra",
        "pending",
        "repaired",
    ];
    let row = |tally: &Tally| {
        let Tally {
            equal,
            missing,
            extra,
            pending,
            repaired,
            ..
        } = tally;
        [
            tally.objects(),
            *equal,
            *missing,
            tally.different(),
            *extra,
            *pending,
            *repaired,
        ]
    };
    let labels = report.routes.iter().map(|(route, _)| route.chars().count());
    let width = labels.max().unwrap_or_default().max("route".len());
    let mut text = format!("{:width$}", "route");
    let cell = |text: &mut String, cell: &str| {
        // Writing to a string does not fail.
        let _written = write!(text, "  {cell:>10}");
    };
    heads.iter().for_each(|head| cell(&mut text, head));
    text.push('\n');
    let all = ("all".to_owned(), total.clone());
    let routes = report.routes.iter();
    for (route, tally) in routes.chain((report.routes.len() > 1).then_some(&all)) {
        let _written = write!(text, "{route:width$}");
        row(tally)
            .iter()
            .for_each(|count| cell(&mut text, &count.to_string()));
        text.push('\n');
    }
    details(&mut text, &total);
    let seconds = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let (objects, took) = (total.objects(), format_duration(seconds));
    let rate = rate(objects, seconds);
    let _written = writeln!(text, "{objects} objects in {took}, {rate}/s");
    text.push_str(&verdict(&total, end));
    text
}

/// What the table has no column for.
fn details(text: &mut String, total: &Tally) {
    let different = total.different.iter().map(|(why, count)| (why.as_str(), count));
    let mut list = |what: &str, counts: &mut dyn Iterator<Item = (&str, &u64)>| {
        for (name, count) in counts {
            let _written = writeln!(text, "{what}: {name} {count}");
        }
    };
    list("different", &mut { different });
    for (what, counts) in [
        ("not repaired", &total.repairs_failed),
        ("could not be looked at", &total.failed),
        ("stays by policy", &total.denied),
    ] {
        list(
            what,
            &mut counts.iter().map(|(name, count)| (name.as_str(), count)),
        );
    }
    for (what, count) in [
        ("gone meanwhile", total.vanished),
        ("in place, without a checksum to compare with", total.unattested),
    ] {
        if count > 0 {
            let _written = writeln!(text, "{what}: {count}");
        }
    }
    if let Some(seconds) = total.oldest_uncopied_seconds {
        let age = format_duration(Duration::from_secs(seconds));
        let _written = writeln!(text, "the oldest object that is not in place is {age} old");
    }
}

fn verdict(total: &Tally, end: &End) -> String {
    let differences = total.differences();
    match end {
        End::Stopped => format!("STOPPED before the end; {differences} differences so far\n"),
        End::Failed(problem) => {
            format!("NOT COMPLETE: {problem}; {differences} differences so far\n")
        }
        End::Complete if differences > 0 => format!("THEY DIFFER: {differences} differences\n"),
        End::Complete if total.failed() > 0 => {
            format!(
                "NOT COMPLETE: {} objects could not be looked at\n",
                total.failed()
            )
        }
        End::Complete if total.pending > 0 => {
            format!(
                "equal but for {} objects that may be on their way\n",
                total.pending
            )
        }
        End::Complete => "both sides are equal\n".to_owned(),
    }
}
