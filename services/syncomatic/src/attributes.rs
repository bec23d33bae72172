//! What an object has beside its bytes, from what the source answers to what the destination is told.

use std::collections::HashMap;

use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};

use crate::failure::CopyFailure;
use crate::verify::MARKER;

/// The most that keys and values of user metadata may have together
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
const METADATA_BYTES_MAX: usize = 2048;

/// How objects are stored at the destination, whatever they were at the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Pairs of a source's class, or `*`, and the destination's. The first that matches decides; what
    /// none matches is stored as the bucket does by default.
    pub classes: Vec<(String, String)>,
    /// Key of the destination side's KMS; the bucket's own encryption without one.
    pub kms_key_id: Option<String>,
}

impl Storage {
    pub(crate) fn class(&self, source: Option<&StorageClass>) -> Option<StorageClass> {
        // S3 names every class but this one.
        let source = source.map_or("STANDARD", StorageClass::as_str);
        let matching = |(from, _): &&(String, String)| from == "*" || from == source;
        let (_, to) = self.classes.iter().find(matching)?;
        Some(StorageClass::from(to.as_str()))
    }
}

/// An object's attributes as they are to be written.
pub(crate) struct Attributes {
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_type: Option<String>,
    expires: Option<DateTime>,
    website_redirect_location: Option<String>,
    metadata: HashMap<String, String>,
    tagging: Option<String>,
    storage_class: Option<StorageClass>,
    kms_key_id: Option<String>,
}

impl Attributes {
    /// Those of `object`, with `marker` among the metadata.
    pub(crate) fn of(
        object: &mut GetObjectOutput,
        tagging: Option<String>,
        marker: String,
        storage: &Storage,
    ) -> Result<Self, CopyFailure> {
        Ok(Self {
            cache_control: object.cache_control.take(),
            content_disposition: object.content_disposition.take(),
            content_encoding: object.content_encoding.as_deref().and_then(stored_encoding),
            content_language: object.content_language.take(),
            content_type: object.content_type.take(),
            expires: object.expires_string.as_deref().and_then(http_date),
            website_redirect_location: object.website_redirect_location.take(),
            metadata: marked(object.metadata.take().unwrap_or_default(), marker)?,
            tagging,
            storage_class: storage.class(object.storage_class.as_ref()),
            kms_key_id: storage.kms_key_id.clone(),
        })
    }

    pub(crate) fn on_put(self, put: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        let encrypted = self.kms_key_id.is_some();
        put.set_cache_control(self.cache_control)
            .set_content_disposition(self.content_disposition)
            .set_content_encoding(self.content_encoding)
            .set_content_language(self.content_language)
            .set_content_type(self.content_type)
            .set_expires(self.expires)
            .set_website_redirect_location(self.website_redirect_location)
            .set_metadata(Some(self.metadata))
            .set_tagging(self.tagging)
            .set_storage_class(self.storage_class)
            .set_server_side_encryption(encrypted.then_some(ServerSideEncryption::AwsKms))
            .set_bucket_key_enabled(encrypted.then_some(true))
            .set_ssekms_key_id(self.kms_key_id)
    }

    pub(crate) fn on_upload(
        self,
        upload: CreateMultipartUploadFluentBuilder,
    ) -> CreateMultipartUploadFluentBuilder {
        let encrypted = self.kms_key_id.is_some();
        upload
            .set_cache_control(self.cache_control)
            .set_content_disposition(self.content_disposition)
            .set_content_encoding(self.content_encoding)
            .set_content_language(self.content_language)
            .set_content_type(self.content_type)
            .set_expires(self.expires)
            .set_website_redirect_location(self.website_redirect_location)
            .set_metadata(Some(self.metadata))
            .set_tagging(self.tagging)
            .set_storage_class(self.storage_class)
            .set_server_side_encryption(encrypted.then_some(ServerSideEncryption::AwsKms))
            .set_bucket_key_enabled(encrypted.then_some(true))
            .set_ssekms_key_id(self.kms_key_id)
    }
}

/// `aws-chunked` is how an upload travelled, not how the object is encoded; some clients made it part
/// of the object. Everything else is kept as it is, and nothing is decoded.
pub(crate) fn stored_encoding(encoding: &str) -> Option<String> {
    let kept = encoding
        .split(',')
        .map(str::trim)
        .filter(|token| !token.eq_ignore_ascii_case("aws-chunked"));
    let kept = kept.collect::<Vec<_>>().join(",");
    (!kept.is_empty()).then_some(kept)
}

/// `Expires` may hold anything; only a date can be written again.
fn http_date(text: &str) -> Option<DateTime> {
    DateTime::from_str(text, DateTimeFormat::HttpDate).ok()
}

pub(crate) fn marked(
    mut metadata: HashMap<String, String>,
    marker: String,
) -> Result<HashMap<String, String>, CopyFailure> {
    metadata.insert(MARKER.to_owned(), marker);
    let bytes = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(CopyFailure::MetadataTooLarge(bytes));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_encoding_of_the_transfer_is_dropped() {
        for (source, stored) in [
            ("gzip", Some("gzip")),
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, AWS-Chunked", Some("gzip")),
            ("gzip, br", Some("gzip,br")),
            ("", None),
        ] {
            assert_eq!(stored_encoding(source).as_deref(), stored, "{source:?}");
        }
    }

    #[test]
    fn metadata_that_s3_would_refuse_is_named_before_it_is_sent() {
        let metadata = |bytes| HashMap::from([("k".to_owned(), "v".repeat(bytes))]);
        assert!(marked(metadata(100), "m".into()).is_ok_and(|metadata| metadata[MARKER] == "m"));
        let refused = marked(metadata(2048), "m".into());
        assert!(
            matches!(refused, Err(CopyFailure::MetadataTooLarge(2067))),
            "{refused:?}"
        );
    }

    #[test]
    fn the_first_matching_class_decides() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let storage = Storage {
            classes: vec![pair("STANDARD", "STANDARD_IA"), pair("*", "INTELLIGENT_TIERING")],
            kms_key_id: None,
        };
        assert_eq!(storage.class(None), Some(StorageClass::StandardIa));
        assert_eq!(
            storage.class(Some(&StorageClass::GlacierIr)),
            Some(StorageClass::IntelligentTiering)
        );
        assert_eq!(Storage::default().class(Some(&StorageClass::GlacierIr)), None);
    }
}
