//! The package managers that can install what is missing.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::install::{Requirement, find_program};

struct Manager {
    program: &'static str,
    /// A script for `sh`; the packages are its arguments.
    script: &'static str,
    /// Homebrew refuses root; the others need it.
    as_root: bool,
    packages: fn(Requirement) -> &'static [&'static str],
}

/// On Debian a server package starts its server, and PostgreSQL's also makes a database cluster.
/// Private instances are all that is wanted here, so both are switched off while it installs.
const APT: &str = r#"set -e
export DEBIAN_FRONTEND=noninteractive
cleanup() { [ -z "$policy" ] || rm -f "$policy"; [ -z "$cluster" ] || rm -f "$cluster"; }
trap cleanup EXIT
policy= cluster=
if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if [ ! -e /etc/postgresql-common/createcluster.d/bharatmart.conf ]; then
    mkdir -p /etc/postgresql-common/createcluster.d
    cluster=/etc/postgresql-common/createcluster.d/bharatmart.conf
    printf 'create_main_cluster = false\n' >"$cluster"
fi
apt-get update -q
apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
"#;

const MANAGERS: [Manager; 5] = [
    Manager {
        program: "apt-get",
        script: APT,
        as_root: true,
        packages: |requirement| match requirement {
            Requirement::Postgres => &["postgresql"],
            Requirement::Redis => &["redis-server"],
            Requirement::Smtp => &["python3-aiosmtpd"],
            Requirement::HaProxy => &["haproxy"],
            Requirement::PgBouncer => &["pgbouncer"],
            Requirement::Wrk => &["wrk"],
            Requirement::Python => &["python3", "python3-venv"],
            Requirement::Node => &["nodejs", "npm"],
            Requirement::Chromium => &["chromium", "fonts-lohit-deva"],
            Requirement::JqAndOpenssl => &["jq", "openssl"],
            Requirement::Monitoring => &[
                "prometheus",
                "prometheus-alertmanager",
                "prometheus-blackbox-exporter",
                "prometheus-postgres-exporter",
                "prometheus-redis-exporter",
            ],
            Requirement::ServiceTools => &["systemd", "nginx-light", "logrotate", "debootstrap"],
        },
    },
    Manager {
        program: "dnf",
        script: r#"exec dnf install -y "$@""#,
        as_root: true,
        packages: |requirement| match requirement {
            Requirement::Postgres => &["postgresql-server", "postgresql-contrib"],
            Requirement::Redis => &["redis"],
            Requirement::Smtp => &["python3-aiosmtpd"],
            Requirement::HaProxy => &["haproxy"],
            Requirement::PgBouncer => &["pgbouncer"],
            Requirement::Wrk => &["wrk"],
            Requirement::Python => &["python3"],
            Requirement::Node => &["nodejs", "npm"],
            Requirement::Chromium => &["chromium", "lohit-devanagari-fonts"],
            Requirement::JqAndOpenssl => &["jq", "openssl"],
            Requirement::Monitoring => &["prometheus", "alertmanager"],
            Requirement::ServiceTools => &["systemd", "nginx", "logrotate", "debootstrap"],
        },
    },
    Manager {
        program: "apk",
        script: r#"exec apk add "$@""#,
        as_root: true,
        packages: |requirement| match requirement {
            Requirement::Postgres => &["postgresql", "postgresql-contrib"],
            Requirement::Redis => &["redis"],
            Requirement::Smtp => &["py3-aiosmtpd"],
            Requirement::HaProxy => &["haproxy"],
            Requirement::PgBouncer => &["pgbouncer"],
            Requirement::Wrk => &["wrk"],
            Requirement::Python => &["python3"],
            Requirement::Node => &["nodejs", "npm"],
            Requirement::Chromium => &["chromium", "font-noto-devanagari"],
            Requirement::JqAndOpenssl => &["jq", "openssl"],
            Requirement::Monitoring => &["prometheus", "alertmanager"],
            Requirement::ServiceTools => &["systemd", "nginx", "logrotate", "debootstrap"],
        },
    },
    Manager {
        program: "pacman",
        script: r#"exec pacman -Sy --noconfirm --needed "$@""#,
        as_root: true,
        packages: |requirement| match requirement {
            Requirement::Postgres => &["postgresql"],
            Requirement::Redis => &["redis"],
            Requirement::Smtp => &["python-aiosmtpd"],
            Requirement::HaProxy => &["haproxy"],
            Requirement::PgBouncer => &["pgbouncer"],
            Requirement::Wrk => &["wrk"],
            Requirement::Python => &["python"],
            Requirement::Node => &["nodejs", "npm"],
            Requirement::Chromium => &["chromium", "noto-fonts"],
            Requirement::JqAndOpenssl => &["jq", "openssl"],
            Requirement::Monitoring => &["prometheus", "alertmanager"],
            Requirement::ServiceTools => &["systemd", "nginx", "logrotate", "debootstrap"],
        },
    },
    Manager {
        program: "brew",
        script: r#"exec brew install "$@""#,
        as_root: false,
        packages: |requirement| match requirement {
            Requirement::Postgres => &["postgresql@17"],
            Requirement::Redis => &["redis"],
            Requirement::Smtp => &["aiosmtpd"],
            Requirement::HaProxy => &["haproxy"],
            Requirement::PgBouncer => &["pgbouncer"],
            Requirement::Wrk => &["wrk"],
            Requirement::Python => &["python@3.13"],
            Requirement::Node => &["node"],
            Requirement::Chromium => &["chromium"],
            Requirement::JqAndOpenssl => &["jq", "openssl"],
            Requirement::Monitoring => &["prometheus", "alertmanager"],
            Requirement::ServiceTools => &["systemd", "nginx", "logrotate", "debootstrap"],
        },
    },
];

/// Installs `requirements` with the first package manager that this machine has.
pub(crate) fn install(requirements: &[Requirement], progress: &mut dyn FnMut(&str)) -> Result<()> {
    let names: Vec<&str> = requirements.iter().map(|wanted| wanted.name()).collect();
    let names = names.join(" and ");
    let Some((manager, program)) = MANAGERS
        .iter()
        .find_map(|manager| Some((manager, find_program(manager.program)?)))
    else {
        bail!("please install {names} and try again");
    };
    let packages: Vec<&str> = requirements
        .iter()
        .flat_map(|wanted| (manager.packages)(*wanted).iter().copied())
        .collect();
    let packages_text = packages.join(" ");

    let mut command = if manager.as_root && !geteuid().is_root() {
        if !may_become_root() {
            bail!(
                "{names} is missing and only root may install it; please run: sudo {} install {packages_text}",
                manager.program,
            );
        }
        let mut command = Command::new("sudo");
        command.args(["-n", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    progress(&format!(
        "installing {packages_text} with {}",
        manager.program
    ));
    let output = command
        .args(["-c", manager.script, "install"])
        .args(&packages)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        bail!(
            "{} could not install {packages_text} ({}); please install {names} and try again",
            manager.program,
            last.trim(),
        );
    }
    Ok(())
}

/// Whether `sudo` works without asking for a password.
fn may_become_root() -> bool {
    Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
