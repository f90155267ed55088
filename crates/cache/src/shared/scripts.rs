//! What Redis does in one step.

use std::sync::OnceLock;

/// A script; its own text says what it does.
#[derive(Clone, Copy)]
pub(crate) enum Script {
    Announce,
    Claim,
    Count,
    Replace,
}

impl Script {
    /// The script with its hash, made once.
    pub(crate) fn get(self) -> &'static redis::Script {
        static ANNOUNCE: OnceLock<redis::Script> = OnceLock::new();
        static CLAIM: OnceLock<redis::Script> = OnceLock::new();
        static COUNT: OnceLock<redis::Script> = OnceLock::new();
        static REPLACE: OnceLock<redis::Script> = OnceLock::new();
        let (cell, text) = match self {
            Self::Announce => (&ANNOUNCE, include_str!("scripts/announce.lua")),
            Self::Claim => (&CLAIM, include_str!("scripts/claim.lua")),
            Self::Count => (&COUNT, include_str!("scripts/count.lua")),
            Self::Replace => (&REPLACE, include_str!("scripts/replace.lua")),
        };
        cell.get_or_init(|| redis::Script::new(text))
    }
}
