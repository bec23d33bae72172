//! `docs/configuration.md` says exactly what the programs take. To write it anew:
//! `UPDATE_DOCS=1 cargo test -p pipeline-tests --test configuration`

use std::fmt::Write;
use std::path::Path;

use service_runtime::settings::{Settings, command};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

const INTRODUCTION: &str = "# Configuration

Each flag has an environment variable; the flag wins. What is missing, unknown or contradictory ends the
program with exit code 64 and a message that names it, before anything is bound. Durations are written
`250ms`, `5s`, `5m`, `1h`; sizes `64KiB`, `5MiB` or a number of bytes.

`events` and `hoard` find AWS by the SDK's own conventions: `AWS_REGION`, `AWS_PROFILE`,
`AWS_ENDPOINT_URL` (or `AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL_S3`) and the standard credential
chain. `syncomatic` has two sides and takes neither from there: each side is configured by its flags.

`events config`, and `hoard config` and `syncomatic config` likewise, takes the flags and variables of the
service, checks them as it would, and prints each setting with where it comes from: a flag, a variable or
the default. It connects to nothing and shows no secret.

This page is made from the programs themselves; a test keeps it true.
";

/// One program's flags as a table.
fn section<S: Settings>() -> String {
    let mut command = command::<S>();
    command.build();
    let mut text = String::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    write!(
        text,
        "\n## {}\n\n{about}\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n",
        S::NAME
    )
    .expect("a string takes every character");
    for arg in command.get_arguments() {
        let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else {
            continue;
        };
        let defaults: Vec<_> = arg
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.display()))
            .collect();
        let default = match (arg.is_required_set(), defaults.join(", ").as_str()) {
            (true, _) => "required".to_owned(),
            (false, "" | "``" | "`false`") => String::new(),
            (false, defaults) => defaults.to_owned(),
        };
        let meaning = arg
            .get_long_help()
            .or(arg.get_help())
            .map(ToString::to_string)
            .unwrap_or_default();
        let meaning = meaning.replace('\n', " ").replace('|', "\\|");
        writeln!(
            text,
            "| `--{long}` | `{}` | {default} | {meaning} |",
            variable.display()
        )
        .expect("a string takes every character");
    }
    text
}

#[test]
fn the_page_says_what_the_programs_take() {
    let page = [
        INTRODUCTION.to_owned(),
        section::<events::Settings>(),
        section::<hoard::Settings>(),
        section::<syncomatic::Settings>(),
        section::<local::Settings>(),
    ]
    .concat();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what the programs take: see the top of this test"
    );
}
