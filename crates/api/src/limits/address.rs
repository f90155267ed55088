//! Whose request it is, by the network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) const fn new(trusted: Vec<IpNet>) -> Self {
        Self(trusted)
    }

    pub(super) const fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: that of whoever connected, unless that is a proxy that is believed. Then it is the
    /// last address before our own proxies in `Forwarded` (RFC 7239) or `X-Forwarded-For`, which each
    /// proxy adds to at the end; what stands before that the client may have made up.
    ///
    /// If both are there and disagree, one of them has come through from the client, and nobody knows which:
    /// the request counts as the proxy's own. So does one in which the proxy names nobody.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let standard = values(headers, FORWARDED);
        let standard = self.nearest_stranger(peer, standard.flat_map(elements).map(forwarded_for));
        let usual = values(headers, X_FORWARDED_FOR).flat_map(|value| value.rsplit(','));
        let usual = self.nearest_stranger(peer, usual.map(address));
        match (standard, usual) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => peer,
        }
    }

    /// Goes back from hop to hop as far as each is believed; `None` when there are none.
    fn nearest_stranger(
        &self,
        peer: IpAddr,
        hops: impl Iterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut nearest = None;
        for hop in hops {
            // A hop that hides itself was hidden by the one after it.
            let Some(hop) = hop else {
                return Some(nearest.unwrap_or(peer));
            };
            nearest = Some(hop);
            if !self.trusts(hop) {
                break;
            }
        }
        nearest
    }
}

/// The lines of a header, from the last to the first.
fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).iter().rev();
    lines.map(|line| line.to_str().unwrap_or_default())
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

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        let proxies = Proxies::new(trusted.iter().map(|text| text.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        for name in [USUAL, STANDARD] {
            let forged = [(name, "1.1.1.1"), (name, "for=1.1.1.1")];
            assert_eq!(client("203.0.113.9", &forged), "203.0.113.9");
        }
        assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
        let nobody = Proxies::default();
        let headers =
            HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"))]);
        let peer = PROXY.parse().unwrap();
        assert_eq!(nobody.client(peer, &headers), peer);
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
            ("for=_hidden", PROXY),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(PROXY, &[(STANDARD, value)]), found, "{value}");
        }
    }

    #[test]
    fn headers_that_disagree_are_not_believed() {
        let forged = [(STANDARD, "for=6.6.6.6"), (USUAL, "198.51.100.4")];
        assert_eq!(client(PROXY, &forged), PROXY);
        let honest = [(STANDARD, "for=198.51.100.4"), (USUAL, "198.51.100.4")];
        assert_eq!(client(PROXY, &honest), "198.51.100.4");
    }
}
