//! Positions in the write-ahead log, and what clients carry of them.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

/// A position in the write-ahead log: how many bytes were written before it (PostgreSQL's `pg_lsn`).
///
/// As text it is 16 hexadecimal digits: a consistency token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// How many bytes lie before it.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The position before which so many bytes lie.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The position up to which the log is written when the next record begins at `next`. At the start of a page
    /// of `page` bytes that is behind the page's header, while those who replay the log stop before it.
    pub(crate) const fn before(next: u64, page: u64) -> Self {
        match next.checked_rem(page) {
            Some(header @ (PAGE_HEADER | SEGMENT_HEADER)) => Self(next - header),
            _ => Self(next),
        }
    }

    /// Bytes from `earlier` to here; 0 if that is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Bytes of the header of a page of the log, and of a file's first page. A position so far behind the start of
/// any page is its header's end, or that of a record which began on the page before: in both cases whoever has
/// replayed the log up to the page's start has replayed all.
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;

/// Digits of a token.
const DIGITS: usize = 16;

/// A text that is not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is 16 hexadecimal digits")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        // `from_str_radix` would take a sign, too.
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAPosition);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NotAPosition)
    }
}

/// A position that several tasks read and move on.
#[derive(Debug, Default)]
pub(crate) struct SharedPosition(AtomicU64);

impl SharedPosition {
    pub(crate) fn get(&self) -> Position {
        Position(self.0.load(Ordering::Acquire))
    }

    /// Moves it on, never back.
    pub(crate) fn advance(&self, to: Position) {
        self.0.fetch_max(to.0, Ordering::AcqRel);
    }

    /// Sets it, be that back: another server has taken over.
    pub(crate) fn set(&self, to: Position) {
        self.0.store(to.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_its_position(bytes in any::<u64>()) {
            let position = Position::from_bytes(bytes);
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_refused(text in ".{0,20}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        for text in [
            "",
            "0",
            "0/16B3748",
            "+00000000000000f",
            "00000000000000000",
            "000000000000000g",
        ] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
    }

    #[test]
    fn headers_of_pages_are_no_part_of_what_was_written() {
        for (next, expected) in [
            (3 * 8192, 3 * 8192),
            (3 * 8192 + 24, 3 * 8192),
            (3 * 8192 + 40, 3 * 8192),
            (3 * 8192 + 32, 3 * 8192 + 32),
            (3 * 8192 + 48, 3 * 8192 + 48),
            (4 * 8192 - 8, 4 * 8192 - 8),
        ] {
            assert_eq!(Position::before(next, 8192), Position(expected), "{next}");
        }
        assert_eq!(Position::before(24, 0), Position(24));
    }

    #[test]
    fn a_shared_position_moves_on_only_unless_it_is_set() {
        let shared = SharedPosition::default();
        shared.advance(Position(5));
        shared.advance(Position(3));
        assert_eq!(shared.get(), Position(5));
        shared.set(Position(3));
        assert_eq!(shared.get(), Position(3));
    }
}
