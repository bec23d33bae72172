//! Whose cloud it is: account, region, partition, and the one credential that is accepted.

use sha2::{Digest, Sha256};

/// One AWS account in one region, with the only access key that it accepts.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Twelve decimal digits.
    pub id: String,
    /// For example `cn-north-1`.
    pub region: String,
    /// `aws`, `aws-cn` or `aws-us-gov`, derived from the region.
    pub partition: &'static str,
    /// The access key id that requests must be signed with.
    pub access_key_id: String,
    /// The secret that belongs to it.
    pub secret_access_key: String,
}

impl Account {
    /// The development account of a region.
    ///
    /// Account id and access key are fixed and differ from region to region, so that a client
    /// configured for one side is refused by the other instead of silently writing to it. They are
    /// no secrets: they open nothing but an emulated cloud.
    pub fn development(region: &str) -> Self {
        let digest = Sha256::digest(region.as_bytes());
        let number = digest
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let name: String = region.chars().filter(char::is_ascii_alphanumeric).collect();
        Self {
            id: format!("{:012}", number % 1_000_000_000_000),
            region: region.to_owned(),
            partition: partition_of(region),
            access_key_id: format!("LOCALDEVELOPMENT{}", name.to_ascii_uppercase()),
            secret_access_key: format!("development-only-{region}"),
        }
    }

    /// The same account with a credential of the caller's choice.
    pub fn with_credentials(
        mut self,
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
    ) -> Self {
        self.access_key_id = access_key_id.into();
        self.secret_access_key = secret_access_key.into();
        self
    }

    /// The ARN of a resource of this account. Bucket names are global, so S3's ARNs carry neither
    /// region nor account.
    ///
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
    pub fn arn(&self, service: &str, resource: &str) -> String {
        let partition = self.partition;
        if service == "s3" {
            return format!("arn:{partition}:s3:::{resource}");
        }
        format!("arn:{partition}:{service}:{}:{}:{resource}", self.region, self.id)
    }
}

/// The secret stays out of logs and assertion messages.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

fn partition_of(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_carry_the_partition_of_the_region() {
        for (region, partition) in [
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("eu-west-1", "aws"),
        ] {
            let account = Account::development(region);
            let id = &account.id;
            assert_eq!(
                account.arn("sqs", "queue"),
                format!("arn:{partition}:sqs:{region}:{id}:queue")
            );
            assert_eq!(
                account.arn("s3", "bucket/key"),
                format!("arn:{partition}:s3:::bucket/key")
            );
        }
    }

    #[test]
    fn every_region_has_its_own_account_and_access_key() {
        let regions = [
            "cn-north-1",
            "cn-northwest-1",
            "eu-west-1",
            "eu-central-1",
            "us-east-1",
        ];
        let accounts: Vec<_> = regions.into_iter().map(Account::development).collect();
        for (index, one) in accounts.iter().enumerate() {
            assert_eq!(one.id.len(), 12, "{one:?}");
            assert!(one.id.bytes().all(|byte| byte.is_ascii_digit()), "{one:?}");
            for other in &accounts[index + 1..] {
                assert_ne!(one.id, other.id);
                assert_ne!(one.access_key_id, other.access_key_id);
            }
        }
    }

    #[test]
    fn debug_output_hides_the_secret() {
        let account = Account::development("eu-west-1");
        assert!(!format!("{account:?}").contains(&account.secret_access_key));
    }
}
