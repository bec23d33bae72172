//! Memory of connections that have sent an event and are kept alive since.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{mebibytes, world::World};
use crate::{Failure, load::Connection, population::Population, report::Line};

/// Descriptors that the program needs for other things.
const SPARE: u64 = 256;

/// Raises the number of files that this process and those it will start may have open, as far as the
/// system allows, and gives how many that are.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let Some(maximum) = limit.maximum else {
        return u64::MAX;
    };
    let raised = Rlimit {
        current: Some(maximum),
        maximum: Some(maximum),
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => limit.current.unwrap_or(maximum),
    }
}

/// The lines, and a note where there could not be as many connections as were asked for.
pub(super) async fn measure(
    wanted: u32,
    open_files: u64,
    world: &World,
    population: &mut Population,
) -> Result<(Vec<Line>, Option<String>), Failure> {
    let files = open_files.saturating_sub(SPARE);
    let count = u64::from(wanted).min(files);
    let note = (count < u64::from(wanted)).then(|| {
        format!("The system allows this program {files} open files, so there are {count} idle connections and not {wanted}.")
    });
    let before = world.service.usage()?.resident_bytes;
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(&world.target).await?;
        let (status, _) = connection.post(population.body(1)).await?;
        if !status.is_success() {
            return Err(Failure::NotMeasured(format!("an event was answered {status}")));
        }
        connections.push(connection);
    }
    let with = world.service.usage()?.resident_bytes;
    drop(connections);
    let mut lines = vec![
        Line::new("memory at rest", "MiB", vec![mebibytes(before)]),
        Line::new("memory with the idle connections", "MiB", vec![mebibytes(with)]),
    ];
    if let Some(each) = (with.saturating_sub(before) * 1024).checked_div(count) {
        lines.push(Line::new(
            "memory of an idle connection",
            "KiB",
            vec![mebibytes(each)],
        ));
    }
    Ok((lines, note))
}
