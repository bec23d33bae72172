use std::{os::unix::fs::symlink, process::Command};

use super::*;
use crate::reload::{Change, Reloadable};

const PLAY: &[u8] = include_bytes!("../../../../schemas/play/1-0-0.json");

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("written");
}

/// The bundled play schema as another version.
fn play(version: &str) -> String {
    let text = String::from_utf8(PLAY.to_vec()).expect("UTF-8");
    text.replace("\"const\": \"1-0-0\"", &format!("\"const\": \"{version}\""))
}

fn schemas(folder: &Path) -> Schemas {
    Schemas::Folder(folder.to_owned())
}

fn versions(catalogue: &Catalogue) -> Vec<String> {
    let versions = catalogue.versions("play").into_iter().flatten();
    versions.map(|schema| schema.version().to_string()).collect()
}

fn problem(folder: &Path) -> String {
    schemas(folder).read().expect_err("no catalogue").to_string()
}

#[test]
fn a_folder_is_read_as_it_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    write(&at("play/1-0-0.json"), PLAY);
    write(&at("play/1-0-1.json"), play("1-0-1"));
    write(&at("play/.1-0-2.json.swp"), "what an editor leaves");
    write(&at(".git/config"), "what a checkout brings");
    let catalogue = schemas(folder.path()).read().expect("a catalogue");
    assert_eq!(versions(&catalogue), ["1-0-0", "1-0-1"]);
    assert_eq!(catalogue.event_types().count(), 1);
    let schema = catalogue.latest("play").expect("play");
    assert_eq!(schema.document(), play("1-0-1").as_bytes());
}

#[test]
fn what_is_no_schema_is_named() {
    type Mistake = fn(&Path);
    let cases: [(&str, Mistake); 10] = [
        ("README.md is no schema", |folder| {
            write(&folder.join("README.md"), "");
        }),
        ("play/old is no schema", |folder| {
            write(&folder.join("play/old/1-0-0.json"), PLAY);
        }),
        ("schema play/1-0-0: ", |folder| {
            write(&folder.join("play/1-0-0"), PLAY);
        }),
        ("schema Play/1-0-0.json: ", |folder| {
            write(&folder.join("Play/1-0-0.json"), PLAY);
        }),
        ("schema play/1-0-1.json: field schemaversion", |folder| {
            write(&folder.join("play/1-0-1.json"), PLAY);
        }),
        ("schema play/2-0-0.json: ", |folder| {
            write(&folder.join("play/2-0-0.json"), "{");
        }),
        ("1-0-1.json holds more than 262144 bytes", |folder| {
            write(&folder.join("play/1-0-1.json"), " ".repeat(300 << 10));
        }),
        ("cannot read ", |folder| {
            symlink("nowhere", folder.join("gone")).expect("a link");
        }),
        ("1-0-2.json is no schema", |folder| {
            let made = Command::new("mkfifo")
                .arg(folder.join("play/1-0-2.json"))
                .status();
            assert!(made.expect("it runs").success());
        }),
        ("holds more than 4096 files and folders", |folder| {
            for number in 0..4100 {
                write(&folder.join(format!("play/.{number}")), "");
            }
        }),
    ];
    for (expected, mistake) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder.path().join("play/1-0-0.json"), PLAY);
        schemas(folder.path()).read().expect("a catalogue");
        mistake(folder.path());
        let problem = problem(folder.path());
        assert!(problem.contains(expected), "{problem}, not {expected}");
    }
}

#[test]
fn documents_are_bounded_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let document = [PLAY, " ".repeat(200 << 10).as_bytes()].concat();
    for number in 0..90 {
        write(&folder.path().join(format!("play/1-0-{number}.json")), &document);
    }
    let problem = problem(folder.path());
    assert!(problem.ends_with("holds more than 16777216 bytes"), "{problem}");
}

#[test]
fn a_folder_without_a_schema_is_a_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(problem(folder.path()).ends_with("holds no schema"));
    let missing = problem(&folder.path().join("missing"));
    assert!(missing.starts_with("cannot read "), "{missing}");
}

/// As the kubelet mounts a ConfigMap with `items` whose paths are `play/1-0-0.json` and so on.
#[test]
fn a_config_map_is_read_and_its_swap_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    write(&at("..2026_one/play/1-0-0.json"), PLAY);
    write(&at("..2026_two/play/1-0-0.json"), PLAY);
    write(&at("..2026_two/play/1-0-1.json"), play("1-0-1"));
    symlink("..2026_one", at("..data")).expect("a link");
    symlink("..data/play", at("play")).expect("a link");
    let catalogue = Reloadable::read(schemas(folder.path())).expect("a catalogue");
    assert_eq!(versions(&catalogue.current()), ["1-0-0"]);
    assert_eq!(catalogue.refresh(), Change::Nothing);
    symlink("..2026_two", at("..data_tmp")).expect("a link");
    fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
    assert_eq!(catalogue.refresh(), Change::Replaced);
    assert_eq!(versions(&catalogue.current()), ["1-0-0", "1-0-1"]);
}

#[test]
fn each_kind_of_change_is_seen_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    write(&at("play/1-0-0.json"), PLAY);
    let catalogue = Reloadable::read(schemas(folder.path())).expect("a catalogue");
    let now = || versions(&catalogue.current());

    write(&at("play/1-0-1.json"), play("1-0-1"));
    assert_eq!(catalogue.refresh(), Change::Replaced);
    assert_eq!(now(), ["1-0-0", "1-0-1"]);

    write(
        &at("play/1-0-1.json"),
        play("1-0-1").replace("\"Play\"", "\"Played\""),
    );
    assert_eq!(catalogue.refresh(), Change::Replaced);
    assert_eq!(
        catalogue.current().latest("play").expect("play").title(),
        "Played"
    );

    write(&at("navigation/1-0-0.json"), "{");
    assert!(matches!(catalogue.refresh(), Change::Failed(_)));
    assert_eq!(now(), ["1-0-0", "1-0-1"]);

    fs::remove_dir_all(at("navigation")).expect("removed");
    fs::remove_file(at("play/1-0-0.json")).expect("removed");
    assert_eq!(catalogue.refresh(), Change::Replaced);
    assert_eq!(now(), ["1-0-1"]);
}

#[test]
fn the_build_brings_schemas_that_never_change() {
    let catalogue = Reloadable::read(Schemas::Bundled).expect("a catalogue");
    assert_eq!(catalogue.current().event_types().count(), 7);
    assert_eq!(catalogue.refresh(), Change::Nothing);
}
