//! Which objects of either side a route answers for.
//!
//! At the source, those whose keys the route decides about, which is not what a longer route, a denied one
//! for instance, decides about. At the destination, those below its destination prefix and below no longer
//! one of another route, without what this program keeps there for itself. So an object that lies where the
//! route writes, and that it would not have written, is found: also where its source prefix is denied.

use super::listing::Listed;
use crate::copy::RedactedRoutes;
use crate::decide::decide;
use crate::policy::{Decision, Denial, Routes, Treatment};

/// What one route answers for.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The route as it is written.
    pub(super) label: String,
    pub(super) source_prefix: String,
    pub(super) destination_prefix: String,
    pub(super) treatment: Treatment,
    routes: Routes,
    redacted: Option<RedactedRoutes>,
    journal_prefix: String,
    /// Destination prefixes of other routes, below this one's.
    others: Vec<String>,
    /// Prefixes of the destination bucket that are this program's own.
    own: Vec<String>,
}

impl Scope {
    /// One for each route that copies, in the order of their source prefixes. `own` are prefixes of the
    /// destination bucket that hold no copies.
    pub(super) fn of(
        routes: &Routes,
        redacted: Option<&RedactedRoutes>,
        journal_prefix: &str,
        own: &[String],
    ) -> Vec<Self> {
        let copying = routes.copying();
        let copying: Vec<_> = copying
            .iter()
            .filter_map(|route| Some((*route, route.action.copies()?)))
            .collect();
        let scope = |(route, (treatment, prefix)): &(&crate::policy::Route, (Treatment, &str))| Self {
            label: route.to_string(),
            source_prefix: route.source_prefix.clone(),
            destination_prefix: (*prefix).to_owned(),
            treatment: *treatment,
            routes: routes.clone(),
            redacted: redacted.cloned(),
            journal_prefix: journal_prefix.to_owned(),
            others: copying
                .iter()
                .map(|(_, (_, other))| *other)
                .filter(|other| other.len() > prefix.len() && other.starts_with(prefix))
                .map(str::to_owned)
                .collect(),
            own: own.iter().cloned().chain([journal_prefix.to_owned()]).collect(),
        };
        copying.iter().map(scope).collect()
    }

    /// Of the source's objects below the prefix those that the route decides about.
    pub(super) fn select_source(&self, mut object: Listed) -> Option<Listed> {
        let (route, _) = self.routes.find(&object.key)?;
        if route.source_prefix != self.source_prefix {
            return None;
        }
        let redacted = self.redacted.as_ref();
        match decide(&self.routes, redacted, &self.journal_prefix, &object.key) {
            Decision::Denied(Denial::Own) => return None,
            Decision::Denied(denial) => object.denial = Some(denial),
            // Nothing says what may pass.
            Decision::Copy {
                treatment: Treatment::Redacted,
                ..
            } if redacted.is_none() => object.denial = Some(Denial::Undeclared),
            Decision::Copy { .. } => {}
        }
        Some(object)
    }

    /// Whether the object of a source key may take this route. What is only found at the destination, a denied
    /// object's copy for one, must not be copied because it is there.
    pub(super) fn travels(&self, source_key: &str) -> bool {
        let is_ours = |source_prefix: &String| *source_prefix == self.source_prefix;
        let ours = self
            .routes
            .find(source_key)
            .is_some_and(|(route, _)| is_ours(&route.source_prefix));
        let redacted = self.redacted.as_ref();
        let decision = decide(&self.routes, redacted, &self.journal_prefix, source_key);
        match decision {
            Decision::Copy { treatment, .. } => {
                ours && (treatment == Treatment::Verbatim || redacted.is_some())
            }
            Decision::Denied(_) => false,
        }
    }

    /// Of the destination's objects below the prefix those that only this route can have written.
    pub(super) fn select_destination(&self, object: Listed) -> Option<Listed> {
        let below = |prefix: &String| object.key.starts_with(prefix.as_str());
        let is_anothers = self.others.iter().any(below) || self.own.iter().any(below);
        (!is_anothers).then_some(object)
    }

    /// How its objects are redacted, if they are.
    pub(super) fn redacted(&self) -> Option<&RedactedRoutes> {
        match self.treatment {
            Treatment::Verbatim => None,
            Treatment::Redacted => self.redacted.as_ref(),
        }
    }

    /// What stands behind the prefix of a source key.
    pub(super) fn name<'k>(&self, source_key: &'k str) -> &'k str {
        &source_key[self.source_prefix.len()..]
    }

    pub(super) fn source_key(&self, name: &str) -> String {
        format!("{}{name}", self.source_prefix)
    }

    pub(super) fn destination_key(&self, name: &str) -> String {
        format!("{}{name}", self.destination_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Partition, Route};

    fn scopes(routes: &[&str]) -> Vec<Scope> {
        let routes: Vec<Route> = routes
            .iter()
            .map(|route| route.parse().expect("a route"))
            .collect();
        let routes = Routes::new(routes, Partition::AwsCn, Partition::Aws).expect("allowed");
        let routes = routes.reserve("_quarantine/").expect("no route below it");
        Scope::of(&routes, None, "_syncomatic/uploads/", &["_ledger/".to_owned()])
    }

    fn listed(key: &str) -> Listed {
        Listed {
            key: key.to_owned(),
            size: 1,
            etag: "\"e\"".to_owned(),
            modified: 0,
            denial: None,
        }
    }

    #[test]
    fn a_source_object_belongs_to_the_one_route_that_decides_about_it() {
        let scopes = scopes(&[
            "=>all/:verbatim",
            "a/=>all/a/:verbatim",
            "a/no/:denied",
            "r/=>x/:redacted",
        ]);
        let labels: Vec<&str> = scopes.iter().map(|scope| scope.label.as_str()).collect();
        assert_eq!(
            labels,
            ["=>all/:verbatim", "a/=>all/a/:verbatim", "r/=>x/:redacted"]
        );
        for (key, expected) in [
            ("b", [true, false, false]),
            ("a/1", [false, true, false]),
            ("a/no/1", [false, false, false]),
            ("_quarantine/1", [false, false, false]),
            ("r/1", [false, false, true]),
        ] {
            let selected = |scope: &Scope| {
                let below = key.starts_with(&scope.source_prefix);
                below && scope.select_source(listed(key)).is_some()
            };
            assert_eq!(scopes.iter().map(selected).collect::<Vec<_>>(), expected, "{key}");
            let travels = |scope: &Scope| scope.travels(key);
            let expected = [expected[0], expected[1], false];
            assert_eq!(scopes.iter().map(travels).collect::<Vec<_>>(), expected, "{key}");
        }
        let undeclared = scopes[2].select_source(listed("r/1")).expect("selected");
        assert_eq!(
            undeclared.denial,
            Some(Denial::Undeclared),
            "nothing says how to redact it"
        );
        let long = scopes[0]
            .select_source(listed(&"k".repeat(1021)))
            .expect("selected");
        assert_eq!(long.denial, Some(Denial::UnusableKey));
    }

    #[test]
    fn a_destination_object_belongs_to_the_longest_prefix() {
        let scopes = scopes(&["=>:verbatim", "a/=>a/:verbatim", "a/no/:denied"]);
        for (key, expected) in [
            ("b", [true, false]),
            ("a/1", [false, true]),
            // No route writes it, and it lies where one of them does.
            ("a/no/1", [false, true]),
            ("_syncomatic/uploads/1", [false, false]),
            ("_ledger/1", [false, false]),
        ] {
            let selected = |scope: &Scope| {
                let below = key.starts_with(&scope.destination_prefix);
                below && scope.select_destination(listed(key)).is_some()
            };
            assert_eq!(scopes.iter().map(selected).collect::<Vec<_>>(), expected, "{key}");
        }
    }
}
