//! Settings come from flags; each flag `--flush-bytes` of a program with prefix `HOARD_` is also the
//! variable `HOARD_FLUSH_BYTES`. What is missing, unknown or contradictory is refused by name, before
//! anything is bound.

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Parser};

use crate::logs::LogFormat;
use crate::units::parse_duration;

/// The settings of a program, as flags. Derive `clap::Parser`, flatten [`RuntimeSettings`].
pub trait Settings: Parser {
    /// The program's name, which is also the prefix of its metrics.
    const NAME: &'static str;
    /// The prefix of its environment variables, with the underscore.
    const ENV_PREFIX: &'static str;
    /// The admin address when `--admin-listen` is not given.
    const ADMIN_LISTEN: &'static str;
    /// Which log lines are written when `--log-filter` is not given.
    const LOG_FILTER: &'static str = "info";
    /// The validated configuration, which the service is built from.
    type Config: Send + 'static;

    /// The part that this module reads.
    fn runtime(&self) -> &RuntimeSettings;

    /// Where log lines go; programs that speak to a person on stdout choose a file.
    fn log_target(&self) -> LogTarget {
        LogTarget::Stdout
    }

    /// Checks the settings against each other; nothing has been bound or connected yet.
    fn validate(self) -> Result<Self::Config, InvalidSetting>;
}

/// Settings that every program has.
#[derive(Args, Clone, Debug)]
pub struct RuntimeSettings {
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, help_heading = "Operation")]
    pub admin_listen: SocketAddr,

    /// How long a drain may take after SIGTERM before what is left is abandoned.
    #[arg(long, default_value = "25s", value_parser = parse_duration, help_heading = "Operation")]
    pub drain_deadline: Duration,

    /// How log lines look.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Operation")]
    pub log_format: LogFormat,

    /// Which log lines are written: a level, or target=level directives.
    #[arg(long, default_value = "info", help_heading = "Operation")]
    pub log_filter: String,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output, for whoever collects it.
    Stdout,
    /// The end of this file, made with its folder if need be. What ends the program is printed on
    /// standard error too.
    File(PathBuf),
}

/// A setting that cannot be used, alone or beside the others.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {problem}")]
pub struct InvalidSetting {
    flag: String,
    problem: String,
}

impl InvalidSetting {
    /// `flag` as written on the command line (`--flush-bytes`); `problem` says what would do.
    pub fn new(flag: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            flag: flag.into(),
            problem: problem.into(),
        }
    }
}

/// Reads settings from arguments and variables; the error is ready to print.
pub(crate) fn parse<S: Settings>(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<S, clap::Error> {
    let (mut command, matches) = matches::<S>(args, variables)?;
    S::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The same before they become one value: with where each setting comes from.
pub(crate) fn matches<S: Settings>(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Command, ArgMatches), clap::Error> {
    let mut command = command::<S>();
    let known: HashSet<OsString> = command
        .get_arguments()
        .filter_map(|arg| arg.get_env().map(OsString::from))
        .collect();
    let unknown = variables.into_iter().map(|(name, _)| name).find(|name| {
        let name_text = name.to_string_lossy();
        name_text.starts_with(S::ENV_PREFIX)
            && !known.contains(name)
            && !is_service_link(&name_text, S::ENV_PREFIX)
    });
    if let Some(name) = unknown {
        let message = format!("unknown environment variable {}\n", name.to_string_lossy());
        return Err(command.error(ErrorKind::UnknownArgument, message));
    }
    let matches = command.try_get_matches_from_mut(args)?;
    Ok((command, matches))
}

/// The checked configuration of a command of a program: its settings are parsed and checked as the
/// program's own are. The error is ready to print.
///
/// # Errors
/// A setting is missing, unknown or contradictory.
pub fn config<S: Settings>(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<S::Config, clap::Error> {
    parse::<S>(args, variables)?
        .validate()
        .map_err(|invalid| invalid_setting::<S>(&invalid))
}

/// The configuration that these arguments give, for a program that hosts the service, and for tests:
/// the same flags, defaults and checks as the service's own program, but no environment.
///
/// # Errors
/// As the service's own program would print it.
pub fn config_from<S: Settings>(
    args: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<S::Config, clap::Error> {
    let args = args.into_iter().map(Into::into);
    let args = std::iter::once(OsString::from(S::NAME)).chain(args);
    let mut command = command_without_environment::<S>();
    S::from_arg_matches(&command.try_get_matches_from_mut(args)?)
        .map_err(|error| error.format(&mut command))?
        .validate()
        .map_err(|invalid| invalid_setting::<S>(&invalid))
}

/// The program's command line, each flag with its environment variable. Also what a reference of
/// all settings is made from.
pub fn command<S: Settings>() -> Command {
    command_without_environment::<S>().mut_args(|arg| {
        let name = format!("{}{}", S::ENV_PREFIX, arg.get_id().as_str().to_uppercase());
        match arg.get_long() {
            Some("help" | "version") | None => arg,
            Some(_) => arg.env(name),
        }
    })
}

fn command_without_environment<S: Settings>() -> Command {
    S::command()
        .name(S::NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .mut_arg("admin_listen", |arg| {
            arg.required(false).default_value(S::ADMIN_LISTEN)
        })
        .mut_arg("log_filter", |arg| {
            arg.required(false).default_value(S::LOG_FILTER)
        })
}

/// Kubernetes sets `EVENTS_SERVICE_HOST`, `EVENTS_PORT_8080_TCP` and the like in every pod beside a
/// Service called `events`; they are not ours
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(name: &str, prefix: &str) -> bool {
    let rest = &name[prefix.len()..];
    rest == "PORT" || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest.starts_with("PORT_")
}

/// The error to print for a setting that [`Settings::validate`] refused.
pub(crate) fn invalid_setting<S: Settings>(invalid: &InvalidSetting) -> clap::Error {
    let variable = invalid
        .flag
        .trim_start_matches('-')
        .replace('-', "_")
        .to_uppercase();
    let message = format!(
        "{} ({}{variable}): {}\n",
        invalid.flag,
        S::ENV_PREFIX,
        invalid.problem
    );
    command::<S>().error(ErrorKind::ValueValidation, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample program.
    #[derive(Parser, Debug)]
    struct Sample {
        #[arg(long)]
        stream: String,
        #[arg(long, default_value_t = 5)]
        flush_records: u32,
        #[command(flatten)]
        runtime: RuntimeSettings,
    }

    impl Settings for Sample {
        const NAME: &'static str = "sample";
        const ENV_PREFIX: &'static str = "SAMPLE_";
        const ADMIN_LISTEN: &'static str = "0.0.0.0:9999";
        type Config = Sample;

        fn runtime(&self) -> &RuntimeSettings {
            &self.runtime
        }

        fn validate(self) -> Result<Sample, InvalidSetting> {
            Ok(self)
        }
    }

    fn parse_sample(args: &[&str], variables: &[&str]) -> Result<Sample, clap::Error> {
        let args = ["sample"].iter().chain(args).map(OsString::from);
        parse(
            args,
            variables
                .iter()
                .map(|name| (OsString::from(name), OsString::new())),
        )
    }

    #[test]
    fn defaults_are_sensible() {
        let sample = parse_sample(&["--stream", "plays"], &["PATH", "OTHER_FLAG"]).expect("complete");
        assert_eq!((sample.stream.as_str(), sample.flush_records), ("plays", 5));
        assert_eq!(sample.runtime.admin_listen.port(), 9999);
        assert_eq!(sample.runtime.drain_deadline, Duration::from_secs(25));
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = command::<Sample>();
        let names: Vec<_> = command
            .get_arguments()
            .filter_map(|arg| arg.get_env()?.to_str())
            .collect();
        assert!(
            names.contains(&"SAMPLE_STREAM") && names.contains(&"SAMPLE_ADMIN_LISTEN"),
            "{names:?}"
        );
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let missing = parse_sample(&[], &[])
            .expect_err("a stream is needed")
            .to_string();
        assert!(missing.contains("--stream"), "{missing}");
        let unknown = parse_sample(&["--stream", "plays", "--strem", "x"], &[])
            .expect_err("a typo")
            .to_string();
        assert!(unknown.contains("--strem"), "{unknown}");
        let variable = parse_sample(&["--stream", "plays"], &["SAMPLE_FLUSH_RECORD"]).expect_err("a typo");
        assert!(variable.to_string().contains("SAMPLE_FLUSH_RECORD"), "{variable}");
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_are_not_ours() {
        let links = [
            "SAMPLE_SERVICE_HOST",
            "SAMPLE_SERVICE_PORT_HTTP",
            "SAMPLE_PORT",
            "SAMPLE_PORT_80_TCP_ADDR",
        ];
        assert!(parse_sample(&["--stream", "plays"], &links).is_ok());
    }

    #[test]
    fn an_invalid_setting_names_flag_and_variable() {
        let invalid = InvalidSetting::new("--flush-records", "must be at least 1");
        let text = invalid_setting::<Sample>(&invalid).to_string();
        assert!(
            text.contains("--flush-records (SAMPLE_FLUSH_RECORDS): must be at least 1"),
            "{text}"
        );
    }
}
