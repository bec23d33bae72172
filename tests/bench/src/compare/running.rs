//! A command of anybody's: started, watched until its work is done, ended, and what it used.

use std::{
    ffi::OsString,
    fs,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    Failure,
    program::{status_bytes, ticks_a_second},
};

/// Between two looks at what it uses and how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(30);

/// What a command came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// Processor time, its own and that of the children that it waited for.
    pub(super) cpu: Duration,
    /// From its start until its work was done.
    pub(super) took: Duration,
    /// The most resident memory that all of its group had together when it was looked at.
    pub(super) peak_bytes: u64,
    /// Whether the work was done, rather than the command at its end.
    pub(super) is_done: bool,
}

/// Runs a command until `is_done` says so, or until it ends. One at a time: the kernel adds up what ended
/// children used.
pub(super) async fn run(
    command: &[OsString],
    variables: &[(&str, String)],
    limit: Duration,
    mut is_done: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<Used, Failure> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Failure::NotMeasured("there is no command".to_owned()))?;
    let name = program.to_string_lossy().into_owned();
    let before = children_ticks()?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::system(format!("cannot start {name}")))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut peak_bytes = 0;
    let mut ended = None;
    let done = loop {
        peak_bytes = peak_bytes.max(group.map_or(0, resident_bytes));
        if is_done().await? {
            break true;
        }
        ended = child.try_wait().map_err(Failure::system("cannot wait"))?;
        if ended.is_some() {
            break is_done().await?;
        }
        if started.elapsed() > limit {
            break false;
        }
        sleep(LOOK).await;
    };
    let took = started.elapsed();
    let in_time = ended.is_some() || took <= limit;
    end(&mut child, group, ended).await?;
    if !in_time {
        let problem = format!("was not done within {limit:?}");
        return Err(Failure::Program {
            program: name,
            problem,
        });
    }
    let ticks = children_ticks()?.saturating_sub(before);
    Ok(Used {
        cpu: Duration::from_secs(ticks) / ticks_a_second(),
        took,
        peak_bytes,
        is_done: done,
    })
}

/// Asks the whole group to end, and makes it.
async fn end(child: &mut Child, group: Option<Pid>, ended: Option<ExitStatus>) -> Result<(), Failure> {
    let Some(group) = group else { return Ok(()) };
    // Nobody is left in a group that cannot be signalled.
    kill_process_group(group, Signal::TERM).unwrap_or_default();
    if ended.is_none() && timeout(GRACE, child.wait()).await.is_err() {
        kill_process_group(group, Signal::KILL).unwrap_or_default();
        child.wait().await.map_err(Failure::system("cannot wait"))?;
    }
    kill_process_group(group, Signal::KILL).unwrap_or_default();
    Ok(())
}

/// User and system time of this process's children that have ended, with theirs: fields 16 and 17 of
/// `/proc/self/stat` (proc(5)).
fn children_ticks() -> Result<u64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(Failure::system("cannot read /proc"))?;
    let fields = |stat: &str| {
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_whitespace().skip(13);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    fields(&stat).ok_or_else(|| Failure::NotMeasured("the system does not say what children use".to_owned()))
}

/// Of every process in the group, together.
fn resident_bytes(group: Pid) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let of_group = |folder: fs::DirEntry| {
        let stat = fs::read_to_string(folder.path().join("stat")).ok()?;
        let (_, after_name) = stat.rsplit_once(')')?;
        // The state, the parent, the group.
        let in_group = after_name.split_whitespace().nth(2)? == group.as_raw_nonzero().to_string();
        let status = in_group.then(|| fs::read_to_string(folder.path().join("status")).ok())??;
        status_bytes(&status, "VmRSS")
    };
    processes.flatten().filter_map(of_group).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).to_vec()
    }

    // One test, as what ended children used is counted for the whole process.
    #[tokio::test]
    async fn what_a_command_and_its_children_use_is_counted() {
        let limit = Duration::from_secs(60);
        let never = async || Ok(false);
        let spin = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        let alone = run(&shell(spin), &[], limit, never).await.expect("it ends");
        assert!(
            !alone.is_done && alone.cpu >= Duration::from_millis(20),
            "{alone:?}"
        );
        assert!(alone.peak_bytes > 100_000, "{alone:?}");
        let child = run(&shell(&format!("sh -c '{spin}'; true")), &[], limit, never).await;
        let child = child.expect("it ends");
        assert!(child.cpu * 3 > alone.cpu, "{child:?} beside {alone:?}");

        let mut looks = 0;
        let done = async || {
            looks += 1;
            Ok(looks > 3)
        };
        let ended = run(&shell("sleep 600 & sleep 600"), &[], limit, done)
            .await
            .expect("it is ended");
        assert!(ended.is_done && ended.took < limit, "{ended:?}");

        let late = run(&shell("sleep 600"), &[], Duration::from_millis(100), never).await;
        let late = late.expect_err("too late").to_string();
        assert!(late.contains("not done within"), "{late}");
        let missing = run(&["/no/such/program".into()], &[], limit, never).await;
        let missing = missing.expect_err("missing").to_string();
        assert!(missing.contains("/no/such/program"), "{missing}");
    }
}
