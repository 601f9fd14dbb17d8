use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a stop may go unnoticed.
const NAP: Duration = Duration::from_millis(20);

/// Room for so many unanswered records, of all producers together.
#[derive(Debug)]
pub(crate) struct Room {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Room {
    pub(crate) fn of(records: u32) -> Self {
        Self { free: Mutex::new(records), freed: Condvar::new() }
    }

    /// Takes a place, once there is one. Says whether there was before `stopped`.
    pub(crate) fn take(&self, stopped: impl Fn() -> bool) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stopped() {
                return false;
            }
            if *free > 0 {
                *free -= 1;
                return true;
            }
            free = self.freed.wait_timeout(free, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn give(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}
