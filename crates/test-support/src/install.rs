//! Finds the servers that the shop stands on, or has the system's package manager install them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::{environment::search_path, packages};

/// The oldest PostgreSQL that the migrations need.
const OLDEST_POSTGRES: u32 = 14;
/// The oldest Node.js that the storefront's build and the packages of `tests/interop` run on.
const OLDEST_NODE: (u32, u32) = (18, 18);

/// Something that development or the tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// PostgreSQL's server programs, version 14 or newer.
    Postgres,
    /// `redis-server` and `redis-cli`.
    Redis,
    /// Python's `aiosmtpd`, a real SMTP server.
    Smtp,
    /// `haproxy`.
    HaProxy,
    /// `pgbouncer`.
    PgBouncer,
    /// `wrk`, the load generator of the benchmarks.
    Wrk,
    /// `python3` with `venv`.
    Python,
    /// `node`, version 18.18 or newer, and `npm`.
    Node,
    /// A browser, and letters for Hindi.
    Chromium,
    /// `jq` and `openssl`, which scripts of deployments use.
    JqAndOpenssl,
    /// Prometheus, Alertmanager and the exporters that they look through.
    Monitoring,
    /// What judges services: `systemd-analyze`, `nginx` and `logrotate`.
    ServiceTools,
}

impl Requirement {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL 14 or newer",
            Self::Redis => "Redis",
            Self::Smtp => "aiosmtpd (Python)",
            Self::HaProxy => "HAProxy",
            Self::PgBouncer => "PgBouncer",
            Self::Wrk => "wrk",
            Self::Python => "Python 3 with venv",
            Self::Node => "Node.js 18.18 or newer, with npm",
            Self::Chromium => "Chromium",
            Self::JqAndOpenssl => "jq and OpenSSL",
            Self::Monitoring => "Prometheus, Alertmanager and exporters",
            Self::ServiceTools => "systemd-analyze, nginx and logrotate",
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_met(self) -> bool {
        match self {
            Self::Postgres => postgres_programs().is_some(),
            Self::Redis => ["redis-server", "redis-cli"]
                .iter()
                .all(|program| find_program(program).is_some()),
            Self::Smtp => python_with_aiosmtpd().is_some(),
            Self::HaProxy => find_program("haproxy").is_some(),
            Self::PgBouncer => find_program("pgbouncer").is_some(),
            Self::Wrk => find_program("wrk").is_some(),
            Self::Python => python_with_venv(),
            Self::Node => {
                node_version().is_some_and(|version| version >= OLDEST_NODE)
                    && find_program("npm").is_some()
            }
            Self::Chromium => chromium().is_some(),
            Self::Monitoring => [
                "prometheus",
                "promtool",
                "amtool",
                "prometheus-blackbox-exporter",
                "prometheus-postgres-exporter",
                "prometheus-redis-exporter",
            ]
            .iter()
            .all(|program| find_program(program).is_some()),
            Self::JqAndOpenssl => ["jq", "openssl"]
                .iter()
                .all(|program| find_program(program).is_some()),
            Self::ServiceTools => ["systemd-analyze", "nginx", "logrotate"]
                .iter()
                .all(|program| find_program(program).is_some()),
        }
    }
}

/// Installs those of `requirements` that are missing; `progress` is told before anything slow.
///
/// # Errors
/// One line that says what to install, when it cannot be done from here.
pub fn ensure(requirements: &[Requirement], mut progress: impl FnMut(&str)) -> Result<()> {
    let missing = missing(requirements);
    if missing.is_empty() {
        return Ok(());
    }
    packages::install(&missing, &mut progress)?;
    if let Some(still) = self::missing(&missing).first() {
        bail!(
            "{} was installed but cannot be found on this machine; put its programs on PATH",
            still.name()
        );
    }
    Ok(())
}

fn missing(requirements: &[Requirement]) -> Vec<Requirement> {
    let mut missing = requirements.to_vec();
    missing.retain(|requirement| !requirement.is_met());
    missing
}

/// A program on `PATH` or in the folders of system programs, which are often not on it.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/bin"];
    search_path()
        .into_iter()
        .chain(system.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The folder with `postgres`, `initdb`, `pg_basebackup` and `psql`; the newest one where there are several.
#[must_use]
pub fn postgres_programs() -> Option<PathBuf> {
    let mut folders = search_path();
    // Debian and Ubuntu; Fedora and the PostgreSQL project's own packages; Alpine; Homebrew.
    for parent in ["/usr/lib/postgresql", "/usr/libexec"] {
        folders.extend(
            children(parent, "")
                .into_iter()
                .map(|path| path.join("bin")),
        );
    }
    for (parent, prefix) in [
        ("/usr", "pgsql-"),
        ("/usr/libexec", "postgresql"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ] {
        for path in children(parent, prefix) {
            folders.extend([path.join("bin"), path]);
        }
    }
    folders
        .into_iter()
        .filter_map(|folder| Some((postgres_version(&folder)?, folder)))
        .filter(|(version, _)| *version >= OLDEST_POSTGRES)
        .max_by_key(|(version, _)| *version)
        .map(|(_, folder)| folder)
}

fn children(parent: &str, prefix: &str) -> Vec<PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

/// The major version of the complete set of programs in `folder`.
fn postgres_version(folder: &Path) -> Option<u32> {
    let complete = ["postgres", "initdb", "pg_basebackup", "psql"]
        .iter()
        .all(|program| folder.join(program).is_file());
    if !complete {
        return None;
    }
    let answer = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    // "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", "postgres (PostgreSQL) 18beta1"
    let text = String::from_utf8(answer.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// Chromium, or Chrome.
#[must_use]
pub fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find_map(find_program)
}

/// The version of Node.js, major and minor.
fn node_version() -> Option<(u32, u32)> {
    let node = find_program("node")?;
    let answer = Command::new(node).arg("--version").output().ok()?;
    // "v18.20.4"
    let text = String::from_utf8(answer.stdout).ok()?;
    let mut numbers = text.strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether `python3` can make virtual environments with a `pip` in them: on Debian that is a package of its own.
fn python_with_venv() -> bool {
    find_program("python3").is_some_and(|python| {
        Command::new(python)
            .args(["-c", "import ensurepip, venv"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// A Python that can import aiosmtpd: the system's own, whatever comes first on `PATH`.
#[must_use]
pub fn python_with_aiosmtpd() -> Option<PathBuf> {
    let candidates = [
        Some(PathBuf::from("/usr/bin/python3")),
        find_program("python3"),
    ];
    candidates.into_iter().flatten().find(|python| {
        Command::new(python)
            .args(["-c", "import aiosmtpd"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}
