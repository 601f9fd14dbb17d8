use tokio_util::sync::CancellationToken;

/// What ends a run early, step by step.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    /// Ends the load and nothing that comes after it: by the first signal, or where nobody looks on any longer.
    pub(crate) load: CancellationToken,
    first: CancellationToken,
    second: CancellationToken,
}

impl Stops {
    /// By the first signal and the second, each of which cancels its token.
    pub(crate) fn by(first: &CancellationToken, second: CancellationToken) -> Self {
        Self { load: first.child_token(), first: first.clone(), second }
    }

    pub(crate) fn first(&self) -> &CancellationToken {
        &self.first
    }

    /// Cancelled by the next signal, for what begins now and may be cut short. The third ends the process.
    pub(crate) fn next(&self) -> CancellationToken {
        let next = [&self.first, &self.second].into_iter().find(|it| !it.is_cancelled());
        next.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_cuts_short_what_it_finds_and_nothing_that_begins_after_it() {
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let stops = Stops::by(&first, second.clone());
        let of_drain = stops.next();
        first.cancel();
        let of_last_look = stops.next();
        assert_eq!([&stops.load, &of_drain, &of_last_look].map(CancellationToken::is_cancelled), [true, true, false]);
        second.cancel();
        assert!(of_last_look.is_cancelled() && !stops.next().is_cancelled());
    }

    #[test]
    fn who_looks_away_ends_the_load_alone() {
        let stops = Stops::by(&CancellationToken::new(), CancellationToken::new());
        stops.load.cancel();
        assert!(!stops.first().is_cancelled() && !stops.next().is_cancelled());
    }
}
