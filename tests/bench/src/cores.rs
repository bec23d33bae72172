//! Which core is measured, and that nothing of ours disturbs it.
//!
//! A process inherits the cores of the thread that starts it, so a thread moves to the measured core
//! for as long as it takes to start a program there. Other users of the machine are not kept away.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this process, parted.
#[derive(Debug)]
pub struct Cores {
    parted: Option<Parted>,
}

#[derive(Debug)]
struct Parted {
    measured: CpuSet,
    others: CpuSet,
    measured_core: usize,
}

impl Cores {
    /// Parts them: the first one is measured, and the calling thread, with every thread and process that
    /// it will start, moves to the others. With a single core, or where the system does not allow it,
    /// nothing moves and [`Cores::describe`] says so.
    #[must_use]
    pub fn part() -> Self {
        Self { parted: part() }
    }

    /// Runs `work` on the measured core.
    pub fn measured<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(parted) = &self.parted else {
            return work();
        };
        // Both sets were accepted before; should one be refused now, it runs where it is.
        let moved = sched_setaffinity(None, &parted.measured).is_ok();
        let done = work();
        if moved {
            sched_setaffinity(None, &parted.others).unwrap_or_default();
        }
        done
    }

    /// For the report.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.parted {
            Some(parted) => format!(
                "measured on core {} alone, load on the others",
                parted.measured_core
            ),
            None => "not pinned: there is one core, or the system does not allow it".to_owned(),
        }
    }
}

fn part() -> Option<Parted> {
    let all = sched_getaffinity(None).ok()?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
    let measured_core = allowed.next()?;
    let (mut measured, mut others) = (CpuSet::new(), CpuSet::new());
    measured.set(measured_core);
    allowed.next()?;
    for core in (measured_core + 1..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)) {
        others.set(core);
    }
    sched_setaffinity(None, &measured).ok()?;
    sched_setaffinity(None, &others).ok()?;
    Some(Parted {
        measured,
        others,
        measured_core,
    })
}
