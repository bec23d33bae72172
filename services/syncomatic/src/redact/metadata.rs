//! What an object carries beside its bytes: user metadata, tags, content headers. Only names on the list
//! pass, and only with values that are plain and look like nothing personal.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::Redaction;
use super::canary::Content;

/// What hoard writes on its objects and what is still true of a redacted copy: the stream, the shard and
/// the records of the whole cut. Counts and checksums of the source object's own lines are not.
const ARCHIVE_METADATA: [&str; 10] = [
    "stream",
    "shard",
    "content",
    "after-sequence-number",
    "first-sequence-number",
    "last-sequence-number",
    "cut-records",
    "cut-objects",
    "first-arrival",
    "last-arrival",
];
/// The longest value that passes.
const VALUE_BYTES_MAX: usize = 128;

/// The names that pass.
#[derive(Clone, Debug)]
pub struct AllowList {
    metadata: BTreeSet<String>,
    tags: BTreeSet<String>,
}

impl Default for AllowList {
    /// What is true of a copy of an archive object; no tag.
    fn default() -> Self {
        Self {
            metadata: ARCHIVE_METADATA.map(str::to_owned).into(),
            tags: BTreeSet::new(),
        }
    }
}

impl AllowList {
    /// The default, and these.
    #[must_use]
    pub fn with(metadata: impl IntoIterator<Item = String>, tags: impl IntoIterator<Item = String>) -> Self {
        let mut allowed = Self::default();
        // S3 gives metadata names in lower case.
        let names = metadata.into_iter().map(|name| name.to_ascii_lowercase());
        allowed.metadata.extend(names);
        allowed.tags.extend(tags);
        allowed
    }

    /// Whether any tag passes: otherwise they need not be asked for.
    pub(crate) fn has_tags(&self) -> bool {
        !self.tags.is_empty()
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.metadata, self.tags)
    }
}

impl Redaction {
    /// The list of what passes beside an object's bytes.
    pub(crate) fn allowed(&self) -> &AllowList {
        &self.options.allowed
    }

    /// What passes of an object's user metadata.
    pub(crate) fn metadata(&self, metadata: HashMap<String, String>) -> HashMap<String, String> {
        let passes =
            |name: &str, value: &str| self.allowed().metadata.contains(name) && self.is_harmless(value);
        metadata
            .into_iter()
            .filter(|(name, value)| passes(name, value))
            .collect()
    }

    /// Whether a tag passes.
    pub(crate) fn tag_passes(&self, key: &str, value: &str) -> bool {
        self.allowed().tags.contains(key) && self.is_harmless(value)
    }

    /// A content header, if it is one that says nothing of anybody.
    pub(crate) fn header(&self, value: Option<String>) -> Option<String> {
        value.filter(|value| self.is_harmless(value))
    }

    fn is_harmless(&self, value: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:+-/;= ".contains(&byte);
        value.len() <= VALUE_BYTES_MAX
            && value.bytes().all(plain)
            && self.canary.scan(value, Content::Text).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use event_model::Catalogue;

    use super::super::{HashKey, Options};
    use super::*;

    fn redaction(allowed: AllowList) -> Redaction {
        let key = HashKey::from_hex("k", &"0b".repeat(32)).expect("a key");
        let options = Options {
            allowed,
            ..Options::default()
        };
        Redaction::new(&Catalogue::bundled().expect("bundled"), key, options)
    }

    fn passed(redaction: &Redaction, metadata: &[(&str, &str)]) -> Vec<String> {
        let metadata = metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut names: Vec<_> = redaction.metadata(metadata.collect()).into_keys().collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_listed_names_with_harmless_values_pass() {
        let redaction = redaction(AllowList::with(["Team".to_owned()], ["cost".to_owned()]));
        let metadata = [
            ("stream", "events"),
            ("shard", "shardId-000000000001"),
            (
                "first-sequence-number",
                "49664512345678901234567890123456789012345678901234567890",
            ),
            ("first-arrival", "2026-03-02T19:02:11.408Z"),
            ("uncompressed-crc64nvme", "ae8b14860a799888"),
            ("record-count", "17"),
            ("owner", "jane"),
            ("team", "data"),
        ];
        assert_eq!(
            passed(&redaction, &metadata),
            [
                "first-arrival",
                "first-sequence-number",
                "shard",
                "stream",
                "team"
            ]
        );
        let long = "x".repeat(129);
        for value in ["jane@example.org", "13812345678", "漢字", "a\"b", &long] {
            assert_eq!(passed(&redaction, &[("stream", value)]), [""; 0], "{value}");
        }
        assert!(redaction.tag_passes("cost", "1+1") && !redaction.tag_passes("owner", "data"));
        assert!(!redaction.tag_passes("cost", "+4917012345678"));
        assert_eq!(
            redaction.header(Some("application/x-ndjson".into())).as_deref(),
            Some("application/x-ndjson")
        );
        assert_eq!(redaction.header(Some("text/plain; name=\"Jane\"".into())), None);
    }

    #[test]
    fn without_a_list_no_tag_passes() {
        let redaction = redaction(AllowList::default());
        assert!(!redaction.allowed().has_tags());
        assert!(!redaction.tag_passes("cost", "1"));
    }
}
