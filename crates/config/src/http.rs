//! The API's HTTP server.
//!
//! - `PORT`
//! - `HOST` (with the process)
//! - `FRONTEND_URL`
//! - `CORS_ORIGIN`
//! - `FRONTEND_DIST`
//! - `MAX_CONNECTIONS_PER_INSTANCE`
//! - `KEEP_ALIVE_TIMEOUT`
//! - `REQUEST_TIMEOUT`
//! - `MAX_EVENT_STREAMS`
//! - `MAX_EVENT_STREAMS_PER_USER`
//! - `REQUEST_HEADER_TIMEOUT`
//! - `RESPONSE_WRITE_TIMEOUT`
//! - `HTTP2_CLEARTEXT`

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::ConfigError;
use crate::parse;
use crate::process::HOST;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const PORT: Variable = Variable::new(
    "PORT",
    "Port of the API",
    "a port number from 0 to 65535 (0 lets the system choose)",
)
.default("3000");
pub(crate) const FRONTEND_URL: Variable = Variable::new(
    "FRONTEND_URL",
    "Where customers open the shop: links in mails lead there, and its pages may call the API unless CORS_ORIGIN says otherwise",
    "an origin such as https://shop.example",
)
.default("http://localhost:5173");
const CORS_ORIGIN: Variable = Variable::new(
    "CORS_ORIGIN",
    "Origins whose pages may call the API",
    "origins such as https://shop.example separated by commas; * is not possible",
)
.unset("FRONTEND_URL");
const FRONTEND_DIST: Variable = Variable::new(
    "FRONTEND_DIST",
    "The built storefront, which is then served beside the API",
    "a folder with an index.html",
)
.unset("the storefront is served by others");
const MAX_CONNECTIONS_PER_INSTANCE: Variable = Variable::new(
    "MAX_CONNECTIONS_PER_INSTANCE",
    "Connections held open at a time; for a further one the one that has been idle for longest is closed",
    "a whole number above 0",
)
.default("10000");
const KEEP_ALIVE_TIMEOUT: Variable = Variable::new(
    "KEEP_ALIVE_TIMEOUT",
    "How long an idle connection stays open; longer than the load balancer's own",
    "milliseconds above 0, or a duration such as 65s",
)
.default("65000");
const REQUEST_TIMEOUT: Variable = Variable::new(
    "REQUEST_TIMEOUT",
    "How long a request may take before it is answered 503",
    "milliseconds above 0, or a duration such as 15s",
)
.default("15000");
const MAX_EVENT_STREAMS: Variable = Variable::new(
    "MAX_EVENT_STREAMS",
    "Streams of order events held open at a time; further ones are answered 503",
    "a whole number above 0",
)
.default("2000");
const MAX_EVENT_STREAMS_PER_USER: Variable = Variable::new(
    "MAX_EVENT_STREAMS_PER_USER",
    "Streams of order events that one user may hold open at a time; further ones are answered 429",
    "a whole number above 0",
)
.default("10");
const REQUEST_HEADER_TIMEOUT: Variable = Variable::new(
    "REQUEST_HEADER_TIMEOUT",
    "How long the head of a request may take, from its first byte to its last; the first one from the connection on",
    "milliseconds above 0, or a duration such as 10s",
)
.default("10000");
const RESPONSE_WRITE_TIMEOUT: Variable = Variable::new(
    "RESPONSE_WRITE_TIMEOUT",
    "How long a client may take no byte of its answer before the connection is closed",
    "milliseconds above 0, or a duration such as 20s",
)
.default("20000");
const HTTP2_CLEARTEXT: Variable = Variable::new(
    "HTTP2_CLEARTEXT",
    "Whether proxies may speak HTTP/2 without TLS (h2c with prior knowledge) beside HTTP/1.1",
    "true or false",
)
.default("false");

pub(crate) const TABLE: Table = Table {
    title: "HTTP",
    variables: &[
        PORT,
        FRONTEND_URL,
        CORS_ORIGIN,
        FRONTEND_DIST,
        MAX_CONNECTIONS_PER_INSTANCE,
        KEEP_ALIVE_TIMEOUT,
        REQUEST_TIMEOUT,
        MAX_EVENT_STREAMS,
        MAX_EVENT_STREAMS_PER_USER,
        REQUEST_HEADER_TIMEOUT,
        RESPONSE_WRITE_TIMEOUT,
        HTTP2_CLEARTEXT,
    ],
};

/// The API's HTTP server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port of the API.
    pub port: u16,
    /// The origins whose pages may call the API; at least one, never `*`.
    pub cors_origins: Vec<String>,
    /// The folder of the built storefront, if it is served as well.
    pub frontend_dist: Option<PathBuf>,
    /// Connections held open at a time.
    pub max_connections: usize,
    /// How long an idle connection stays open.
    pub keep_alive_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Streams of order events held open at a time.
    pub max_event_streams: usize,
    /// Streams of order events that one user may hold open at a time.
    pub max_event_streams_per_user: usize,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long a client may take no byte of its answer.
    pub write_timeout: Duration,
    /// Whether HTTP/2 is spoken without TLS.
    pub http2_cleartext: bool,
}

impl HttpConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let host = reader.required(&HOST, parse::ip);
        let port = reader.required(&PORT, parse::port);
        let frontend_url = reader.required(&FRONTEND_URL, parse::origin);
        let cors_origins = reader.optional(&CORS_ORIGIN, parse::origins);
        let frontend_dist = reader.optional(&FRONTEND_DIST, storefront);
        let max_connections = reader.required(&MAX_CONNECTIONS_PER_INSTANCE, parse::positive);
        let keep_alive_timeout = reader.required(&KEEP_ALIVE_TIMEOUT, parse::positive_milliseconds);
        let request_timeout = reader.required(&REQUEST_TIMEOUT, parse::positive_milliseconds);
        let max_event_streams = reader.required(&MAX_EVENT_STREAMS, parse::positive);
        let max_event_streams_per_user =
            reader.required(&MAX_EVENT_STREAMS_PER_USER, parse::positive);
        let header_timeout = reader.required(&REQUEST_HEADER_TIMEOUT, parse::positive_milliseconds);
        let write_timeout = reader.required(&RESPONSE_WRITE_TIMEOUT, parse::positive_milliseconds);
        let http2_cleartext = reader.required(&HTTP2_CLEARTEXT, parse::boolean);
        reader.finish(|| {
            let frontend_url = frontend_url?;
            Some(Self {
                host: host?,
                port: port?,
                frontend_dist: frontend_dist?,
                cors_origins: cors_origins?.unwrap_or_else(|| vec![frontend_url]),
                max_connections: max_connections?,
                keep_alive_timeout: keep_alive_timeout?,
                request_timeout: request_timeout?,
                max_event_streams: max_event_streams?,
                max_event_streams_per_user: max_event_streams_per_user?,
                header_timeout: header_timeout?,
                write_timeout: write_timeout?,
                http2_cleartext: http2_cleartext?,
            })
        })
    }
}

fn storefront(value: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(value);
    folder.join("index.html").is_file().then_some(folder)
}
