//! Parsers of single values. Each answers `None` for a value that its variable's table does not allow.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// Where Redis listens when nothing else is said.
pub(crate) const REDIS_PORT: u16 = 6379;

/// No duration may be longer: ten years. Far more, and adding it to the time of day would overflow.
const LONGEST: Duration = Duration::from_hours(24 * 3650);

/// Any text.
#[expect(
    clippy::unnecessary_wraps,
    reason = "has the shape of the other parsers"
)]
pub(crate) fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// Any text, kept from being printed.
#[expect(
    clippy::unnecessary_wraps,
    reason = "has the shape of the other parsers"
)]
pub(crate) fn secret(value: &str) -> Option<SecretString> {
    Some(SecretString::from(value))
}

/// A file or folder.
#[expect(
    clippy::unnecessary_wraps,
    reason = "has the shape of the other parsers"
)]
pub(crate) fn path(value: &str) -> Option<PathBuf> {
    Some(PathBuf::from(value))
}

/// A number in decimal digits.
pub(crate) fn number<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

/// A number from 1 up.
pub(crate) fn positive<T: FromStr + Default + PartialOrd>(value: &str) -> Option<T> {
    number(value).filter(|number| *number > T::default())
}

/// A TCP port; 0 lets the system choose one.
pub(crate) fn port(value: &str) -> Option<u16> {
    number(value)
}

/// An address to listen on.
pub(crate) fn ip(value: &str) -> Option<IpAddr> {
    value.parse().ok()
}

/// A share between 0 and 1.
pub(crate) fn share(value: &str) -> Option<f64> {
    number(value).filter(|share| (0.0..=1.0).contains(share))
}

/// Yes or no, in the usual spellings.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A plain number of milliseconds, or a number with a unit such as `15s`, `30m`, `7d`.
pub(crate) fn milliseconds(value: &str) -> Option<Duration> {
    duration(value, Duration::from_millis)
}

/// Like [`milliseconds`], but more than nothing.
pub(crate) fn positive_milliseconds(value: &str) -> Option<Duration> {
    milliseconds(value).filter(|duration| !duration.is_zero())
}

/// A plain number of seconds, or a number with a unit such as `15s`, `30m`, `7d`; more than nothing.
pub(crate) fn positive_seconds(value: &str) -> Option<Duration> {
    duration(value, Duration::from_secs).filter(|duration| !duration.is_zero())
}

/// A number with a unit such as `15s`, `30m`, `7d`; more than nothing.
#[must_use]
pub fn positive_with_unit(value: &str) -> Option<Duration> {
    bounded(humantime::parse_duration(value).ok()).filter(|duration| !duration.is_zero())
}

fn duration(value: &str, plain: fn(u64) -> Duration) -> Option<Duration> {
    bounded(if value.bytes().all(|byte| byte.is_ascii_digit()) {
        number(value).map(plain)
    } else {
        humantime::parse_duration(value).ok()
    })
}

fn bounded(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| *duration <= LONGEST)
}

/// A URL that [`redis`] understands, as it was given.
pub(crate) fn redis_url(value: &str) -> Option<SecretString> {
    redis(value).map(|_| SecretString::from(value))
}

/// A URL that begins with `redis://` or `rediss://`, with a host and perhaps a database number. A fragment would be the
/// rest of a password with an unescaped `#`.
pub(crate) fn redis(value: &str) -> Option<Url> {
    if !value.starts_with("redis://") && !value.starts_with("rediss://") {
        return None;
    }
    let url = Url::parse(value).ok()?;
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    let database = url.path().trim_matches('/');
    let has_fair_path = database.is_empty() || number::<u8>(database).is_some();
    (has_host && has_fair_path && url.fragment().is_none()).then_some(url)
}

/// A URL that [`redis`] understands, or `host:port`, or `host` alone. `port` is what holds when none is given.
pub(crate) fn redis_address(value: &str, port: u16) -> Option<Url> {
    let mut url = if value.contains("://") {
        redis(value)?
    } else if value.contains(['/', '?', '#', '@']) {
        // Whatever is more than an address needs the whole URL.
        return None;
    } else {
        redis(&format!("redis://{value}"))?
    };
    if url.port().is_none() {
        url.set_port(Some(port)).ok()?;
    }
    (url.port() != Some(0)).then_some(url)
}

/// Addresses separated by commas, at least one, all of the same scheme, user and password, and none with a database:
/// servers that are found later have no URL to take these from.
pub(crate) fn redis_addresses(value: &str, port: u16) -> Option<Vec<Url>> {
    value
        .split(',')
        .map(|part| redis_address(part.trim(), port).filter(is_database_0))
        .collect::<Option<Vec<_>>>()
        .filter(|urls| are_alike(urls, |url| url.scheme().to_owned()))
        .filter(|urls| are_alike(urls, |url| url.username().to_owned()))
        .filter(|urls| are_alike(urls, |url| url.password().map(str::to_owned)))
}

fn are_alike<T: PartialEq>(urls: &[Url], property: impl Fn(&Url) -> T) -> bool {
    urls.windows(2)
        .all(|pair| property(&pair[0]) == property(&pair[1]))
}

/// Whether a URL names no other database than the only one that a cluster has.
pub(crate) fn is_database_0(url: &Url) -> bool {
    matches!(url.path(), "" | "/" | "/0")
}

/// An origin as browsers send it: scheme, host and perhaps a port. A closing slash is dropped.
pub(crate) fn origin(value: &str) -> Option<String> {
    let origin = value.strip_suffix('/').unwrap_or(value);
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))?;
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ',', ' ']);
    plain.then(|| origin.to_owned())
}

/// Origins separated by commas; at least one.
pub(crate) fn origins(value: &str) -> Option<Vec<String>> {
    value.split(',').map(|part| origin(part.trim())).collect()
}

/// Something that looks like an e-mail address.
pub(crate) fn email(value: &str) -> Option<String> {
    let (local, domain) = value.split_once('@')?;
    let plausible = !local.is_empty()
        && domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !value.contains([' ', '<', '>', ','])
        && !domain.contains('@');
    plausible.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_milliseconds_or_carry_a_unit() {
        assert_eq!(milliseconds("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(milliseconds("15m"), Some(Duration::from_mins(15)));
        assert_eq!(positive_seconds("300"), Some(Duration::from_mins(5)));
        assert_eq!(positive_with_unit("7d"), Some(Duration::from_hours(168)));
        assert_eq!(positive_with_unit("7"), None);
        assert_eq!(milliseconds("-1"), None);
        assert_eq!(milliseconds("soon"), None);
        assert_eq!(positive_milliseconds("0"), None);
        assert_eq!(milliseconds("99999999999999999999999"), None);
    }

    #[test]
    fn no_duration_is_longer_than_ten_years() {
        let ten_years = Duration::from_hours(24 * 3650);
        assert_eq!(positive_with_unit("3650d"), Some(ten_years));
        assert_eq!(positive_seconds("315360000"), Some(ten_years));
        assert_eq!(milliseconds("315360000000"), Some(ten_years));
        for long in ["3651d", "11y", "99999999999y", "315360000001"] {
            assert_eq!(milliseconds(long), None, "{long}");
            assert_eq!(positive_seconds(long), None, "{long}");
            assert_eq!(positive_with_unit(long), None, "{long}");
        }
    }

    #[test]
    fn origins_are_never_a_wildcard_and_never_a_page() {
        let both = vec![
            "https://shop.example".to_owned(),
            "http://localhost:5173".to_owned(),
        ];
        assert_eq!(
            origins("https://shop.example/, http://localhost:5173"),
            Some(both)
        );
        for bad in [
            "*",
            "https://*",
            "https://",
            "shop.example",
            "https://shop.example/cart",
            "https://a.example,",
        ] {
            assert_eq!(origins(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_url_of_redis_needs_its_scheme_and_something_behind_it() {
        assert!(redis_url("redis://:hush@localhost:notaport").is_none());
        assert!(redis_url("rediss://localhost").is_some());
        assert!(redis_url("http://localhost").is_none());
        assert!(redis_url("redis://localhost/3").is_some());
        assert!(redis_url("redis://localhost/shop").is_none());
        assert!(redis_url("redis://:hush#hush@localhost").is_none());
        assert!(redis_url("redis:///3").is_none());
    }

    #[test]
    fn an_address_of_redis_is_a_url_or_a_host_with_or_without_a_port() {
        let address = |value| redis_address(value, 26379).map(String::from);
        for (value, url) in [
            ("cache", "redis://cache:26379"),
            ("cache:7000", "redis://cache:7000"),
            ("redis:7000", "redis://redis:7000"),
            ("10.0.0.1:7000", "redis://10.0.0.1:7000"),
            ("[::1]:7000", "redis://[::1]:7000"),
            ("redis://cache", "redis://cache:26379"),
            ("rediss://a:b%40@cache:1/3", "rediss://a:b%40@cache:1/3"),
        ] {
            assert_eq!(address(value).as_deref(), Some(url), "{value}");
        }
        for bad in [
            "",
            ":7000",
            "::1",
            "cache:port",
            "cache:70000",
            "cache:0",
            "a b:7000",
            "user:hush@cache:7000",
            "cache:7000/3",
            "http://cache:7000",
            "redis://",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn booleans_and_shares_have_bounds() {
        assert_eq!(boolean("TRUE"), Some(true));
        assert_eq!(boolean("off"), Some(false));
        assert_eq!(boolean("maybe"), None);
        assert_eq!(share("1"), Some(1.0));
        assert_eq!(share("1.01"), None);
        assert_eq!(share("NaN"), None);
    }
}
