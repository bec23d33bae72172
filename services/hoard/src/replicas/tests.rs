use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PULSE: Pulse = Pulse {
    interval: SECOND,
    misses: 4,
};

/// A look takes no time.
fn look(replicas: &mut Replicas, at: Instant, beats: &[(&str, u64)]) -> Vec<String> {
    let listed = beats.iter().map(|(replica, beat)| Listed {
        replica: (*replica).to_owned(),
        etag: ETag::from(beat.to_string()),
        leaving: false,
    });
    replicas.look(at, at, listed.collect())
}

fn heartbeat(replica: &str, name: Option<&str>) -> Heartbeat {
    Heartbeat {
        replica: replica.to_owned(),
        name: name.map(str::to_owned),
        interval_ms: 1000,
        misses: 4,
        beat: 1,
    }
}

fn with_other() -> (Replicas, Instant) {
    let mut replicas = Replicas::new("me", None, PULSE);
    let start = Instant::now();
    assert_eq!(look(&mut replicas, start, &[("other", 1), ("me", 1)]), ["other"]);
    replicas.learn("other", &heartbeat("other", None));
    (replicas, start)
}

#[test]
fn a_replica_that_changes_its_heartbeat_lives() {
    let (mut replicas, start) = with_other();
    for beat in 1..20 {
        look(
            &mut replicas,
            start + SECOND * beat,
            &[("other", u64::from(beat))],
        );
        assert_eq!(replicas.standing("other"), Standing::Alive);
    }
    assert_eq!(replicas.takers().len(), 2);
}

#[test]
fn one_that_does_not_is_dead_within_what_it_announced() {
    let (mut replicas, start) = with_other();
    for second in 1..=2 {
        look(&mut replicas, start + SECOND * second, &[("other", 1)]);
        assert_eq!(replicas.standing("other"), Standing::Alive, "{second} s");
    }
    look(&mut replicas, start + SECOND * 3, &[("other", 1)]);
    assert_eq!(replicas.standing("other"), Standing::Dead);
    assert_eq!(replicas.dead(), ["other"]);
    look(&mut replicas, start + SECOND * 4, &[("other", 2)]);
    assert_eq!(replicas.standing("other"), Standing::Alive, "a zombie woke up");
}

#[test]
fn time_in_which_we_did_not_look_does_not_count() {
    let (mut replicas, start) = with_other();
    look(&mut replicas, start + SECOND * 600, &[("other", 1)]);
    assert_eq!(replicas.standing("other"), Standing::Alive, "two intervals count");
    look(&mut replicas, start + SECOND * 601, &[("other", 1)]);
    assert_eq!(replicas.standing("other"), Standing::Dead);
}

#[test]
fn a_slow_look_does_not_count_either() {
    let (mut replicas, start) = with_other();
    let listed = || {
        vec![Listed {
            replica: "other".to_owned(),
            etag: ETag::from("1".to_owned()),
            leaving: false,
        }]
    };
    for second in 0..10 {
        let asked = start + SECOND * second;
        replicas.look(asked, asked + SECOND, listed());
        assert_eq!(replicas.standing("other"), Standing::Alive);
    }
}

#[test]
fn a_successor_of_the_same_name_need_not_wait() {
    let mut replicas = Replicas::new("me", Some("hoard-0"), PULSE);
    look(&mut replicas, Instant::now(), &[("former", 1), ("hoard-1", 1)]);
    replicas.learn("former", &heartbeat("former", Some("hoard-0")));
    replicas.learn("hoard-1", &heartbeat("hoard-1", Some("hoard-1")));
    assert_eq!(replicas.standing("former"), Standing::Dead);
    assert_eq!(replicas.standing("hoard-1"), Standing::Alive);
}

#[test]
fn one_that_is_leaving_is_given_nothing() {
    let mut replicas = Replicas::new("me", None, PULSE);
    let leaving = Listed {
        replica: "other".to_owned(),
        etag: ETag::from("1".to_owned()),
        leaving: true,
    };
    replicas.look(Instant::now(), Instant::now(), vec![leaving]);
    replicas.learn("other", &heartbeat("other", None));
    assert_eq!(replicas.standing("other"), Standing::Leaving);
    assert_eq!(replicas.takers().len(), 1);
    look(&mut replicas, Instant::now(), &[]);
    assert_eq!(replicas.standing("other"), Standing::Absent);
}
