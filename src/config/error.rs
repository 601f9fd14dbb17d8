use std::io;
use std::path::PathBuf;

use super::origin::Origin;

/// Why settings are not taken. No secret is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{origin:#}: no TOML: {why}")]
    Malformed {
        /// Where.
        origin: Origin,
        /// What is wrong there.
        why: String,
    },
    /// Nothing has that name.
    #[error("{origin:#}: there is no {name}{}", nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// Where.
        origin: Origin,
        /// The name, with the table it stands in.
        name: String,
        /// The name that is most like it, if one is.
        nearest: Option<String>,
    },
    /// It cannot be set, or not there.
    #[error("{origin:#}: {name} is refused: {reason}")]
    Refused {
        /// Where.
        origin: Origin,
        /// The name, with the table it stands in.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The value cannot be.
    #[error("{origin:#}: {name}: {why}")]
    Invalid {
        /// Where.
        origin: Origin,
        /// The name, with the table it stands in.
        name: String,
        /// What was found, and what is allowed.
        why: String,
    },
}
