//! Checksums: what a client sent, what was received, what is stored.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{Checksum as ChecksumFields, ChecksumAlgorithm, ChecksumType};
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use serde::{Deserialize, Serialize};

use super::error::bad_request;

/// The five algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    /// What S3 computes for an object that came without a checksum.
    pub(super) const DEFAULT: Self = Self::Crc64Nvme;

    pub(super) fn parse(name: &ChecksumAlgorithm) -> S3Result<Self> {
        Ok(match name.as_str() {
            "CRC32" => Self::Crc32,
            "CRC32C" => Self::Crc32c,
            "CRC64NVME" => Self::Crc64Nvme,
            "SHA1" => Self::Sha1,
            "SHA256" => Self::Sha256,
            other => {
                return Err(s3_error!(
                    InvalidRequest,
                    "The checksum algorithm {other} is not supported."
                ));
            }
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The type that a multipart upload has unless its client chooses.
    pub(super) fn default_kind(self) -> Kind {
        if self == Self::Crc64Nvme {
            Kind::FullObject
        } else {
            Kind::Composite
        }
    }

    /// Whether a multipart object can have this type of checksum.
    pub(super) fn supports(self, kind: Kind) -> bool {
        match self {
            Self::Crc64Nvme => kind == Kind::FullObject,
            Self::Crc32 | Self::Crc32c => true,
            Self::Sha1 | Self::Sha256 => kind == Kind::Composite,
        }
    }

    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Self::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Self::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Self::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
        hasher
    }

    fn value_of(self, fields: ChecksumFields) -> String {
        match self {
            Self::Crc32 => fields.checksum_crc32,
            Self::Crc32c => fields.checksum_crc32c,
            Self::Crc64Nvme => fields.checksum_crc64nvme,
            Self::Sha1 => fields.checksum_sha1,
            Self::Sha256 => fields.checksum_sha256,
        }
        .unwrap_or_default()
    }
}

/// Over all bytes, or over the checksums of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    FullObject,
    Composite,
}

impl Kind {
    pub(super) fn parse(name: &ChecksumType) -> S3Result<Self> {
        match name.as_str() {
            ChecksumType::FULL_OBJECT => Ok(Self::FullObject),
            ChecksumType::COMPOSITE => Ok(Self::Composite),
            other => Err(s3_error!(
                InvalidRequest,
                "The checksum type {other} is not supported."
            )),
        }
    }

    pub(super) fn dto(self) -> ChecksumType {
        ChecksumType::from_static(match self {
            Self::FullObject => ChecksumType::FULL_OBJECT,
            Self::Composite => ChecksumType::COMPOSITE,
        })
    }
}

/// A checksum as S3 states it: base64, with `-<parts>` behind a composite one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Kind,
    pub(super) value: String,
}

impl Checksum {
    /// Spread over the five fields that answers have for it.
    pub(super) fn fields(&self) -> ChecksumFields {
        let mut fields = ChecksumFields {
            checksum_type: Some(self.kind.dto()),
            ..ChecksumFields::default()
        };
        let value = Some(self.value.clone());
        match self.algorithm {
            Algorithm::Crc32 => fields.checksum_crc32 = value,
            Algorithm::Crc32c => fields.checksum_crc32c = value,
            Algorithm::Crc64Nvme => fields.checksum_crc64nvme = value,
            Algorithm::Sha1 => fields.checksum_sha1 = value,
            Algorithm::Sha256 => fields.checksum_sha256 = value,
        }
        fields
    }

    /// The checksum of an object from those of its parts, each with its part's length in bytes.
    pub(super) fn of_parts(algorithm: Algorithm, kind: Kind, parts: &[(&Self, u64)]) -> S3Result<Self> {
        let decoded: Option<Vec<Vec<u8>>> = parts
            .iter()
            .map(|(part, _)| {
                (part.algorithm == algorithm)
                    .then(|| BASE64.decode(&part.value).ok())
                    .flatten()
            })
            .collect();
        let decoded = decoded.ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "A part was not uploaded with the {} checksum of its upload.",
                algorithm.name()
            )
        })?;
        let value = match (kind, algorithm.crc()) {
            (Kind::FullObject, Some(crc)) => {
                let lengths = parts.iter().map(|(_, length)| *length);
                let combined = decoded
                    .iter()
                    .map(|digest| {
                        digest
                            .iter()
                            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
                    })
                    .zip(lengths)
                    .reduce(|(all, all_length), (next, length)| {
                        (
                            crc_fast::checksum_combine(crc, all, next, length),
                            all_length + length,
                        )
                    })
                    .map_or(0, |(all, _)| all);
                BASE64.encode(&combined.to_be_bytes()[8 - algorithm.digest_bytes()..])
            }
            _ => {
                let mut hasher = algorithm.hasher();
                decoded.iter().for_each(|digest| hasher.update(digest));
                format!("{}-{}", algorithm.value_of(hasher.finalize()), parts.len())
            }
        };
        Ok(Self {
            algorithm,
            kind,
            value,
        })
    }
}

/// The checksum values of a request, an answer's or a part's five fields.
macro_rules! sent_checksums {
    ($input:expr) => {
        [
            (Algorithm::Crc32, $input.checksum_crc32.clone()),
            (Algorithm::Crc32c, $input.checksum_crc32c.clone()),
            (Algorithm::Crc64Nvme, $input.checksum_crc64nvme.clone()),
            (Algorithm::Sha1, $input.checksum_sha1.clone()),
            (Algorithm::Sha256, $input.checksum_sha256.clone()),
        ]
    };
}
pub(super) use sent_checksums;

/// The one checksum among five fields, if any.
///
/// # Errors
/// More than one, or one that is not the base64 of a digest.
pub(super) fn single(sent: [(Algorithm, Option<String>); 5]) -> S3Result<Option<(Algorithm, String)>> {
    let mut values = sent
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)));
    let first = values.next();
    if values.next().is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "Expecting a single x-amz-checksum- header."
        ));
    }
    Ok(first)
}

fn check_form(algorithm: Algorithm, value: &str) -> S3Result<()> {
    match BASE64.decode(value) {
        Ok(digest) if digest.len() == algorithm.digest_bytes() => Ok(()),
        _ => Err(s3_error!(
            InvalidRequest,
            "Value for {} header is invalid.",
            algorithm.header()
        )),
    }
}

/// What the client says about the bytes that it sends.
pub(super) struct Expected {
    algorithm: Algorithm,
    value: Option<String>,
    trailers: Option<TrailingHeaders>,
    md5: Option<String>,
}

impl Expected {
    /// Nothing: `algorithm` is computed and stored.
    pub(super) fn nothing(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            value: None,
            trailers: None,
            md5: None,
        }
    }

    /// From a request's headers. `trailers` carry the value of a body that was streamed.
    pub(super) fn of(
        sent: [(Algorithm, Option<String>); 5],
        declared: Option<&ChecksumAlgorithm>,
        trailers: Option<TrailingHeaders>,
        content_md5: Option<&str>,
        default: Algorithm,
    ) -> S3Result<Self> {
        let md5 = content_md5.map(str::to_owned);
        if let Some(md5) = &md5
            && BASE64.decode(md5).map(|digest| digest.len()) != Ok(16)
        {
            return Err(s3_error!(
                InvalidDigest,
                "The Content-MD5 you specified is not valid."
            ));
        }
        if let Some((algorithm, value)) = single(sent)? {
            check_form(algorithm, &value)?;
            return Ok(Self {
                algorithm,
                value: Some(value),
                trailers: None,
                md5,
            });
        }
        let Some(declared) = declared else {
            return Ok(Self {
                algorithm: default,
                value: None,
                trailers: None,
                md5,
            });
        };
        if trailers.is_none() {
            return Err(s3_error!(
                InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                 headers were found."
            ));
        }
        Ok(Self {
            algorithm: Algorithm::parse(declared)?,
            value: None,
            trailers,
            md5,
        })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Computes over a body as it arrives, then compares.
pub(super) struct Verifier {
    expected: Expected,
    md5: Md5,
    checksum: ChecksumHasher,
}

/// What a body turned out to be.
pub(super) struct Digests {
    pub(super) md5: [u8; 16],
    pub(super) checksum: Checksum,
}

impl Verifier {
    pub(super) fn new(expected: Expected) -> Self {
        let checksum = expected.algorithm.hasher();
        Self {
            expected,
            md5: Md5::new(),
            checksum,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksum.update(bytes);
    }

    /// # Errors
    /// `BadDigest` when the bytes are not those that the client meant to send.
    pub(super) fn finish(self) -> S3Result<Digests> {
        let Expected {
            algorithm,
            value,
            trailers,
            md5: expected_md5,
        } = self.expected;
        let md5: [u8; 16] = self.md5.finalize().into();
        if expected_md5.is_some_and(|expected| expected != BASE64.encode(md5)) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        let computed = algorithm.value_of(self.checksum.finalize());
        let expected = match trailers {
            Some(trailers) => Some(trailing_value(&trailers, algorithm)?),
            None => value,
        };
        if expected.is_some_and(|expected| expected != computed) {
            let name = algorithm.name();
            return Err(s3_error!(
                BadDigest,
                "The {name} you specified did not match the calculated checksum."
            ));
        }
        Ok(Digests {
            md5,
            checksum: Checksum {
                algorithm,
                kind: Kind::FullObject,
                value: computed,
            },
        })
    }
}

fn trailing_value(trailers: &TrailingHeaders, algorithm: Algorithm) -> S3Result<String> {
    let name = algorithm.header();
    let value = trailers.read(|headers| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    });
    let value = value.flatten().ok_or_else(|| malformed_trailer(name))?;
    check_form(algorithm, &value)?;
    Ok(value)
}

fn malformed_trailer(name: &str) -> S3Error {
    bad_request(
        "MalformedTrailerError",
        format!("The request announced the trailer {name} and did not send it."),
    )
}

/// The ETag of a multipart object, without quotes: MD5 of the parts' MD5s, and their number.
pub(super) fn multipart_etag(parts: &[[u8; 16]]) -> String {
    let digest = parts
        .iter()
        .fold(Md5::new(), |md5, part| md5.chain_update(part))
        .finalize();
    format!("{}-{}", hex(&digest), parts.len())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(algorithm: Algorithm, bytes: &[u8]) -> Digests {
        let mut verifier = Verifier::new(Expected::nothing(algorithm));
        verifier.update(bytes);
        verifier.finish().expect("nothing was expected")
    }

    /// The check values of the catalogue of CRC algorithms, for "123456789".
    #[test]
    fn checksums_are_the_published_ones() {
        for (algorithm, expected) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (
                Algorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ] {
            let value = digests(algorithm, b"123456789").checksum.value;
            assert_eq!(
                hex(&BASE64.decode(value).expect("base64")),
                expected,
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn a_full_object_checksum_of_parts_is_that_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [
                digests(algorithm, b"12345").checksum,
                digests(algorithm, b"6789").checksum,
            ];
            let parts = [(&parts[0], 5), (&parts[1], 4)];
            let combined = Checksum::of_parts(algorithm, Kind::FullObject, &parts).expect("combined");
            assert_eq!(
                combined.value,
                digests(algorithm, b"123456789").checksum.value,
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn a_composite_checksum_is_over_the_digests_and_counts_them() {
        let parts = [
            digests(Algorithm::Sha256, b"a").checksum,
            digests(Algorithm::Sha256, b"b").checksum,
        ];
        let concatenated: Vec<u8> = parts
            .iter()
            .flat_map(|part| BASE64.decode(&part.value).expect("base64"))
            .collect();
        let parts = [(&parts[0], 1), (&parts[1], 1)];
        let composite = Checksum::of_parts(Algorithm::Sha256, Kind::Composite, &parts).expect("composed");
        let expected = digests(Algorithm::Sha256, &concatenated).checksum.value;
        assert_eq!(composite.value, format!("{expected}-2"));
    }

    #[test]
    fn a_part_with_another_checksum_is_refused() {
        let part = digests(Algorithm::Crc32, b"a").checksum;
        assert!(Checksum::of_parts(Algorithm::Sha256, Kind::Composite, &[(&part, 1)]).is_err());
    }

    #[test]
    fn what_does_not_match_is_a_bad_digest() {
        for (sent, md5, code) in [
            (Some("AAAAAA=="), None, "BadDigest"),
            (Some("AAA="), None, "InvalidRequest"),
            (None, Some("1B2M2Y8AsgTpgAmY7PhCfg=="), "BadDigest"),
            (None, Some("x"), "InvalidDigest"),
        ] {
            let mut values = sent_checksums!(ChecksumFields::default());
            values[0].1 = sent.map(str::to_owned);
            let verified = Expected::of(values, None, None, md5, Algorithm::DEFAULT).and_then(|expected| {
                let mut verifier = Verifier::new(expected);
                verifier.update(b"not empty");
                verifier.finish()
            });
            let error = verified.err().expect("refused");
            assert_eq!(error.code().as_str(), code);
        }
    }
}
