use std::os::unix::fs::symlink;

use super::*;

/// A file with a number in it.
struct Number(PathBuf);

#[derive(Debug, thiserror::Error)]
#[error("not a number")]
struct NotANumber;

impl Source for Number {
    const WHAT: &'static str = "number";
    type Value = u32;
    type Error = NotANumber;

    fn files(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    fn read(&self) -> Result<u32, NotANumber> {
        let text = fs::read_to_string(&self.0).map_err(|_| NotANumber)?;
        text.parse().map_err(|_| NotANumber)
    }
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("written");
    fs::rename(new, path).expect("renamed");
}

#[test]
fn a_change_replaces_the_value_and_who_holds_the_old_one_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("number");
    replace(&path, "1");
    let number = Reloadable::read(Number(path.clone())).expect("a number");
    assert_eq!(number.refresh(), Change::Nothing);
    let held = number.current();
    replace(&path, "2");
    assert_eq!(number.refresh(), Change::Replaced);
    assert_eq!((*held, *number.current()), (1, 2));
    assert_eq!(number.refresh(), Change::Nothing);
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_value_until_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("number");
    replace(&path, "1");
    let number = Reloadable::read(Number(path.clone())).expect("a number");
    let failed = || Change::Failed("not a number".to_owned());
    replace(&path, "one");
    assert_eq!(number.refresh(), failed());
    assert_eq!(number.refresh(), failed(), "each look tries again, and alarms");
    assert_eq!(*number.current(), 1);
    fs::remove_file(&path).expect("removed");
    assert_eq!(number.refresh(), failed());
    replace(&path, "3");
    assert_eq!(number.refresh(), Change::Replaced);
    assert_eq!(*number.current(), 3);
}

#[test]
fn a_file_that_is_away_and_comes_back_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("number");
    replace(&path, "1");
    let number = Reloadable::read(Number(path.clone())).expect("a number");
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).expect("renamed");
    assert!(matches!(number.refresh(), Change::Failed(_)));
    fs::rename(&aside, &path).expect("renamed");
    assert_eq!(number.refresh(), Change::Replaced);
}

/// As the kubelet does it: the file is a link into `..data`, which is a link to a folder, which is
/// swapped. The file's own link never changes.
#[test]
fn a_swap_of_links_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (name, content) in [("..first", "1"), ("..second", "2")] {
        fs::create_dir(at(name)).expect("a folder");
        fs::write(at(name).join("number"), content).expect("written");
    }
    symlink("..first", at("..data")).expect("a link");
    symlink("..data/number", at("number")).expect("a link");
    let number = Reloadable::read(Number(at("number"))).expect("a number");
    symlink("..second", at("..data_tmp")).expect("a link");
    fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
    assert_eq!(number.refresh(), Change::Replaced);
    assert_eq!(*number.current(), 2);
}
