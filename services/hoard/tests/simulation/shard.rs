//! One shard on one replica: the order of `pipeline.rs`, `commit.rs` and `recover.rs` around the
//! service's own decisions ([`Swap`], [`CutSteps`], [`ShardState`]), with every wait made explicit, so
//! that a crash or a pause can fall into each.

use std::rc::Rc;

use hoard::encode::{Compression, crc64_nvme};
use hoard::layout::Layout;
use hoard::pending::{Kind, Pending, PlannedObject};
use hoard::prefix::Partition;
use hoard::protocol::{CutSteps, Next, Refused, Stored, Swap};
use hoard::record::Arrival;
use hoard::sequence::ShardId;
use hoard::state::ShardState;
use hoard::store::ETag;
use uuid::Uuid;

use crate::broken::Protocol;
use crate::bucket::{Condition, Content, Object, number, sequence};
use crate::world::{Answer, Request};

/// What the task asks for.
#[derive(Debug)]
pub(crate) enum Action {
    Send(Request),
    /// A pause, then [`ShardTask::wake`].
    Sleep,
    /// It is over: ended, released or lost.
    Finished,
    /// It would stop until a person has looked.
    Stuck,
}

pub(crate) struct ShardTask {
    me: String,
    shard: ShardId,
    layout: Rc<Layout>,
    protocol: Protocol,
    /// The state as we wrote it last.
    state: Option<ShardState>,
    etag: Option<ETag>,
    phase: Phase,
    cut: Option<CutInHand>,
    /// The last record that was read.
    after: u64,
    held: Vec<u64>,
    cut_at: usize,
    is_read_to_end: bool,
    pub(crate) is_stopping: bool,
    revisions: u64,
}

struct CutInHand {
    steps: CutSteps,
    pending: Pending,
    objects: Vec<Object>,
}

#[derive(Clone, Debug)]
enum Phase {
    Swapping(Swap, Goal),
    ReadingBack(Swap, Goal),
    Looking(Vec<Stored>),
    ReadingAgain,
    Putting(usize),
    Comparing(usize),
    Reading,
    Resting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Claim,
    Prepare,
    Checkpoint,
    Leave,
}

impl ShardTask {
    /// `salt` makes the revisions of this task its own.
    pub(crate) fn new(
        me: &str,
        shard: &ShardId,
        layout: &Rc<Layout>,
        protocol: Protocol,
        salt: u64,
        cut_at: usize,
    ) -> Self {
        Self {
            me: me.to_owned(),
            shard: shard.clone(),
            layout: Rc::clone(layout),
            protocol,
            state: None,
            etag: None,
            phase: Phase::Resting,
            cut: None,
            after: 0,
            held: Vec::new(),
            cut_at,
            is_read_to_end: false,
            is_stopping: false,
            revisions: salt << 20,
        }
    }

    /// Takes the shard, whose state was found so.
    pub(crate) fn take(&mut self, found: Option<(ShardState, ETag)>) -> Action {
        let (before, etag) = found.unzip();
        let revision = self.revision();
        let next = ShardState::claimed(before.as_ref(), &self.me, revision);
        self.etag = etag;
        self.swap(Swap::new(before.as_ref(), next), Goal::Claim)
    }

    /// Releases a shard that says that it is ours.
    pub(crate) fn release(&mut self, state: ShardState, etag: ETag) -> Action {
        self.state = Some(state);
        self.etag = Some(etag);
        self.is_stopping = true;
        self.advance()
    }

    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting)
    }

    /// A pause is over. What was held meanwhile may be cut for its age.
    pub(crate) fn wake(&mut self, is_old: bool) -> Action {
        if is_old && !self.held.is_empty() {
            self.begin_cut();
        }
        self.advance()
    }

    /// No answer in time: the same call is made again, as `Store` and `Reader` do.
    pub(crate) fn again(&mut self) -> Action {
        match self.phase.clone() {
            Phase::Swapping(swap, goal) => self.swap(swap, goal),
            Phase::ReadingBack(..) => Action::Send(Request::Get(self.shard.to_string())),
            Phase::Looking(found) => self.look(found),
            Phase::Putting(index) => self.put(index),
            Phase::Comparing(index) => self.compare(index),
            Phase::ReadingAgain | Phase::Reading | Phase::Resting => self.advance(),
        }
    }

    pub(crate) fn answered(&mut self, answer: Answer) -> Action {
        match (self.phase.clone(), answer) {
            (Phase::Swapping(swap, goal), Answer::Put(Some(etag))) => self.swapped(swap, etag, goal),
            (Phase::Swapping(swap, goal), Answer::Put(None)) => {
                self.phase = Phase::ReadingBack(swap, goal);
                Action::Send(Request::Get(self.shard.to_string()))
            }
            (Phase::ReadingBack(swap, goal), Answer::Found(found)) => self.read_back(swap, found, goal),
            (Phase::Looking(mut found), Answer::Found(object)) => {
                found.push(self.judge(found.len(), object));
                if self.protocol == Protocol::LooksAtTheFirstObjectAlone {
                    found.resize(self.cut_in_hand().pending.objects.len(), found[0]);
                }
                self.look(found)
            }
            (Phase::Putting(index), Answer::Put(Some(_))) => self.was_put(index, Stored::Yes),
            (Phase::Putting(index), Answer::Put(None)) => self.compare(index),
            (Phase::Comparing(index), Answer::Found(object)) => {
                let found = self.judge(index, object);
                self.was_put(index, found)
            }
            (Phase::ReadingAgain, Answer::Records(records, _)) => self.was_read_again(&records),
            (Phase::Reading, Answer::Records(records, is_end)) => self.was_read(&records, is_end),
            (phase, answer) => panic!("{answer:?} in {phase:?}"),
        }
    }

    fn swap(&mut self, swap: Swap, goal: Goal) -> Action {
        let unconditional = match goal {
            Goal::Claim => self.protocol == Protocol::ClaimsWhateverTheStateIsNow,
            _ => self.protocol == Protocol::WritesStatesUnconditionally,
        };
        let condition = match &self.etag {
            _ if unconditional => Condition::Nothing,
            Some(etag) => Condition::Unchanged(etag.clone()),
            None => Condition::Absent,
        };
        let content = Content::State(Box::new(swap.next().clone()));
        self.phase = Phase::Swapping(swap, goal);
        Action::Send(Request::Put(self.shard.to_string(), content, condition))
    }

    fn read_back(&mut self, swap: Swap, found: Option<(Content, ETag)>, goal: Goal) -> Action {
        let found = found.map(|(content, etag)| match content {
            Content::State(state) => (*state, etag),
            other => panic!("{other:?} is no state"),
        });
        match (swap.refused(found.as_ref().map(|(state, _)| state)), found) {
            (Refused::Own, Some((_, etag))) => self.swapped(swap, etag, goal),
            (_, Some((_, etag))) if self.protocol == Protocol::TakesARefusalForALostAnswer => {
                self.swapped(swap, etag, goal)
            }
            _ => Action::Finished,
        }
    }

    fn swapped(&mut self, swap: Swap, etag: ETag, goal: Goal) -> Action {
        let state = swap.into_next();
        self.etag = Some(etag);
        match goal {
            Goal::Claim => {
                self.after = state.checkpoint.as_ref().map_or(0, number);
                let pending = state.pending.clone();
                self.state = Some(state);
                if let Some(pending) = pending {
                    self.resume(pending);
                }
            }
            Goal::Prepare => {
                self.state = Some(state);
                self.cut_in_hand().steps.prepared();
            }
            Goal::Checkpoint => {
                self.state = Some(state);
                let mut cut = self.cut.take().expect("it was completed");
                self.after = self.after.max(number(&cut.pending.last));
                if self.protocol == Protocol::ChecksOffBeforePutting {
                    let missing = cut.steps.missing().next();
                    if let Some(index) = missing {
                        self.cut = Some(cut);
                        return self.put(index);
                    }
                } else {
                    cut.steps.completed();
                }
            }
            Goal::Leave => return Action::Finished,
        }
        self.advance()
    }

    /// The announced cut of a former owner.
    fn resume(&mut self, pending: Pending) {
        let is_broken = [Protocol::ForgetsWhatWasPending, Protocol::SkipsWhatWasPending];
        if is_broken.contains(&self.protocol) {
            self.state.as_mut().expect("owned").pending = None;
            if self.protocol == Protocol::SkipsWhatWasPending {
                self.after = number(&pending.last);
            }
            return;
        }
        self.cut = Some(CutInHand {
            steps: CutSteps::resume(pending.objects.len()),
            // Known when the records have been read again, if need be.
            objects: Vec::new(),
            pending,
        });
    }

    fn advance(&mut self) -> Action {
        if self.is_stopping
            && self
                .cut
                .as_ref()
                .is_some_and(|cut| cut.steps.next() == Next::Look)
        {
            // What is pending stays announced; the next owner finishes it.
            self.cut = None;
            return self.leave(false);
        }
        if let Some(cut) = &self.cut {
            match cut.steps.next() {
                Next::Prepare => return self.prepare(),
                Next::Look => return self.look(Vec::new()),
                Next::ReadAgain => {
                    let checkpoint = self.owned().checkpoint.as_ref().map_or(0, number);
                    self.phase = Phase::ReadingAgain;
                    return Action::Send(Request::Read(self.shard.clone(), checkpoint, usize::MAX));
                }
                Next::Put if self.protocol == Protocol::ChecksOffBeforePutting => return self.complete(),
                Next::Put => {
                    let index = cut.steps.missing().next().expect("something is to be put");
                    return self.put(index);
                }
                Next::Checkpoint => return self.complete(),
                Next::Done => self.cut = None,
            }
        }
        let is_over = self.is_stopping || self.is_read_to_end;
        if !self.held.is_empty() && (is_over || self.held.len() >= self.cut_at) {
            self.begin_cut();
            return self.advance();
        }
        if is_over {
            return self.leave(self.is_read_to_end);
        }
        self.phase = Phase::Reading;
        Action::Send(Request::Read(self.shard.clone(), self.after, 4))
    }

    fn begin_cut(&mut self) {
        let take = self.held.len().min(self.cut_at);
        let records: Vec<u64> = self.held.drain(..take).collect();
        let objects = self.encode(&records);
        let revision = self.revision();
        let pending = announce(&records, &objects, &self.layout, revision);
        self.cut = Some(CutInHand {
            steps: CutSteps::announce(objects.len()),
            pending,
            objects,
        });
    }

    fn prepare(&mut self) -> Action {
        let pending = self.cut_in_hand().pending.clone();
        if self.protocol == Protocol::PutsWithoutPreparing {
            self.state.as_mut().expect("owned").pending = Some(pending);
            self.cut_in_hand().steps.prepared();
            return self.advance();
        }
        let revision = self.revision();
        let next = self.owned().prepared(pending, revision);
        let swap = Swap::new(self.state.as_ref(), next);
        self.swap(swap, Goal::Prepare)
    }

    fn complete(&mut self) -> Action {
        if self.protocol == Protocol::Correct {
            let cut = self.cut.as_ref().expect("it is to be completed");
            cut.steps.assert_covered(self.owned().pending.as_ref());
        }
        let revision = self.revision();
        let next = self.owned().completed(revision);
        let swap = Swap::new(self.state.as_ref(), next);
        self.swap(swap, Goal::Checkpoint)
    }

    fn leave(&mut self, is_end: bool) -> Action {
        let revision = self.revision();
        let next = if is_end {
            self.owned().ended(revision)
        } else {
            self.owned().released(revision)
        };
        let swap = Swap::new(self.state.as_ref(), next);
        self.swap(swap, Goal::Leave)
    }

    fn look(&mut self, found: Vec<Stored>) -> Action {
        let index = found.len();
        let cut = self.cut_in_hand();
        if index == cut.pending.objects.len() {
            return match cut.steps.looked(&found) {
                Ok(()) => self.advance(),
                Err(_) => Action::Stuck,
            };
        }
        let key = cut.pending.objects[index].key.clone();
        self.phase = Phase::Looking(found);
        Action::Send(Request::Get(key))
    }

    fn put(&mut self, index: usize) -> Action {
        self.phase = Phase::Putting(index);
        let cut = self.cut_in_hand();
        let key = cut.pending.objects[index].key.clone();
        let content = Content::Object(cut.objects[index].clone());
        Action::Send(Request::Put(key, content, Condition::Absent))
    }

    fn compare(&mut self, index: usize) -> Action {
        self.phase = Phase::Comparing(index);
        Action::Send(Request::Get(
            self.cut_in_hand().pending.objects[index].key.clone(),
        ))
    }

    fn was_put(&mut self, index: usize, found: Stored) -> Action {
        if self.protocol == Protocol::ChecksOffBeforePutting {
            self.cut = None;
            return self.advance();
        }
        match self.cut_in_hand().steps.put(index, found) {
            Ok(()) => self.advance(),
            Err(_) => Action::Stuck,
        }
    }

    /// As `recover.rs`: exactly the announced records, encoded again.
    fn was_read_again(&mut self, records: &[u64]) -> Action {
        let last = number(&self.cut_in_hand().pending.last);
        let records: Vec<u64> = records.iter().copied().filter(|record| *record <= last).collect();
        let objects = self.encode(&records);
        let cut = self.cut_in_hand();
        let announced = cut.pending.objects.iter().map(|planned| planned.crc);
        let is_same = objects.iter().map(|object| object.crc).eq(announced);
        let count = objects.len();
        cut.objects = objects;
        match cut.steps.read_again(is_same, count) {
            Ok(()) => self.advance(),
            Err(_) => Action::Stuck,
        }
    }

    fn was_read(&mut self, records: &[u64], is_end: bool) -> Action {
        self.held.extend(records);
        self.after = records.last().copied().unwrap_or(self.after);
        self.is_read_to_end = is_end;
        if is_end || self.is_stopping || self.held.len() >= self.cut_at {
            return self.advance();
        }
        self.phase = Phase::Resting;
        Action::Sleep
    }

    /// Records into objects by a rule that is the records' own, as lines and error lines are.
    fn encode(&self, records: &[u64]) -> Vec<Object> {
        let Some(last) = records.last() else {
            return Vec::new();
        };
        let kinds = [0, 1, 2].map(|kind| {
            let records: Vec<u64> = records
                .iter()
                .copied()
                .filter(|record| record % 7 % 3 == kind)
                .collect();
            let bytes: Vec<u8> = records.iter().flat_map(|record| record.to_be_bytes()).collect();
            Object {
                shard: self.shard.clone(),
                last: sequence(*last),
                crc: crc64_nvme(&bytes),
                records,
            }
        });
        kinds
            .into_iter()
            .filter(|object| !object.records.is_empty())
            .collect()
    }

    fn judge(&mut self, index: usize, found: Option<(Content, ETag)>) -> Stored {
        let pending = &self.cut_in_hand().pending;
        match found {
            None => Stored::No,
            Some((Content::Object(object), _))
                if object.last == pending.last && object.crc == pending.objects[index].crc =>
            {
                Stored::Yes
            }
            Some(_) => Stored::Foreign,
        }
    }

    fn owned(&self) -> &ShardState {
        self.state.as_ref().expect("owned")
    }

    fn cut_in_hand(&mut self) -> &mut CutInHand {
        self.cut.as_mut().expect("a cut is under way")
    }

    fn revision(&mut self) -> Uuid {
        self.revisions += 1;
        Uuid::from_u128(u128::from(self.revisions))
    }
}

/// Keys name the first record and never the last.
fn announce(records: &[u64], objects: &[Object], layout: &Layout, id: Uuid) -> Pending {
    let first = records[0];
    let planned = |object: &Object| PlannedObject {
        kind: Kind::Lines,
        partition: Partition::default(),
        key: format!("raw/{}-{first}-{}", object.shard, object.records[0] % 7 % 3),
        lines: object.records.len() as u64,
        bytes: 0,
        stored_bytes: 0,
        crc: object.crc,
    };
    Pending {
        id,
        first: sequence(first),
        last: objects[0].last.clone(),
        records: records.len() as u64,
        first_arrival: Arrival::UNKNOWN,
        last_arrival: Arrival::UNKNOWN,
        period: layout.period(Arrival::UNKNOWN),
        compression: Compression::None,
        layout: layout.clone(),
        objects: objects.iter().map(planned).collect(),
    }
}
