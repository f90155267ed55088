//! The primary and the replica of `docker-compose.yml`, with this machine's PostgreSQL in the place of the image's.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    Child, Launch, Output, ScratchDir, free_port, install::postgres_programs, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::Command;

use super::Services;
use crate::{
    deploy::{
        json::{items, text},
        tool,
    },
    paths,
};

/// What the image has and this machine has not.
pub const STAND_INS: &str = "tests/deploy/postgres-image";
const PATIENCE: Duration = Duration::from_secs(30);
/// How both servers end; the image's own signal.
const STOP: Signal = Signal::SIGINT;
/// Small pieces, so that the primary has soon written more than it keeps, and no client without a password.
const INITDB: &str = "--auth-host=scram-sha-256 --wal-segsize=1 --no-sync";

/// In the place of what the service says: so much is written in a moment.
const KEPT: &str = "max_slot_wal_keep_size=4MB";

/// Starts both, and starts the replica again after each thing that can happen to it.
pub async fn check(services: &Services) -> Result<String> {
    let stage = Stage::new(services)?;
    let primary = stage.server("postgres-primary")?;
    ensure!(
        items(&primary.service["command"])
            .any(|word| text(word).starts_with("max_slot_wal_keep_size=")),
        "for a replica that is away, the primary keeps more than its disk has"
    );
    let mut running = primary.start()?;
    stage.answers(&primary, &mut running).await?;
    primary.query("CREATE TABLE written (by text)").await?;

    let replica = stage.server("postgres-replica")?;
    refuses_a_wrong_password(&replica).await?;
    let mut following = replica.start()?;
    stage
        .follows(&primary, &replica, &mut following, "the first")
        .await?;

    // A copy of its own would not have this file.
    let mark = replica.data().join("mark");
    fs::write(&mark, "")?;
    following.stop(STOP, PATIENCE).await?;
    following = replica.start()?;
    stage
        .follows(&primary, &replica, &mut following, "the second")
        .await?;
    ensure!(mark.exists(), "a restart has copied the primary anew");
    following.stop(STOP, PATIENCE).await?;

    primary.throws_away_what_nobody_has_read().await?;
    following = replica.start()?;
    stage
        .follows(&primary, &replica, &mut following, "the third")
        .await?;
    ensure!(
        !mark.exists(),
        "it follows from where the primary has nothing left"
    );

    // A copy that was interrupted is begun again.
    following.stop(STOP, PATIENCE).await?;
    fs::remove_file(replica.data().join("global/pg_control"))?;
    following = replica.start()?;
    stage
        .follows(&primary, &replica, &mut following, "the fourth")
        .await?;
    following.stop(STOP, PATIENCE).await?;
    running.stop(STOP, PATIENCE).await?;

    // Without a primary it serves what it has.
    following = replica.start()?;
    stage.answers(&replica, &mut following).await?;
    following.stop(STOP, PATIENCE).await?;
    Ok("follows, keeps its copy when restarted, makes a new one when it has to".to_owned())
}

/// Ends at once, says why, and leaves nothing that the next start would take for a copy.
async fn refuses_a_wrong_password(replica: &Server<'_>) -> Result<()> {
    let launch = replica.launch()?.env("REPLICATION_PASSWORD", "wrong");
    let mut refused = launch.spawn()?;
    let status = refused.wait(PATIENCE).await?;
    let said = refused.log();
    ensure!(
        !status.success()
            && said.contains("password authentication failed for user \"replication\""),
        "with a wrong password the replica ended with {status} and said: {said}"
    );
    ensure!(
        !replica.data().join("PG_VERSION").exists(),
        "a refused replica has a copy"
    );
    Ok(())
}

/// What both servers share.
struct Stage<'a> {
    services: &'a Services,
    scratch: ScratchDir,
    path: String,
    primary_port: u16,
}

impl<'a> Stage<'a> {
    fn new(services: &'a Services) -> Result<Self> {
        let programs = postgres_programs().context("there is no PostgreSQL")?;
        let scratch = ScratchDir::create()?;
        // PostgreSQL's user may not look into every checkout.
        let stand_ins = scratch.path().join("bin");
        fs::create_dir(&stand_ins)?;
        for entry in fs::read_dir(paths::workspace().join(STAND_INS))? {
            let entry = entry?;
            fs::copy(entry.path(), stand_ins.join(entry.file_name()))?;
        }
        let scripts = scratch.path().join("initdb");
        fs::create_dir(&scripts)?;
        for mount in items(&services["postgres-primary"]["volumes"]) {
            let target = Path::new(text(&mount["target"]));
            if target.parent() == Some(Path::new("/docker-entrypoint-initdb.d")) {
                let name = target.file_name().context("a script without a name")?;
                fs::copy(text(&mount["source"]), scripts.join(name))?;
            }
        }
        let path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin",
            stand_ins.display(),
            programs.display()
        );
        Ok(Self {
            services,
            scratch,
            path,
            primary_port: free_port(),
        })
    }

    fn server(&'a self, name: &'static str) -> Result<Server<'a>> {
        let service = self.services.get(name).context("no such service")?;
        let port = if name == "postgres-primary" {
            self.primary_port
        } else {
            free_port()
        };
        Ok(Server {
            stage: self,
            name,
            service,
            port,
        })
    }

    /// Waits for a server's first answer, or for its end.
    async fn answers(&self, server: &Server<'_>, running: &mut Child) -> Result<()> {
        wait_until(server.name, PATIENCE, async || -> Result<bool> {
            let ended = running.try_wait()?;
            ensure!(
                ended.is_none(),
                "{} ended: {}",
                server.name,
                running.log_tail(20)
            );
            Ok(server.query("SELECT 1").await.is_ok())
        })
        .await
        .with_context(|| running.log_tail(20))
    }

    /// Waits until the replica streams from the primary, and has what is written there now.
    async fn follows(
        &self,
        primary: &Server<'_>,
        replica: &Server<'_>,
        running: &mut Child,
        row: &str,
    ) -> Result<()> {
        self.answers(replica, running).await?;
        let streams = "SELECT state FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid \
            WHERE usename = 'replication' AND slot_name = 'replica'";
        wait_until(
            "the replica to stream",
            PATIENCE,
            async || -> Result<bool> { Ok(primary.query(streams).await? == "streaming") },
        )
        .await
        .with_context(|| running.log_tail(20))?;
        primary
            .query(&format!("INSERT INTO written VALUES ('{row}')"))
            .await?;
        let last = format!(
            "SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM written WHERE by = '{row}')"
        );
        wait_until(
            "the row on the replica",
            PATIENCE,
            async || -> Result<bool> { Ok(replica.query(&last).await? == "t") },
        )
        .await
    }
}

struct Server<'a> {
    stage: &'a Stage<'a>,
    name: &'static str,
    service: &'a Value,
    port: u16,
}

impl Server<'_> {
    fn data(&self) -> PathBuf {
        self.stage.scratch.path().join(self.name)
    }

    fn setting(&self, name: &str) -> &str {
        text(&self.service["environment"][name])
    }

    fn start(&self) -> Result<Child> {
        self.launch()?.spawn()
    }

    /// As the service says, but for where this machine has things.
    fn launch(&self) -> Result<Launch> {
        let folder = self.stage.scratch.path();
        let mut words = items(&self.service["entrypoint"]).map(text);
        let entrypoint = match words.next() {
            Some(program) => [program.to_owned()]
                .into_iter()
                .chain(words.map(|word| self.mounted(word)))
                .collect(),
            None => vec!["docker-entrypoint.sh".to_owned()],
        };
        let log = folder.join(format!("{}.log", self.name));
        let mut launch = Launch::new(self.name, "/usr/bin/env", Output::File(log))
            .args(entrypoint)
            .args(items(&self.service["command"]).map(text))
            .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", KEPT])
            .args(["-c".to_owned(), format!("port={}", self.port)])
            .args([
                "-c".to_owned(),
                format!("unix_socket_directories={}", folder.display()),
            ])
            .clear_environment()
            .directory(folder);
        for (name, value) in self.service["environment"]
            .as_object()
            .context("no settings")?
        {
            launch = launch.env(name, text(value));
        }
        Ok(launch
            .env("PRIMARY_HOST", "127.0.0.1")
            .env("PGPORT", self.stage.primary_port.to_string())
            .env("PGHOST", folder)
            .env("PGDATA", self.data())
            .env("POSTGRES_INITDB_ARGS", INITDB)
            .env("INITDB_SCRIPTS", folder.join("initdb"))
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", &self.stage.path))
    }

    /// A file of the container, where it is here.
    fn mounted(&self, word: &str) -> String {
        let mount = items(&self.service["volumes"]).find(|mount| mount["target"] == word);
        mount
            .map_or(word, |mount| text(&mount["source"]))
            .to_owned()
    }

    async fn query(&self, statement: &str) -> Result<String> {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--host=127.0.0.1", "--command", statement])
            .arg(format!("--port={}", self.port))
            .arg(format!("--username={}", self.setting("POSTGRES_USER")))
            .arg(format!("--dbname={}", self.setting("POSTGRES_DB")))
            .env("PATH", &self.stage.path)
            .env("PGPASSWORD", self.setting("POSTGRES_PASSWORD"));
        Ok(tool::output(&mut psql).await?.trim().to_owned())
    }

    /// Writes until it keeps less than the replica has not read, as after a long time without it.
    async fn throws_away_what_nobody_has_read(&self) -> Result<()> {
        wait_until("the slot to be lost", PATIENCE, async || -> Result<bool> {
            self.query(
                "INSERT INTO written SELECT repeat('x', 1000) FROM generate_series(1, 2000)",
            )
            .await?;
            self.query("CHECKPOINT").await?;
            let slot = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'replica'";
            Ok(self.query(slot).await? == "lost")
        })
        .await
    }
}
