use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use nix::unistd::Uid;
use rand::Rng;

/// Below the range from which Linux and macOS take the ports of outgoing connections, so that a
/// port that was free a moment ago stays free.
const CANDIDATES: Range<u16> = 20_000..32_000;

/// The locks of the ports that this process was given; they end with it.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A TCP port of 127.0.0.1 on which nothing listens. It is given to nobody else who asks here, in
/// this process or another one, as long as this process lives: between the answer and the moment
/// at which somebody listens there, a server may have to be started first.
///
/// # Panics
/// When the folder for temporary files cannot be written to.
#[must_use]
pub fn free_port() -> u16 {
    claim(CANDIDATES, 0)
}

/// A free port of which the port `above` higher is free as well, and below that range too.
pub(crate) fn free_port_with(above: u16) -> u16 {
    claim(CANDIDATES.start..CANDIDATES.end - above, above)
}

/// A port of `candidates` that is free as the one `above` higher is, both claimed.
fn claim(candidates: Range<u16>, above: u16) -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(candidates.clone());
        let both = [port, port + above];
        let wanted = if above == 0 { &both[..1] } else { &both[..] };
        if !wanted.iter().all(|port| is_free(*port)) {
            continue;
        }
        let claims: io::Result<Option<Vec<_>>> = wanted.iter().map(|port| lock(*port)).collect();
        if let Some(locks) = claims.expect("temporary files can be written") {
            let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
            claims.extend(locks);
            return port;
        }
    }
}

/// The lock of a port, unless somebody has it.
fn lock(port: u16) -> io::Result<Option<File>> {
    // Of one's own: the files of another user could not be opened.
    let folder = std::env::temp_dir().join(format!("bharatmart-ports-{}", Uid::current()));
    fs::create_dir_all(&folder)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(port.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether something could listen on `port`, on 127.0.0.1 and on all addresses.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        // Drawn without a memory, some of so many would be the same nearly always.
        const PORTS: usize = 400;
        let given: HashSet<_> = (0..PORTS).map(|_| free_port()).collect();
        assert_eq!(given.len(), PORTS);
    }

    #[test]
    fn a_port_that_another_process_was_given_is_not_to_be_had() {
        let port = free_port();
        assert!(lock(port).unwrap().is_none());
    }
}
