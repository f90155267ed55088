use std::net::{Ipv4Addr, TcpListener};

use rand::Rng;

/// Below the range from which Linux and macOS take the ports of outgoing connections, so that a
/// port that was free a moment ago stays free.
const CANDIDATES: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1 on which nothing listens.
#[must_use]
pub fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(CANDIDATES);
        if is_free(port) {
            return port;
        }
    }
}

/// A free port of which the port `above` higher is free as well, and below that range too.
pub(crate) fn free_port_with(above: u16) -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(CANDIDATES.start..CANDIDATES.end - above);
        if is_free(port) && is_free(port + above) {
            return port;
        }
    }
}

/// Whether something could listen on `port`, on 127.0.0.1 and on all addresses.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}
