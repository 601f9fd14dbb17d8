//! What is logged on a thread.
//!
//! One subscriber for the whole process, there before the first producer: whether a line is of interest is remembered for all threads when it
//! is first reached, and a subscriber that comes just then is not asked.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

thread_local! {
    static HERE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Here;

impl Write for Here {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HERE.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn keep() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Here).init());
}

/// All that was logged on this thread.
pub fn here() -> String {
    HERE.with_borrow(|log| String::from_utf8(log.clone()).unwrap())
}
