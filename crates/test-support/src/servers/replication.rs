use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sqlx::Connection;

use super::{DataDir, Postgres, PostgresOptions, initdb::as_user, required};
use crate::{
    install::{Requirement, postgres_programs},
    scratch::{ScratchDir, server_user},
    wait::wait_until,
};

/// How long a standby may take to follow, to be promoted or to replay what it was sent.
const FOLLOW_LIMIT: Duration = Duration::from_secs(30);

/// Has standbys report and return at once: the defaults are ten and five seconds. The feedback
/// keeps the primary from removing rows that a query on a standby still sees.
const PROMPT_STANDBYS: [(&str, &str); 3] = [
    ("hot_standby_feedback", "on"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "100ms"),
];

/// How to run a standby.
#[derive(Clone, Debug)]
pub struct StandbyOptions {
    /// Its [`Postgres::name`], and that of its replication slot: lower-case letters, digits and
    /// underscores. No two standbys of a primary have the same one.
    pub name: String,
    /// For how long it keeps a commit back before it shows it.
    pub apply_delay: Duration,
}

impl Default for StandbyOptions {
    fn default() -> Self {
        Self {
            name: "standby".to_owned(),
            apply_delay: Duration::ZERO,
        }
    }
}

impl Postgres {
    /// Starts a streaming, read-only copy of this server with the same options on a free port, and
    /// waits until it streams.
    ///
    /// # Errors
    /// When it cannot be copied, or the copy does not start or does not stream.
    pub async fn standby(&self, options: StandbyOptions) -> Result<Self> {
        let data = DataDir::Temporary(ScratchDir::create()?);
        self.copy_to(&data, &options.name)?;
        let delay = format!("{}ms", options.apply_delay.as_millis());
        let mut settings = self.options.settings.clone();
        settings.extend(PROMPT_STANDBYS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        settings.push(("recovery_min_apply_delay".to_owned(), delay));
        let as_primary = PostgresOptions {
            data_dir: None,
            port: None,
            settings,
            ..self.options.clone()
        };
        let standby = Self::start_on(data, as_primary, &options.name).await?;
        self.wait_for_standby(&options.name)
            .await
            .with_context(|| standby.log_tail(10))?;
        Ok(standby)
    }

    fn copy_to(&self, data: &DataDir, name: &str) -> Result<()> {
        let programs = required(postgres_programs(), Requirement::Postgres)?;
        let mut command = Command::new(programs.join("pg_basebackup"));
        command
            .args(["--dbname", &self.connection_info(name)])
            .arg("--pgdata")
            .arg(data.path().join("pgdata"))
            .args(["--write-recovery-conf", "--wal-method=stream"])
            .args(["--create-slot", "--slot", name])
            .arg("--checkpoint=fast")
            .current_dir(data.path())
            // Before it speaks TLS it looks for a certificate there.
            .env("HOME", data.path())
            .stdin(Stdio::null());
        if !self.options.durable {
            command.arg("--no-sync");
        }
        as_user(&mut command, server_user()?.as_ref());
        let output = command.output().context("cannot start pg_basebackup")?;
        ensure!(
            output.status.success(),
            "pg_basebackup failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// As libpq writes it, for the standby called `name`.
    fn connection_info(&self, name: &str) -> String {
        let mut text = format!(
            "host=127.0.0.1 port={} user=postgres application_name={name}",
            self.port()
        );
        if let Some(password) = &self.options.password {
            text.push_str(" password=");
            text.push_str(password);
        }
        text
    }

    /// Waits until the standby called `name` streams from this server.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub async fn wait_for_standby(&self, name: &str) -> Result<()> {
        wait_until(&format!("{name} to stream"), FOLLOW_LIMIT, async || {
            let mut connection = self.connect("postgres").await?;
            let streams: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_replication
                                WHERE application_name = $1 AND state = 'streaming')",
            )
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok(streams)
        })
        .await
    }

    /// Up to which byte of the write-ahead log, since the first one ever, this server has flushed
    /// it if it is a primary, or shows what it says if it is a standby.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn wal_position(&self) -> Result<u64> {
        let mut connection = self.connect("postgres").await?;
        let position: i64 = sqlx::query_scalar(
            "SELECT pg_wal_lsn_diff(
                 CASE WHEN pg_is_in_recovery()
                     THEN pg_last_wal_replay_lsn()
                     ELSE pg_current_wal_flush_lsn()
                 END, '0/0')::bigint",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(position.unsigned_abs())
    }

    /// Waits until this standby shows what the write-ahead log says before `position`, which the
    /// primary's [`Postgres::wal_position`] told.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub async fn wait_until_replayed(&self, position: u64) -> Result<()> {
        let what = format!("{} to replay up to {position}", self.name());
        wait_until(&what, FOLLOW_LIMIT, async || {
            Ok(self.wal_position().await? >= position)
        })
        .await
    }

    /// Makes this standby a primary and waits until it takes writes. What it has received and not
    /// shown yet, because of its delay, it shows first.
    ///
    /// # Errors
    /// When it does not become one within half a minute.
    pub async fn promote(&self) -> Result<()> {
        let mut connection = self.connect("postgres").await?;
        let limit = i32::try_from(FOLLOW_LIMIT.as_secs())?;
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, $1)")
            .bind(limit)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        ensure!(
            promoted,
            "{} is no primary yet: {}",
            self.name(),
            self.log_tail(10)
        );
        Ok(())
    }

    /// Has this standby follow another primary, a promoted standby of the same primary that had
    /// received at least as much, and waits until it streams.
    ///
    /// # Errors
    /// When it does not.
    pub async fn follow(&self, primary: &Self) -> Result<()> {
        let mut connection = primary.connect("postgres").await?;
        sqlx::query(
            "SELECT pg_create_physical_replication_slot($1)
             WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
        )
        .bind(self.name())
        .execute(&mut connection)
        .await?;
        connection.close().await?;
        self.set("primary_conninfo", &primary.connection_info(self.name()))
            .await?;
        primary
            .wait_for_standby(self.name())
            .await
            .with_context(|| self.log_tail(10))
    }
}

/// A primary and standbys that stream from it, called `standby1`, `standby2`, …. A transaction that
/// the primary has confirmed survives the end of any of them.
#[derive(Debug)]
pub struct Replication {
    /// The first primary, also after another server took over.
    pub primary: Postgres,
    /// The standbys, in the order of their numbers, also after one was promoted.
    pub standbys: Vec<Postgres>,
}

impl Replication {
    /// Starts the primary and so many standbys.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or a standby does not follow.
    pub async fn start(standbys: usize) -> Result<Self> {
        Self::start_with(PostgresOptions::default(), standbys, Duration::ZERO).await
    }

    /// As [`Replication::start`], with options of the primary and a delay of all standbys.
    ///
    /// # Errors
    /// As [`Replication::start`].
    pub async fn start_with(
        mut options: PostgresOptions,
        standbys: usize,
        apply_delay: Duration,
    ) -> Result<Self> {
        // Else a server that is killed forgets what it has confirmed in the last moments.
        let confirmed = ("synchronous_commit".to_owned(), "on".to_owned());
        options.settings.insert(0, confirmed);
        let primary = Postgres::start(options).await?;
        let mut replication = Self {
            primary,
            standbys: Vec::new(),
        };
        for number in 1..=standbys {
            let options = StandbyOptions {
                name: format!("standby{number}"),
                apply_delay,
            };
            let standby = replication.primary.standby(options).await?;
            replication.standbys.push(standby);
        }
        Ok(replication)
    }

    /// Makes an empty database on the primary, unless there is one of that name, waits until it is
    /// on all standbys, and returns its URL at the primary.
    ///
    /// # Errors
    /// When the primary does not answer or a standby does not follow.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let url = self.primary.create_database(name).await?;
        self.wait_until_replayed().await?;
        Ok(url)
    }

    /// Waits until all standbys show what the primary has confirmed by now. Those that were stopped
    /// are left out.
    ///
    /// # Errors
    /// When the primary does not answer or one of them does not follow within half a minute.
    pub async fn wait_until_replayed(&self) -> Result<()> {
        let position = self.primary.wal_position().await?;
        for standby in self.standbys.iter().filter(|standby| standby.is_started()) {
            standby.wait_until_replayed(position).await?;
        }
        Ok(())
    }

    /// Has the primary confirm a transaction only when so many of the standbys have it on disk;
    /// 0 for none.
    ///
    /// # Errors
    /// When the primary does not answer or there are not so many standbys that follow it.
    pub async fn set_synchronous(&self, standbys: usize) -> Result<()> {
        if standbys == 0 {
            return self.primary.set("synchronous_standby_names", "").await;
        }
        let names = format!("ANY {standbys} (*)");
        self.primary
            .set("synchronous_standby_names", &names)
            .await?;
        wait_until("synchronous standbys", FOLLOW_LIMIT, async || {
            let mut connection = self.primary.connect("postgres").await?;
            let found: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'",
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok(usize::try_from(found)? >= standbys)
        })
        .await
    }
}
