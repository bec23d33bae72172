//! `events schema check`: whether schemas may go where clients and readers meet them.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use event_model::{
    Catalogue, CatalogueError, Pii, Schema,
    compatibility::{Breach, changes},
};

use super::Error;
use crate::{
    reload::Source,
    schemas::{Schemas, SchemasError},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Checks a folder of schemas: each document, and each version against the one before it. The exit
    /// code is 1 where there is a problem.
    Check(Check),
}

#[derive(Args, Debug)]
pub(super) struct Check {
    /// Folder with the schemas, as EVENTTYPE/MODEL-REVISION-ADDITION.json. Without it the schemas that are
    /// part of the program are checked.
    #[arg(env = "EVENTS_SCHEMAS_FOLDER")]
    folder: Option<PathBuf>,
    /// Folder with the schemas that clients already use, to find documents that were changed in place or
    /// taken away.
    #[arg(long)]
    against: Option<PathBuf>,
}

/// One thing to put right.
struct Problem {
    path: String,
    pointer: String,
    rule: &'static str,
    what: String,
    fix: Option<String>,
}

impl Command {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Error> {
        let Self::Check(check) = self;
        check.run(out)
    }
}

impl Check {
    fn run(self, out: &mut impl Write) -> Result<(), Error> {
        let published = match self.against {
            Some(folder) => Schemas::Folder(folder).read().map_err(against)?,
            None => Catalogue::default(),
        };
        let schemas = self.folder.map_or(Schemas::Bundled, Schemas::Folder);
        let (catalogue, unfit) = Catalogue::gather(schemas.documents()?);
        let problems = problems(&catalogue, &published, &unfit);
        table(out, &catalogue, &problems)?;
        for problem in &problems {
            problem.print(out)?;
        }
        match problems.len() {
            0 => Ok(()),
            count => Err(Error::SchemaProblems(count)),
        }
    }
}

fn against(error: SchemasError) -> Error {
    Error::Against(error)
}

fn problems(catalogue: &Catalogue, published: &Catalogue, unfit: &[CatalogueError]) -> Vec<Problem> {
    let mut problems: Vec<_> = unfit.iter().map(Problem::unfit).collect();
    let breaches = catalogue
        .breaches_since(published)
        .into_iter()
        .map(|breach| Problem::breach(&breach));
    // What cannot be read is there all the same.
    problems.extend(breaches.filter(|breach| unfit.iter().all(|unfit| unfit.path != breach.path)));
    problems.extend(every(catalogue).flat_map(Problem::examples));
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    problems
}

fn every(catalogue: &Catalogue) -> impl Iterator<Item = &Schema> {
    let types = catalogue.event_types();
    types
        .filter_map(|name| catalogue.versions(name.as_str()))
        .flatten()
}

fn path(schema: &Schema) -> String {
    format!("{}/{}.json", schema.event_type(), schema.version())
}

impl Problem {
    fn unfit(error: &CatalogueError) -> Self {
        Self {
            path: error.path.clone(),
            pointer: String::new(),
            rule: "unfit",
            what: error.problem.to_string(),
            fix: None,
        }
    }

    fn breach(breach: &Breach) -> Self {
        Self {
            path: format!("{}/{}.json", breach.event_type, breach.version),
            pointer: breach.pointer().to_owned(),
            rule: breach.rule(),
            what: breach.to_string(),
            fix: Some(breach.fix()),
        }
    }

    fn examples(schema: &Schema) -> impl Iterator<Item = Self> {
        let broken = schema.broken_examples().into_iter();
        broken.map(|(index, errors)| {
            let errors = errors.iter();
            let said: Vec<_> = errors
                .map(|error| format!("{} {}", error.pointer, error.message))
                .collect();
            Self {
                path: path(schema),
                pointer: format!("/examples/{index}"),
                rule: "example-invalid",
                what: said.join("; ").trim().to_owned(),
                fix: Some("make the example one that the schema takes".to_owned()),
            }
        })
    }

    fn print(&self, out: &mut impl Write) -> Result<(), Error> {
        let Self {
            path, pointer, rule, ..
        } = self;
        let at = if pointer.is_empty() {
            path.clone()
        } else {
            format!("{path}  {pointer}")
        };
        writeln!(out, "\n{at}  {rule}\n    {}", self.what)?;
        if let Some(fix) = &self.fix {
            writeln!(out, "    fix: {fix}")?;
        }
        Ok(())
    }
}

/// Every document, what changed since the version before it, and how many problems it has.
fn table(out: &mut impl Write, catalogue: &Catalogue, problems: &[Problem]) -> Result<(), Error> {
    let mut counts = BTreeMap::new();
    for problem in problems {
        *counts.entry(problem.path.clone()).or_insert(0_usize) += 1;
    }
    let mut rows = BTreeMap::new();
    for name in catalogue.event_types() {
        let mut before: Option<&Schema> = None;
        for schema in catalogue.versions(name.as_str()).into_iter().flatten() {
            let personal = schema.fields().filter(|(_, pii)| *pii != Pii::Keep).count();
            let since = before.map_or_else(|| "first version".to_owned(), |before| since(before, schema));
            // Versions sort by number, which their texts do not.
            let order = (name.as_str(), Some(schema.version()), String::new());
            let fields = schema.fields().count().to_string();
            rows.insert(order, (path(schema), fields, personal.to_string(), since));
            before = Some(schema);
        }
    }
    for path in counts.keys() {
        if !rows.values().any(|(known, ..)| known == path) {
            let name = path.split('/').next().unwrap_or_default();
            let row = (path.clone(), String::new(), String::new(), String::new());
            rows.insert((name, None, path.clone()), row);
        }
    }
    let mut line = |path: &str, fields: &str, personal: &str, since: &str, verdict: &str| {
        writeln!(
            out,
            "{path:<32}  {fields:>6}  {personal:>8}  {since:<28}  {verdict}"
        )
    };
    line(
        "SCHEMA",
        "FIELDS",
        "PERSONAL",
        "SINCE THE VERSION BEFORE",
        "VERDICT",
    )?;
    for (path, fields, personal, since) in rows.values() {
        let verdict = match counts.get(path) {
            None => "ok".to_owned(),
            Some(1) => "1 problem".to_owned(),
            Some(count) => format!("{count} problems"),
        };
        line(path, fields, personal, since, &verdict)?;
    }
    Ok(())
}

/// How much changed, and which part of the version that asks for.
fn since(before: &Schema, schema: &Schema) -> String {
    let changes = changes(&before.parsed_document(), &schema.parsed_document());
    let asked = changes.iter().map(|change| change.rule.asks_for()).max();
    match (changes.len(), asked) {
        (_, None) => "nothing of weight".to_owned(),
        (1, Some(part)) => format!("1 change, {part}"),
        (count, Some(part)) => format!("{count} changes, {part}"),
    }
}
