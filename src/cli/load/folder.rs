use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::exit::Misuse;

/// What a run's folder holds in any case.
const RESULT: &str = "result.json";
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

/// The run's folder, made before the run: a result that cannot be kept is known at once.
pub(super) fn make(out: Option<&PathBuf>, started: Timestamp, seed: u64) -> anyhow::Result<PathBuf> {
    let cannot = |folder: &Path| format!("cannot make the run's folder {}", folder.display());
    if let Some(folder) = out {
        fs::create_dir_all(folder).with_context(|| cannot(folder))?;
        return Ok(folder.clone());
    }
    fs::create_dir_all(RUNS).with_context(|| cannot(Path::new(RUNS)))?;
    own(Path::new(RUNS), &format!("{}-{seed}", started.strftime("%Y%m%dT%H%M%SZ")))
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

/// Takes the folder of a run away that came to nothing, unless something is in it.
pub(super) fn unmake(folder: &Path) {
    // It is no loss if it stays.
    let _ = fs::remove_dir(folder);
}

/// Writes what came of the run: for programs, and as a page for people.
pub(super) fn keep(folder: &Path, result: &impl Serialize, page: &impl Display) -> anyhow::Result<()> {
    write(folder, RESULT, &(serde_json::to_string_pretty(result)? + "\n"))?;
    write(folder, REPORT, &page.to_string())
}

/// A time as results have it.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes a file of the folder, whole or not at all.
pub(super) fn write(folder: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    let (path, unfinished) = (folder.join(name), folder.join(format!("{name}.unfinished")));
    fs::write(&unfinished, content)
        .and_then(|()| fs::rename(&unfinished, &path))
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
}
