//! Object tags.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};
use s3s::{S3Result, s3_error};

use super::Backend;
use super::error::bad_request;

const TAGS_MAX: usize = 10;
/// Unicode characters.
const TAG_KEY_MAX: usize = 128;
/// Unicode characters.
const TAG_VALUE_MAX: usize = 256;

/// `x-amz-tagging`: tags in the encoding of a URL's query.
pub(super) fn parse_header(header: Option<&str>) -> S3Result<Vec<(String, String)>> {
    let pairs = header
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    let tags = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((query_decode(name)?, query_decode(value)?))
        })
        .collect::<S3Result<_>>()?;
    checked(tags)
}

fn query_decode(text: &str) -> S3Result<String> {
    let malformed = || {
        s3_error!(
            InvalidArgument,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded"
        )
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = [
                    bytes.next().ok_or_else(malformed)?,
                    bytes.next().ok_or_else(malformed)?,
                ];
                let digits = std::str::from_utf8(&digits).map_err(|_| malformed())?;
                decoded.push(u8::from_str_radix(digits, 16).map_err(|_| malformed())?);
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

fn checked(tags: Vec<(String, String)>) -> S3Result<Vec<(String, String)>> {
    if tags.len() > TAGS_MAX {
        return Err(bad_request(
            "BadRequest",
            format!("Object tags cannot be greater than {TAGS_MAX}"),
        ));
    }
    for (index, (name, value)) in tags.iter().enumerate() {
        if name.is_empty() || name.chars().count() > TAG_KEY_MAX {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > TAG_VALUE_MAX {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
        if tags[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(s3_error!(
                InvalidTag,
                "Cannot provide multiple Tags with the same key"
            ));
        }
    }
    Ok(tags)
}

impl Backend {
    pub(super) fn get_object_tagging(
        &self,
        input: &GetObjectTaggingInput,
    ) -> S3Result<GetObjectTaggingOutput> {
        let object = self.open(&input.bucket, &input.key, input.version_id.as_deref())?;
        let tag = |(key, value)| Tag {
            key: Some(key),
            value: Some(value),
        };
        Ok(GetObjectTaggingOutput {
            tag_set: object.content.tags.into_iter().map(tag).collect(),
            version_id: object.version_id,
        })
    }

    pub(super) fn put_object_tagging(
        &self,
        input: PutObjectTaggingInput,
    ) -> S3Result<PutObjectTaggingOutput> {
        let tags = input.tagging.tag_set.into_iter();
        let tags = tags
            .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
            .collect();
        let tags = checked(tags)?;
        let version_id = self.amend(
            &input.bucket,
            &input.key,
            input.version_id.as_deref(),
            |content| content.tags = tags,
        )?;
        Ok(PutObjectTaggingOutput { version_id })
    }

    pub(super) fn delete_object_tagging(
        &self,
        input: &DeleteObjectTaggingInput,
    ) -> S3Result<DeleteObjectTaggingOutput> {
        let version_id = self.amend(
            &input.bucket,
            &input.key,
            input.version_id.as_deref(),
            |content| content.tags.clear(),
        )?;
        Ok(DeleteObjectTaggingOutput { version_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_decoded_and_checked() {
        let tags = parse_header(Some("a=1&b+c=%C3%BC&empty")).expect("well-formed");
        let expected = [("a", "1"), ("b c", "ü"), ("empty", "")];
        assert_eq!(
            tags,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(parse_header(None).expect("no tags").is_empty());
        let eleven = (0..11)
            .map(|number| format!("k{number}=v"))
            .collect::<Vec<_>>()
            .join("&");
        for wrong in ["a=%", "a=%zz", "a=1&a=2", "=1", eleven.as_str()] {
            assert!(parse_header(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
