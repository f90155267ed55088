//! What a tracked task may end with.

use std::any::Any;
use std::error::Error;

use bharatmart_telemetry::chain;

/// What a task may end with: nothing, or a result whose error ends the process.
pub trait Outcome: Send {
    /// The error and its sources in words, if the task failed.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>> + Send> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| {
            let error = error.into();
            chain(error.as_ref())
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_sources() {
        #[derive(Debug)]
        struct Refused(std::io::Error);

        impl std::fmt::Display for Refused {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("no connection")
            }
        }

        impl Error for Refused {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }

        let error = Refused(std::io::Error::other("the port is closed"));
        assert_eq!(
            Err(error).failure().as_deref(),
            Some("no connection: the port is closed")
        );
        assert_eq!(Err("plain words").failure().as_deref(), Some("plain words"));
        assert_eq!(Ok::<_, String>(()).failure(), None);
    }
}
