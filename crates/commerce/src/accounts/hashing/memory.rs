//! Argon2 in memory that is kept from one password to the next.
//!
//! A hash needs 19 MiB. Asked of the allocator anew each time, from whichever thread is free, so much stays with the allocator's
//! arenas in the end that a rush of sign-ins leaves hundreds of megabytes behind.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::{Error, Output, ParamsString, Result, Salt, SaltString},
};

/// One piece of memory for each password that was ever hashed beside others; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Memory {
    unused: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Memory {
    /// Makes a PHC string of `password`.
    pub(super) fn hash(&self, password: &[u8], salt: &SaltString) -> Result<String> {
        let argon2 = Argon2::default();
        let hash = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::default().into()),
            params: ParamsString::try_from(argon2.params())?,
            salt: Some(salt.as_salt()),
            hash: Some(self.output(
                &argon2,
                password,
                salt.as_salt(),
                Params::DEFAULT_OUTPUT_LEN,
            )?),
        };
        Ok(hash.to_string())
    }

    /// Whether `known` was made of `password`, with whatever parameters it was made. It is compared in constant time.
    pub(super) fn matches(&self, password: &[u8], known: &PasswordHash<'_>) -> Result<bool> {
        let (Some(salt), Some(expected)) = (known.salt, known.hash) else {
            return Err(Error::PhcStringField);
        };
        let version = known.version.map(Version::try_from).transpose()?;
        let argon2 = Argon2::new(
            Algorithm::try_from(known.algorithm)?,
            version.unwrap_or_default(),
            Params::try_from(known)?,
        );
        Ok(self.output(&argon2, password, salt, expected.len())? == expected)
    }

    fn output(
        &self,
        argon2: &Argon2<'_>,
        password: &[u8],
        salt: Salt<'_>,
        length: usize,
    ) -> Result<Output> {
        let mut buffer = [0; Salt::MAX_LENGTH];
        let salt = salt.decode_b64(&mut buffer)?;
        let mut blocks = self.take();
        let needed = argon2.params().block_count();
        if blocks.len() < needed {
            blocks.resize(needed, Block::default());
        }
        let output = Output::init_with(length, |bytes| {
            Ok(argon2.hash_password_into_with_memory(password, salt, bytes, &mut blocks)?)
        });
        self.give_back(blocks);
        output
    }

    fn take(&self) -> Vec<Block> {
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.pop().unwrap_or_default()
    }

    fn give_back(&self, blocks: Vec<Block>) {
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.push(blocks);
    }
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    const PASSWORD: &[u8] = b"a good password";

    fn salt() -> SaltString {
        SaltString::from_b64("c29tZSBzYWx0IG9mIG91cnM").unwrap()
    }

    /// As [`Argon2`] makes it by itself.
    fn elsewhere(kibibytes: u32, rounds: u32, version: Version) -> String {
        let params = Params::new(kibibytes, rounds, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
        argon2.hash_password(PASSWORD, &salt()).unwrap().to_string()
    }

    #[test]
    fn a_hash_is_the_one_that_the_crate_makes_whatever_was_in_the_memory() {
        let memory = Memory::default();
        let salt = salt();
        let expected = Argon2::default().hash_password(PASSWORD, &salt);
        let expected = expected.unwrap().to_string();
        assert_ne!(memory.hash(b"another one", &salt).unwrap(), expected);
        assert_eq!(memory.hash(PASSWORD, &salt).unwrap(), expected);
        let parsed = PasswordHash::new(&expected).unwrap();
        Argon2::default()
            .verify_password(PASSWORD, &parsed)
            .unwrap();
    }

    #[test]
    fn hashes_of_other_parameters_are_known_again() {
        let memory = Memory::default();
        for known in [
            elsewhere(64, 1, Version::V0x13),
            elsewhere(32 * 1024, 1, Version::V0x13),
            elsewhere(1024, 2, Version::V0x10),
        ] {
            let known = PasswordHash::new(&known).unwrap();
            assert!(memory.matches(PASSWORD, &known).unwrap(), "{known}");
            assert!(!memory.matches(b"a bad one", &known).unwrap(), "{known}");
        }
    }

    #[test]
    fn one_password_after_another_needs_one_piece_of_memory() {
        let memory = Memory::default();
        for _ in 0..3 {
            memory.hash(PASSWORD, &salt()).unwrap();
        }
        assert_eq!(memory.unused.lock().unwrap().len(), 1);
    }
}
