//! Something that goes on and is told: at once, and then from time to time.

use std::time::{Duration, Instant};

/// How often it is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// Says when it is time to tell.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    next: Option<Instant>,
}

impl Reminder {
    /// For what is worth a word only when it lasts.
    pub(crate) fn after_a_while(now: Instant) -> Self {
        Self { next: Some(now + AGAIN) }
    }

    /// True the first time, and then once in ten seconds.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_none_or(|next| now >= next);
        if due {
            self.next = Some(now + AGAIN);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mut reminder: Reminder, begin: Instant) -> Vec<u64> {
        let tenths = (0..300).map(|tenth| begin + Duration::from_millis(100 * tenth));
        tenths.filter(|now| reminder.is_due(*now)).map(|now| (now - begin).as_secs()).collect()
    }

    #[test]
    fn what_lasts_is_told_at_once_and_then_every_ten_seconds() {
        let begin = Instant::now();
        assert_eq!(told(Reminder::default(), begin), [0, 10, 20]);
        assert_eq!(told(Reminder::after_a_while(begin), begin), [10, 20]);
    }
}
