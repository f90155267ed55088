//! Servers that take no connection without TLS.

use std::error::Error as _;

use anyhow::{Context, Result, ensure};
use bharatmart_database::{Error, Freshness, Rotation};
use bharatmart_test_support::servers::{Postgres, PostgresOptions};

use crate::servers::{NAME, Servers, number, open, prepare, read, wait_for_rotation, write};

fn with_tls() -> PostgresOptions {
    // Two providers are compiled in, so rustls would not choose. Fails only when one is chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    PostgresOptions {
        tls: true,
        ..PostgresOptions::default()
    }
}

/// What is said about an error and its sources.
fn explained(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn authority(server: &Postgres) -> Result<&str> {
    server
        .ca_file()
        .and_then(|file| file.to_str())
        .context("the server has a certificate")
}

#[tokio::test]
async fn the_servers_certificate_is_checked_as_far_as_the_settings_say() -> Result<()> {
    let server = Postgres::start(with_tls()).await?;
    prepare(&server).await?;
    let stranger = Postgres::start(with_tls()).await?;
    let port = server.port();
    let [by_name, by_other_name] = ["localhost", "[::ffff:127.0.0.1]"]
        .map(|host| format!("postgres://postgres@{host}:{port}/{NAME}"));
    let (own, other) = (authority(&server)?, authority(&stranger)?);

    let mut id = 0;
    for (url, mode, authority) in [
        (&by_name, "require", None),
        (&by_other_name, "require", None),
        (&by_other_name, "verify-ca", Some(own)),
        (&by_name, "verify-full", Some(own)),
    ] {
        let mut variables = vec![("DATABASE_URL", url.as_str()), ("DATABASE_SSL_MODE", mode)];
        variables.extend(authority.map(|file| ("DATABASE_SSL_CA_FILE", file)));
        let database = open(&variables);
        id += 1;
        let outcome = write(&database, id).await;
        ensure!(
            outcome.is_ok(),
            "{variables:?}: {:?}",
            outcome.as_ref().err().map(explained)
        );
        let mut connection = database.write().await?;
        let encrypted: bool =
            sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                .fetch_one(&mut connection)
                .await?;
        ensure!(encrypted, "{variables:?}");
    }
    for (url, mode, authority, reason) in [
        (&by_name, "disable", None, "no encryption"),
        (
            &by_other_name,
            "verify-full",
            Some(own),
            "not valid for name",
        ),
        (
            &by_name,
            "verify-full",
            Some(other),
            "invalid peer certificate",
        ),
        (
            &by_name,
            "verify-ca",
            Some(other),
            "invalid peer certificate",
        ),
        (&by_name, "verify-full", None, "invalid peer certificate"),
    ] {
        let mut variables = vec![("DATABASE_URL", url.as_str()), ("DATABASE_SSL_MODE", mode)];
        variables.extend(authority.map(|file| ("DATABASE_SSL_CA_FILE", file)));
        let error = write(&open(&variables), 100)
            .await
            .err()
            .with_context(|| format!("{variables:?} is not refused"))?;
        let text = explained(&error);
        ensure!(text.contains(reason), "{variables:?}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn replicas_and_those_who_watch_them_are_spoken_to_over_tls() -> Result<()> {
    let servers = Servers::start_with(with_tls(), 1, std::time::Duration::ZERO).await?;
    let database = servers.open(&[]).await?;
    let request = database.for_request(None);
    write(&request, 1).await?;
    servers.wait_until_replayed().await?;
    let answer = read(&request, Freshness::Current, 1).await?;
    assert_eq!(answer, ("standby1".to_owned(), true));
    for server in [&servers.primary, &servers.standbys[0]] {
        let mut direct = server.connect("postgres").await?;
        let sessions = "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
            WHERE application_name = 'database-test'";
        let encrypted = number(&mut direct, &format!("SELECT count(*) {sessions} AND ssl")).await?;
        let plain = number(
            &mut direct,
            &format!("SELECT count(*) {sessions} AND NOT ssl"),
        )
        .await?;
        // The pool's and the monitor's.
        ensure!(encrypted >= 2 && plain == 0, "{encrypted}, {plain}");
    }
    // Another server's certificate is none of a replica.
    let stranger = Postgres::start(with_tls()).await?;
    let url = servers.primary.url(NAME);
    let read_url = servers.standbys[0]
        .url(NAME)
        .replace(authority(&servers.standbys[0])?, authority(&stranger)?);
    let database = open(&[("DATABASE_URL", &url), ("DATABASE_READ_URL", &read_url)]);
    wait_for_rotation(&database, &[Rotation::Unreachable]).await?;
    let answer = read(&database, Freshness::Any, 1).await?;
    assert_eq!(answer, ("primary".to_owned(), true));
    Ok(())
}
