//! `bench chaos` in its short form: seconds of faults over the whole pipeline, then the ledger.
//!
//! `CHAOS_MINUTES=60` makes it long, `CHAOS_SEED=n` chooses what happens.

use std::path::Path;

use bench::chaos::{self, Plan};
use clap::Parser;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    plan: Plan,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_doubled() {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (minutes, seed) = (variable("CHAOS_MINUTES", "0.25"), variable("CHAOS_SEED", "1"));
    let flags = ["chaos", "--minutes", &minutes, "--seed", &seed];
    let plan = Flags::try_parse_from(flags).expect("flags of ours").plan;
    let survived = chaos::run(&plan, Path::new(env!("CARGO_BIN_EXE_bench"))).await;
    let survived = survived.unwrap_or_else(|failure| panic!("{failure}"));
    let (published, spooled) = survived.accepted();
    let (stream, china, europe) = survived.lines();
    assert!(published + spooled > 100 && stream >= published, "{survived}");
    assert_eq!((stream, china), (china, europe), "{survived}");
    for kind in [
        "kill -9",
        "kill -9 in a call",
        "SIG",
        "China kinesis:",
        "China s3:",
        "China sqs:",
        "Europe s3:",
    ] {
        assert!(survived.faults_of(kind) > 0, "no {kind}: {survived}");
    }
}
