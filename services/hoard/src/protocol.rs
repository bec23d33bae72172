//! The order of the steps of ownership and of the prepared cut, without any I/O.
//!
//! [`Swap`] is one compare-and-swap until its outcome is known; [`CutSteps`] is one cut from its
//! announcement to the checkpoint, or from what a crash left of it. Each says what to do next and is
//! told what came of it. The service drives them with the AWS SDK ([`crate::claim`],
//! [`crate::commit`], [`crate::recover`]), the simulation with a bucket that crashes, delays and
//! repeats: the decisions are the same code.

use crate::invariants;
use crate::pending::Pending;
use crate::state::ShardState;

/// One write of a shard's state, conditioned on the state being as we last saw it.
///
/// Invariant: it succeeds only if the bucket holds `next`, by this write or by an earlier try of it
/// whose answer was lost. Every write has a revision of its own, so a writer knows its own hand.
#[derive(Clone, Debug)]
pub struct Swap {
    next: ShardState,
}

/// How a refused write turned out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The bucket has what we wrote: the answer to an earlier try was lost.
    Own,
    /// The bucket has something else, owned by this replica if by any: the shard is not ours.
    Lost(Option<String>),
}

impl Swap {
    /// Writes `next` over `before`.
    pub fn new(before: Option<&ShardState>, next: ShardState) -> Self {
        debug_assert_eq!(
            invariants::follows(before, &next),
            Ok(()),
            "{before:?} → {next:?}"
        );
        Self { next }
    }

    /// What to write.
    pub fn next(&self) -> &ShardState {
        &self.next
    }

    /// What was written, once it is known to be there.
    pub fn into_next(self) -> ShardState {
        self.next
    }

    /// The write was refused and the state was read again: what does that mean?
    pub fn refused(&self, found: Option<&ShardState>) -> Refused {
        match found {
            Some(state) if state.revision == self.next.revision => Refused::Own,
            found => Refused::Lost(found.and_then(|state| state.owner.clone())),
        }
    }
}

/// What to do next about a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Announce it in the shard's state.
    Prepare,
    /// Look which of its objects are stored: a crash left it.
    Look,
    /// Read exactly its records again and encode them.
    ReadAgain,
    /// Put each of its [`CutSteps::missing`] objects, in any order.
    Put,
    /// Move the checkpoint to its end.
    Checkpoint,
    /// Nothing: it is committed.
    Done,
}

/// Whether an announced object is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// With the announced content.
    Yes,
    /// There is no object of that key.
    No,
    /// There is one with other content.
    Foreign,
}

/// Why a cut cannot be committed: a person has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The key of the object of this index holds something else, which is never overwritten.
    Foreign(usize),
    /// A part of it is stored and the stream no longer gives the same records.
    Changed,
}

/// The steps of one cut.
#[derive(Clone, Debug)]
pub struct CutSteps {
    next: Next,
    stored: Vec<bool>,
}

impl CutSteps {
    /// Of a cut of so many objects that nobody has heard of yet.
    pub fn announce(objects: usize) -> Self {
        Self {
            next: Next::Prepare,
            stored: vec![false; objects],
        }
    }

    /// Of a cut of so many objects that a state announces: whoever announced it may have stored some,
    /// all or none of them.
    pub fn resume(objects: usize) -> Self {
        Self {
            next: Next::Look,
            stored: vec![false; objects],
        }
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        self.next
    }

    /// The announcement is in the state.
    pub fn prepared(&mut self) {
        debug_assert_eq!(self.next, Next::Prepare);
        self.next = self.put_or_checkpoint();
    }

    /// What was found under the keys of all objects, in their order.
    pub fn looked(&mut self, found: &[Stored]) -> Result<(), Trouble> {
        debug_assert_eq!(self.next, Next::Look);
        debug_assert_eq!(found.len(), self.stored.len());
        for (index, found) in found.iter().enumerate() {
            self.stored[index] = match found {
                Stored::Yes => true,
                Stored::No => false,
                Stored::Foreign => return Err(Trouble::Foreign(index)),
            };
        }
        self.next = if self.missing().next().is_none() {
            Next::Checkpoint
        } else {
            Next::ReadAgain
        };
        Ok(())
    }

    /// The announced records were read again. If they do not give the `same` objects, because some have
    /// left the stream, what is left is announced anew in so many `objects`: unless a part of the old
    /// announcement is stored already, which nothing could then complete.
    pub fn read_again(&mut self, same: bool, objects: usize) -> Result<(), Trouble> {
        debug_assert_eq!(self.next, Next::ReadAgain);
        if same {
            self.next = self.put_or_checkpoint();
        } else if self.stored.contains(&true) {
            return Err(Trouble::Changed);
        } else {
            *self = Self::announce(objects);
        }
        Ok(())
    }

    /// The objects that are not known to be stored.
    pub fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.stored.len()).filter(|&index| !self.stored[index])
    }

    /// The put of an object succeeded, or it was refused and this was found in its place. What was in
    /// the way and is gone leaves the object to be put again.
    pub fn put(&mut self, index: usize, found: Stored) -> Result<(), Trouble> {
        debug_assert_eq!(self.next, Next::Put);
        match found {
            Stored::Yes => self.stored[index] = true,
            Stored::No => {}
            Stored::Foreign => return Err(Trouble::Foreign(index)),
        }
        self.next = self.put_or_checkpoint();
        Ok(())
    }

    /// The checkpoint is at the end of the cut.
    pub fn completed(&mut self) {
        debug_assert_eq!(self.next, Next::Checkpoint);
        self.next = Next::Done;
    }

    /// Held before the checkpoint moves over `pending`.
    pub fn assert_covered(&self, pending: Option<&Pending>) {
        let is_stored = |index: usize| self.stored.get(index) == Some(&true);
        debug_assert_eq!(
            pending.map(|pending| invariants::is_covered(pending, is_stored)),
            Some(Ok(()))
        );
    }

    fn put_or_checkpoint(&self) -> Next {
        if self.missing().next().is_some() {
            Next::Put
        } else {
            Next::Checkpoint
        }
    }
}
