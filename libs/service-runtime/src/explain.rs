//! `PROGRAM config`: checks the settings as the service would, and prints each with where it comes from.
//!
//! Secrets are in files and not in settings, so what is printed is paths. The one place where a setting
//! could hold a secret all the same, a user and password within a URL, is left out.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{ArgMatches, Command, parser::ValueSource};

use crate::{
    logs, program,
    settings::{self, InvalidSetting, Settings},
};

/// Whether the first argument asks for it; if so, the arguments without it.
pub(crate) fn asked(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, Vec<OsString>> {
    if arguments.get(1).is_some_and(|first| first == "config") {
        arguments.remove(1);
        Ok(arguments)
    } else {
        Err(arguments)
    }
}

/// Prints the settings, or what is wrong with them.
pub(crate) fn run<S: Settings>(
    arguments: Vec<OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    match checked::<S>(arguments, variables) {
        Ok(table) => match io::stdout().lock().write_all(table.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => program::refuse(&error),
    }
}

/// The settings as a table, once they have passed every check that the service makes before it binds.
fn checked<S: Settings>(
    arguments: Vec<OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<String, clap::Error> {
    let (mut command, matches) = settings::matches::<S>(arguments, variables)?;
    let settings = S::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    let invalid = |invalid: InvalidSetting| settings::invalid_setting::<S>(&invalid);
    logs::parse_filter(&settings.runtime().log_filter)
        .map_err(|problem| invalid(InvalidSetting::new("--log-filter", problem)))?;
    settings.validate().map_err(invalid)?;
    Ok(table(&command, &matches))
}

fn table(command: &Command, matches: &ArgMatches) -> String {
    let mut rows = vec![["SETTING".to_owned(), "VALUE".to_owned(), "FROM".to_owned()]];
    for arg in command.get_arguments() {
        let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else {
            continue;
        };
        let id = arg.get_id().as_str();
        let values = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = values
            .map(|value| without_password(&value.to_string_lossy()))
            .collect();
        let (value, from) = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => (values.join(","), "flag".to_owned()),
            Some(ValueSource::EnvVariable) => (values.join(","), variable.to_string_lossy().into_owned()),
            Some(_) => (values.join(","), "default".to_owned()),
            None => ("-".to_owned(), "not set".to_owned()),
        };
        rows.push([format!("--{long}"), value, from]);
    }
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (flag, value) = (widest(0).unwrap_or(0), widest(1).unwrap_or(0));
    rows.iter()
        .map(|row| format!("{:<flag$}  {:<value$}  {}\n", row[0], row[1], row[2]))
        .collect()
}

/// A URL may hold a user and a password before its host (RFC 3986, section 3.2.1).
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::settings::RuntimeSettings;

    /// A sample program.
    #[derive(Parser, Debug)]
    struct Sample {
        #[arg(long)]
        stream: String,
        #[arg(long, default_value_t = 5)]
        flush_records: u32,
        #[arg(long, value_delimiter = ',')]
        route: Vec<String>,
        #[arg(long)]
        endpoint_url: Option<String>,
        #[arg(long)]
        verbose: bool,
        #[command(flatten)]
        runtime: RuntimeSettings,
    }

    impl Settings for Sample {
        const NAME: &'static str = "sample";
        const ENV_PREFIX: &'static str = "SAMPLE_";
        const ADMIN_LISTEN: &'static str = "0.0.0.0:9999";
        type Config = ();

        fn runtime(&self) -> &RuntimeSettings {
            &self.runtime
        }

        fn validate(self) -> Result<(), InvalidSetting> {
            if self.flush_records == 0 {
                return Err(InvalidSetting::new("--flush-records", "must be at least 1"));
            }
            Ok(())
        }
    }

    fn sample(arguments: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let arguments = ["sample"].iter().chain(arguments).map(OsString::from).collect();
        let table = checked::<Sample>(arguments, []).map_err(|error| error.to_string())?;
        let words = |line: &str| {
            line.split("  ")
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Ok(table.lines().map(words).collect())
    }

    #[test]
    fn each_setting_is_there_with_its_value_and_where_it_comes_from() {
        let rows = sample(&["--stream", "plays", "--route", "a,b", "--route", "c"]).expect("valid");
        for expected in [
            ["SETTING", "VALUE", "FROM"],
            ["--stream", "plays", "flag"],
            ["--flush-records", "5", "default"],
            ["--route", "a,b,c", "flag"],
            ["--endpoint-url", "-", "not set"],
            ["--verbose", "false", "default"],
            ["--admin-listen", "0.0.0.0:9999", "default"],
            ["--drain-deadline", "25s", "default"],
        ] {
            assert!(
                rows.contains(&expected.map(str::to_owned).to_vec()),
                "{expected:?} is not in {rows:?}"
            );
        }
    }

    #[test]
    fn what_the_service_would_refuse_is_refused_in_its_words() {
        for (arguments, expected) in [
            (&["--stream"][..], "--stream"),
            (&[], "--stream"),
            (
                &["--stream", "x", "--flush-records", "0"],
                "--flush-records (SAMPLE_FLUSH_RECORDS): must be at least 1",
            ),
            (
                &["--stream", "x", "--log-filter", "a=b=c"],
                "--log-filter (SAMPLE_LOG_FILTER)",
            ),
            (&["--stream", "x", "--strem", "y"], "--strem"),
        ] {
            let refused = sample(arguments).expect_err("invalid");
            assert!(refused.contains(expected), "{arguments:?}: {refused}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_left_out() {
        for (url, shown) in [
            ("https://user:canary@host:1/a@b", "https://…@host:1/a@b"),
            ("https://canary@host", "https://…@host"),
            ("https://user:c@nary@host/", "https://…@host/"),
            ("https://host/?a@b", "https://host/?a@b"),
            ("me@example.org", "me@example.org"),
        ] {
            let rows = sample(&["--stream", "x", "--endpoint-url", url]).expect("valid");
            let row = rows.iter().find(|row| row[0] == "--endpoint-url").expect("a row");
            assert_eq!(row[1], shown);
        }
    }

    #[test]
    fn only_the_first_argument_asks_for_it() {
        let of =
            |arguments: &[&str]| asked(arguments.iter().map(OsString::from).collect()).map(|rest| rest.len());
        assert_eq!(of(&["sample", "config", "--stream", "x"]), Ok(3));
        assert!(of(&["sample", "--stream", "config"]).is_err());
        assert!(of(&["sample"]).is_err());
    }
}
