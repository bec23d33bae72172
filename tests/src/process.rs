//! A program of the pipeline as a process: started with flags, watched through its log, ended by
//! signals.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::eventually;

/// Longer than any program takes to start, drain or refuse on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Output,
    stderr: Output,
    readers: JoinSet<()>,
}

/// What a program has printed so far to one of its pipes.
#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output, line by line.
    pub stdout: Vec<String>,
    /// Standard error, line by line.
    pub stderr: Vec<String>,
}

impl Process {
    /// Starts `program` (from the multi-call `binary`) with an environment of `variables` alone.
    pub fn start(binary: &str, program: &str, args: &[String], variables: &[(&str, String)]) -> Self {
        let mut child = Command::new(binary)
            .arg0(program)
            .args(args)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let mut readers = JoinSet::new();
        let stdout = Output::of(child.stdout.take().expect("piped"), &mut readers);
        let stderr = Output::of(child.stderr.take().expect("piped"), &mut readers);
        Self {
            name: program.to_owned(),
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// Waits for a log line with this message and gives one of its fields.
    pub async fn logged(&self, message: &str, field: &str) -> String {
        let what = format!("log {message:?}");
        self.awaited(&what, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let value = (line["message"] == message).then(|| line[field].clone())?;
            (!value.is_null()).then(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .await
    }

    /// Waits for a line on standard output that contains `text`, and gives it.
    pub async fn printed(&self, text: &str) -> String {
        let what = format!("print {text:?}");
        self.awaited(&what, |line| line.contains(text).then(|| line.to_owned()))
            .await
    }

    /// Waits for the first line that `find` accepts; gives up at once when the program has ended.
    async fn awaited<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("{} to {what}", self.name);
        let found = eventually(&what, PATIENCE, async || {
            let printed = self.stdout.lock();
            let found = printed.lines.iter().find_map(|line| find(line));
            assert!(
                found.is_some() || !printed.ended,
                "it ended: {what}\n{}",
                self.stderr.text()
            );
            found
        });
        found
            .await
            .unwrap_or_else(|late| panic!("{late}\n{}", self.transcript()))
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().lines.clone()
    }

    /// Waits until the admin port says that the program is ready.
    pub async fn ready(&self) {
        let address = self.logged("starting", "admin").await;
        let what = format!("{} to be ready", self.name);
        let url = format!("http://{address}/readyz");
        eventually(&what, PATIENCE, async || {
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await
        .unwrap_or_else(|late| panic!("{late}\n{}", self.transcript()));
    }

    /// Waits until the admin port says that the program is not ready, and of this part that it is for this
    /// reason.
    pub async fn not_ready(&self, part: &str, reason: &str) {
        let address = self.logged("starting", "admin").await;
        let what = format!("{} to be not ready: {part}: {reason}", self.name);
        let url = format!("http://{address}/readyz");
        eventually(&what, PATIENCE, async || {
            let answer = reqwest::get(&url).await.ok()?;
            let refused = answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE;
            let text = answer.text().await.ok()?;
            let is_told = |line: &str| line.starts_with(part) && line.contains(reason);
            (refused && text.lines().any(is_told)).then_some(())
        })
        .await
        .unwrap_or_else(|late| panic!("{late}\n{}", self.transcript()));
    }

    /// Asks for a drain with SIGTERM and waits for the end.
    pub async fn terminate(self) -> Ended {
        self.signal("TERM").await;
        self.wait().await
    }

    /// Sends it a signal by name: `STOP` and `CONT` pause it and let it go on.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("still running").to_string();
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid)
            .status()
            .await;
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot signal {}",
            self.name
        );
    }

    /// Ends it with SIGKILL, as a crash or a lost machine would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("still running");
    }

    /// Waits for it to end by itself.
    pub async fn wait(mut self) -> Ended {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended
            .unwrap_or_else(|_| panic!("{} does not end\n{}", self.name, self.transcript()))
            .expect("its status can be read");
        // The pipes end with the process; what it said last is still on its way.
        while self.readers.join_next().await.is_some() {}
        Ended {
            status,
            stdout: std::mem::take(&mut self.stdout.lock().lines),
            stderr: std::mem::take(&mut self.stderr.lock().lines),
        }
    }

    /// Everything it has printed, for the message of a failed test.
    pub fn transcript(&self) -> String {
        format!(
            "--- {} said:\n{}\n{}",
            self.name,
            self.stdout.text(),
            self.stderr.text()
        )
    }
}

/// A test that fails shows what the programs said.
impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it where the test failed"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.transcript());
        }
    }
}

impl Output {
    /// Everything that comes out of `pipe` from now on.
    fn of(pipe: impl AsyncRead + Send + Unpin + 'static, readers: &mut JoinSet<()>) -> Self {
        let output = Self::default();
        let collected = output.clone();
        readers.spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = pipe.next_line().await {
                collected.lock().lines.push(line);
            }
            collected.lock().ended = true;
        });
        output
    }

    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.lock().lines.join("\n")
    }
}
