//! What a tracked task may end with.

use std::any::Any;
use std::fmt::Display;

/// What a task may end with: nothing, or a result whose error ends the process.
pub trait Outcome: Send {
    /// The error in words, if the task failed.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        // The alternate form lets error types that know their causes show them.
        self.err().map(|error| format!("{error:#}"))
    }
}

/// The message of a panic, as far as it is text.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
