//! The protocol as it is, and with one step of it broken: the simulation must find each.

/// How shards are owned and cuts committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// As the service does it.
    Correct,
    /// The checkpoint moves, then the objects are put.
    ChecksOffBeforePutting,
    /// Objects are put that no state announces.
    PutsWithoutPreparing,
    /// A claim overwrites the state as it is now, not as it was read.
    ClaimsWhateverTheStateIsNow,
    /// So do all later writes of the state.
    WritesStatesUnconditionally,
    /// A refused write of the state counts as one's own whose answer was lost.
    TakesARefusalForALostAnswer,
    /// A new owner goes on at the checkpoint and cuts anew.
    ForgetsWhatWasPending,
    /// A new owner goes on behind what was pending.
    SkipsWhatWasPending,
    /// A new owner looks at one of the announced objects and believes the rest.
    LooksAtTheFirstObjectAlone,
    /// Children do not wait for their parents.
    StartsChildrenAtOnce,
}

impl Protocol {
    /// Every broken one.
    pub(crate) const BROKEN: [Self; 9] = [
        Self::ChecksOffBeforePutting,
        Self::PutsWithoutPreparing,
        Self::ClaimsWhateverTheStateIsNow,
        Self::WritesStatesUnconditionally,
        Self::TakesARefusalForALostAnswer,
        Self::ForgetsWhatWasPending,
        Self::SkipsWhatWasPending,
        Self::LooksAtTheFirstObjectAlone,
        Self::StartsChildrenAtOnce,
    ];
}
