use super::*;

#[test]
fn processor_time_is_the_sum_of_user_and_system_whatever_the_name() {
    let stat = "71 (a) b (c) S 1 71 71 0 -1 4194560 100 0 0 0 250 75 9 9 20 0 3 0 9999 1 2 3";
    assert_eq!(processor_ticks(stat), Some(325));
    assert_eq!(processor_ticks("71 (a) S 1"), None);
    assert_eq!(processor_ticks(""), None);
}

#[test]
fn memory_is_read_by_name_in_bytes() {
    let status = "Name:\tevents\nVmHWM:\t    2048 kB\nVmRSSx:\t 7 kB\nVmRSS:\t    1024 kB\n";
    assert_eq!(status_bytes(status, "VmRSS"), Some(1 << 20));
    assert_eq!(status_bytes(status, "VmHWM"), Some(2 << 20));
    assert_eq!(status_bytes(status, "VmSwap"), None);
}

#[tokio::test]
async fn a_program_is_watched_measured_and_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "echo listening on 127.0.0.1:7; trap 'exit 0' TERM; while :; do :; done";
    let mut program = Program::start(
        "sh",
        Path::new("/bin/sh"),
        ["-c", script],
        &[],
        folder.path(),
        None,
    )
    .expect("a shell");
    let address = program.logged(|line| line.strip_prefix("listening on ").map(str::to_owned));
    assert_eq!(address.await.expect("its line"), "127.0.0.1:7");
    let busy = timeout(PATIENCE, async {
        while program.usage().expect("it runs").cpu.is_zero() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    busy.await.expect("it is busy");
    assert!(program.usage().expect("it runs").resident_bytes > 0);
    program.end().await.expect("it ends when asked");
}

#[tokio::test]
async fn a_program_that_ends_early_is_a_failure_with_its_last_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["-c", "echo no such stream; exit 3"];
    let mut program =
        Program::start("sh", Path::new("/bin/sh"), arguments, &[], folder.path(), None).expect("a shell");
    let failure = program.logged(|_| None::<()>).await.expect_err("it ended");
    assert!(failure.to_string().contains("no such stream"), "{failure}");
}
