//! What the producing host tells the verifying one.

use std::fs;
use std::io::ErrorKind;

use anyhow::Context;

use super::super::folder;
use super::asked::Pipeline;
use crate::cli::exit::Misuse;
use crate::load::pipeline::manifest::{Manifest, RunId};

pub(super) const MANIFEST: &str = "manifest.json";

impl Pipeline {
    /// What the producing host has told of a run, if it has.
    pub(super) fn told(&self, run: RunId) -> anyhow::Result<Option<Manifest>> {
        let manifest = match &self.manifest {
            None => folder::files(MANIFEST).filter_map(|text| Manifest::read(&text).ok()?).find(|it| it.run == run),
            Some(path) => match fs::read(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                text => {
                    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                    Manifest::read(&text).map_err(|why| Misuse(format!("{}: {why}", path.display())))?
                }
            },
        };
        if let Some(manifest) = &manifest {
            self.fits(manifest, run)?;
        }
        Ok(manifest)
    }

    /// # Errors
    /// [`Misuse`], where the hosts were told different things.
    fn fits(&self, manifest: &Manifest, run: RunId) -> Result<(), Misuse> {
        if manifest.run != run {
            return Err(Misuse(format!("the manifest is of run {}, and not of {run}", manifest.run)));
        }
        let here = self.id_pointer.as_ref().map(ToString::to_string);
        if manifest.id_pointer != here {
            let say = |pointer: &Option<String>| {
                pointer.clone().map_or("no --id-pointer".to_owned(), |it| format!("--id-pointer {it}"))
            };
            return Err(Misuse(format!(
                "the run was sent with {}, and is looked for with {}",
                say(&manifest.id_pointer),
                say(&here)
            )));
        }
        match (&manifest.verify_topic, &self.verify_topic) {
            (Some(there), Some(here)) if there.topic != *here => {
                Err(Misuse(format!("the run was sent with --verify-topic {}, and not {here}", there.topic)))
            }
            _ => Ok(()),
        }
    }
}
