//! `events schema check`, as CI runs it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{events, text};

/// The schemas of the repository in a folder of its own.
fn copied() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, document) in event_model::bundled_documents() {
        write(&folder.path().join(path), document);
    }
    folder
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("written");
}

/// The play schema as another version, with a change.
fn add_play(folder: &Path, version: &str, change: impl FnOnce(&mut Value)) {
    let document = fs::read(folder.join("play/1-0-0.json")).expect("there");
    let mut document: Value = serde_json::from_slice(&document).expect("JSON");
    document["properties"]["schemaversion"]["const"] = json!(version);
    change(&mut document);
    write(&folder.join(format!("play/{version}.json")), document.to_string());
}

/// Exit code, standard output and standard error of a check.
fn check(arguments: &[&Path]) -> (Option<i32>, String, String) {
    let arguments = arguments.iter().map(|path| path.to_str().expect("UTF-8"));
    let arguments: Vec<_> = ["schema", "check"].into_iter().chain(arguments).collect();
    let output = events(Path::new("."), &arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), stdout.to_owned(), stderr.to_owned())
}

#[test]
fn the_schemas_of_the_repository_pass_from_the_folder_and_from_the_build() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let (code, from_folder, problems) = check(&[&folder]);
    assert_eq!((code, problems.as_str()), (Some(0), ""), "{from_folder}");
    let (code, from_build, _) = check(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(from_folder, from_build);
    assert_eq!(from_build.lines().count(), 8, "{from_build}");
    let play = from_build
        .lines()
        .find(|line| line.starts_with("play/1-0-0.json"));
    assert!(play.expect("a line").ends_with("ok"), "{from_build}");
}

#[test]
fn a_change_that_breaks_names_document_field_rule_and_remedy() {
    let folder = copied();
    add_play(folder.path(), "1-0-1", |play| {
        play["properties"]["track"]["x-pii"] = json!("hash");
        play["properties"]["deviceid"]["x-pii"] = json!("keep");
        drop(
            play["properties"]
                .as_object_mut()
                .expect("fields")
                .remove("album"),
        );
    });
    let (code, said, problems) = check(&[folder.path()]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(problems, "events: 3 problems in the schemas\n");
    for expected in [
        "play/1-0-1.json                       16         2  3 changes, MODEL              3 problems\n",
        "\nplay/1-0-1.json  /properties/album  field-removed\n    album is gone since 1-0-0: ",
        "\nplay/1-0-1.json  /properties/track/x-pii  pii-stricter\n    \"keep\" → \"hash\" since 1-0-0: ",
        "\nplay/1-0-1.json  /properties/deviceid/x-pii  pii-weaker\n    \"hash\" → \"keep\" since 1-0-0: ",
        "or make this version 2-0-0\n",
        "or make this version 1-1-0\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
}

#[test]
fn a_model_may_break_and_an_addition_may_add() {
    let folder = copied();
    add_play(folder.path(), "1-0-1", |play| {
        play["properties"]["mood"] = json!({"type": "string", "x-pii": "keep"});
    });
    add_play(folder.path(), "2-0-0", |play| {
        play["properties"]["deviceid"]["x-pii"] = json!("keep");
    });
    let (code, said, _) = check(&[folder.path()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 change, ADDITION"), "{said}");
}

#[test]
fn every_unfit_document_is_told_at_once() {
    let folder = copied();
    add_play(folder.path(), "1-0-1", |play| {
        drop(
            play["properties"]["track"]
                .as_object_mut()
                .expect("a field")
                .remove("x-pii"),
        );
    });
    add_play(folder.path(), "1-0-2", |play| {
        play["examples"][0]["action"] = json!("jump");
    });
    write(&folder.path().join("navigation/2-0-0.json"), "{");
    let (code, said, problems) = check(&[folder.path()]);
    assert_eq!(
        (code, problems.as_str()),
        (Some(1), "events: 3 problems in the schemas\n"),
        "{said}"
    );
    for expected in [
        "\nplay/1-0-1.json  unfit\n    field track: must have \"x-pii\"",
        "\nplay/1-0-2.json  /examples/0  example-invalid\n    /action must be one of",
        "\nnavigation/2-0-0.json  unfit\n    not valid JSON",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
}

#[test]
fn what_clients_already_use_neither_changes_nor_goes() {
    let (published, current) = (copied(), copied());
    let against = [current.path(), Path::new("--against"), published.path()];
    assert_eq!(check(&against).0, Some(0));
    add_play(current.path(), "1-0-0", |play| play["title"] = json!("Played"));
    fs::remove_file(current.path().join("navigation/1-0-0.json")).expect("removed");
    fs::remove_dir(current.path().join("navigation")).expect("removed");
    let (code, said, _) = check(&against);
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "\nplay/1-0-0.json  /title  edited-in-place\n",
        "such as 1-0-1\n",
        "\nnavigation/1-0-0.json  withdrawn\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
}

#[test]
fn what_is_no_folder_of_schemas_is_named() {
    let folder = copied();
    let missing = PathBuf::from("/nowhere");
    let (code, _, problem) = check(&[&missing]);
    assert_eq!(code, Some(1));
    assert!(problem.contains("cannot read /nowhere"), "{problem}");
    let (code, _, problem) = check(&[folder.path(), Path::new("--against"), &missing]);
    assert_eq!(code, Some(1));
    assert!(problem.contains("--against: cannot read /nowhere"), "{problem}");
    write(&folder.path().join("notes.txt"), "");
    let (_, _, problem) = check(&[folder.path()]);
    assert!(problem.contains("notes.txt is no schema"), "{problem}");
}

#[test]
fn the_service_does_not_start_with_a_bad_folder_and_names_the_document() {
    let folder = copied();
    let path = folder.path();
    let hash_key = path.join("hash-key");
    let made = events(
        path,
        &[
            "client",
            "new-hash-key",
            "--file",
            hash_key.to_str().expect("UTF-8"),
        ],
    );
    assert!(made.status.success());
    write(&path.join("credentials.json"), r#"{"clients": []}"#);
    let schemas = copied();
    write(&schemas.path().join("play/1-0-1.json"), "{}");
    let schemas = schemas.path().to_str().expect("UTF-8");
    let output = events(path, &["--stream", "events", "--schemas-folder", schemas]);
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    let problem = text(&output.stderr);
    assert!(
        problem.contains("--schemas-folder (EVENTS_SCHEMAS_FOLDER): schema play/1-0-1.json: "),
        "{problem}"
    );
}
