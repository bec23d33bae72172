//! What must hold of a shard's state whatever happens, as predicates that debug builds assert before
//! every write and that the simulation holds against what its bucket really has.
//!
//! Together they say: each record is in exactly one object, and a checkpoint is never past a record
//! that is not stored. [`follows`] keeps the cuts of a shard in one chain, each beginning after the
//! one before it; [`is_covered`] lets the chain grow by a cut only when all of its objects are there.

use crate::pending::Pending;
use crate::state::ShardState;

/// Which rule a change of state would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An owner can only come in by a claim, which counts the epoch up by one.
    Epoch,
    /// A shard that has ended is not changed any more.
    AfterTheEnd,
    /// The end of a shard leaves nothing under way.
    EndWithPending,
    /// A cut begins after the checkpoint and does not end before it begins.
    CutOutOfPlace,
    /// While a cut is announced, no other range of records can be.
    CutReplaced,
    /// A checkpoint moves only to the end of the announced cut, and only forward.
    Checkpoint,
    /// What arrived up to some time stays committed.
    Passed,
    /// A checkpoint moves only over objects that are stored.
    NotStored,
}

/// Whether `after` may follow `before` in a shard's state (`None`: there was no state).
pub fn follows(before: Option<&ShardState>, after: &ShardState) -> Result<(), Broken> {
    let Some(before) = before else {
        let is_first = after.epoch == 1
            && after.owner.is_some()
            && after.checkpoint.is_none()
            && after.pending.is_none()
            && !after.shard_end;
        return if is_first { Ok(()) } else { Err(Broken::Epoch) };
    };
    if before.shard_end {
        return Err(Broken::AfterTheEnd);
    }
    if after.passed < before.passed {
        return Err(Broken::Passed);
    }
    check_owner(before, after)?;
    check_cut(before, after)?;
    if after.shard_end && after.pending.is_some() {
        return Err(Broken::EndWithPending);
    }
    Ok(())
}

/// A claim changes nothing but the owner, and only a claim brings one in.
fn check_owner(before: &ShardState, after: &ShardState) -> Result<(), Broken> {
    let is_same = after.owner == before.owner && after.epoch == before.epoch;
    let is_release = after.owner.is_none() && after.epoch == before.epoch;
    let is_claim = after.owner.is_some()
        && after.epoch == before.epoch + 1
        && after.checkpoint == before.checkpoint
        && after.pending == before.pending
        && !after.shard_end;
    if is_same || is_release || is_claim {
        Ok(())
    } else {
        Err(Broken::Epoch)
    }
}

fn check_cut(before: &ShardState, after: &ShardState) -> Result<(), Broken> {
    if after.checkpoint != before.checkpoint {
        let end_of_cut = before.pending.as_ref().map(|pending| &pending.last);
        let is_forward = after.checkpoint > before.checkpoint;
        if after.checkpoint.as_ref() != end_of_cut || !is_forward || after.pending.is_some() {
            return Err(Broken::Checkpoint);
        }
        return Ok(());
    }
    match (&before.pending, &after.pending) {
        (None, None) => Ok(()),
        (None, Some(cut)) => {
            let is_after = after
                .checkpoint
                .as_ref()
                .is_none_or(|checkpoint| *checkpoint < cut.first);
            if is_after && cut.first <= cut.last {
                Ok(())
            } else {
                Err(Broken::CutOutOfPlace)
            }
        }
        (Some(announced), Some(cut)) if announced.first == cut.first && announced.last == cut.last => Ok(()),
        (Some(_), _) => Err(Broken::CutReplaced),
    }
}

/// Whether the checkpoint may move over `pending`: every object of it, by index, is stored.
pub fn is_covered(pending: &Pending, is_stored: impl Fn(usize) -> bool) -> Result<(), Broken> {
    if (0..pending.objects.len()).all(is_stored) {
        Ok(())
    } else {
        Err(Broken::NotStored)
    }
}
