//! What happens to each field of each event type and schema version: the schemas' `x-pii`, and the
//! classes of what the server sets. What is not in the plan does not pass.

use std::collections::HashMap;
use std::path::Path;

use event_model::{Catalogue, CatalogueError, Pii, SERVER_SET_FIELDS, server_set_pii};
use sha2::{Digest, Sha256};

use super::canary::Content;
use super::key::hex;

/// The whole plan.
#[derive(Debug)]
pub(crate) struct Plan {
    schemas: HashMap<String, HashMap<String, FieldPlan>>,
    event_types: Vec<String>,
    digest: String,
}

/// The plan of one event type and schema version.
#[derive(Debug)]
pub(crate) struct FieldPlan {
    /// The event type's place in [`Plan::event_types`].
    pub(crate) event_type: usize,
    /// Looked up for every field of every line.
    fields: hashbrown::HashMap<String, Field>,
}

/// What happens to one field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its place among the fields of its plan.
    pub(crate) index: usize,
    pub(crate) pii: Pii,
    pub(crate) content: Content,
}

/// Schemas that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSchemas {
    /// The folder or a document in it cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A document is not fit.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// No document is there: every line would be quarantined.
    #[error("there is no schema in it")]
    Empty,
}

impl Plan {
    pub(crate) fn new(catalogue: &Catalogue) -> Self {
        let mut schemas: HashMap<String, HashMap<String, FieldPlan>> = HashMap::new();
        let mut event_types = Vec::new();
        let mut digest = Sha256::new();
        for event_type in catalogue.event_types() {
            let versions = catalogue.versions(event_type.as_str()).into_iter().flatten();
            for schema in versions {
                let served = SERVER_SET_FIELDS
                    .into_iter()
                    .filter_map(|name| Some((name, server_set_pii(name)?)));
                // In order of their names: the digest must not depend on a hash table's.
                let classes: std::collections::BTreeMap<&str, Pii> = schema.fields().chain(served).collect();
                digest.update(format!("{event_type} {}\n", schema.version()));
                for (name, pii) in &classes {
                    digest.update(format!("{name} {pii:?}\n"));
                }
                let fields = classes.into_iter().enumerate().map(|(index, (name, pii))| {
                    let content = Content::of_field(name);
                    (name.to_owned(), Field { index, pii, content })
                });
                let plan = FieldPlan {
                    event_type: event_types.len(),
                    fields: fields.collect(),
                };
                let versions = schemas.entry(event_type.to_string()).or_default();
                versions.insert(schema.version().to_string(), plan);
            }
            event_types.push(event_type.to_string());
        }
        Self {
            schemas,
            event_types,
            digest: hex(&digest.finalize()),
        }
    }

    /// The plan of one event type and schema version.
    pub(crate) fn find(&self, event_type: &str, version: &str) -> Option<&FieldPlan> {
        self.schemas.get(event_type)?.get(version)
    }

    /// The event types, in the order of [`FieldPlan::event_type`].
    pub(crate) fn event_types(&self) -> &[String] {
        &self.event_types
    }

    /// Changes whenever a field, a type or a version comes, goes or is classed otherwise, and not with
    /// what a schema says to people or asks of values.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }
}

impl FieldPlan {
    pub(crate) fn field(&self, name: &str) -> Option<Field> {
        self.fields.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }
}

/// The schemas in a folder, each at `EVENTTYPE/VERSION.json`. Other files are none; names that begin with
/// a dot are skipped, because Kubernetes keeps its own there.
///
/// # Errors
/// The first document that cannot be read or is not fit.
pub fn read_schemas(folder: &Path) -> Result<Catalogue, UnusableSchemas> {
    let mut documents = Vec::new();
    for types in entries(folder)? {
        let name = name(&types);
        if !types.is_dir() {
            continue;
        }
        for document in entries(&types)? {
            if document.extension().is_some_and(|extension| extension == "json") {
                let content = std::fs::read(&document).map_err(|source| unreadable(&document, source))?;
                documents.push((format!("{name}/{}", self::name(&document)), content));
            }
        }
    }
    if documents.is_empty() {
        return Err(UnusableSchemas::Empty);
    }
    Ok(Catalogue::from_documents(documents)?)
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, UnusableSchemas> {
    let entries = std::fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
    });
    let mut entries = entries.map_err(|source| unreadable(folder, source))?;
    entries.retain(|path| !name(path).starts_with('.'));
    entries.sort();
    Ok(entries)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn unreadable(path: &Path, source: std::io::Error) -> UnusableSchemas {
    UnusableSchemas::Read {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_field_has_a_class_and_no_other() {
        let catalogue = Catalogue::bundled().expect("bundled");
        let plan = Plan::new(&catalogue);
        let play = plan.find("play", "1-0-0").expect("bundled");
        assert_eq!(play.field("deviceid").map(|field| field.pii), Some(Pii::Hash));
        assert_eq!(play.field("partnerid").map(|field| field.pii), Some(Pii::Keep));
        assert!(play.field("email").is_none());
        assert!(plan.find("play", "9-0-0").is_none() && plan.find("party", "1-0-0").is_none());
        assert_eq!(plan.event_types().len(), catalogue.event_types().count());
        assert_eq!(plan.event_types()[play.event_type], "play");
    }

    #[test]
    fn the_digest_follows_classes_and_not_words() {
        let documents = || {
            event_model::bundled_documents()
                .map(|(path, bytes)| (path, String::from_utf8(bytes.to_vec()).expect("UTF-8")))
        };
        let digest = |change: fn(String) -> String| {
            let documents = documents().map(|(path, text)| (path, change(text)));
            Plan::new(&Catalogue::from_documents(documents).expect("fit"))
                .digest()
                .to_owned()
        };
        let now = digest(|text| text);
        assert_eq!(now, Plan::new(&Catalogue::bundled().expect("bundled")).digest());
        assert_eq!(
            now,
            digest(|text| text.replace("The track's title.", "What was played."))
        );
        assert_ne!(
            now,
            digest(|text| text.replacen("\"x-pii\": \"hash\"", "\"x-pii\": \"drop\"", 1))
        );
        let fewer = Catalogue::from_documents(documents().skip(1)).expect("fit");
        assert_ne!(now, Plan::new(&fewer).digest());
    }

    #[test]
    fn a_folder_of_schemas_is_read_whole_or_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(read_schemas(folder.path()), Err(UnusableSchemas::Empty)));
        for (path, content) in event_model::bundled_documents() {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, content).expect("written");
        }
        std::fs::create_dir(folder.path().join("..data")).expect("made");
        std::fs::write(folder.path().join("README.md"), "not a schema").expect("written");
        let read = Plan::new(&read_schemas(folder.path()).expect("fit"));
        assert_eq!(
            read.digest(),
            Plan::new(&Catalogue::bundled().expect("bundled")).digest()
        );

        std::fs::write(folder.path().join("play/2-0-0.json"), "{}").expect("written");
        let refused = read_schemas(folder.path()).expect_err("not a schema").to_string();
        assert!(refused.contains("play/2-0-0.json"), "{refused}");
        let missing = read_schemas(&folder.path().join("nowhere"))
            .expect_err("no folder")
            .to_string();
        assert!(missing.contains("nowhere"), "{missing}");
    }
}
