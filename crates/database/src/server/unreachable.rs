//! What to say when a server cannot be reached although its name is right.

use std::{io, net::SocketAddr};

use tokio::net::lookup_host;

/// Hosts of Supabase's databases. Without its IPv4 add-on they have IPv6 addresses only.
const SUPABASE: &str = ".supabase.co";

/// Adds to `error` what may help: that the host has IPv6 addresses only, if that is so.
pub(super) async fn explain(host: &str, port: u16, error: io::Error) -> io::Error {
    if !may_be_no_route(&error) {
        return error;
    }
    // Only to find out; what was tried has failed already.
    let addresses: Vec<_> = lookup_host((host, port))
        .await
        .map(Iterator::collect)
        .unwrap_or_default();
    match hint(host, &addresses) {
        Some(hint) => io::Error::new(error.kind(), format!("{error}; {hint}")),
        None => error,
    }
}

/// Whether there may be no way to the address, or no address at all: resolvers leave out IPv6 addresses
/// where there is no IPv6.
fn may_be_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error().is_none()
}

fn hint(host: &str, addresses: &[SocketAddr]) -> Option<String> {
    let is_supabase = host.starts_with("db.") && host.ends_with(SUPABASE);
    let only_ipv6 = addresses.iter().all(SocketAddr::is_ipv6);
    if !only_ipv6 || (addresses.is_empty() && !is_supabase) {
        return None;
    }
    let cure = if is_supabase {
        "take the URL of the session pooler (port 5432 of the host under pooler.supabase.com), which has IPv4, or the project's IPv4 add-on"
    } else {
        "give this network IPv6, or the server an IPv4 address"
    };
    let guess = if addresses.is_empty() {
        "there is no such project, or it"
    } else {
        "it"
    };
    Some(format!("{guess} has IPv6 addresses only: {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        of.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_host_with_ipv6_only_is_told_of() {
        let six = addresses(&["[2406:da18::1]:5432"]);
        let both = addresses(&["[2406:da18::1]:5432", "3.1.2.3:5432"]);
        let supabase = "db.abcdefghijklmnopqrst.supabase.co";
        for (host, addresses, word) in [
            (supabase, six.as_slice(), Some("session pooler")),
            (supabase, &[], Some("session pooler")),
            ("db.example", &six, Some("give this network IPv6")),
            ("db.example", &both, None),
            ("db.example", &[], None),
            (supabase, &both, None),
        ] {
            let hint = hint(host, addresses);
            assert_eq!(
                hint.as_ref()
                    .map(|hint| hint.contains(word.unwrap_or_default())),
                word.map(|_| true),
                "{host} {addresses:?}: {hint:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_refusal_needs_no_explanation() {
        let refused = io::Error::from_raw_os_error(111);
        let text = refused.to_string();
        assert_eq!(explain("localhost", 1, refused).await.to_string(), text);
    }
}
