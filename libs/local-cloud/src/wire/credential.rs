//! The credential scope of a signed request: who signs, for which region and service.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use http::header::AUTHORIZATION;
use http::request::Parts;

/// `<access key id>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CredentialScope {
    pub(crate) access_key_id: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl CredentialScope {
    /// From the `Authorization` header, else from a presigned URL's query.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        match header {
            Some(header) => Self::from_header(header),
            None => parts.uri.query().and_then(Self::from_query),
        }
    }

    fn from_header(header: &str) -> Option<Self> {
        let parameters = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let scope = parameters
            .split(',')
            .find_map(|parameter| parameter.trim().strip_prefix("Credential="))?;
        Self::parse(scope, "/")
    }

    fn from_query(query: &str) -> Option<Self> {
        let scope = query
            .split('&')
            .find_map(|parameter| parameter.strip_prefix("X-Amz-Credential="))?;
        if scope.contains('/') {
            Self::parse(scope, "/")
        } else {
            Self::parse(scope, "%2F")
        }
    }

    fn parse(scope: &str, separator: &str) -> Option<Self> {
        let parts: Vec<_> = scope.split(separator).collect();
        let [access_key_id, _date, region, service, "aws4_request"] = parts[..] else {
            return None;
        };
        Some(Self {
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Option<CredentialScope> {
        Some(CredentialScope {
            access_key_id: "KEY".to_owned(),
            region: "cn-north-1".to_owned(),
            service: "s3".to_owned(),
        })
    }

    fn of(request: http::request::Builder) -> Option<CredentialScope> {
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        CredentialScope::of(&parts)
    }

    #[test]
    fn header_and_presigned_query_are_understood() {
        let header = "AWS4-HMAC-SHA256 Credential=KEY/20260101/cn-north-1/s3/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(
            of(http::Request::get("/").header(AUTHORIZATION, header)),
            expected()
        );
        let query = "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=KEY%2F20260101%2Fcn-north-1%2Fs3%2Faws4_request";
        assert_eq!(of(http::Request::get(query)), expected());
    }

    #[test]
    fn anything_else_is_no_credential() {
        assert_eq!(of(http::Request::get("/")), None);
        assert_eq!(
            of(http::Request::get("/").header(AUTHORIZATION, "Basic a2V5")),
            None
        );
        let short = "AWS4-HMAC-SHA256 Credential=KEY/20260101/s3/aws4_request";
        assert_eq!(of(http::Request::get("/").header(AUTHORIZATION, short)), None);
    }
}
