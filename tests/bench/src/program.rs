//! Programs as processes of their own: started on a core, watched through their log, and measured by
//! what the kernel has counted for them.

mod scrape;

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

pub use scrape::Scrape;

use crate::{Failure, cores::Cores};

/// Longer than any program takes to start or to drain on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, in user and in kernel mode, of all its threads.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The most resident memory it had, in bytes.
    pub peak_bytes: u64,
}

impl Program {
    /// Starts a program; its output goes to a file in `folder`. With `cores`, it has the measured core.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: impl Into<String>,
        path: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        variables: &[(&str, String)],
        folder: &Path,
        cores: Option<&Cores>,
    ) -> Result<Self, Failure> {
        let name = name.into();
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(Failure::system("cannot write a log"))?;
        let errors = file.try_clone().map_err(Failure::system("cannot write a log"))?;
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            // Without colours, so that the log can be read by a program.
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true);
        let started = match cores {
            Some(cores) => cores.measured(|| command.spawn()),
            None => command.spawn(),
        };
        let child = started.map_err(Failure::system(format!("cannot start {}", path.display())))?;
        Ok(Self { name, child, log })
    }

    /// Waits for the first line of its log that `find` accepts.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub async fn logged<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&self.log).map_err(Failure::system("cannot read a log"))?;
            // The last line may not be whole yet.
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            if let Some(found) = whole.lines().find_map(&find) {
                return Ok(found);
            }
            let ended = self.child.try_wait().map_err(Failure::system("cannot wait"))?;
            if let Some(status) = ended {
                return Err(self.failed(&format!("ended with {status}")));
            }
            if Instant::now() > patience {
                return Err(self.failed("did not say in time what was waited for"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The failure of this program, with the end of its log.
    fn failed(&self, problem: &str) -> Failure {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        Failure::Program {
            program: self.name.clone(),
            problem: format!("{problem}\n{last}"),
        }
    }

    /// What it has used up to now.
    ///
    /// # Errors
    /// When it has ended, or the system does not say.
    pub fn usage(&self) -> Result<Usage, Failure> {
        usage_of(self.child.id().ok_or_else(|| self.failed("has ended"))?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| self.failed("had ended"))?;
        kill_process(pid, signal).map_err(|error| self.failed(&format!("cannot be signalled: {error}")))
    }

    /// Sees that it still runs.
    ///
    /// # Errors
    /// When it has ended, with the end of its log.
    pub fn runs(&mut self) -> Result<(), Failure> {
        match self.child.try_wait().map_err(Failure::system("cannot wait"))? {
            None => Ok(()),
            Some(status) => Err(self.failed(&format!("ended by itself with {status}"))),
        }
    }

    /// Ends it with SIGKILL, as a crash or a lost machine would.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn kill(mut self) -> Result<(), Failure> {
        self.runs()?;
        self.child.kill().await.map_err(Failure::system("cannot kill"))
    }

    /// The file that its output goes to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Ends it with SIGTERM and waits for it.
    ///
    /// # Errors
    /// When it does not drain in time, or says that it failed.
    pub async fn end(mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failed(&format!("ended with {status}"))),
            Ok(Err(error)) => Err(self.failed(&format!("cannot be waited for: {error}"))),
            Err(_) => Err(self.failed("did not drain in time")),
        }
    }
}

/// What a process has used up to now.
///
/// # Errors
/// When there is none, or the system does not say.
pub fn usage_of(id: u32) -> Result<Usage, Failure> {
    let read = |file: &str| {
        let path = format!("/proc/{id}/{file}");
        std::fs::read_to_string(&path).map_err(Failure::system(format!("cannot read {path}")))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let unknown = || Failure::NotMeasured(format!("the system does not say what process {id} uses"));
    let ticks = processor_ticks(&stat).ok_or_else(unknown)?;
    Ok(Usage {
        cpu: Duration::from_secs(1) * ticks / ticks_a_second(),
        resident_bytes: status_bytes(&status, "VmRSS").ok_or_else(unknown)?,
        peak_bytes: status_bytes(&status, "VmHWM").ok_or_else(unknown)?,
    })
}

pub(crate) fn ticks_a_second() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second())
        .unwrap_or(100)
        .max(1)
}

/// A field of a line of a program's log, where it is the line with this message.
pub fn logged<T: std::str::FromStr>(line: &str, message: &str, field: &str) -> Option<T> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line["message"] != message {
        return None;
    }
    line[field].as_str()?.parse().ok()
}

/// User and system time, fields 14 and 15 of `/proc/PID/stat` (proc(5)). The second field, the name, may
/// hold spaces and brackets.
fn processor_ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

/// A line of `/proc/PID/status` such as `VmRSS:      1234 kB`.
pub(crate) fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub async fn output(path: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let ran = Command::new(path).args(arguments).env_clear().output().await;
    let ran = ran.map_err(Failure::system(format!("cannot start {}", path.display())))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    Err(Failure::Program {
        program: path.display().to_string(),
        problem: String::from_utf8_lossy(&ran.stderr).into_owned(),
    })
}

/// The release build of each package, next to this program. Under `cargo run` it is brought up to date
/// first, so that what is measured is what is checked out.
///
/// # Errors
/// When it does not build, or is not there.
pub async fn built(packages: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    if cfg!(debug_assertions) {
        let problem = "an unoptimised build says nothing: run it with --release".to_owned();
        return Err(Failure::NotMeasured(problem));
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        // The whole workspace, as for this program: a single package would select other features of the
        // libraries, and have all of them built once more.
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--quiet", "--workspace", "--bins"]);
        let status = build
            .status()
            .await
            .map_err(Failure::system("cannot start cargo"))?;
        if !status.success() {
            return Err(Failure::NotMeasured("the programs do not build".to_owned()));
        }
    }
    let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
    let beside = |package: &&str| {
        let path = own.with_file_name(package);
        if path.is_file() {
            Ok(path)
        } else {
            let problem = format!(
                "{} is missing: cargo build --release --workspace --bins",
                path.display()
            );
            Err(Failure::NotMeasured(problem))
        }
    };
    packages.iter().map(beside).collect()
}

#[cfg(test)]
#[path = "program/tests.rs"]
mod tests;
