//! The storefront in its bucket, a release in its own, and the settings in the vault.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use axum::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{KEY, RELEASE, VAULT, body};
use crate::deploy::oci::{
    recorder::{HOME_REGION, Recorded},
    stage::{Outcome, Stage, TENANCY},
};

pub async fn check(programs: &Path) -> Result<Stage> {
    let mut stage = Stage::set(programs).await?;
    frontend(&mut stage).await?;
    release(&mut stage).await?;
    settings(&mut stage).await?;
    Ok(stage)
}

async fn frontend(stage: &mut Stage) -> Result<()> {
    let dist = stage.scratch.path().join("dist");
    fs::create_dir_all(dist.join("assets"))?;
    let files = [
        ("index.html", "no-cache", "text/html; charset=utf-8"),
        ("config.json", "no-cache", "application/json"),
        ("favicon.svg", "public, max-age=86400", "image/svg+xml"),
        (
            "assets/index-DqCon0pY.js",
            "public, max-age=31536000, immutable",
            "text/javascript; charset=utf-8",
        ),
        (
            "assets/index-BgdQTHJD.css",
            "public, max-age=31536000, immutable",
            "text/css; charset=utf-8",
        ),
    ];
    for (name, ..) in files {
        fs::write(dist.join(name), format!("content of {name}"))?;
    }
    for name in ["assets/index-DqCon0pY.js.gz", "favicon.svg.br"] {
        fs::write(dist.join(name), "for those that serve compressed copies")?;
    }
    let arguments = ["--dist", "dist", "--region", "ap-mumbai-1"];
    let done = stage.perform("publish-frontend.sh", &arguments).await?;
    let bucket = body(&done, "/n/shop/b")?;
    ensure!(
        bucket["name"] == "bharatmart-frontend"
            && bucket["publicAccessType"] == "ObjectReadWithoutList",
        "{bucket}"
    );
    let puts: Vec<_> = done
        .changes
        .iter()
        .filter(|change| change.method == Method::PUT)
        .collect();
    ensure!(
        puts.len() == files.len(),
        "{} files were sent instead of {}",
        puts.len(),
        files.len()
    );
    for (name, cache, kind) in files {
        let path = format!("/n/shop/b/bharatmart-frontend/o/{name}");
        let put = puts
            .iter()
            .find(|put| put.path.replace("%2F", "/") == path)
            .context(path)?;
        ensure!(
            put.header("cache-control") == cache && put.header("content-type") == kind,
            "{name} has Cache-Control {:?} and type {:?}",
            put.header("cache-control"),
            put.header("content-type")
        );
    }
    ensure!(
        puts.last()
            .is_some_and(|put| put.path.ends_with("/index.html")),
        "index.html does not come last"
    );
    ensure!(
        done.last
            == "https://objectstorage.ap-mumbai-1.oraclecloud.com/n/shop/b/bharatmart-frontend/o",
        "{}",
        done.last
    );

    // A release changes what it has to, and nothing else.
    fs::write(dist.join("index.html"), "a new page")?;
    fs::write(dist.join("assets/index-Cn3w.js"), "a new script")?;
    let done = stage.perform("publish-frontend.sh", &arguments).await?;
    let sent: Vec<_> = done
        .changes
        .iter()
        .map(|change| change.path.replace("%2F", "/"))
        .collect();
    ensure!(
        sent.len() == 2
            && sent[0].ends_with("/assets/index-Cn3w.js")
            && sent[1].ends_with("/index.html"),
        "{sent:?}"
    );
    elsewhere(stage, &arguments).await
}

/// An API with another host name is told once, and stays told.
async fn elsewhere(stage: &mut Stage, arguments: &[&str]) -> Result<()> {
    let told = [arguments, &["--api-url", "https://api.shop.example"]].concat();
    let done = stage.perform("publish-frontend.sh", &told).await?;
    let config = body(&done, "/n/shop/b/bharatmart-frontend/o/config.json")?;
    ensure!(
        *config == json!({ "apiUrl": "https://api.shop.example" }) && done.changes.len() == 1,
        "{config}"
    );
    let done = stage.perform("publish-frontend.sh", arguments).await?;
    ensure!(
        done.changes.is_empty(),
        "a release takes the API's address away"
    );
    Ok(())
}

async fn release(stage: &mut Stage) -> Result<()> {
    let archive = stage.scratch.path().join("bharatmart-1.0.0-x86_64.tar.gz");
    fs::write(&archive, "a release")?;
    let archive = archive.display().to_string();
    let release = stage
        .perform("publish-release.sh", &["--archive", &archive])
        .await?;
    let bucket = body(&release, "/n/shop/b")?;
    ensure!(bucket["publicAccessType"] == "NoPublicAccess", "{bucket}");
    ensure!(release.last == RELEASE, "{}", release.last);
    fs::write(&archive, "another release of the same name")?;
    stage
        .refuse(
            "publish-release.sh",
            &["--archive", &archive],
            1,
            "needs a new name",
        )
        .await
}

/// The settings, and who may read them.
async fn settings(stage: &mut Stage) -> Result<()> {
    let settings = stage.scratch.path().join("settings.env");
    fs::write(&settings, "ENVIRONMENT=production\n")?;
    let file = settings.display().to_string();
    let arguments = ["--vault-id", VAULT, "--key-id", KEY, "--file", &file];
    let stored = stage.perform("store-settings.sh", &arguments).await?;
    let content = &body(&stored, "/20180608/secrets")?["secretContent"]["content"];
    ensure!(
        *content == STANDARD.encode("ENVIRONMENT=production\n"),
        "{content}"
    );
    fs::write(&settings, "ENVIRONMENT=production\nLOG_LEVEL=debug\n")?;
    let again = stage.perform("store-settings.sh", &arguments).await?;
    ensure!(
        again.last == stored.last && again.changes.len() == 1,
        "changed settings are not a new version"
    );

    let arguments = ["--tenancy-id", TENANCY, "--secret-id", &stored.last];
    let allowed = stage.perform("allow-instances.sh", &arguments).await?;
    at_home(&allowed)?;
    let statements = body(&allowed, "/20160918/policies")?["statements"].to_string();
    ensure!(
        statements.contains("target.bucket.name = 'bharatmart-releases'")
            && statements.contains(&format!("target.secret.id = '{}'", stored.last))
            && !statements.contains("manage"),
        "{statements}"
    );

    // Another compartment changes what the group matches and what the policy allows.
    let moved = [
        &arguments[..],
        &["--compartment-id", "ocid1.compartment.oc1..moved"],
    ]
    .concat();
    let changed = stage.perform("allow-instances.sh", &moved).await?;
    at_home(&changed)?;
    let is_update = |change: &Recorded| {
        change.method == Method::PUT && change.body.to_string().contains("..moved")
    };
    ensure!(
        changed.changes.len() == 2 && changed.changes.iter().all(is_update),
        "the group and the policy are not changed"
    );
    Ok(())
}

/// Groups and policies are asked for and changed in the home region.
fn at_home(outcome: &Outcome) -> Result<()> {
    let mut calls = outcome.calls.lines().filter(|call| {
        [" iam dynamic-group ", " iam policy "]
            .iter()
            .any(|command| call.contains(command))
    });
    ensure!(
        calls.clone().count() == 4
            && calls.all(|call| call.starts_with(&format!("{HOME_REGION} "))),
        "not in the home region: {}",
        outcome.calls
    );
    Ok(())
}
