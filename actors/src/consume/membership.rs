//! Whether an engine is a group's member, and who keeps the committed offsets.

/// What decides which partitions an engine has, and who remembers how far they are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// The group shares partitions out among its members.
    Group(Keeper),
    /// The app has named the partitions. The group shares nothing out: it only remembers.
    ByHand(Keeper),
    /// Nobody: the engine takes what it was told, looks nothing up in a group and commits nothing.
    Standalone,
}

/// Who remembers how far a group's partitions are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Keeper {
    /// The group, by the tracker's commits.
    #[default]
    Tracker,
    /// The group, by librdkafka's own commits of what was handed out.
    Client,
    /// The app, in a place of its own.
    App,
}

/// A static member's name, and how long its partitions wait for it when it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaticMember {
    pub(crate) instance: String,
    pub(crate) group: String,
    /// `None`: the broker decides it.
    pub(crate) session_timeout_ms: Option<u64>,
}

impl Default for Membership {
    fn default() -> Self {
        Self::Group(Keeper::default())
    }
}

impl Membership {
    /// Whether the tracker commits.
    pub(crate) fn commits(self) -> bool {
        matches!(self, Self::Group(Keeper::Tracker) | Self::ByHand(Keeper::Tracker))
    }

    /// Whether librdkafka commits what the engine stores with it.
    pub(crate) fn stores(self) -> bool {
        self == Self::Group(Keeper::Client)
    }

    /// Whether the group says which partitions the engine has.
    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Group(_))
    }

    /// Whether the engine can do without a group's coordinator.
    pub(crate) fn needs_no_group(self) -> bool {
        matches!(self, Self::ByHand(Keeper::App) | Self::Standalone)
    }
}
