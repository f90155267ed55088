use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::User;

use super::{PostgresOptions, required};
use crate::{
    install::{Requirement, postgres_programs},
    scratch::{give_to_servers, server_user},
};

/// Makes a database cluster, as the user that servers run as.
pub(super) fn make_cluster(cluster: &Path, options: &PostgresOptions) -> Result<()> {
    let programs = required(postgres_programs(), Requirement::Postgres)?;
    let folder = cluster.parent().unwrap_or(cluster);
    // The same order of names on every machine; only Linux's libc promises this UTF-8 locale.
    let locale = if cfg!(target_os = "linux") {
        "C.UTF-8"
    } else {
        "C"
    };
    let mut command = Command::new(programs.join("initdb"));
    command
        .arg("--pgdata")
        .arg(cluster)
        .args(["--username=postgres", "--encoding=UTF8"])
        .arg(format!("--locale={locale}"))
        .env("LC_ALL", "C")
        .current_dir(folder)
        .stdin(Stdio::null());
    if !options.durable {
        command.arg("--no-sync");
    }
    if let Some(password) = &options.password {
        let file = folder.join("password");
        fs::write(&file, password).with_context(|| format!("cannot write {}", file.display()))?;
        give_to_servers(&file)?;
        command
            .arg("--auth=scram-sha-256")
            .arg("--pwfile")
            .arg(file);
    } else {
        command.arg("--auth=trust");
    }
    as_user(&mut command, server_user()?.as_ref());
    let output = command.output().context("cannot start initdb")?;
    ensure!(
        output.status.success(),
        "initdb failed in {}: {}",
        cluster.display(),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    if options.tls {
        let file = cluster.join("pg_hba.conf");
        let rules = fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .replace("\nhost ", "\nhostssl ");
        fs::write(&file, rules).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Has the command run as this user, if there is one.
pub(super) fn as_user(command: &mut Command, user: Option<&User>) {
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}
