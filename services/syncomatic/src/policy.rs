//! Which objects may travel, and where to: what no route declares is denied.
//!
//! A verbatim copy may stay inside its partition or leave `aws-cn` for `aws`. No other direction can
//! be expressed: [`Routes::new`] is the only way to a route table, and it refuses them. A redacted copy
//! may take any direction: what is in it is what the schemas call harmless. The decision is made per
//! key, by the longest source prefix that matches.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::redact::hex;

/// The longest key S3 takes, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub const KEY_BYTES_MAX: usize = 1024;

/// An AWS partition: regions that share accounts and credentials, and nothing with other partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// The commercial regions, `aws`.
    Aws,
    /// The regions in China, `aws-cn`.
    AwsCn,
    /// AWS GovCloud (US), `aws-us-gov`.
    AwsUsGov,
    /// The European Sovereign Cloud, `aws-eusc`.
    AwsEusc,
}

/// The name is not a region of a partition that this program knows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region of aws, aws-cn, aws-us-gov or aws-eusc")]
pub struct UnknownRegion(pub String);

impl Partition {
    /// The partition that a region belongs to, by the patterns that the SDKs share
    /// (<https://github.com/boto/botocore/blob/develop/botocore/data/partitions.json>).
    pub fn of_region(region: &str) -> Result<Self, UnknownRegion> {
        let parts: Vec<&str> = region.split('-').collect();
        let unknown = || UnknownRegion(region.to_owned());
        let (number, names) = parts.split_last().ok_or_else(unknown)?;
        let word = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) || !names.iter().all(word) {
            return Err(unknown());
        }
        match names {
            ["cn", _] => Ok(Self::AwsCn),
            ["us", "gov", _] => Ok(Self::AwsUsGov),
            ["eusc", "de", _] => Ok(Self::AwsEusc),
            ["af" | "ap" | "ca" | "eu" | "il" | "me" | "mx" | "sa" | "us", _] => Ok(Self::Aws),
            _ => Err(unknown()),
        }
    }

    /// The name as it stands in ARNs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsEusc => "aws-eusc",
        }
    }
}

impl Display for Partition {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One route as written: `SOURCE-PREFIX=>DESTINATION-PREFIX:verbatim`, the same with `redacted`, or
/// `SOURCE-PREFIX:denied`. Prefixes may be empty and may contain colons, the source prefix may not
/// contain `=>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Objects whose keys begin with this take the route.
    pub source_prefix: String,
    /// What happens to them.
    pub action: Action,
}

/// What a route does with its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The same bytes, under the key whose source prefix is replaced by this one.
    Verbatim {
        /// Replaces the source prefix.
        destination_prefix: String,
    },
    /// What the schemas let pass of its lines, under the key whose source prefix is replaced by this one.
    Redacted {
        /// Replaces the source prefix.
        destination_prefix: String,
    },
    /// The objects stay where they are, and that is as it should be: their notifications are
    /// acknowledged.
    Denied,
}

impl Action {
    /// How and where to objects are copied, if they are.
    pub(crate) fn copies(&self) -> Option<(Treatment, &str)> {
        match self {
            Self::Verbatim { destination_prefix } => Some((Treatment::Verbatim, destination_prefix)),
            Self::Redacted { destination_prefix } => Some((Treatment::Redacted, destination_prefix)),
            Self::Denied => None,
        }
    }
}

/// What happens to an object's bytes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Nothing.
    Verbatim,
    /// Only what the schemas let pass goes on.
    Redacted,
}

impl Treatment {
    /// As routes and ledgers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verbatim => "verbatim",
            Self::Redacted => "redacted",
        }
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self {
            source_prefix,
            action,
        } = self;
        match action.copies() {
            Some((treatment, prefix)) => write!(f, "{source_prefix}=>{prefix}:{}", treatment.as_str()),
            None => write!(f, "{source_prefix}:denied"),
        }
    }
}

/// Why a route, or a table of them, is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoute {
    /// The text is not a route.
    #[error(
        "`{0}` is not a route: write SOURCE-PREFIX=>DESTINATION-PREFIX:verbatim, \
         SOURCE-PREFIX=>DESTINATION-PREFIX:redacted or SOURCE-PREFIX:denied"
    )]
    Syntax(String),
    /// A verbatim route in a direction that none may take.
    #[error(
        "objects may not be copied verbatim from {from} to {to}: only inside one partition or from aws-cn to aws, \
         because what is copied verbatim can carry personal data out of the law that protects it; a redacted \
         route may go there"
    )]
    ForbiddenDirection {
        /// Partition of the source.
        from: Partition,
        /// Partition of the destination.
        to: Partition,
    },
    /// Two routes for one prefix.
    #[error("the source prefix `{0}` has two routes")]
    Duplicate(String),
    /// Two source keys could be written to one destination key.
    #[error("the routes of `{0}` and `{1}` can write the same destination key")]
    Collision(String, String),
    /// Objects that this program writes to the source bucket would travel.
    #[error("the source prefix `{0}` lies in `{1}`, where this program keeps what must not travel")]
    Reserved(String, String),
    /// A table without routes denies everything.
    #[error("no route is declared")]
    Empty,
}

impl FromStr for Route {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let syntax = || InvalidRoute::Syntax(text.to_owned());
        let (prefixes, action) = text.rsplit_once(':').ok_or_else(syntax)?;
        let (source_prefix, action) = match (prefixes.split_once("=>"), action) {
            (Some((source, destination)), "verbatim") => {
                let destination_prefix = destination.to_owned();
                (source, Action::Verbatim { destination_prefix })
            }
            (Some((source, destination)), "redacted") => {
                let destination_prefix = destination.to_owned();
                (source, Action::Redacted { destination_prefix })
            }
            (None, "denied") => (prefixes, Action::Denied),
            _ => return Err(syntax()),
        };
        Ok(Self {
            source_prefix: source_prefix.to_owned(),
            action,
        })
    }
}

/// The route table. It holds no verbatim route in a forbidden direction, by construction.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Longest source prefix first.
    routes: Vec<Route>,
    from: Partition,
    to: Partition,
    /// Prefixes of the source bucket that nothing leaves.
    reserved: Vec<String>,
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Copied to this key of the destination bucket.
    Copy {
        /// The key to write.
        destination_key: String,
        /// What happens on the way.
        treatment: Treatment,
    },
    /// Not copied.
    Denied(Denial),
}

/// Why an object is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A route says so: nothing is wrong.
    Declared,
    /// No route matches.
    Undeclared,
    /// The notification is of a bucket other than the configured source.
    ForeignBucket,
    /// The route maps the key to nothing, to more than S3's 1,024 bytes, or into the journal.
    UnusableKey,
    /// This program wrote the object itself: nothing is wrong.
    Own,
    /// The route redacts, and the key looks as if it held personal data.
    PersonalKey,
}

impl Denial {
    /// Every denial.
    pub const ALL: [Self; 6] = [
        Self::Declared,
        Self::Undeclared,
        Self::ForeignBucket,
        Self::UnusableKey,
        Self::Own,
        Self::PersonalKey,
    ];

    /// A metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "denied_by_route",
            Self::Undeclared => "denied_no_route",
            Self::ForeignBucket => "denied_foreign_bucket",
            Self::UnusableKey => "denied_unusable_key",
            Self::Own => "denied_own_object",
            Self::PersonalKey => "denied_personal_key",
        }
    }
}

impl Routes {
    /// Checks the routes against the two partitions and against each other.
    pub fn new(mut routes: Vec<Route>, from: Partition, to: Partition) -> Result<Self, InvalidRoute> {
        if routes.is_empty() {
            return Err(InvalidRoute::Empty);
        }
        let verbatim = |route: &Route| matches!(route.action, Action::Verbatim { .. });
        if routes.iter().any(verbatim) && !may_travel_verbatim(from, to) {
            return Err(InvalidRoute::ForbiddenDirection { from, to });
        }
        for (index, route) in routes.iter().enumerate() {
            for other in &routes[..index] {
                if route.source_prefix == other.source_prefix {
                    return Err(InvalidRoute::Duplicate(route.source_prefix.clone()));
                }
                if collide(route, other) || collide(other, route) {
                    let (one, two) = (other.source_prefix.clone(), route.source_prefix.clone());
                    return Err(InvalidRoute::Collision(one, two));
                }
            }
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.source_prefix.len()));
        Ok(Self {
            routes,
            from,
            to,
            reserved: Vec::new(),
        })
    }

    /// The table with a prefix of the source bucket that nothing leaves, whatever a shorter route says.
    ///
    /// # Errors
    /// A route copies from below it.
    pub fn reserve(mut self, prefix: &str) -> Result<Self, InvalidRoute> {
        let inside =
            |route: &&Route| route.source_prefix.starts_with(prefix) && route.action != Action::Denied;
        if let Some(route) = self.routes.iter().find(inside) {
            return Err(InvalidRoute::Reserved(
                route.source_prefix.clone(),
                prefix.to_owned(),
            ));
        }
        self.reserved.push(prefix.to_owned());
        Ok(self)
    }

    /// Whether any route redacts.
    pub fn redact(&self) -> bool {
        let redacts = |route: &Route| matches!(route.action, Action::Redacted { .. });
        self.routes.iter().any(redacts)
    }

    /// 16 hexadecimal digits that stand for the whole policy: both partitions, every route, and how
    /// redaction is set up.
    pub fn digest(&self, redaction: &str) -> String {
        let mut routes: Vec<String> = self.routes.iter().map(ToString::to_string).collect();
        routes.sort();
        let Self { from, to, .. } = self;
        let text = format!("1\n{from} {to}\n{}\n{redaction}", routes.join("\n"));
        hex(&Sha256::digest(text)[..8])
    }

    /// The routes that copy, by source prefix.
    pub(crate) fn copying(&self) -> Vec<&Route> {
        let copies = |route: &&Route| route.action.copies().is_some();
        let mut copying: Vec<&Route> = self.routes.iter().filter(copies).collect();
        copying.sort_by(|one, two| one.source_prefix.cmp(&two.source_prefix));
        copying
    }

    /// The route that decides about a key, and the rest of the key behind its source prefix.
    pub fn find<'a>(&self, key: &'a str) -> Option<(&Route, &'a str)> {
        self.routes.iter().find_map(|route| {
            let rest = key.strip_prefix(route.source_prefix.as_str())?;
            Some((route, rest))
        })
    }

    /// Where the object goes.
    pub fn decide(&self, key: &str) -> Decision {
        if self
            .reserved
            .iter()
            .any(|prefix| key.starts_with(prefix.as_str()))
        {
            return Decision::Denied(Denial::Own);
        }
        let Some((route, rest)) = self.find(key) else {
            return Decision::Denied(Denial::Undeclared);
        };
        let Some((treatment, prefix)) = route.action.copies() else {
            return Decision::Denied(Denial::Declared);
        };
        let destination_key = format!("{prefix}{rest}");
        if destination_key.is_empty() || destination_key.len() > KEY_BYTES_MAX {
            return Decision::Denied(Denial::UnusableKey);
        }
        Decision::Copy {
            destination_key,
            treatment,
        }
    }
}

/// The directions a verbatim copy may take; every other is refused.
fn may_travel_verbatim(from: Partition, to: Partition) -> bool {
    from == to || (from, to) == (Partition::AwsCn, Partition::Aws)
}

/// Whether a key of `outer` and another key of `inner` can have the same destination, `inner`'s
/// destination prefix being at or below `outer`'s.
fn collide(outer: &Route, inner: &Route) -> bool {
    let (Some((_, above)), Some((_, below))) = (outer.action.copies(), inner.action.copies()) else {
        return false;
    };
    // `inner` writes where `outer` would write the source prefix extended by `extension`: the same
    // object only if that is `inner`'s own source prefix.
    below.strip_prefix(above).is_some_and(|extension| {
        inner.source_prefix.strip_prefix(outer.source_prefix.as_str()) != Some(extension)
    })
}

#[cfg(test)]
mod tests;
