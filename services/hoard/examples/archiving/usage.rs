//! CPU and memory of a process, as the kernel counts them.

use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::cloud::Place;

/// What a process used.
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Its peak resident set.
    pub(crate) peak_kib: u64,
}

/// Kernels count in hundredths of a second wherever this runs.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// Of this process, so far.
    pub(crate) fn so_far() -> Result<Self, Failure> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name of the program, which may hold spaces, is in parentheses.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks =
            |index: usize| -> Result<u32, Failure> { Ok(fields.get(index).ok_or("too short")?.parse()?) };
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        Ok(Self {
            cpu: TICK * (ticks(11)? + ticks(12)?),
            peak_kib: peak.ok_or("/proc/self/status has no VmHWM")?.parse()?,
        })
    }

    /// As the last line of a child's output.
    pub(crate) fn print(&self) {
        println!("used {} {}", self.cpu.as_millis(), self.peak_kib);
    }
}

/// Runs this program again and returns what it says that it used.
pub(crate) fn of_child(what: &[&str], place: &Place, more: &[&str]) -> Result<Usage, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args(what)
        .args([
            &place.endpoint,
            &place.shards.to_string(),
            &place.records.to_string(),
        ])
        .args(more)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let used = text.lines().rev().find_map(|line| line.strip_prefix("used "));
    let (cpu, peak) = used
        .and_then(|used| used.split_once(' '))
        .ok_or_else(|| format!("{what:?} failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Usage {
        cpu: Duration::from_millis(cpu.parse()?),
        peak_kib: peak.parse()?,
    })
}
