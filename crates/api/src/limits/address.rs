//! Whose request it is, by the network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bharatmart_config::ProxyHeader;
use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed, and in what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ProxyHeader,
}

impl Proxies {
    pub(crate) const fn new(trusted: Vec<IpNet>, header: ProxyHeader) -> Self {
        Self { trusted, header }
    }

    pub(super) const fn are_none(&self) -> bool {
        self.trusted.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Whether a peer that is not believed says whose request it forwards.
    pub(super) fn ignore(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        (headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED))
            && !self.trusts(peer.to_canonical())
    }

    /// The client's address: that of whoever connected, unless that is a proxy that is believed. Then it is the
    /// last address before our own proxies in the header that each of them adds to at the end; what stands before that the
    /// client may have made up. A request in which the proxy names nobody counts as its own.
    ///
    /// Of `Forwarded` (RFC 7239) and `X-Forwarded-For` only one is looked at: proxies that write the one pass on the other.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let name = match self.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        let lines = headers.get_all(name).iter().rev();
        let hops = lines.flat_map(|line| {
            // Bytes that are no text spoil only the element that they are in, which a client may have sent.
            let line = String::from_utf8_lossy(line.as_bytes());
            let hops: Vec<_> = match self.header {
                ProxyHeader::XForwardedFor => line.rsplit(',').map(address).collect(),
                ProxyHeader::Forwarded => elements(&line).map(forwarded_for).collect(),
            };
            hops
        });
        self.nearest_stranger(peer, hops)
    }

    /// Goes back from hop to hop as far as each is believed.
    fn nearest_stranger(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut nearest = peer;
        for hop in hops {
            // A hop that hides itself was hidden by the one after it.
            let Some(hop) = hop else {
                break;
            };
            nearest = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        nearest
    }
}

/// The elements of a line of `Forwarded`, from the last to the first. Commas between quotes divide nothing.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let mut found: Vec<_> = line
        .split(move |character| {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                _ => {}
            }
            character == ',' && !is_quoted
        })
        .collect();
    found.reverse();
    found.into_iter()
}

/// The `for` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    address(nodes.next()?.1.trim().trim_matches('"'))
}

/// An address, perhaps with a port; those of IPv6 between brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            Some(IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?))
        })?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.7";
    const USUAL: &str = "x-forwarded-for";
    const STANDARD: &str = "forwarded";

    fn proxies(header: ProxyHeader) -> Proxies {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        let trusted = trusted.iter().map(|text| text.parse().unwrap());
        Proxies::new(trusted.collect(), header)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn client_by(header: ProxyHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let client = proxies(header).client(peer.parse().unwrap(), &headers(lines));
        client.to_string()
    }

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        client_by(ProxyHeader::XForwardedFor, peer, lines)
    }

    #[test]
    fn a_stranger_is_not_believed() {
        for name in [USUAL, STANDARD] {
            let forged = [(name, "1.1.1.1"), (name, "for=1.1.1.1")];
            assert_eq!(client("203.0.113.9", &forged), "203.0.113.9");
        }
        assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
        let nobody = Proxies::default();
        let forged = headers(&[(USUAL, "1.1.1.1")]);
        let peer = PROXY.parse().unwrap();
        assert_eq!(nobody.client(peer, &forged), peer);
    }

    #[test]
    fn of_a_proxy_the_last_address_before_our_own_proxies_counts() {
        for (value, found) in [
            ("198.51.100.4", "198.51.100.4"),
            ("6.6.6.6, 198.51.100.4", "198.51.100.4"),
            ("6.6.6.6,10.0.0.1, 198.51.100.4 , 10.1.2.3", "198.51.100.4"),
            ("198.51.100.4:4711", "198.51.100.4"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:198.51.100.4", "198.51.100.4"),
            // All of them are ours.
            ("10.9.9.9, 10.8.8.8", "10.9.9.9"),
            // Nobody is named, or nobody that can be read.
            ("", PROXY),
            ("unknown", PROXY),
            ("6.6.6.6, nonsense", PROXY),
            ("6.6.6.6, nonsense, 10.8.8.8", "10.8.8.8"),
            ("6.6.6.6, é, 198.51.100.4", "198.51.100.4"),
            ("é", PROXY),
        ] {
            assert_eq!(client(PROXY, &[(USUAL, value)]), found, "{value}");
        }
        let lines = [(USUAL, "6.6.6.6"), (USUAL, "198.51.100.4, 10.0.0.1")];
        assert_eq!(client(PROXY, &lines), "198.51.100.4", "several lines");
        assert_eq!(client(PROXY, &[]), PROXY);
    }

    #[test]
    fn the_standard_header_is_read_with_all_its_quotes() {
        for (value, found) in [
            ("for=198.51.100.4", "198.51.100.4"),
            (
                "for=6.6.6.6;proto=http, For=198.51.100.4;by=10.0.0.1",
                "198.51.100.4",
            ),
            (r#"for="[2001:db8::1]:4711""#, "2001:db8::1"),
            (r#"for=198.51.100.4;host="a,for=6.6.6.6""#, "198.51.100.4"),
            (r#"for=198.51.100.4;host="\",for=6.6.6.6""#, "198.51.100.4"),
            ("for=198.51.100.4, for=fd00::1", "198.51.100.4"),
            ("for=é, for=198.51.100.4", "198.51.100.4"),
            ("for=_hidden", PROXY),
            ("proto=https", PROXY),
        ] {
            let found_by = |header| client_by(header, PROXY, &[(STANDARD, value)]);
            assert_eq!(found_by(ProxyHeader::Forwarded), found, "{value}");
            assert_eq!(found_by(ProxyHeader::XForwardedFor), PROXY, "{value}");
        }
    }

    #[test]
    fn the_other_header_counts_for_nothing() {
        for (header, forged) in [
            (
                ProxyHeader::XForwardedFor,
                [(STANDARD, "for=6.6.6.6"), (USUAL, "198.51.100.4")],
            ),
            (
                ProxyHeader::Forwarded,
                [(STANDARD, "for=198.51.100.4"), (USUAL, "6.6.6.6")],
            ),
        ] {
            assert_eq!(client_by(header, PROXY, &forged), "198.51.100.4");
        }
    }

    #[test]
    fn what_a_stranger_says_is_ignored_and_noticed() {
        let ignored = |peer: &str, lines: &[_]| {
            proxies(ProxyHeader::default()).ignore(peer.parse().unwrap(), &headers(lines))
        };
        for line in [(USUAL, "1.1.1.1"), (STANDARD, "for=1.1.1.1")] {
            assert!(ignored("203.0.113.9", &[line]));
            assert!(!ignored(PROXY, &[line]));
        }
        assert!(!ignored("203.0.113.9", &[]));
    }
}
