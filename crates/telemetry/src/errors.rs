//! Errors as text.

use std::error::Error;

/// Writes an error and its sources on one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Some errors repeat what they wrap.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot save")]
        Silent(#[source] std::io::Error),
        #[error("cannot save: {0}")]
        Repeating(#[source] std::io::Error),
    }

    #[test]
    fn every_source_is_named_once() {
        let full = || std::io::Error::other("the disk is full");
        for error in [Outer::Silent(full()), Outer::Repeating(full())] {
            assert_eq!(chain(&error), "cannot save: the disk is full");
        }
    }
}
