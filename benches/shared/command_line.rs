//! The command line of a bench that runs arms.

use std::path::PathBuf;

/// What each of them can be told.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) quick: bool,
    /// Those asked for.
    pub(crate) runs: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) bootstrap_server: Option<String>,
    pub(crate) json: Option<PathBuf>,
}

/// Reads what each can be told, and has `own` take the rest: an argument and the value behind it. `Ok(false)`: it does not know that one.
pub(crate) fn parse(
    mut arguments: impl Iterator<Item = String>,
    usage: &str,
    mut own: impl FnMut(&str, &mut dyn FnMut() -> Result<String, String>) -> Result<bool, String>,
) -> Result<Common, String> {
    let seed = u64::from(std::process::id());
    let mut common = Common { quick: false, runs: None, seed, bootstrap_server: None, json: None };
    let mut read = || -> Result<(), String> {
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--quick" => common.quick = true,
                "--runs" => common.runs = Some(number(&value()?)? as usize),
                "--seed" => common.seed = number(&value()?)?,
                "--bootstrap-server" => common.bootstrap_server = Some(value()?),
                "--json" => common.json = Some(value()?.into()),
                other if own(other, &mut value)? => {}
                _ => return Err(format!("{argument}?")),
            }
        }
        if common.runs == Some(0) {
            return Err("--runs must be above 0".to_owned());
        }
        Ok(())
    };
    read().map_err(|complaint| format!("{complaint}\n{usage}"))?;
    Ok(common)
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text} is no number"))
}

/// What was asked for, or the end of this process with what is wrong with it.
pub(crate) fn or_exit<O>(options: Result<O, String>) -> O {
    options.unwrap_or_else(|usage| {
        eprintln!("{usage}");
        std::process::exit(2);
    })
}
