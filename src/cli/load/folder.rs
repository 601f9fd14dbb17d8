use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

/// Where runs go unless told otherwise.
const RUNS: &str = "troupe-runs";

/// The run's folder, made before the run: a result that cannot be kept is known at once.
pub(super) fn make(out: Option<&PathBuf>, started: Timestamp, seed: u64) -> anyhow::Result<PathBuf> {
    let folder = out
        .cloned()
        .unwrap_or_else(|| PathBuf::from(RUNS).join(format!("{}-{seed}", started.strftime("%Y%m%dT%H%M%SZ"))));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the run's folder {}", folder.display()))?;
    Ok(folder)
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

/// Writes a file of the folder, whole or not at all.
pub(super) fn write(folder: &Path, name: &str, content: &impl Serialize) -> anyhow::Result<()> {
    let (path, unfinished) = (folder.join(name), folder.join(format!("{name}.unfinished")));
    let text = serde_json::to_string_pretty(content)?;
    fs::write(&unfinished, text + "\n")
        .and_then(|()| fs::rename(&unfinished, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
