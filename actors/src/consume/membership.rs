//! Whether an engine is a group's member.

/// What decides which partitions an engine has, and who remembers how far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Membership {
    /// The group shares partitions out among its members, and keeps the committed offsets.
    #[default]
    Group,
    /// Nobody: the engine takes every partition of its topics, looks nothing up in a group and commits nothing.
    Standalone,
}

impl Membership {
    pub(crate) fn commits(self) -> bool {
        self == Self::Group
    }
}
