//! The two listings side by side: each key once, in order, with what either side shows of it.
//!
//! Keys are compared without the prefixes that a route maps to each other, byte by byte, as S3 orders
//! them. At any moment it holds one page of each side and nothing else.

use std::cmp::Ordering;
use std::vec::IntoIter;

use futures::{Stream, StreamExt};

use super::listing::{Listed, ListingFailure, Page};
use crate::failure::At;

/// What the listings show of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) source: Option<Listed>,
    pub(super) destination: Option<Listed>,
    /// When the source's listing showed it, or showed that there is nothing: seconds since the epoch.
    pub(super) source_as_of: i64,
    /// The same of the destination's.
    pub(super) destination_as_of: i64,
}

/// Both listings.
pub(super) struct Merge<S> {
    source: Side<S>,
    destination: Side<S>,
}

struct Side<S> {
    at: At,
    /// Length of the prefix that its keys begin with.
    prefix: usize,
    pages: S,
    head: Option<Listed>,
    rest: IntoIter<Listed>,
    /// Of the page that shows what comes next, or that nothing does.
    as_of: i64,
    is_over: bool,
}

impl<S: Stream<Item = Result<Page, ListingFailure>> + Unpin> Merge<S> {
    /// The pages of each side, and the length of the prefix that the keys of each have in common.
    pub(super) fn new(source: (S, usize), destination: (S, usize)) -> Self {
        Self {
            source: Side::new(At::Source, source),
            destination: Side::new(At::Destination, destination),
        }
    }

    /// The next key's; `None` when both listings are over.
    pub(super) async fn next(&mut self) -> Result<Option<Pair>, ListingFailure> {
        if self.source.is_dry() || self.destination.is_dry() {
            futures::try_join!(self.source.fill(), self.destination.fill())?;
        }
        let order = match (self.source.next_name(), self.destination.next_name()) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(destination)) => source.cmp(destination),
        };
        let (source_as_of, destination_as_of) = (self.source.as_of, self.destination.as_of);
        let source = (order != Ordering::Greater).then(|| self.source.take()).flatten();
        let destination = (order != Ordering::Less)
            .then(|| self.destination.take())
            .flatten();
        Ok(Some(Pair {
            source,
            destination,
            source_as_of,
            destination_as_of,
        }))
    }
}

impl<S: Stream<Item = Result<Page, ListingFailure>> + Unpin> Side<S> {
    fn new(at: At, (pages, prefix): (S, usize)) -> Self {
        Self {
            at,
            prefix,
            pages,
            head: None,
            rest: Vec::new().into_iter(),
            as_of: 0,
            is_over: false,
        }
    }

    /// Whether only another page can say what comes next.
    fn is_dry(&self) -> bool {
        self.head.is_none() && !self.is_over
    }

    async fn fill(&mut self) -> Result<(), ListingFailure> {
        while self.is_dry() {
            let page = self
                .pages
                .next()
                .await
                .ok_or(ListingFailure::BrokeOff(self.at))??;
            (self.as_of, self.is_over) = (page.as_of, page.is_last);
            self.rest = page.objects.into_iter();
            self.head = self.rest.next();
        }
        Ok(())
    }

    fn next_name(&self) -> Option<&str> {
        self.head.as_ref().map(|object| &object.key[self.prefix..])
    }

    fn take(&mut self) -> Option<Listed> {
        std::mem::replace(&mut self.head, self.rest.next())
    }
}

#[cfg(test)]
mod tests;
