//! Listings: `ListObjectsV2`, `ListObjects`, `ListObjectVersions`.

use std::collections::BTreeMap;
use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3s::dto::{
    ChecksumAlgorithm, CommonPrefix, DeleteMarkerEntry, ETag, EncodingType, ListObjectVersionsInput,
    ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
};
use s3s::{S3Result, s3_error};

use super::Backend;
use super::catalogue::{Versions, current_content};
use super::notification::form_encode;
use super::record::{self, Content, Version};

/// One answer carries at most so many keys and common prefixes.
const KEYS_MAX: i32 = 1000;

/// What of a bucket is listed.
struct Selection<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    /// Keys and common prefixes up to and including this one were listed before.
    after_exclusive: &'a str,
    limit: usize,
}

/// One page of keys.
struct Page<'a> {
    keys: Vec<(&'a str, &'a Version, &'a Content)>,
    prefixes: Vec<String>,
    /// The last key or common prefix of a page that is not the last.
    next_after: Option<String>,
}

impl Selection<'_> {
    /// The common prefix that a key disappears behind, if any.
    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter?;
        let rest = &key[self.prefix.len()..];
        let end = rest.find(delimiter)? + delimiter.len();
        Some(&key[..self.prefix.len() + end])
    }

    fn page<'k>(&self, keys: &'k BTreeMap<String, Versions>) -> Page<'k> {
        let mut page = Page {
            keys: Vec::new(),
            prefixes: Vec::new(),
            next_after: None,
        };
        let start = if self.after_exclusive > self.prefix {
            Bound::Excluded(self.after_exclusive)
        } else {
            Bound::Included(self.prefix)
        };
        let mut last: Option<String> = None;
        let mut truncated = false;
        for (key, versions) in keys.range::<str, _>((start, Bound::Unbounded)) {
            if !key.starts_with(self.prefix) {
                break;
            }
            if key == self.after_exclusive {
                continue;
            }
            let Some((version, content)) = current_content(Some(versions)) else {
                continue;
            };
            let common = self.common_prefix(key);
            // What lies behind a common prefix that was listed is not listed again.
            let behind = |listed: &str| common.is_some_and(|common| common == listed);
            if behind(self.after_exclusive) || page.prefixes.last().is_some_and(|listed| behind(listed)) {
                continue;
            }
            if page.keys.len() + page.prefixes.len() >= self.limit {
                truncated = true;
                break;
            }
            last = Some(common.unwrap_or(key).to_owned());
            match common {
                Some(common) => page.prefixes.push(common.to_owned()),
                None => page.keys.push((key, version, content)),
            }
        }
        page.next_after = last.filter(|_| truncated);
        page
    }
}

/// How names are written: as they are, or URL-encoded when the client asks for it, since XML cannot
/// carry every character that a key may have.
#[derive(Clone, Copy)]
struct Names {
    encode: bool,
}

impl Names {
    fn of(encoding: Option<&EncodingType>) -> Self {
        Self {
            encode: encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL),
        }
    }

    fn write(self, name: &str) -> String {
        if self.encode {
            form_encode(name)
        } else {
            name.to_owned()
        }
    }

    fn common_prefixes(self, prefixes: &[String]) -> Vec<CommonPrefix> {
        prefixes
            .iter()
            .map(|prefix| CommonPrefix {
                prefix: Some(self.write(prefix)),
            })
            .collect()
    }

    fn object(self, key: &str, version: &Version, content: &Content) -> Object {
        let class = content.headers.storage_class.clone();
        Object {
            checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
                content.checksum.algorithm.name(),
            )]),
            checksum_type: Some(content.checksum.kind.dto()),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            key: Some(self.write(key)),
            last_modified: Some(record::seconds_of(version.modified_ms)),
            size: i64::try_from(content.bytes).ok(),
            storage_class: Some(class.map_or_else(
                || ObjectStorageClass::from_static(ObjectStorageClass::STANDARD),
                ObjectStorageClass::from,
            )),
            ..Object::default()
        }
    }
}

fn limit_of(max: Option<i32>) -> S3Result<i32> {
    match max.unwrap_or(KEYS_MAX) {
        negative if negative < 0 => Err(s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        )),
        max => Ok(max.min(KEYS_MAX)),
    }
}

fn as_usize(limit: i32) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

impl Backend {
    pub(super) fn list_objects_v2(&self, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        let max_keys = limit_of(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => decode_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let names = Names::of(input.encoding_type.as_ref());
        let selection = Selection {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input
                .delimiter
                .as_deref()
                .filter(|delimiter| !delimiter.is_empty()),
            after_exclusive: &after,
            limit: as_usize(max_keys),
        };
        let catalogue = self.lock();
        let page = selection.page(&catalogue.bucket(&input.bucket)?.keys);
        let fetch_owner = input.fetch_owner == Some(true);
        let contents: Vec<Object> = page
            .keys
            .iter()
            .map(|(key, version, content)| Object {
                owner: fetch_owner.then(|| self.owner()),
                ..names.object(key, version, content)
            })
            .collect();
        let key_count = i32::try_from(contents.len() + page.prefixes.len()).ok();
        Ok(ListObjectsV2Output {
            common_prefixes: Some(names.common_prefixes(&page.prefixes)),
            contents: Some(contents),
            continuation_token: input.continuation_token,
            delimiter: input.delimiter.as_deref().map(|delimiter| names.write(delimiter)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next_after.is_some()),
            key_count,
            max_keys: Some(max_keys),
            name: Some(input.bucket),
            next_continuation_token: page.next_after.map(|after| BASE64.encode(after)),
            prefix: Some(names.write(input.prefix.as_deref().unwrap_or_default())),
            start_after: input.start_after.as_deref().map(|after| names.write(after)),
            ..ListObjectsV2Output::default()
        })
    }

    pub(super) fn list_objects(&self, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
        let max_keys = limit_of(input.max_keys)?;
        let names = Names::of(input.encoding_type.as_ref());
        let selection = Selection {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input
                .delimiter
                .as_deref()
                .filter(|delimiter| !delimiter.is_empty()),
            after_exclusive: input.marker.as_deref().unwrap_or_default(),
            limit: as_usize(max_keys),
        };
        let catalogue = self.lock();
        let page = selection.page(&catalogue.bucket(&input.bucket)?.keys);
        let contents = page.keys.iter().map(|(key, version, content)| Object {
            owner: Some(self.owner()),
            ..names.object(key, version, content)
        });
        Ok(ListObjectsOutput {
            common_prefixes: Some(names.common_prefixes(&page.prefixes)),
            contents: Some(contents.collect()),
            delimiter: input.delimiter.as_deref().map(|delimiter| names.write(delimiter)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next_after.is_some()),
            marker: Some(names.write(input.marker.as_deref().unwrap_or_default())),
            max_keys: Some(max_keys),
            name: Some(input.bucket),
            // Only listings with a delimiter say it; others go on behind their last key.
            next_marker: page
                .next_after
                .filter(|_| input.delimiter.is_some())
                .map(|after| names.write(&after)),
            prefix: Some(names.write(input.prefix.as_deref().unwrap_or_default())),
            ..ListObjectsOutput::default()
        })
    }

    pub(super) fn list_object_versions(
        &self,
        input: &ListObjectVersionsInput,
    ) -> S3Result<ListObjectVersionsOutput> {
        if input
            .delimiter
            .as_ref()
            .is_some_and(|delimiter| !delimiter.is_empty())
        {
            return Err(s3_error!(
                NotImplemented,
                "local-cloud lists versions without a delimiter only"
            ));
        }
        let max_keys = limit_of(input.max_keys)?;
        let names = Names::of(input.encoding_type.as_ref());
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let catalogue = self.lock();
        let bucket = catalogue.bucket(&input.bucket)?;
        let marker = input.key_marker.as_deref().unwrap_or_default();
        let all = bucket
            .keys
            .range::<str, _>((Bound::Included(marker.max(prefix)), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .flat_map(|(key, versions)| newest_first(key, versions));
        let mut rest = all.skip_while(|(key, version, _)| {
            *key == marker
                && match input.version_id_marker.as_deref().filter(|id| !id.is_empty()) {
                    // Without a version the whole key was listed before.
                    None => true,
                    Some(id) => version.id() != id,
                }
        });
        if input.version_id_marker.as_ref().is_some_and(|id| !id.is_empty()) {
            rest.next();
        }
        let mut output = ListObjectVersionsOutput {
            encoding_type: input.encoding_type.clone(),
            is_truncated: Some(false),
            key_marker: Some(names.write(marker)),
            max_keys: Some(max_keys),
            name: Some(input.bucket.clone()),
            prefix: Some(names.write(prefix)),
            version_id_marker: input.version_id_marker.clone(),
            ..ListObjectVersionsOutput::default()
        };
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        let mut rest = rest.peekable();
        for (key, version, is_latest) in rest.by_ref().take(as_usize(max_keys)) {
            match &version.content {
                Some(content) => versions.push(self.version_entry(names, key, version, content, is_latest)),
                None => markers.push(self.marker_entry(names, key, version, is_latest)),
            }
            output.next_key_marker = Some(names.write(key));
            output.next_version_id_marker = Some(version.id().to_owned());
        }
        output.is_truncated = Some(rest.peek().is_some() && max_keys > 0);
        if output.is_truncated != Some(true) {
            (output.next_key_marker, output.next_version_id_marker) = (None, None);
        }
        (output.versions, output.delete_markers) = (Some(versions), Some(markers));
        Ok(output)
    }

    fn version_entry(
        &self,
        names: Names,
        key: &str,
        version: &Version,
        content: &Content,
        is_latest: bool,
    ) -> ObjectVersion {
        ObjectVersion {
            checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
                content.checksum.algorithm.name(),
            )]),
            checksum_type: Some(content.checksum.kind.dto()),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            is_latest: Some(is_latest),
            key: Some(names.write(key)),
            last_modified: Some(record::seconds_of(version.modified_ms)),
            owner: Some(self.owner()),
            size: i64::try_from(content.bytes).ok(),
            storage_class: Some(ObjectVersionStorageClass::from_static(
                ObjectVersionStorageClass::STANDARD,
            )),
            version_id: Some(version.id().to_owned()),
            ..ObjectVersion::default()
        }
    }

    fn marker_entry(&self, names: Names, key: &str, version: &Version, is_latest: bool) -> DeleteMarkerEntry {
        DeleteMarkerEntry {
            is_latest: Some(is_latest),
            key: Some(names.write(key)),
            last_modified: Some(record::seconds_of(version.modified_ms)),
            owner: Some(self.owner()),
            version_id: Some(version.id().to_owned()),
        }
    }
}

fn newest_first<'a>(
    key: &'a str,
    versions: &'a Versions,
) -> impl Iterator<Item = (&'a str, &'a Version, bool)> {
    let newest = versions.last().map(|version| version.sequence);
    versions
        .iter()
        .rev()
        .map(move |version| (key, version, Some(version.sequence) == newest))
}

/// A token is the last key or common prefix of the page before; clients treat it as opaque.
fn decode_token(token: &str) -> S3Result<String> {
    let decoded = BASE64
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}
