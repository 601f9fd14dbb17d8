use std::fmt;

/// Where a value comes from.
///
/// Shown as people look for it: `default`, `troupe.toml:12`, a variable's or an option's name, `code`. The alternate form (`{:#}`) adds the
/// column within a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// A file.
    File {
        /// As it was named.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// A variable of the environment, by its name.
    Variable(String),
    /// An option of the command line, or what a command sets by itself.
    Option(String),
    /// The app changed it after it was loaded.
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } if f.alternate() => write!(f, "{file}:{line}:{column}"),
            Self::File { file, line, .. } => write!(f, "{file}:{line}"),
            Self::Variable(name) | Self::Option(name) => f.write_str(name),
            Self::Code => f.write_str("code"),
        }
    }
}
