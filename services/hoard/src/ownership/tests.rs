use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::replicas::{Heartbeat, Listed, Pulse};
use crate::sequence::SequenceNumber;
use crate::store::ETag;

const PULSE: Pulse = Pulse {
    interval: std::time::Duration::from_secs(1),
    misses: 3,
};

fn id(name: &str) -> ShardId {
    ShardId::try_from(name.to_owned()).expect("valid")
}

fn shard(name: &str, parents: &[&str]) -> Shard {
    Shard {
        id: id(name),
        parents: parents.iter().map(|parent| id(parent)).collect(),
        takes: None,
    }
}

fn owned(owner: Option<&str>) -> Known {
    let state = ShardState::claimed(None, owner.unwrap_or("somebody"), Uuid::nil());
    let state = match owner {
        Some(_) => state,
        None => state.released(Uuid::nil()),
    };
    Known { state, settled: true }
}

fn done() -> Known {
    let state = owned(Some("somebody")).state.ended(Uuid::nil());
    Known { state, settled: true }
}

/// What `me` sees beside `others`, each alive.
struct Scene {
    replicas: Replicas,
    shards: Vec<Shard>,
    states: HashMap<ShardId, Known>,
    running: Vec<&'static str>,
    failed: Vec<&'static str>,
}

impl Scene {
    fn with(others: &[&str], shards: Vec<Shard>) -> Self {
        let mut replicas = Replicas::new("me", None, PULSE);
        let listed = others.iter().map(|other| listed(other, 1, false)).collect();
        replicas.look(Instant::now(), Instant::now(), listed);
        for other in others {
            replicas.learn(other, &heartbeat(other));
        }
        Self {
            replicas,
            shards,
            states: HashMap::new(),
            running: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn state(mut self, shard: &str, known: Known) -> Self {
        self.states.insert(id(shard), known);
        self
    }

    fn decide(&self) -> BTreeMap<ShardId, Decision> {
        let view = View {
            me: "me",
            shards: &self.shards,
            states: &self.states,
            replicas: &self.replicas,
            is_running: |shard: &ShardId| self.running.contains(&shard.as_str()),
            is_failed: |shard: &ShardId| self.failed.contains(&shard.as_str()),
        };
        view.decide()
    }

    fn about(&self, shard: &str) -> Decision {
        self.decide()[&id(shard)]
    }
}

fn listed(replica: &str, beat: u64, leaving: bool) -> Listed {
    Listed {
        replica: replica.to_owned(),
        etag: ETag::from(beat.to_string()),
        leaving,
    }
}

fn heartbeat(replica: &str) -> Heartbeat {
    Heartbeat {
        replica: replica.to_owned(),
        name: None,
        interval_ms: 1000,
        misses: 3,
        beat: 1,
    }
}

#[test]
fn one_that_is_alone_takes_everything_at_once() {
    let scene = Scene::with(&[], vec![shard("a", &[]), shard("b", &[])]);
    assert!(
        scene
            .decide()
            .values()
            .all(|decision| *decision == Decision::Take(Change::Free))
    );
}

#[test]
fn every_shard_is_taken_by_exactly_one_of_those_who_see_the_same() {
    let shards: Vec<Shard> = (0..7).map(|n| shard(&format!("shard-{n}"), &[])).collect();
    let mine = Scene::with(&["other"], shards.clone());
    let take = |decisions: BTreeMap<ShardId, Decision>| -> Vec<ShardId> {
        let taken = decisions
            .into_iter()
            .filter(|(_, decision)| matches!(decision, Decision::Take(_)));
        taken.map(|(shard, _)| shard).collect()
    };
    let mine = take(mine.decide());
    let mut replicas = Replicas::new("other", None, PULSE);
    replicas.look(Instant::now(), Instant::now(), vec![listed("me", 1, false)]);
    let theirs = View {
        me: "other",
        shards: &shards,
        states: &HashMap::new(),
        replicas: &replicas,
        is_running: |_: &ShardId| false,
        is_failed: |_: &ShardId| false,
    };
    let theirs = take(theirs.decide());
    assert!(mine.iter().all(|shard| !theirs.contains(shard)));
    assert_eq!(mine.len() + theirs.len(), 7);
}

#[test]
fn an_owner_that_is_alive_is_waited_for_and_one_that_is_dead_is_not() {
    let mut scene = Scene::with(&[], vec![shard("a", &[])]).state("a", owned(Some("other")));
    let now = Instant::now();
    // Leaving, so that the shard is ours whatever the hashes say.
    scene.replicas.look(now, now, vec![listed("other", 1, true)]);
    scene.replicas.learn("other", &heartbeat("other"));
    assert_eq!(scene.about("a"), Decision::Await);
    let later = now + PULSE.interval * 2;
    scene.replicas.look(later, later, vec![listed("other", 1, true)]);
    assert_eq!(scene.about("a"), Decision::Take(Change::Dead));
}

#[test]
fn an_owner_without_a_heartbeat_is_given_one_look_more() {
    let fresh = Known {
        settled: false,
        ..owned(Some("other"))
    };
    let scene = Scene::with(&[], vec![shard("a", &[])]).state("a", fresh);
    assert_eq!(scene.about("a"), Decision::Await);
    let scene = scene.state("a", owned(Some("other")));
    assert_eq!(scene.about("a"), Decision::Take(Change::Dead));
}

#[test]
fn a_shard_that_is_another_ones_now_is_given_up() {
    let shards: Vec<Shard> = (0..8).map(|n| shard(&format!("shard-{n}"), &[])).collect();
    let mut scene = Scene::with(&["other"], shards);
    scene.running = vec![
        "shard-0", "shard-1", "shard-2", "shard-3", "shard-4", "shard-5", "shard-6",
    ];
    let count = |decision| {
        scene
            .decide()
            .values()
            .filter(|found| **found == decision)
            .count()
    };
    assert!((3..=4).contains(&count(Decision::Keep)));
    assert!((3..=4).contains(&count(Decision::HandOver)));
    scene.running.clear();
    for n in 0..8 {
        scene = scene.state(&format!("shard-{n}"), owned(Some("me")));
    }
    let count = |decision| {
        scene
            .decide()
            .values()
            .filter(|found| **found == decision)
            .count()
    };
    assert_eq!(count(Decision::Take(Change::Again)), 4, "stopped here, and ours");
    assert_eq!(count(Decision::Release), 4, "stopped here, and another one's");
}

#[test]
fn children_wait_for_parents_wherever_these_are_archived() {
    let tree = || vec![shard("a", &[]), shard("b", &[]), shard("c", &["a", "b"])];
    let scene = Scene::with(&[], tree()).state("a", done());
    assert_eq!(scene.about("a"), Decision::Ended);
    assert_eq!(scene.about("c"), Decision::Parents);
    let scene = scene.state("b", owned(Some("me")));
    assert_eq!(scene.about("c"), Decision::Parents);
    let scene = scene.state("b", done());
    assert_eq!(scene.about("c"), Decision::Take(Change::Free));
}

#[test]
fn what_an_error_stopped_is_left_alone_until_it_is_tried_again() {
    let mut scene = Scene::with(&[], vec![shard("a", &[])]).state("a", owned(Some("me")));
    scene.failed = vec!["a"];
    assert_eq!(scene.about("a"), Decision::Failed);
    scene.failed.clear();
    assert_eq!(scene.about("a"), Decision::Take(Change::Again));
}

#[test]
fn a_state_is_kept_until_the_stream_has_forgotten_the_shard_and_its_children_go_on_by_themselves() {
    let begun = |checkpoint: Option<&str>| {
        let mut known = owned(Some("me"));
        known.state.checkpoint =
            checkpoint.map(|text| SequenceNumber::try_from(text.to_owned()).expect("valid"));
        known
    };
    let child = || vec![shard("child", &["parent"])];
    let states = |child: Known| HashMap::from([(id("parent"), done()), (id("child"), child)]);
    let listed = [shard("parent", &[]), shard("child", &["parent"])];
    assert!(
        over(&listed, &states(begun(Some("7")))).is_empty(),
        "the stream still has it"
    );
    assert!(
        over(&child(), &states(begun(None))).is_empty(),
        "its child has nothing yet"
    );
    assert_eq!(over(&child(), &states(begun(Some("7")))), [id("parent")]);
    let unfinished = HashMap::from([(id("parent"), owned(None))]);
    assert!(
        over(&[], &unfinished).is_empty(),
        "it did not end: somebody has to see that"
    );
}
