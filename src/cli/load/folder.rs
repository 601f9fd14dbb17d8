use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::exit::Misuse;

/// What a run's folder holds in any case.
pub(super) const RESULT: &str = "result.json";
pub(super) const REPORT: &str = "report.html";
/// Where runs go unless told otherwise.
const RUNS: &str = "troupe-runs";

/// A folder that holds a run keeps it.
///
/// # Errors
/// [`Misuse`].
pub(super) fn refuse_if_taken(out: &Path) -> anyhow::Result<()> {
    if out.join(RESULT).exists() {
        return Err(Misuse(format!(
            "{} holds the result of a run already, and it is not overwritten: give --out another folder, or remove that one",
            out.display()
        ))
        .into());
    }
    Ok(())
}

/// A run's folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The run has made it; else somebody has given it one.
    made: bool,
}

impl Folder {
    /// Made before the run: a result that cannot be kept is known at once.
    pub(super) fn make(out: Option<&PathBuf>, started: Timestamp, seed: u64) -> anyhow::Result<Self> {
        let cannot = |folder: &Path| format!("cannot make the run's folder {}", folder.display());
        let Some(path) = out.cloned() else {
            fs::create_dir_all(RUNS).with_context(|| cannot(Path::new(RUNS)))?;
            let path = own(Path::new(RUNS), &format!("{}-{seed}", started.strftime("%Y%m%dT%H%M%SZ")))?;
            return Ok(Self { path, made: true });
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| cannot(&path))?;
        }
        let made = match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => false,
            made => made.map(|()| true).with_context(|| cannot(&path))?,
        };
        Ok(Self { path, made })
    }

    /// Takes the folder of a run away that came to nothing, unless somebody else has made it or something is in it.
    pub(super) fn unmake(&self) {
        if self.made {
            // It is no loss if it stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// A new folder of this name in `runs`. Where another run of the same second has it, a number follows.
fn own(runs: &Path, name: &str) -> anyhow::Result<PathBuf> {
    for number in 1_u32.. {
        let folder = runs.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                made.with_context(|| format!("cannot make the run's folder {}", folder.display()))?;
                return Ok(folder);
            }
        }
    }
    anyhow::bail!("{} is full of runs named {name}", runs.display())
}

/// What stands in the files of this name in the folders of all runs that were not told to go elsewhere.
pub(super) fn files(name: &str) -> impl Iterator<Item = Vec<u8>> {
    let runs = fs::read_dir(RUNS).into_iter().flatten().filter_map(Result::ok);
    runs.filter_map(move |run| fs::read(run.path().join(name)).ok())
}

/// Writes what came of the run: for programs, and as a page for people. Each of them, whatever becomes of the other.
///
/// # Errors
/// Why one of them is not there. What was measured is worth no less for that: it is still to be printed.
pub(super) fn keep(folder: &Path, result: &impl Serialize, page: &impl Display) -> anyhow::Result<()> {
    let kept = write_json(folder, RESULT, result);
    kept.and(write(folder, REPORT, &page.to_string()))
}

/// Writes a file of the folder as JSON for people to read too.
pub(super) fn write_json(folder: &Path, name: &str, content: &impl Serialize) -> anyhow::Result<()> {
    write(folder, name, &(serde_json::to_string_pretty(content)? + "\n"))
}

/// A time as results have it.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes a file of the folder, whole or not at all.
fn write(folder: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    let (path, unfinished) = (folder.join(name), folder.join(format!("{name}.unfinished")));
    fs::write(&unfinished, content)
        .and_then(|()| fs::rename(&unfinished, &path))
        .inspect_err(|_| {
            // On a full disk its place is needed.
            let _ = fs::remove_file(&unfinished);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_run_gets_a_folder_of_its_own_and_a_result_keeps_its_own() {
        let runs = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..3).map(|_| own(runs.path(), "a-1").unwrap()).collect();
        assert_eq!(folders, ["a-1", "a-1-2", "a-1-3"].map(|name| runs.path().join(name)));

        refuse_if_taken(&folders[0]).unwrap();
        write(&folders[0], RESULT, "1").unwrap();
        let refused = refuse_if_taken(&folders[0]).unwrap_err();
        assert!(refused.is::<Misuse>() && refused.to_string().contains("a-1 holds the result of a run"), "{refused}");
    }

    #[test]
    fn of_a_run_that_came_to_nothing_only_the_folder_is_taken_away_that_it_made() {
        let runs = tempfile::tempdir().unwrap();
        let make = |out: &Path| Folder::make(Some(&out.to_owned()), Timestamp::now(), 0);
        let (theirs, own) = (runs.path().to_owned(), runs.path().join("deep/own"));
        let folder = make(&own).unwrap();
        make(&own).unwrap().unmake();
        assert!(own.exists(), "another run's");
        folder.unmake();
        assert!(!own.exists());
        fs::remove_dir(runs.path().join("deep")).unwrap();
        make(&theirs).unwrap().unmake();
        assert!(theirs.exists());
        // What is in it stays, and a file is no folder.
        let folder = make(&own).unwrap();
        fs::write(own.join("x"), "").unwrap();
        folder.unmake();
        assert!(own.exists() && make(&own.join("x")).is_err());
    }
}
