//! A message: what a sender gave, and what SQS computes from it.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::error::{invalid_contents, invalid_parameter, missing_parameter};
use crate::wire::json::ApiError;

const ATTRIBUTES_MAX: usize = 10;
const NAME_CHARS_MAX: usize = 256;

/// Named values beside the body.
pub(crate) type MessageAttributes = BTreeMap<String, AttributeValue>;

/// One value, as the wire and the durable state write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AttributeValue {
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

/// What a sender gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) body: String,
    #[serde(default)]
    pub(crate) attributes: MessageAttributes,
    #[serde(default)]
    pub(crate) system_attributes: MessageAttributes,
}

impl Content {
    pub(crate) fn of_body(body: String) -> Self {
        Self {
            body,
            attributes: MessageAttributes::new(),
            system_attributes: MessageAttributes::new(),
        }
    }

    /// What counts towards the size limit: the body and the attributes' names, types and values.
    pub(crate) fn bytes(&self) -> usize {
        let attribute = |(name, value): (&String, &AttributeValue)| {
            name.len() + value.data_type.len() + value.bytes().map_or(0, |bytes| bytes.len())
        };
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }

    /// Whether SQS takes it, leaving its size aside.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.body.is_empty() {
            return Err(missing_parameter("MessageBody"));
        }
        if !self.body.chars().all(is_allowed) {
            return Err(invalid_contents());
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(invalid_parameter(
                "MessageAttributes",
                "a message has at most 10 attributes",
            ));
        }
        for (name, value) in self.attributes.iter().chain(&self.system_attributes) {
            check_attribute(name, value)?;
        }
        if self.system_attributes.keys().any(|name| name != "AWSTraceHeader") {
            return Err(invalid_parameter(
                "MessageSystemAttributes",
                "only AWSTraceHeader can be sent",
            ));
        }
        Ok(())
    }

    /// The X-Ray header that came with it.
    pub(crate) fn trace_header(&self) -> Option<&str> {
        self.system_attributes
            .get("AWSTraceHeader")?
            .string_value
            .as_deref()
    }
}

/// XML's characters: <https://www.w3.org/TR/REC-xml/#charsets>.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn check_attribute(name: &str, value: &AttributeValue) -> Result<(), ApiError> {
    let invalid = |reason| Err(invalid_parameter("MessageAttributes", reason));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(allowed) {
        return invalid("a name has 1 to 256 letters, digits, underscores, hyphens and periods");
    }
    let kind = value.data_type.split('.').next().unwrap_or_default();
    let given = (value.string_value.as_deref(), value.binary_value.as_deref());
    match (kind, given) {
        ("String" | "Number", (Some(text), None)) if !text.is_empty() && text.chars().all(is_allowed) => {
            Ok(())
        }
        ("Binary", (None, Some(_))) if value.bytes().is_some_and(|bytes| !bytes.is_empty()) => Ok(()),
        _ => invalid("an attribute has the type String, Number or Binary and a value of that type"),
    }
}

impl AttributeValue {
    fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (None, Some(base64)) => BASE64_STANDARD.decode(base64).ok(),
            (None, None) => None,
        }
    }
}

/// Lower-case hexadecimal MD5 of a body.
pub(crate) fn md5_of_body(body: &str) -> String {
    hexadecimal(&Md5::digest(body.as_bytes()))
}

/// Lower-case hexadecimal MD5 of attributes; None when there are none.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation>
pub(crate) fn md5_of_attributes(attributes: &MessageAttributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, value) in attributes {
        let transport_type = if value.string_value.is_some() { 1 } else { 2 };
        add_with_length(&mut digest, name.as_bytes());
        add_with_length(&mut digest, value.data_type.as_bytes());
        digest.update([transport_type]);
        add_with_length(&mut digest, &value.bytes().unwrap_or_default());
    }
    Some(hexadecimal(&digest.finalize()))
}

fn add_with_length(digest: &mut Md5, bytes: &[u8]) {
    digest.update((bytes.len() as u32).to_be_bytes());
    digest.update(bytes);
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> AttributeValue {
        AttributeValue {
            data_type: "String".to_owned(),
            string_value: Some(value.to_owned()),
            binary_value: None,
        }
    }

    #[test]
    fn the_digest_of_a_body_is_its_md5() {
        assert_eq!(md5_of_body("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }

    /// Each part is preceded by its length, the value by the transport type as well.
    #[test]
    fn the_digest_of_attributes_covers_length_name_type_and_value() {
        let attributes = MessageAttributes::from([("n".to_owned(), text("v"))]);
        let bytes = b"\0\0\0\x01n\0\0\0\x06String\x01\0\0\0\x01v";
        let expected = hexadecimal(&Md5::digest(bytes));
        assert_eq!(md5_of_attributes(&attributes), Some(expected));
        assert_eq!(md5_of_attributes(&MessageAttributes::new()), None);
    }

    #[test]
    fn contents_are_checked() {
        let with = |name: &str, value: AttributeValue| Content {
            attributes: MessageAttributes::from([(name.to_owned(), value)]),
            ..Content::of_body("b".to_owned())
        };
        let binary = |base64: &str| AttributeValue {
            data_type: "Binary.png".to_owned(),
            string_value: None,
            binary_value: Some(base64.to_owned()),
        };
        for good in [
            Content::of_body("a\u{10FFFF}\t".to_owned()),
            with("a.b-c_1", text("v")),
            with("n", binary("AAA=")),
        ] {
            good.check().expect("SQS takes it");
        }
        assert_eq!(with("n", binary("AAA=")).bytes(), 1 + 1 + 10 + 2);
        for (bad, code) in [
            (Content::of_body(String::new()), "MissingParameter"),
            (Content::of_body("\u{1}".to_owned()), "InvalidMessageContents"),
            (Content::of_body("\u{FFFF}".to_owned()), "InvalidMessageContents"),
            (with("a b", text("v")), "InvalidParameterValue"),
            (with("n", text("")), "InvalidParameterValue"),
            (with("n", binary("?")), "InvalidParameterValue"),
        ] {
            assert_eq!(bad.check().expect_err("refused").code, code, "{bad:?}");
        }
    }
}
