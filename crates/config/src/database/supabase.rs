//! The database of a Supabase project.
//!
//! - `SUPABASE_URL`
//! - `SUPABASE_DB_PASSWORD`

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::variable::Variable;

pub(super) const SUPABASE_URL: Variable = Variable::new(
    "SUPABASE_URL",
    "The Supabase project whose database is used when DATABASE_URL is not set, and that signs people in with AUTH_PROVIDER=supabase",
    "https://<project>.supabase.co; with another address, set DATABASE_URL",
)
.unset("no project");
pub(super) const SUPABASE_DB_PASSWORD: Variable = Variable::new(
    "SUPABASE_DB_PASSWORD",
    "Password of that project's database",
    "any text",
)
.unset("none; required with SUPABASE_URL and without DATABASE_URL")
.secret();

/// The name of the project in its address. Another domain, or a Supabase of one's own, does not tell where the database is.
pub(super) fn project(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let is_plain = url.scheme() == "https"
        && url.path() == "/"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let project = url.host_str()?.strip_suffix(".supabase.co")?;
    let is_name = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_plain && is_name).then(|| project.to_owned())
}

/// The URL of a project's database, past its poolers.
pub(super) fn database_url(project: &str, password: &str) -> String {
    let password = utf8_percent_encode(password, NON_ALPHANUMERIC);
    format!("postgres://postgres:{password}@db.{project}.supabase.co:5432/postgres")
}

/// Whether Supabase runs the server.
pub(super) fn is_host(host: &str) -> bool {
    is_below(host, ".supabase.co") || is_below(host, ".supabase.com")
}

/// Whether Supabase runs a pooler there for all projects.
pub(super) fn is_pooler(host: &str) -> bool {
    is_below(host, ".pooler.supabase.com")
}

fn is_below(host: &str, domain: &str) -> bool {
    host.to_ascii_lowercase().ends_with(domain)
}
