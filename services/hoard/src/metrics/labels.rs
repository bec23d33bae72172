//! The closed sets that label metrics, and steps in logs.

/// A step of the way from the stream to the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// ListShards and DescribeStreamSummary.
    List,
    /// DescribeDeliveryStream at the start, where lines go to Firehose.
    Describe,
    /// Giving a sign of life.
    Heartbeat,
    /// Looking at the other replicas and at the shards' states.
    Watch,
    /// GetShardIterator.
    Iterator,
    /// GetRecords.
    Read,
    /// PutRecordBatch, where lines go to Firehose.
    Deliver,
    /// Testing conditional writes at the start.
    Probe,
    /// Taking a shard's state object, or giving it back.
    Own,
    /// Writing the prepared cut into the state.
    Prepare,
    /// Storing an object.
    Put,
    /// Looking at an object that was there already.
    Compare,
    /// Moving the checkpoint.
    Checkpoint,
    /// Marking days as complete.
    Mark,
}

impl Step {
    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Describe => "describe",
            Self::Heartbeat => "heartbeat",
            Self::Watch => "watch",
            Self::Iterator => "iterator",
            Self::Read => "read",
            Self::Deliver => "deliver",
            Self::Probe => "probe",
            Self::Own => "own",
            Self::Prepare => "prepare",
            Self::Put => "put",
            Self::Compare => "compare",
            Self::Checkpoint => "checkpoint",
            Self::Mark => "mark",
        }
    }
}

/// What a refused conditional write turned out to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Our own write, whose answer was lost.
    Own,
    /// Another instance owns the shard.
    Lost,
    /// Another object has the key: a person has to look.
    Foreign,
    /// A prepared cut is half stored and cannot be rebuilt: a person has to look.
    Changed,
}

impl Conflict {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 4] = [Self::Own, Self::Lost, Self::Foreign, Self::Changed];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Lost => "lost",
            Self::Foreign => "foreign",
            Self::Changed => "changed",
        }
    }
}

/// How a sign of life went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// As it should.
    Given,
    /// The object was not as we had left it: another replica took this one for dead and cleared up, or
    /// the answer to the last beat was lost.
    Disturbed,
}

impl Beat {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 2] = [Self::Given, Self::Disturbed];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Disturbed => "disturbed",
        }
    }
}
