//! One queue: which messages can be received now, and which receipt may do what.
//!
//! A message is in one of three states, told apart by two facts:
//!
//! | may be seen at | received here | state |
//! |---|---|---|
//! | now or before | any | visible |
//! | later | no | delayed |
//! | later | yes | in flight |
//!
//! Nothing runs in the background: a message whose time has come is found by the next call.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use super::attributes::{Attributes, VISIBILITY_SECONDS_MAX};
use super::message::Content;
use super::receipt::Receipt;

/// In flight at most: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>.
pub(crate) const IN_FLIGHT_MAX: usize = 120_000;

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: String,
    /// Differs between two queues that have the same name one after the other.
    pub(crate) id: u128,
    pub(crate) created_ms: u64,
    pub(crate) modified_ms: u64,
    pub(crate) purged_ms: Option<u64>,
    pub(crate) attributes: Attributes,
    /// Woken when a message arrives or becomes visible by a call.
    pub(crate) arrived: Arc<Notify>,
    messages: HashMap<u64, Message>,
    /// When each message may be seen, with its number.
    by_visibility: BTreeSet<(u64, u64)>,
    /// When each message was sent, with its number.
    by_age: BTreeSet<(u64, u64)>,
    next_number: u64,
}

/// A message in a queue. Times are milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) content: Arc<Content>,
    pub(crate) sent_ms: u64,
    pub(crate) visible_ms: u64,
    /// In all queues it was in.
    pub(crate) receive_count: u32,
    pub(crate) first_received_ms: Option<u64>,
    /// The queue it came from as a dead letter.
    pub(crate) dead_letter_source: Option<String>,
    /// In this queue.
    received_here: u32,
    last_received_ms: u64,
    /// Of the last receipt; 0 before the first, and for a message that was read back after a restart.
    last_serial: u64,
}

impl Message {
    pub(crate) fn new(id: String, content: Content, sent_ms: u64, visible_ms: u64) -> Self {
        Self {
            id,
            content: Arc::new(content),
            sent_ms,
            visible_ms,
            receive_count: 0,
            first_received_ms: None,
            dead_letter_source: None,
            received_here: 0,
            last_received_ms: 0,
            last_serial: 0,
        }
    }

    /// The same message on arrival in a dead letter queue: its age and counts go on.
    pub(crate) fn into_dead_letter(mut self, source_arn: String, now_ms: u64) -> Self {
        self.visible_ms = now_ms;
        self.received_here = 0;
        self.last_serial = 0;
        self.dead_letter_source = Some(source_arn);
        self
    }
}

/// What a call of ReceiveMessage gets.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// With the handle of this receipt.
    pub(crate) messages: Vec<(Receipt, Message)>,
    /// Numbers of messages that were received too often already; they stay until they are moved.
    pub(crate) dead_letters: Vec<u64>,
}

/// How many messages are in which state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) visible: usize,
    pub(crate) in_flight: usize,
    pub(crate) delayed: usize,
}

/// Why a visibility time-out cannot be changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VisibilityError {
    /// The message is gone, or was received again since.
    NoSuchReceipt,
    NotInFlight,
    /// More than twelve hours after the receipt.
    BeyondLimit,
}

impl Queue {
    pub(crate) fn new(name: String, id: u128, now_ms: u64, attributes: Attributes) -> Self {
        Self {
            name,
            id,
            created_ms: now_ms,
            modified_ms: now_ms,
            purged_ms: None,
            attributes,
            arrived: Arc::new(Notify::new()),
            messages: HashMap::new(),
            by_visibility: BTreeSet::new(),
            by_age: BTreeSet::new(),
            next_number: 1,
        }
    }

    /// The number that the next message gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Adds a message under the next number.
    pub(crate) fn add(&mut self, message: Message) {
        self.restore(self.next_number, message);
        self.arrived.notify_waiters();
    }

    /// Puts back a message under the number it had.
    pub(crate) fn restore(&mut self, number: u64, message: Message) {
        self.by_visibility.insert((message.visible_ms, number));
        self.by_age.insert((message.sent_ms, number));
        self.messages.insert(number, message);
        self.next_number = self.next_number.max(number + 1);
    }

    /// Takes a message out.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Message> {
        let message = self.messages.remove(&number)?;
        self.by_visibility.remove(&(message.visible_ms, number));
        self.by_age.remove(&(message.sent_ms, number));
        Some(message)
    }

    /// The messages that are older than the retention period.
    pub(crate) fn expired(&self, now_ms: u64) -> Vec<u64> {
        let horizon_ms = now_ms.saturating_sub(self.attributes.retention_seconds * 1_000);
        self.by_age
            .range(..(horizon_ms, 0))
            .map(|(_, number)| *number)
            .collect()
    }

    /// All messages, by number.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.messages.keys().copied().collect()
    }

    /// When the next message that is hidden now can be seen.
    pub(crate) fn next_visible_ms(&self, now_ms: u64) -> Option<u64> {
        self.by_visibility
            .range((now_ms + 1, 0)..)
            .next()
            .map(|(visible_ms, _)| *visible_ms)
    }

    /// Hands out up to `max` visible messages and hides them. Those that were handed out
    /// `max_receives` times already are reported as dead letters instead.
    pub(crate) fn receive(
        &mut self,
        max: usize,
        max_receives: Option<u32>,
        visibility_ms: u64,
        now_ms: u64,
        next_serial: &mut u64,
    ) -> Received {
        let mut received = Received::default();
        let mut due = Vec::new();
        for (_, number) in self.by_visibility.range(..=(now_ms, u64::MAX)) {
            let dead = max_receives.is_some_and(|most| {
                self.messages
                    .get(number)
                    .is_some_and(|message| message.received_here >= most)
            });
            if dead {
                received.dead_letters.push(*number);
                continue;
            }
            due.push(*number);
            if due.len() == max {
                break;
            }
        }
        for number in due {
            self.set_visible(number, now_ms + visibility_ms);
            let Some(message) = self.messages.get_mut(&number) else {
                continue;
            };
            *next_serial += 1;
            message.receive_count += 1;
            message.received_here += 1;
            message.first_received_ms.get_or_insert(now_ms);
            message.last_received_ms = now_ms;
            message.last_serial = *next_serial;
            let receipt = Receipt {
                queue: self.id,
                message: number,
                serial: *next_serial,
            };
            received.messages.push((receipt, message.clone()));
        }
        received
    }

    fn set_visible(&mut self, number: u64, visible_ms: u64) {
        if let Some(message) = self.messages.get_mut(&number) {
            self.by_visibility.remove(&(message.visible_ms, number));
            message.visible_ms = visible_ms;
            self.by_visibility.insert((visible_ms, number));
        }
    }

    /// Whether this receipt deletes the message: it must be the last one. An older one deletes
    /// nothing, and AWS calls that a success.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html>
    pub(crate) fn deletes(&self, receipt: &Receipt) -> bool {
        self.messages
            .get(&receipt.message)
            .is_some_and(|message| receipt.serial >= message.last_serial)
    }

    /// Hides a message that is in flight until `timeout_ms` from now.
    pub(crate) fn change_visibility(
        &mut self,
        receipt: &Receipt,
        timeout_ms: u64,
        now_ms: u64,
    ) -> Result<(), VisibilityError> {
        let message = self
            .messages
            .get(&receipt.message)
            .ok_or(VisibilityError::NoSuchReceipt)?;
        if receipt.serial < message.last_serial {
            return Err(VisibilityError::NoSuchReceipt);
        }
        if message.visible_ms <= now_ms || message.received_here == 0 {
            return Err(VisibilityError::NotInFlight);
        }
        let limit_ms = message.last_received_ms + VISIBILITY_SECONDS_MAX * 1_000;
        if now_ms + timeout_ms > limit_ms {
            return Err(VisibilityError::BeyondLimit);
        }
        self.set_visible(receipt.message, now_ms + timeout_ms);
        // Also when it stays hidden: a waiting receiver waits for another time now.
        self.arrived.notify_waiters();
        Ok(())
    }

    pub(crate) fn counts(&self, now_ms: u64) -> Counts {
        let (mut in_flight, mut delayed) = (0, 0);
        for (_, number) in self.by_visibility.range((now_ms + 1, 0)..) {
            match self.messages.get(number) {
                Some(message) if message.received_here > 0 => in_flight += 1,
                _ => delayed += 1,
            }
        }
        Counts {
            visible: self.messages.len() - in_flight - delayed,
            in_flight,
            delayed,
        }
    }

    /// Whether no more messages may be handed out. Counts only when there are enough to matter.
    pub(crate) fn is_over_limit(&self, now_ms: u64) -> bool {
        self.messages.len() >= IN_FLIGHT_MAX && self.counts(now_ms).in_flight >= IN_FLIGHT_MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue() -> Queue {
        Queue::new("q".to_owned(), 1, 0, Attributes::default())
    }

    fn send(queue: &mut Queue, sent_ms: u64, visible_ms: u64) {
        let content = Content::of_body("b".to_owned());
        queue.add(Message::new(
            queue.next_number().to_string(),
            content,
            sent_ms,
            visible_ms,
        ));
    }

    fn receive(queue: &mut Queue, now_ms: u64, serial: &mut u64) -> Vec<Receipt> {
        let received = queue.receive(10, None, 30_000, now_ms, serial);
        received
            .messages
            .into_iter()
            .map(|(receipt, _)| receipt)
            .collect()
    }

    #[test]
    fn a_received_message_hides_and_comes_back() {
        let (mut queue, mut serial) = (queue(), 0);
        send(&mut queue, 0, 5);
        assert_eq!(
            queue.counts(4),
            Counts {
                visible: 0,
                in_flight: 0,
                delayed: 1
            }
        );
        assert!(receive(&mut queue, 4, &mut serial).is_empty());
        let first = receive(&mut queue, 5, &mut serial);
        assert_eq!(first.len(), 1);
        assert_eq!(
            queue.counts(30_004),
            Counts {
                visible: 0,
                in_flight: 1,
                delayed: 0
            }
        );
        assert_eq!(queue.next_visible_ms(30_004), Some(30_005));
        assert!(receive(&mut queue, 30_004, &mut serial).is_empty());
        let second = receive(&mut queue, 30_005, &mut serial);
        assert!(!queue.deletes(&first[0]), "the older receipt deletes nothing");
        assert!(queue.deletes(&second[0]));
        assert!(
            queue.deletes(&second[0]),
            "also once the message is visible again"
        );
    }

    #[test]
    fn visibility_changes_in_flight_only_and_for_twelve_hours_at_most() {
        let (mut queue, mut serial) = (queue(), 0);
        send(&mut queue, 0, 0);
        let first = receive(&mut queue, 0, &mut serial)[0];
        assert_eq!(queue.change_visibility(&first, 43_200_000, 0), Ok(()));
        assert_eq!(
            queue.change_visibility(&first, 43_200_000, 1),
            Err(VisibilityError::BeyondLimit)
        );
        assert_eq!(queue.change_visibility(&first, 0, 2), Ok(()));
        assert_eq!(
            queue.change_visibility(&first, 5, 2),
            Err(VisibilityError::NotInFlight)
        );
        receive(&mut queue, 2, &mut serial);
        assert_eq!(
            queue.change_visibility(&first, 5, 2),
            Err(VisibilityError::NoSuchReceipt)
        );
    }

    #[test]
    fn dead_letters_are_reported_and_do_not_count_towards_the_batch() {
        let (mut queue, mut serial) = (queue(), 0);
        send(&mut queue, 0, 0);
        for now_ms in [0, 1] {
            assert_eq!(
                queue.receive(1, Some(2), 0, now_ms, &mut serial).messages.len(),
                1
            );
        }
        send(&mut queue, 2, 2);
        let received = queue.receive(1, Some(2), 0, 2, &mut serial);
        assert_eq!(received.dead_letters, [1]);
        assert_eq!(received.messages[0].0.message, 2);
    }

    #[test]
    fn messages_expire_by_age() {
        let mut queue = queue();
        send(&mut queue, 1_000, 1_000);
        send(&mut queue, 2_000, 2_000);
        assert!(queue.expired(345_601_000).is_empty());
        assert_eq!(queue.expired(345_601_001), [1]);
    }

    proptest! {
        /// A message is handed to one receiver at a time, and is never lost, whatever the timing.
        #[test]
        fn no_message_is_lost_or_held_twice(steps in prop::collection::vec((0..4_u8, 0..20_000_u64), 1..60)) {
            let (mut queue, mut serial, mut now_ms) = (queue(), 0, 0);
            let (mut sent, mut deleted) = (0, 0);
            let mut held: HashMap<u64, (Receipt, u64)> = HashMap::new();
            for (step, pause_ms) in steps {
                now_ms += pause_ms;
                held.retain(|_, (_, until_ms)| *until_ms > now_ms);
                match step {
                    0 => {
                        send(&mut queue, now_ms, now_ms + pause_ms % 3);
                        sent += 1;
                    }
                    1 => {
                        for receipt in receive(&mut queue, now_ms, &mut serial) {
                            prop_assert!(held.insert(receipt.message, (receipt, now_ms + 30_000)).is_none());
                        }
                    }
                    2 => {
                        if let Some(number) = held.keys().next().copied() {
                            let (receipt, _) = held.remove(&number).expect("just seen");
                            prop_assert!(queue.deletes(&receipt));
                            queue.remove(number);
                            deleted += 1;
                        }
                    }
                    _ => {
                        if let Some((receipt, until_ms)) = held.values_mut().next() {
                            prop_assert_eq!(queue.change_visibility(receipt, 1_000, now_ms), Ok(()));
                            *until_ms = now_ms + 1_000;
                        }
                    }
                }
                let Counts { visible, in_flight, delayed } = queue.counts(now_ms);
                prop_assert_eq!(in_flight, held.len());
                prop_assert_eq!(visible + in_flight + delayed, sent - deleted);
            }
        }
    }
}
