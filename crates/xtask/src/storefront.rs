//! The storefront's build.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};

use crate::npm::{self, FRONTEND};

/// What in its folder is not made into pages.
const NOT_BUILT: [&str; 5] = [
    "dist",
    "node_modules",
    "screenshots",
    "test-results",
    "tests",
];

/// How the pages are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Unless they are newer than all that they are made from.
    Built,
    /// With all checks that need no shop.
    Checked,
}

/// Where the build leaves the pages.
pub fn dist() -> PathBuf {
    npm::folder(FRONTEND).join("dist")
}

/// Sees to it that the pages are there; `progress` is told what takes long, and what there is to say of them.
pub async fn make(pages: Pages, mut progress: impl FnMut(&str)) -> Result<()> {
    npm::install(FRONTEND, &mut progress).await?;
    match pages {
        Pages::Built => {
            if !is_current().context("cannot look through the storefront's files")? {
                progress("npm run build");
                // It is written before the last checks, and would pass for the end of a good build.
                fs::write(unfinished(), "")
                    .context("cannot write beside the storefront's files")?;
                npm::run(FRONTEND, "build").await?;
                fs::remove_file(unfinished()).context("cannot mark the storefront as built")?;
            }
        }
        Pages::Checked => {
            progress("npm run check");
            progress(npm::run(FRONTEND, "check").await?.trim());
        }
    }
    Ok(())
}

/// There while a build is under way, and after one that failed.
fn unfinished() -> PathBuf {
    npm::folder(FRONTEND).join("node_modules/.unfinished-build")
}

fn is_current() -> io::Result<bool> {
    if unfinished().try_exists()? {
        return Ok(false);
    }
    let Ok(page) = fs::metadata(dist().join("index.html")) else {
        return Ok(false);
    };
    Ok(newest(&npm::folder(FRONTEND))? < page.modified()?)
}

/// When something was changed last in `folder` or below.
fn newest(folder: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if NOT_BUILT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let metadata = entry.metadata()?;
        newest = newest.max(metadata.modified()?);
        if metadata.is_dir() {
            newest = newest.max(self::newest(&entry.path())?);
        }
    }
    Ok(newest)
}
