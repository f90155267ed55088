//! Positions in the write-ahead log, and what clients carry of them.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A position in the write-ahead log: a timeline, which changes with each promotion, and how many bytes were
/// written before (PostgreSQL's `pg_lsn`). What survives a promotion is part of the new timeline, so a
/// position there is behind all of those before.
///
/// As text it is 24 hexadecimal digits, 8 for the timeline: a consistency token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    timeline: u32,
    bytes: u64,
}

impl Position {
    /// Before everything.
    pub const ZERO: Self = Self::new(0, 0);

    /// The position on `timeline` before which so many bytes lie.
    #[must_use]
    pub const fn new(timeline: u32, bytes: u64) -> Self {
        Self { timeline, bytes }
    }

    /// Its timeline.
    #[must_use]
    pub const fn timeline(self) -> u32 {
        self.timeline
    }

    /// How many bytes lie before it.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// A number that is greater for later positions.
    #[must_use]
    pub fn ordinal(self) -> u128 {
        u128::from(self.timeline) << u64::BITS | u128::from(self.bytes)
    }

    /// The position up to which the log is written when the next record begins at `next`. At the start of a page
    /// of `page` bytes that is behind the page's header, while those who replay the log stop before it.
    pub(crate) const fn before(timeline: u32, next: u64, page: u64) -> Self {
        match next.checked_rem(page) {
            Some(header @ (PAGE_HEADER | SEGMENT_HEADER)) => Self::new(timeline, next - header),
            _ => Self::new(timeline, next),
        }
    }

    /// The same place on `timeline`.
    pub(crate) const fn on(self, timeline: u32) -> Self {
        Self::new(timeline, self.bytes)
    }

    /// The place of so many bytes more.
    pub(crate) const fn plus(self, bytes: u64) -> Self {
        Self::new(self.timeline, self.bytes.saturating_add(bytes))
    }

    /// Bytes from `earlier` to here; 0 if that is not earlier.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.bytes.saturating_sub(earlier.bytes)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}{:016x}", self.timeline, self.bytes)
    }
}

/// Bytes of the header of a page of the log, and of a file's first page. A position so far behind the start of
/// any page is its header's end, or that of a record which began on the page before: in both cases whoever has
/// replayed the log up to the page's start has replayed all.
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;

/// Digits of a timeline and of the bytes in a token.
const TIMELINE: usize = 8;
const BYTES: usize = 16;

/// A text that is not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is 24 hexadecimal digits")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        // `from_str_radix` would take a sign, too.
        if text.len() != TIMELINE + BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAPosition);
        }
        let (timeline, bytes) = text.split_at(TIMELINE);
        match (
            u32::from_str_radix(timeline, 16),
            u64::from_str_radix(bytes, 16),
        ) {
            (Ok(timeline), Ok(bytes)) => Ok(Self::new(timeline, bytes)),
            _ => Err(NotAPosition),
        }
    }
}

/// A position that several tasks read and move on.
#[derive(Debug, Default)]
pub(crate) struct SharedPosition(Mutex<Position>);

impl SharedPosition {
    pub(crate) fn get(&self) -> Position {
        *self.lock()
    }

    /// Moves it on, never back.
    pub(crate) fn advance(&self, to: Position) {
        let mut position = self.lock();
        *position = (*position).max(to);
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        // No code that panics runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_its_position(timeline: u32, bytes: u64) {
            let position = Position::new(timeline, bytes);
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_refused(text in ".{0,30}|[0-9a-fA-F]{24}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text.to_ascii_lowercase());
            }
        }

        #[test]
        fn ordinals_are_in_the_order_of_their_positions(
            one: (u32, u64),
            other: (u32, u64),
        ) {
            let (one, other) = (Position::new(one.0, one.1), Position::new(other.0, other.1));
            prop_assert_eq!(one.cmp(&other), one.ordinal().cmp(&other.ordinal()));
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        for text in [
            "",
            "0",
            "0/16B3748",
            "00000001000000000000000",
            "+0000001000000000000000f",
            "0000000100000000000000000",
            "00000001000000000000000g",
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
            let position = Position::before(1, next, 8192);
            assert_eq!(position, Position::new(1, expected), "{next}");
        }
        assert_eq!(Position::before(1, 24, 0), Position::new(1, 24));
    }

    #[test]
    fn a_shared_position_only_moves_on() {
        let shared = SharedPosition::default();
        shared.advance(Position::new(1, 5));
        shared.advance(Position::new(1, 3));
        assert_eq!(shared.get(), Position::new(1, 5));
        shared.advance(Position::new(2, 3));
        assert_eq!(shared.get(), Position::new(2, 3));
    }
}
