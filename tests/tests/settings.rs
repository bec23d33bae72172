//! Settings that are missing, unknown or contradictory end a program with exit code 64 and a message
//! that names them; nothing has been bound by then.

use pipeline_tests::Process;

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const USAGE: i32 = 64;

async fn refused(program: &str, args: &[&str], variables: &[(&str, &str)]) -> String {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let ended = Process::start(PIPELINE, program, &args, &variables).wait().await;
    assert_eq!(ended.status.code(), Some(USAGE), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    ended.stderr.join("\n")
}

#[tokio::test]
async fn what_is_missing_is_named() {
    for (program, flag) in [
        ("events", "--stream"),
        ("hoard", "--bucket"),
        ("syncomatic", "--source-bucket"),
    ] {
        let message = refused(program, &[], &[]).await;
        assert!(message.contains(flag), "{program}: {message}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_named() {
    for program in ["events", "hoard", "syncomatic", "local"] {
        let message = refused(program, &["--flush-intervall", "1s"], &[]).await;
        assert!(message.contains("--flush-intervall"), "{program}: {message}");
        let variable = format!("{}_FLUSH_INTERVALL", program.to_uppercase());
        let message = refused(program, &[], &[(&variable, "1s")]).await;
        assert!(message.contains(&variable), "{program}: {message}");
    }
}

#[tokio::test]
async fn what_contradicts_is_named_with_its_variable() {
    let args = [
        "--stream",
        "events",
        "--bucket",
        "archive",
        "--flush-bytes",
        "1GiB",
        "--memory-budget",
        "64MiB",
    ];
    let message = refused("hoard", &args, &[]).await;
    assert!(message.contains("HOARD_"), "{message}");
    assert!(
        message.contains("--flush-bytes") || message.contains("--memory-budget"),
        "{message}"
    );
}

#[tokio::test]
async fn a_verbatim_copy_from_europe_to_china_cannot_be_expressed() {
    let args = [
        "--source-region=eu-west-1",
        "--source-bucket=events-europe",
        "--source-queue=objects-created",
        "--source-profile=europe",
        "--destination-region=cn-north-1",
        "--destination-bucket=events-china",
        "--destination-profile=china",
    ];
    let message = refused("syncomatic", &args, &[]).await;
    assert!(message.contains("SYNCOMATIC_ROUTE"), "{message}");
    assert!(message.contains("aws-cn"), "{message}");
}

/// Each program checks and prints its settings, and says of them what it would say at start.
#[tokio::test]
async fn config_prints_the_settings_or_what_is_wrong_with_them() {
    let hoard = ["--stream=events", "--bucket=archive"];
    let syncomatic = [
        "--source-region=cn-north-1",
        "--source-bucket=events-china",
        "--source-queue=objects-created",
        "--source-profile=china",
        "--destination-region=eu-west-1",
        "--destination-bucket=events-europe",
        "--destination-profile=europe",
    ];
    for (program, args) in [("hoard", &hoard[..]), ("syncomatic", &syncomatic)] {
        let args: Vec<_> = ["config"].iter().chain(args).map(ToString::to_string).collect();
        let variable = format!("{}_LOG_FILTER", program.to_uppercase());
        let variables = [(variable.as_str(), "debug".to_owned())];
        let ended = Process::start(PIPELINE, program, &args, &variables).wait().await;
        assert!(ended.status.success(), "{ended:?}");
        for arg in &args[1..] {
            let (flag, value) = arg.split_once('=').expect("a value");
            let expected = [flag, value, "flag"];
            let told = |line: &String| line.split_whitespace().eq(expected);
            assert!(ended.stdout.iter().any(told), "{expected:?}: {ended:?}");
        }
        let expected = ["--log-filter", "debug", &variable];
        let told = |line: &String| line.split_whitespace().eq(expected);
        assert!(ended.stdout.iter().any(told), "{ended:?}");
        let message = refused(program, &["config"], &[]).await;
        assert_eq!(message, refused(program, &[], &[]).await);
    }
}

#[tokio::test]
async fn help_and_version_are_no_failure() {
    for program in ["events", "hoard", "syncomatic", "local"] {
        for flag in ["--help", "--version"] {
            let ended = Process::start(PIPELINE, program, &[flag.to_owned()], &[])
                .wait()
                .await;
            assert!(ended.status.success(), "{ended:?}");
            assert!(ended.stdout.join("\n").contains(program), "{ended:?}");
        }
    }
}
