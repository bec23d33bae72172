//! One budget of bytes for all that is in flight, and who is shed first when it gets short.
//!
//! A request is admitted with the bytes it may bring, before its body is read; what it holds is
//! given back when the last of its records is settled, not when its client goes away. So the budget
//! bounds memory however slow Kinesis is and however many clients there are.
//!
//! Devices are let in while less than a part of the budget is held, apps while less than a larger one
//! is, the platform to the last byte: devices and apps keep their events and come again, while what the
//! platform has to tell is of everybody. And one client alone may hold a part of the budget only,
//! whatever its kind.
//!
//! What waits in the spool holds nothing of the budget, neither on disk nor on its way out of it: so a
//! full budget never keeps the spool from draining, and a full spool never holds the budget.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use event_model::Producer;
use prometheus::IntGauge;

use crate::refusal::Refusal;

/// What a request costs even if it brings next to nothing.
const MIN_COST: usize = 1024;

/// How many bytes may be in flight, and how much of that each may fill, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// All that may be in flight.
    pub bytes: usize,
    /// How full it may be with another request of a device.
    pub devices_percent: u8,
    /// How full it may be with another request of an app.
    pub apps_percent: u8,
    /// How much of it one client may hold.
    pub client_percent: u8,
}

impl Budget {
    /// How full the budget may be with a request of this kind of client.
    fn for_kind(&self, kind: Producer) -> usize {
        match kind {
            Producer::Device => self.part(self.devices_percent),
            Producer::App => self.part(self.apps_percent),
            Producer::Platform => self.bytes,
        }
    }

    /// How much one client may hold.
    fn for_client(&self) -> usize {
        self.part(self.client_percent)
    }

    /// The largest request that everybody can make, when nothing else is in flight.
    pub(crate) fn for_anyone(&self) -> usize {
        self.for_kind(Producer::Device)
            .min(self.for_kind(Producer::App))
            .min(self.for_client())
    }

    fn part(&self, percent: u8) -> usize {
        self.bytes / 100 * usize::from(percent) + self.bytes % 100 * usize::from(percent) / 100
    }
}

#[derive(Debug)]
pub(crate) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget: Budget,
    held: Mutex<Held>,
    in_flight: IntGauge,
}

/// What is in flight: in all, and of each client that has something.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    clients: HashMap<Arc<str>, usize>,
}

impl Admission {
    pub(crate) fn new(budget: Budget, in_flight: IntGauge) -> Self {
        Self(Arc::new(Shared {
            budget,
            held: Mutex::default(),
            in_flight,
        }))
    }

    /// Admits `bytes` of a client, or refuses at once: whoever would wait here holds a connection and
    /// memory.
    pub(crate) fn admit(&self, client: &Arc<str>, kind: Producer, bytes: usize) -> Result<Admitted, Refusal> {
        let mut admitted = Admitted {
            shared: Arc::clone(&self.0),
            client: Arc::clone(client),
            kind,
            bytes: 0,
        };
        admitted.resize(bytes)?;
        Ok(admitted)
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    shared: Arc<Shared>,
    client: Arc<str>,
    kind: Producer,
    bytes: usize,
}

impl Admitted {
    /// Changes the share to what the request turned out to hold.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let bytes = bytes.max(MIN_COST);
        if bytes > self.bytes {
            self.shared.take(&self.client, self.kind, bytes - self.bytes)?;
        } else {
            self.shared.give_back(&self.client, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.give_back(&self.client, self.bytes);
    }
}

impl Shared {
    fn take(&self, client: &Arc<str>, kind: Producer, bytes: usize) -> Result<(), Refusal> {
        let mut held = self.lock();
        let fits = |held: usize, most: usize| held.checked_add(bytes).is_some_and(|held| held <= most);
        if !fits(held.bytes, self.budget.for_kind(kind)) {
            return Err(Refusal::Overloaded);
        }
        let own = held.clients.get(client).copied().unwrap_or_default();
        if !fits(own, self.budget.for_client()) {
            return Err(Refusal::TooMuchInFlight);
        }
        held.bytes += bytes;
        held.clients.insert(Arc::clone(client), own + bytes);
        self.in_flight.set(to_gauge(held.bytes));
        Ok(())
    }

    fn give_back(&self, client: &Arc<str>, bytes: usize) {
        let mut held = self.lock();
        held.bytes -= bytes;
        if let Some(own) = held.clients.get_mut(client) {
            *own -= bytes;
            if *own == 0 {
                held.clients.remove(client);
            }
        }
        self.in_flight.set(to_gauge(held.bytes));
    }

    /// Nothing under the lock can panic, so what a poisoned one holds is whole.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "admission/tests.rs"]
pub(crate) mod tests;
