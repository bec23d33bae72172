//! What containers are told is what the programs take: an unknown or unusable setting ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use service_runtime::settings::{Settings, command};

use crate::{ROOT, read};

/// A program's variables, and the check of its values.
struct Program {
    name: &'static str,
    prefix: &'static str,
    variables: BTreeSet<String>,
    check: fn(&BTreeMap<String, String>) -> Result<(), String>,
}

impl Program {
    fn of<S: Settings>() -> Self {
        let variables = command::<S>();
        let variables = variables
            .get_arguments()
            .filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
        Self {
            name: S::NAME,
            prefix: S::ENV_PREFIX,
            variables: variables.collect(),
            check: check::<S>,
        }
    }
}

/// Whether each value can be read, and nothing required is missing. Files are not looked at.
fn check<S: Settings>(variables: &BTreeMap<String, String>) -> Result<(), String> {
    let flags = variables.iter().map(|(variable, value)| {
        let name = variable
            .strip_prefix(S::ENV_PREFIX)
            .expect("one of its own")
            .to_lowercase();
        format!("--{}={value}", name.replace('_', "-"))
    });
    let args = std::iter::once(S::NAME.to_owned()).chain(flags);
    let matches = command::<S>().try_get_matches_from(args);
    matches.map(drop).map_err(|error| error.to_string())
}

fn programs() -> [Program; 4] {
    [
        Program::of::<events::Settings>(),
        Program::of::<hoard::Settings>(),
        Program::of::<syncomatic::Settings>(),
        Program::of::<local::Settings>(),
    ]
}

/// Every variable of a program that a file names.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_variable_is_a_setting() {
    let files = [
        "Dockerfile",
        "docker-compose.yml",
        "deploy/k8s/base/events/stateful-set.yaml",
        "deploy/k8s/base/hoard/stateful-set.yaml",
        "deploy/k8s/syncomatic/deployment.yaml",
    ];
    let mut seen = 0;
    for file in files {
        let text = read(&Path::new(ROOT).join(file));
        for program in programs() {
            let named = named(&text, program.prefix);
            let unknown: Vec<_> = named.difference(&program.variables).collect();
            assert!(unknown.is_empty(), "{file}: {} has no {unknown:?}", program.name);
            seen += named.len();
        }
    }
    assert!(seen > 25, "the files are read: {seen}");
}

/// What Kubernetes gives a pod: the base's file with the overlay's, and what its manifest sets.
#[test]
fn what_pods_are_given_is_enough() {
    let given = [
        ("events", "base/events", &[][..]),
        ("hoard", "base/hoard", &["HOARD_REPLICA_NAME"][..]),
        (
            "syncomatic",
            "syncomatic",
            &["SYNCOMATIC_DESTINATION_ACCESS_KEY_ID"][..],
        ),
    ];
    let folder = Path::new(ROOT).join("deploy/k8s");
    let mut checked = 0;
    for overlay in ["china", "rest-of-world"] {
        for (name, base, set_by_manifest) in &given {
            let program = programs()
                .into_iter()
                .find(|program| program.name == *name)
                .expect("known");
            let own = folder.join("overlays").join(overlay).join(format!("{name}.env"));
            if !own.exists() {
                assert_eq!((*name, overlay), ("syncomatic", "rest-of-world"));
                continue;
            }
            let mut variables = env_file(&folder.join(base).join(format!("{name}.env")));
            variables.extend(env_file(&own));
            variables.extend(
                set_by_manifest
                    .iter()
                    .map(|name| ((*name).to_owned(), "x".to_owned())),
            );
            let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) = variables
                .into_iter()
                .partition(|(name, _)| name.starts_with(program.prefix));
            let foreign: Vec<_> = others.keys().filter(|name| !name.starts_with("AWS_")).collect();
            assert!(foreign.is_empty(), "{overlay}: {name} is given {foreign:?}");
            (program.check)(&own).unwrap_or_else(|error| panic!("{overlay}: {name}: {error}"));
            checked += own.len();
        }
    }
    assert!(checked > 20, "the files are read: {checked}");
}

/// `NAME=value` a line, as kustomize reads it.
fn env_file(path: &Path) -> BTreeMap<String, String> {
    let text = read(path);
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once('=').expect("NAME=value");
        (name.to_owned(), value.to_owned())
    });
    pairs.collect()
}
