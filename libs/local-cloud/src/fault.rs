//! Faults on demand: rules say which calls fail, wait, or lose their connection.
//!
//! Rules are tried in the order of injection. Delays add up; the first rule with any other action
//! decides, and rules behind it do not see the call. Every random choice comes from one seeded
//! generator, so that a single client sees the same faults in every run with the same seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// What happens to which calls. As JSON:
/// `{"on": "kinesis:PutRecords", "skip": 2, "times": 3, "actions": [{"fail": {"status": 503, "code": "ServiceUnavailable"}}]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    on: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_containing: Option<String>,
    #[serde(default)]
    skip: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(default = "always")]
    probability: f64,
    #[serde(default)]
    actions: Vec<Action>,
}

fn always() -> f64 {
    1.0
}

/// One thing that a rule does to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Answers with an error; the call is not executed.
    Fail {
        /// HTTP status, 400 to 599.
        status: u16,
        /// The service's error code, for example `InternalFailure`.
        code: String,
    },
    /// Answers with the service's own throttling error; the call is not executed.
    Throttle,
    /// Waits before the call goes on.
    Delay {
        /// How long.
        milliseconds: u64,
    },
    /// Drops the connection; the call is not executed.
    CutOff,
    /// Executes the call and drops the connection after so many bytes of the answer's body.
    CutOffAnswerAfter {
        /// Bytes that are still sent.
        bytes: u64,
    },
    /// Executes the call and changes one bit of this byte of the answer's body, counted from 0.
    FalsifyAnswer {
        /// Which byte; an answer that is shorter stays as it is.
        byte: u64,
    },
    /// S3: executes the call with one bit of this byte of the request's body changed, counted from 0.
    FalsifyRequest {
        /// Which byte; a request that is shorter stays as it is.
        byte: u64,
    },
    /// Executes the call, sends so many bytes of the answer's body, and then nothing for ever.
    StallAnswerAfter {
        /// Bytes that are still sent.
        bytes: u64,
    },
    /// Executes the call and drops the connection without an answer.
    LoseAnswer,
    /// `PutRecords` and `PutRecordBatch`: this share of the entries fails as the service throttles them.
    ThrottleRecords {
        /// From 0 to 1; at least one entry fails when it is above 0.
        fraction: f64,
    },
}

impl Action {
    /// Its name, as in JSON.
    fn kind(&self) -> &'static str {
        match self {
            Self::Fail { .. } => "fail",
            Self::Throttle => "throttle",
            Self::Delay { .. } => "delay",
            Self::CutOff => "cut_off",
            Self::CutOffAnswerAfter { .. } => "cut_off_answer_after",
            Self::FalsifyAnswer { .. } => "falsify_answer",
            Self::FalsifyRequest { .. } => "falsify_request",
            Self::StallAnswerAfter { .. } => "stall_answer_after",
            Self::LoseAnswer => "lose_answer",
            Self::ThrottleRecords { .. } => "throttle_records",
        }
    }
}

/// An answer of Kinesis or SQS to a call that was executed and whose caller was not told so.
#[derive(Clone, Debug)]
pub struct LostAnswer {
    /// `<service>:<Operation>`.
    pub operation: String,
    /// The JSON that the caller should have got.
    pub body: Bytes,
}

/// A rule that makes no sense, in words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid fault rule: {0}")]
pub struct InvalidRule(String);

impl Rule {
    /// A rule for the calls that match `on`: `<service>:<Operation>`, `<service>:*` or `*`.
    ///
    /// A rule without an action changes nothing and counts the calls that it matches.
    pub fn on(on: impl Into<String>) -> Self {
        Self {
            on: on.into(),
            resource_containing: None,
            skip: 0,
            times: None,
            probability: always(),
            actions: Vec::new(),
        }
    }

    /// Lets the first `calls` matching calls pass.
    pub fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Fires at most so often (default: for ever).
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Fires with this probability on each call that it would fire on.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Only calls whose `bucket/key`, stream name or queue name contains `part`.
    pub fn resource_containing(mut self, part: impl Into<String>) -> Self {
        self.resource_containing = Some(part.into());
        self
    }

    /// See [`Action::Fail`].
    pub fn fail(self, status: u16, code: impl Into<String>) -> Self {
        self.then(Action::Fail {
            status,
            code: code.into(),
        })
    }

    /// See [`Action::Throttle`].
    pub fn throttle(self) -> Self {
        self.then(Action::Throttle)
    }

    /// See [`Action::Delay`].
    pub fn delay(self, delay: Duration) -> Self {
        self.then(Action::Delay {
            milliseconds: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// See [`Action::CutOff`].
    pub fn cut_off(self) -> Self {
        self.then(Action::CutOff)
    }

    /// See [`Action::CutOffAnswerAfter`].
    pub fn cut_off_answer_after(self, bytes: u64) -> Self {
        self.then(Action::CutOffAnswerAfter { bytes })
    }

    /// See [`Action::FalsifyAnswer`].
    pub fn falsify_answer(self, byte: u64) -> Self {
        self.then(Action::FalsifyAnswer { byte })
    }

    /// See [`Action::FalsifyRequest`].
    pub fn falsify_request(self, byte: u64) -> Self {
        self.then(Action::FalsifyRequest { byte })
    }

    /// See [`Action::StallAnswerAfter`].
    pub fn stall_answer_after(self, bytes: u64) -> Self {
        self.then(Action::StallAnswerAfter { bytes })
    }

    /// See [`Action::LoseAnswer`].
    pub fn lose_answer(self) -> Self {
        self.then(Action::LoseAnswer)
    }

    /// See [`Action::ThrottleRecords`].
    pub fn throttle_records(self, fraction: f64) -> Self {
        self.then(Action::ThrottleRecords { fraction })
    }

    fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    fn check(&self) -> Result<(), InvalidRule> {
        let invalid = |why: String| Err(InvalidRule(why));
        let on_is_known = self.on == "*"
            || self.on.split_once(':').is_some_and(|(service, operation)| {
                matches!(service, "firehose" | "kinesis" | "s3" | "sqs") && !operation.is_empty()
            });
        if !on_is_known {
            return invalid(format!(
                "`on` is {:?}; expected <firehose|kinesis|s3|sqs>:<Operation or *>, or *",
                self.on
            ));
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return invalid(format!(
                "the probability {} is not between 0 and 1",
                self.probability
            ));
        }
        for action in &self.actions {
            match action {
                Action::Fail { status, .. } if !(400..=599).contains(status) => {
                    return invalid(format!("the status {status} is not between 400 and 599"));
                }
                Action::ThrottleRecords { fraction } if !(0.0..=1.0).contains(fraction) => {
                    return invalid(format!("the fraction {fraction} is not between 0 and 1"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn matches(&self, operation: &str, resource: &dyn Fn() -> String) -> bool {
        pattern_matches(&self.on, operation)
            && self
                .resource_containing
                .as_ref()
                .is_none_or(|part| resource().contains(part))
    }
}

fn pattern_matches(pattern: &str, operation: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => operation.starts_with(prefix),
        None => pattern == operation,
    }
}

/// The rules of one cloud; a cheap handle.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    rules: Vec<Injected>,
    fired: BTreeMap<String, u64>,
    /// By operation and kind of action.
    kinds: BTreeMap<(String, &'static str), u64>,
    lost_answers: Option<mpsc::UnboundedSender<LostAnswer>>,
    random: StdRng,
}

struct Injected {
    rule: Rule,
    seen: u64,
    fired: u64,
}

impl Faults {
    pub(crate) fn seeded(seed: u64) -> Self {
        let shared = Shared {
            rules: Vec::new(),
            fired: BTreeMap::new(),
            kinds: BTreeMap::new(),
            lost_answers: None,
            random: StdRng::seed_from_u64(seed),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// Adds a rule behind those that are there.
    ///
    /// # Panics
    /// When the rule makes no sense (a probability above 1): a mistake in the test that wrote it.
    pub fn inject(&self, rule: Rule) {
        if let Err(invalid) = self.try_inject(rule) {
            panic!("{invalid}");
        }
    }

    /// Adds a rule that comes from outside the program.
    ///
    /// # Errors
    /// Says what makes no sense in the rule.
    pub fn try_inject(&self, rule: Rule) -> Result<(), InvalidRule> {
        rule.check()?;
        self.lock().rules.push(Injected {
            rule,
            seen: 0,
            fired: 0,
        });
        Ok(())
    }

    /// Removes all rules. The counts of [`Faults::injected`] stay.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How often a rule fired on an operation, or on all that a pattern such as `s3:*` matches.
    pub fn injected(&self, operation: &str) -> u64 {
        let shared = self.lock();
        shared
            .fired
            .iter()
            .filter(|(name, _)| pattern_matches(operation, name))
            .map(|(_, count)| count)
            .sum()
    }

    /// How often this rule has fired since it was added; 0 where there is none that is equal to it.
    pub fn fired(&self, rule: &Rule) -> u64 {
        let shared = self.lock();
        let equal = shared.rules.iter().filter(|injected| injected.rule == *rule);
        equal.map(|injected| injected.fired).sum()
    }

    /// How often each kind of action was taken, by operation and the action's name in JSON. A call that
    /// two actions met counts for both.
    pub fn actions_taken(&self) -> BTreeMap<(String, &'static str), u64> {
        self.lock().kinds.clone()
    }

    /// From now on, each answer of Kinesis and SQS that a rule keeps from its caller although the call was
    /// executed. They wait without bound: whoever watches must read. A second watcher takes the place of
    /// the first.
    pub fn watch_lost_answers(&self) -> mpsc::UnboundedReceiver<LostAnswer> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().lost_answers = Some(sender);
        receiver
    }

    /// Tells who watches that this answer does not arrive whole.
    pub(crate) fn answer_is_lost(&self, operation: &str, body: &Bytes) {
        if let Some(watcher) = &self.lock().lost_answers {
            let lost = LostAnswer {
                operation: operation.to_owned(),
                body: body.clone(),
            };
            // Nobody is left to tell when the watcher is gone.
            watcher.send(lost).unwrap_or_default();
        }
    }

    /// The rules, in order.
    pub fn rules(&self) -> Vec<Rule> {
        self.lock()
            .rules
            .iter()
            .map(|injected| injected.rule.clone())
            .collect()
    }

    /// What happens to this call. `resource` is asked for only when a rule wants to know it.
    pub(crate) fn decide(&self, operation: &str, resource: impl Fn() -> String) -> Decision {
        let mut shared = self.lock();
        let mut decision = Decision::default();
        let Shared {
            rules,
            fired,
            kinds,
            random,
            ..
        } = &mut *shared;
        for injected in rules.iter_mut() {
            if !injected.rule.matches(operation, &resource) || !injected.fires(random) {
                continue;
            }
            *fired.entry(operation.to_owned()).or_default() += 1;
            for action in &injected.rule.actions {
                *kinds.entry((operation.to_owned(), action.kind())).or_default() += 1;
                match Outcome::of(action) {
                    Some(outcome) => decision.outcome = Some(outcome),
                    None => decision.delay += delay_of(action),
                }
            }
            if decision.outcome.is_some() {
                break;
            }
        }
        decision
    }

    /// Which of `count` entries are throttled.
    fn choose(&self, count: usize, fraction: f64) -> Vec<bool> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let wanted = ((count as f64 * fraction).round() as usize)
            .max(usize::from(fraction > 0.0))
            .min(count);
        let mut chosen = vec![false; count];
        for index in index::sample(&mut self.lock().random, count, wanted) {
            chosen[index] = true;
        }
        chosen
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics under this lock half way through a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults")
            .field("rules", &self.rules())
            .finish_non_exhaustive()
    }
}

impl Injected {
    fn fires(&mut self, random: &mut StdRng) -> bool {
        self.seen += 1;
        if self.seen <= self.rule.skip || self.rule.times.is_some_and(|times| self.fired >= times) {
            return false;
        }
        let fires = self.rule.probability >= 1.0 || random.random_bool(self.rule.probability);
        self.fired += u64::from(fires);
        fires
    }
}

fn delay_of(action: &Action) -> Duration {
    match action {
        Action::Delay { milliseconds } => Duration::from_millis(*milliseconds),
        _ => Duration::ZERO,
    }
}

/// What the rules say about one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// Wait so long before anything else.
    pub(crate) delay: Duration,
    /// Then do this; `None` carries on.
    pub(crate) outcome: Option<Outcome>,
}

impl Decision {
    /// Waits as long as the rules say.
    pub(crate) async fn wait(&self) {
        // Even a sleep of no length waits for the timer's next tick, a millisecond away.
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }
}

/// The deciding part of a [`Decision`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Fail { status: u16, code: String },
    Throttle,
    CutOff,
    CutOffAnswerAfter { bytes: u64 },
    FalsifyAnswer { byte: u64 },
    FalsifyRequest { byte: u64 },
    StallAnswerAfter { bytes: u64 },
    LoseAnswer,
    ThrottleRecords { fraction: f64 },
}

impl Outcome {
    /// Whether the call is executed and its caller does not get the whole answer as it was.
    pub(crate) fn keeps_the_answer(&self) -> bool {
        match self {
            Self::CutOffAnswerAfter { .. }
            | Self::FalsifyAnswer { .. }
            | Self::StallAnswerAfter { .. }
            | Self::LoseAnswer => true,
            Self::Fail { .. }
            | Self::Throttle
            | Self::CutOff
            | Self::FalsifyRequest { .. }
            | Self::ThrottleRecords { .. } => false,
        }
    }

    fn of(action: &Action) -> Option<Self> {
        Some(match action {
            Action::Delay { .. } => return None,
            Action::Fail { status, code } => Self::Fail {
                status: *status,
                code: code.clone(),
            },
            Action::Throttle => Self::Throttle,
            Action::CutOff => Self::CutOff,
            Action::CutOffAnswerAfter { bytes } => Self::CutOffAnswerAfter { bytes: *bytes },
            Action::FalsifyAnswer { byte } => Self::FalsifyAnswer { byte: *byte },
            Action::FalsifyRequest { byte } => Self::FalsifyRequest { byte: *byte },
            Action::StallAnswerAfter { bytes } => Self::StallAnswerAfter { bytes: *bytes },
            Action::LoseAnswer => Self::LoseAnswer,
            Action::ThrottleRecords { fraction } => Self::ThrottleRecords { fraction: *fraction },
        })
    }
}

/// Tells `PutRecords` and `PutRecordBatch` which of their entries to refuse.
#[derive(Clone, Debug)]
pub(crate) struct RecordThrottle {
    faults: Faults,
    fraction: f64,
}

impl RecordThrottle {
    pub(crate) fn new(faults: &Faults, outcome: Option<&Outcome>) -> Self {
        let fraction = match outcome {
            Some(Outcome::ThrottleRecords { fraction }) => *fraction,
            _ => 0.0,
        };
        Self {
            faults: faults.clone(),
            fraction,
        }
    }

    /// One flag an entry: `true` fails with the service's throttling error. Empty when no rule
    /// asks for it, which is the ordinary case.
    pub(crate) fn choose(&self, entries: usize) -> Vec<bool> {
        if self.fraction > 0.0 {
            self.faults.choose(entries, self.fraction)
        } else {
            Vec::new()
        }
    }
}

/// Carries an outcome from where the operation is known out to the connection that acts on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutcomeSlot(Arc<Mutex<Option<Outcome>>>);

impl OutcomeSlot {
    pub(crate) fn set(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// The byte of the request to change, if that is the outcome.
    pub(crate) fn falsified_byte(&self) -> Option<u64> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Outcome::FalsifyRequest { byte }) => Some(byte),
            _ => None,
        }
    }

    pub(crate) fn take(&self) -> Option<Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(faults: &Faults, operation: &str, calls: usize) -> Vec<bool> {
        (0..calls)
            .map(|_| {
                faults
                    .decide(operation, || "bucket/2026/01".to_owned())
                    .outcome
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn a_rule_skips_then_fires_so_often() {
        let faults = Faults::seeded(1);
        faults.inject(
            Rule::on("kinesis:PutRecords")
                .skip(2)
                .times(3)
                .fail(503, "ServiceUnavailable"),
        );
        assert_eq!(
            outcomes(&faults, "kinesis:PutRecords", 7),
            [false, false, true, true, true, false, false]
        );
        assert_eq!(outcomes(&faults, "kinesis:GetRecords", 2), [false, false]);
        assert_eq!(faults.injected("kinesis:PutRecords"), 3);
        assert_eq!(faults.injected("kinesis:*"), 3);
        assert_eq!(faults.injected("s3:*"), 0);
    }

    #[test]
    fn patterns_and_resources_select_calls() {
        let faults = Faults::seeded(1);
        faults.inject(Rule::on("s3:*").resource_containing("2026/").throttle());
        assert_eq!(outcomes(&faults, "s3:PutObject", 1), [true]);
        assert_eq!(outcomes(&faults, "sqs:SendMessage", 1), [false]);
        assert_eq!(
            faults.decide("s3:PutObject", || "bucket/2025".to_owned()).outcome,
            None
        );
    }

    #[test]
    fn delays_add_up_and_the_first_outcome_decides() {
        let faults = Faults::seeded(1);
        faults.inject(Rule::on("*").delay(Duration::from_millis(5)));
        faults.inject(Rule::on("*").delay(Duration::from_millis(7)).cut_off());
        faults.inject(Rule::on("*").lose_answer());
        let decision = faults.decide("s3:GetObject", String::new);
        assert_eq!(
            decision,
            Decision {
                delay: Duration::from_millis(12),
                outcome: Some(Outcome::CutOff)
            }
        );
    }

    #[test]
    fn the_seed_fixes_the_choices() {
        let run = |seed| {
            let faults = Faults::seeded(seed);
            faults.inject(Rule::on("*").probability(0.5).throttle());
            (outcomes(&faults, "s3:GetObject", 64), faults.choose(100, 0.3))
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_share_of_the_records_is_exact_and_never_rounds_to_none() {
        let faults = Faults::seeded(3);
        for (count, fraction, expected) in [
            (100, 0.3, 30),
            (10, 0.01, 1),
            (10, 0.0, 0),
            (10, 1.0, 10),
            (0, 0.5, 0),
        ] {
            let chosen = faults.choose(count, fraction);
            assert_eq!(chosen.len(), count);
            assert_eq!(
                chosen.into_iter().filter(|throttled| *throttled).count(),
                expected,
                "{fraction} of {count}"
            );
        }
    }

    #[test]
    fn rules_are_read_from_json_and_checked() {
        let text =
            r#"{"on":"s3:PutObject","times":2,"actions":[{"delay":{"milliseconds":5}},"lose_answer"]}"#;
        let rule: Rule = serde_json::from_str(text).expect("a rule");
        assert_eq!(
            rule,
            Rule::on("s3:PutObject")
                .times(2)
                .delay(Duration::from_millis(5))
                .lose_answer()
        );
        let again: Rule = serde_json::from_str(&serde_json::to_string(&rule).expect("JSON")).expect("a rule");
        assert_eq!(again, rule);

        let faults = Faults::seeded(1);
        for wrong in [
            Rule::on("PutObject").throttle(),
            Rule::on("*").probability(1.5),
            Rule::on("*").fail(200, "Fine"),
            Rule::on("kinesis:PutRecords").throttle_records(-0.1),
        ] {
            assert!(faults.try_inject(wrong.clone()).is_err(), "{wrong:?}");
        }
        assert!(
            serde_json::from_str::<Rule>(r#"{"on":"*","tmies":2}"#).is_err(),
            "a misspelt field is refused"
        );
    }

    #[test]
    fn clearing_removes_the_rules_and_keeps_the_counts() {
        let faults = Faults::seeded(1);
        faults.inject(Rule::on("*").throttle());
        assert_eq!(outcomes(&faults, "s3:GetObject", 1), [true]);
        faults.clear();
        assert_eq!(outcomes(&faults, "s3:GetObject", 1), [false]);
        assert_eq!(faults.injected("*"), 1);
    }
}
