//! Whether an engine is a group's member, and who keeps the committed offsets.

/// What decides which partitions an engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// The group shares partitions out among its members.
    Group(Keeper),
    /// Nobody: the engine takes every partition of its topics, looks nothing up in a group and commits nothing.
    Standalone,
}

/// Who remembers how far a group's partitions are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The group, by the tracker's commits.
    Tracker,
    /// The group, by librdkafka's own commits of what was handed out.
    Client,
    /// The app, in a place of its own.
    App,
}

impl Default for Membership {
    fn default() -> Self {
        Self::Group(Keeper::Tracker)
    }
}

impl Membership {
    /// Whether the tracker commits.
    pub(crate) fn commits(self) -> bool {
        self == Self::Group(Keeper::Tracker)
    }

    /// Whether librdkafka commits what the engine stores with it.
    pub(crate) fn stores(self) -> bool {
        self == Self::Group(Keeper::Client)
    }

    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Group(_))
    }
}
