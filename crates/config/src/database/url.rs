//! URLs of databases, as libpq understands them, taken apart into one for each host that sqlx understands.
//!
//! sqlx knows one host in a URL, cannot connect to an IPv6 address in brackets, and writes a parameter that it does not
//! know into the log, with its value.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::parameters::Parameters;
use super::tls::{SslMode, Tls};
use super::{DatabaseUrl, PoolerMode, supabase};

/// Where PostgreSQL listens when nothing else is said.
const PORT: u16 = 5432;
/// Where poolers in transaction mode listen by convention: Supabase's own, and those that follow it.
const TRANSACTION_POOLER_PORT: u16 = 6543;

/// What is expected of a URL, when no better reason is known.
pub(super) const EXPECTED: &str = "a URL such as postgres://user:password@host:5432/bharatmart";
pub(super) const ESCAPED: &str =
    "a URL in which # / ? @ % of user and password are written as %23 %2F %3F %40 %25";
pub(super) const HOSTS: &str =
    "names or addresses of hosts, with ports from 1 to 65535, separated by commas";
const ONE_URL: &str =
    "one URL; further hosts of it stand behind the first one, as in host1:5432,host2:5432";
const ONE_HOST: &str = "one host in each URL; URLs are separated by commas";
const NOTHING_BETWEEN: &str = "a URL before and behind each comma";

/// What a URL is for.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Role {
    /// For writes; perhaps several hosts, one of which takes them.
    Primary,
    /// For reads; one host.
    Replica,
}

/// A URL taken apart.
pub(super) struct Parts {
    /// At least one.
    servers: Vec<Server>,
    /// The name of the database.
    database: String,
    /// What sqlx knows, decoded, except for host, port and TLS.
    parameters: Vec<(String, String)>,
    ssl_mode: Option<SslMode>,
    ssl_root_cert: Option<String>,
    pooler: Option<PoolerMode>,
    /// The names of parameters that sqlx does not know.
    pub(super) unused: Vec<String>,
}

struct Server {
    host: Host,
    port: u16,
    /// Host, port, user, password and database.
    base: Url,
}

enum Host {
    /// None was named: sqlx takes a local socket, or localhost.
    Unnamed,
    /// A name or an IPv4 address.
    Name(String),
    V6(Ipv6Addr),
    /// The folder of a Unix socket.
    Socket(String),
}

/// Takes a list of URLs apart. The error says what is expected, and nothing of the URLs.
pub(super) fn parse_list(list: &str) -> Result<Vec<Parts>, &'static str> {
    split(list)
        .into_iter()
        .map(|url| {
            if url.is_empty() || url.starts_with(',') || url.ends_with(',') {
                return Err(NOTHING_BETWEEN);
            }
            Parts::parse(url, Role::Replica)
        })
        .collect()
}

/// A comma with a scheme behind it begins the next URL; other commas belong to the URL they are in.
fn split(list: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut start = 0;
    for (comma, _) in list.match_indices(',') {
        if without_scheme(list[comma + 1..].trim_start()).is_some() {
            urls.push(list[start..comma].trim());
            start = comma + 1;
        }
    }
    urls.push(list[start..].trim());
    urls
}

impl Parts {
    /// Takes one URL apart. The error says what is expected, and nothing of the URL.
    pub(super) fn parse(text: &str, role: Role) -> Result<Self, &'static str> {
        let rest = without_scheme(text)
            .filter(|rest| !rest.is_empty())
            .ok_or(EXPECTED)?;
        if rest.contains(char::is_control) {
            return Err(EXPECTED);
        }
        if split(text).len() > 1 {
            return Err(ONE_URL);
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        // The rest of a password whose special characters were not escaped.
        if rest.contains('#')
            || path.contains('@')
            || decoded(user).is_none()
            || decoded(path).is_none()
        {
            return Err(ESCAPED);
        }
        if path.contains(',') {
            return Err(if role == Role::Primary {
                ONE_URL
            } else {
                NOTHING_BETWEEN
            });
        }
        let parameters = Parameters::parse(query, role)?;
        let (hosts, ports) = hosts_and_ports(hosts);
        let hosts = separate(
            parameters
                .addresses
                .as_deref()
                .or(parameters.hosts.as_deref())
                .unwrap_or(&hosts),
            parameters.ports.as_deref().unwrap_or(&ports),
        )?;
        if role == Role::Replica && hosts.len() > 1 {
            return Err(ONE_HOST);
        }
        let path = path.trim_start_matches('/');
        let servers = hosts
            .into_iter()
            .map(|(host, port)| {
                let base = base(&host, port, user, path)?;
                Some(Server { host, port, base })
            })
            .collect::<Option<_>>()
            .ok_or(EXPECTED)?;
        Ok(Self {
            servers,
            database: database(user, path, &parameters.known),
            parameters: parameters.known,
            ssl_mode: parameters.ssl_mode,
            ssl_root_cert: parameters.ssl_root_cert,
            pooler: parameters.pooler,
            unused: parameters.unused,
        })
    }

    /// One URL for each host.
    pub(super) fn urls(&self, tls: &mut Tls) -> Vec<DatabaseUrl> {
        let url = |server: &Server| {
            let Server { host, port, base } = server;
            let name = host.to_string();
            let mut parameters = self.parameters.clone();
            // PostgreSQL speaks no TLS on a socket.
            if !matches!(host, Host::Socket(_)) {
                let own = self.ssl_root_cert.as_deref();
                parameters.extend(tls.parameters(self.ssl_mode, own, supabase::is_host(&name)));
            }
            let mut url = base.clone();
            if !parameters.is_empty() {
                url.query_pairs_mut().extend_pairs(parameters);
            }
            DatabaseUrl {
                url: SecretString::from(String::from(url)),
                pooler: self.pooler.or_else(|| pooler(&name, *port)),
                host: name,
                port: *port,
            }
        };
        self.servers.iter().map(url).collect()
    }

    /// Whether it names more than one server.
    pub(super) const fn is_several(&self) -> bool {
        self.servers.len() > 1
    }

    /// Whether one of the hosts and the database are those of `other`.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        let is_same = |one: &Server, two: &Server| {
            let names = [one, two].map(|server| server.host.to_string());
            names[0].eq_ignore_ascii_case(&names[1]) && one.port == two.port
        };
        self.database == other.database
            && self
                .servers
                .iter()
                .any(|one| other.servers.iter().any(|two| is_same(one, two)))
    }
}

/// The name of the database; without one, PostgreSQL takes the user's.
fn database(user: &str, path: &str, parameters: &[(String, String)]) -> String {
    let parameter = |name: &str| {
        let mut all = parameters.iter().rev();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    parameter("dbname")
        .or_else(|| decoded(path).filter(|path| !path.is_empty()))
        .or_else(|| parameter("user"))
        .or_else(|| user.split(':').next().and_then(decoded))
        .unwrap_or_default()
}

/// The URL of one host. User, password and path are as they were given, percent-encoded.
fn base(host: &Host, port: u16, user: &str, path: &str) -> Option<Url> {
    let at = if user.is_empty() { "" } else { "@" };
    let (authority, parameters) = match host {
        Host::Name(name) => (format!("{user}{at}{name}:{port}"), Vec::new()),
        // What has no place in front of the path, or none that sqlx can read, goes behind it.
        Host::V6(_) | Host::Socket(_) => (
            format!("{user}{at}localhost:{port}"),
            vec![("host", host.to_string())],
        ),
        Host::Unnamed => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let mut parameters = vec![("port", port.to_string())];
            for (key, value) in [("user", name), ("password", password)] {
                if !value.is_empty() {
                    parameters.push((key, decoded(value)?));
                }
            }
            (String::new(), parameters)
        }
    };
    let mut url = Url::parse(&format!("postgres://{authority}/{path}")).ok()?;
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    Some(url)
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unnamed => f.write_str("localhost"),
            Self::Name(name) => f.write_str(name),
            Self::V6(address) => address.fmt(f),
            Self::Socket(folder) => f.write_str(folder),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = decoded(text).ok_or(HOSTS)?;
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(&text).parse() {
            return Ok(Self::V6(address));
        }
        if text.starts_with('/') {
            return Ok(Self::Socket(text));
        }
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !text.is_empty() && text.bytes().all(is_sound) {
            Ok(Self::Name(text))
        } else {
            Err(HOSTS)
        }
    }
}

/// `host1:port1,host2` as `host1,host2` and `port1,`.
fn hosts_and_ports(authority: &str) -> (String, String) {
    let split = |host: &str| match host.rfind(':') {
        // Not the colons inside the brackets of an IPv6 address.
        Some(colon) if !host[colon..].contains(']') => {
            (host[..colon].to_owned(), host[colon + 1..].to_owned())
        }
        _ => (host.to_owned(), String::new()),
    };
    let (hosts, ports): (Vec<_>, Vec<_>) = authority.split(',').map(split).unzip();
    (hosts.join(","), ports.join(","))
}

/// Hosts and ports separated by commas; one port alone is every host's.
fn separate(hosts: &str, ports: &str) -> Result<Vec<(Host, u16)>, &'static str> {
    if hosts.is_empty() {
        return Ok(vec![(Host::Unnamed, port(ports)?)]);
    }
    let hosts: Vec<_> = hosts.split(',').collect();
    let ports: Vec<_> = ports.split(',').collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(HOSTS);
    }
    let ports = ports.iter().cycle();
    hosts
        .into_iter()
        .zip(ports)
        .map(|(host, number)| Ok((Host::parse(host)?, port(number)?)))
        .collect()
}

fn port(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() {
        return Ok(PORT);
    }
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(HOSTS),
    }
}

/// What a host and its port give away about a pooler.
fn pooler(host: &str, port: u16) -> Option<PoolerMode> {
    if port == TRANSACTION_POOLER_PORT {
        Some(PoolerMode::Transaction)
    } else if supabase::is_pooler(host) && port == PORT {
        Some(PoolerMode::Session)
    } else {
        None
    }
}

fn without_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}
