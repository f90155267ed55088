//! Reads that no cache answers: beside a bare axum and sqlx handler of the same statement, deep inside a
//! list, and through replicas and a pooler.

mod contest;
mod depth;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ShopClient, TEST_PASSWORD,
    servers::{PgBouncer, PgBouncerOptions, PoolMode, Postgres, StandbyOptions},
};
use serde_json::Value;

use self::contest::{Contest, Expected, Pair, Side, Work};
use super::{
    cache,
    program::{Program, Servers},
    psql,
    wrk::Load,
};
use crate::{cargo, console::line};

/// So many that no two requests under way are for the same one.
const PRODUCTS: u64 = 1000;
/// Of the database that [`Servers`] makes.
const DATABASE: &str = "bharatmart";
/// What the answer to a write carries when there are replicas.
const TOKEN: &str = "x-consistency-token";
/// As many connections as the API's pool has, so that the pooler spares none.
const POOLER_CONNECTIONS: u32 = 20;
/// Only warnings are logged, so that what the log costs hides nothing.
const QUIET: (&str, &str) = ("LOG_LEVEL", "warn");

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each measures both sides of every pair
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each side of a pair takes
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Measure only this
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    /// A product beside the bare handler
    Product,
    /// Replicas and a pooler beside the server itself
    Servers,
    /// A page deep inside a list beside the first one
    Depth,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    cargo::run(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "bharatmart-api",
        "--example",
        "bare_sql",
    ])
    .await?;
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let length = Duration::from_secs(arguments.seconds);
    let mut met = true;
    if wanted(Part::Product) {
        met &= product(arguments.rounds, length).await?;
    }
    if wanted(Part::Servers) {
        met &= servers(arguments.rounds, length).await?;
    }
    if wanted(Part::Depth) {
        met &= depth::run(arguments.rounds).await?;
    }
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The release build of the API, without a cache.
async fn api(servers: &Servers, variables: &[(&str, &str)]) -> Result<Program> {
    let mut command = servers.command("bharatmart-api")?;
    command
        .env("CACHE_TYPE", "none")
        .envs(variables.iter().copied())
        .stdout(std::process::Stdio::piped());
    Program::start(command).await
}

/// Asks for one product after the other.
async fn products(servers: &Servers) -> Result<Work> {
    cache::stock(&servers.database_url, PRODUCTS).await?;
    let ids = psql(&servers.database_url, "SELECT id FROM products").await?;
    let paths: Vec<_> = ids.lines().map(path).collect();
    Ok(Work::Read(Load::new("product", &paths)?))
}

fn path(id: &str) -> String {
    format!("/api/products/{id}")
}

/// A product, uncached, from the API and from the bare handler.
async fn product(rounds: usize, length: Duration) -> Result<bool> {
    let servers = Servers::start(true).await?;
    let read = products(&servers).await?;
    let bare = Program::start(servers.command("examples/bare_sql")?).await?;
    let quiet = api(&servers, &[QUIET]).await?;
    let usual = api(&servers, &[]).await?;
    let id = psql(&servers.database_url, "SELECT id FROM products LIMIT 1").await?;
    for program in [&quiet, &usual] {
        let (ours, theirs) = (body(program, &id).await?, body(&bare, &id).await?);
        ensure!(ours == theirs, "{ours} is not {theirs}");
    }
    let bare = Side::new("bare axum and sqlx", Expected::Unknown, bare);
    let quiet = Side::new("the API, LOG_LEVEL=warn", Expected::Primary, quiet);
    let usual = Side::new("the API, defaults", Expected::Primary, usual);
    let mut contest = Contest::new(
        "one product, no cache",
        vec![
            Pair::new(&bare, &quiet, &read).floor(0.90),
            Pair::new(&bare, &usual, &read).floor(0.80),
        ],
    );
    contest.run(rounds, length).await?;
    let met = contest.finish()?;
    for side in [quiet, usual] {
        side.stop().await?;
    }
    Ok(met)
}

async fn body(program: &Program, id: &str) -> Result<Value> {
    let url = format!("http://127.0.0.1:{}{}", program.port, path(id));
    let answer = reqwest::get(url).await?.error_for_status()?;
    Ok(answer.json().await?)
}

/// The same reads and writes with replicas and through a pooler. One machine runs all of it, so this tells
/// what they cost and not what they gain.
async fn servers(rounds: usize, length: Duration) -> Result<bool> {
    let servers = Servers::start(true).await?;
    let read = products(&servers).await?;
    let standbys = [
        standby(&servers.postgres, "standby1").await?,
        standby(&servers.postgres, "standby2").await?,
    ];
    let bouncer = PgBouncer::start(
        &servers.postgres,
        PgBouncerOptions {
            pool_mode: PoolMode::Transaction,
            default_pool_size: POOLER_CONNECTIONS,
            ..PgBouncerOptions::default()
        },
    )
    .await?;
    let read_url = standbys.each_ref().map(|standby| standby.url(DATABASE));
    let read_url = ("DATABASE_READ_URL", read_url.join(","));
    let pooler_url = ("DATABASE_URL", bouncer.url(DATABASE));
    let alone = api(&servers, &[QUIET]).await?;
    let replicated = api(&servers, &[QUIET, (read_url.0, &read_url.1)]).await?;
    let pooled = api(&servers, &[QUIET, (pooler_url.0, &pooler_url.1)]).await?;

    let admin = admin(&servers, alone.port).await?;
    for (program, has_token) in [(&alone, false), (&replicated, true), (&pooled, false)] {
        let token = consistency_token(program, &admin).await?;
        ensure!(
            token.is_some() == has_token,
            "a write was answered with the token {token:?}"
        );
    }
    let write = Work::Write {
        access_token: admin,
    };
    let alone = Side::new("the API alone", Expected::Primary, alone);
    let replicated = Side::new("two replicas", Expected::Replicas, replicated);
    let pooled = Side::new("transaction pooler", Expected::Primary, pooled);
    let mut contest = Contest::new(
        "reads of one product and writes of a new one, no cache, LOG_LEVEL=warn",
        vec![
            Pair::new(&alone, &replicated, &read),
            Pair::new(&alone, &replicated, &write),
            Pair::new(&alone, &pooled, &read),
            Pair::new(&alone, &pooled, &write),
        ],
    );
    contest.run(rounds, length).await?;
    let met = contest.finish()?;
    for side in [alone, replicated, pooled] {
        side.stop().await?;
    }
    Ok(met)
}

async fn standby(primary: &Postgres, name: &str) -> Result<Postgres> {
    line(format!("copying the database to {name}"));
    let options = StandbyOptions {
        name: name.to_owned(),
        ..StandbyOptions::default()
    };
    primary.standby(options).await
}

/// The access token of someone who may add products, at any instance of the API.
async fn admin(servers: &Servers, port: u16) -> Result<String> {
    let mut shop = ShopClient::new(format!("http://127.0.0.1:{port}"))?;
    shop.sign_up().await?;
    let email = shop.email().to_owned();
    let promote = format!("UPDATE users SET role = 'admin' WHERE email = '{email}'");
    psql(&servers.database_url, &promote).await?;
    shop.login(&email, TEST_PASSWORD).await?;
    let token = shop.token().context("no token")?;
    Ok(token.to_owned())
}

/// What a write's answer says that later reads must see.
async fn consistency_token(program: &Program, access_token: &str) -> Result<Option<String>> {
    let url = format!("http://127.0.0.1:{}{}", program.port, contest::NEW);
    let answer = reqwest::Client::builder()
        .build()?
        .post(url)
        .bearer_auth(access_token)
        .header("content-type", "application/json")
        .body(contest::new_product(0))
        .send()
        .await?
        .error_for_status()?;
    let token = answer.headers().get(TOKEN);
    Ok(token
        .map(|token| token.to_str().map(str::to_owned))
        .transpose()?)
}
