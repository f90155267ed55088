//! The programs of a release, which run wherever the C library is not older than [`OLDEST_GLIBC`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{
    cargo::{self, PROGRAMS},
    paths, python,
};

/// That of Debian 11 and Ubuntu 20.04; Oracle Linux 9 has 2.34.
const OLDEST_GLIBC: (u32, u32) = (2, 31);

/// Machines that releases are made for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Intel and AMD
    #[value(name = "x86_64")]
    X86_64,
    /// Ampere and other ARM processors of 64 bits
    #[value(name = "aarch64")]
    Aarch64,
}

impl Target {
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    pub fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// Where the programs for `target` are built.
fn folder(target: Target) -> Result<PathBuf> {
    Ok(paths::target()?.join(target.triple()).join("release"))
}

/// Builds the programs with the linker and the C library's stubs of Zig, which knows those of every age.
pub async fn build(target: Target, mut progress: impl FnMut(&str)) -> Result<PathBuf> {
    let requirements = "tests/deploy/dist-requirements.txt";
    let tools = python::environment("zig", requirements, &mut progress).await?;
    progress("cargo zigbuild --release (the first time takes many minutes)");
    let (major, minor) = OLDEST_GLIBC;
    let triple = format!("{}.{major}.{minor}", target.triple());
    let mut arguments = vec!["zigbuild", "--release", "--locked", "--target", &triple];
    for program in PROGRAMS {
        arguments.extend(["--bin", program]);
    }
    let status = cargo::command_of(&tools.join("cargo-zigbuild"), &arguments)
        .env("CARGO_ZIGBUILD_ZIG_PATH", tools.join("python-zig"))
        .env("RUSTFLAGS", nameless_paths()?)
        .status()
        .await
        .context("cannot start cargo")?;
    ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    folder(target)
}

/// Programs that run where they should are in `folder`.
pub fn check(folder: &Path) -> Result<()> {
    for program in PROGRAMS {
        let path = folder.join(program);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let needed = needed_glibc(&bytes);
        ensure!(
            needed <= OLDEST_GLIBC,
            "{program} needs glibc {}.{}, and {}.{} has to do",
            needed.0,
            needed.1,
            OLDEST_GLIBC.0,
            OLDEST_GLIBC.1
        );
    }
    Ok(())
}

/// Programs of the same sources are the same wherever they are built, and do not tell where that was.
fn nameless_paths() -> Result<String> {
    Ok(format!(
        "--remap-path-prefix={}=/bharatmart --remap-path-prefix={}=/cargo",
        paths::workspace().display(),
        cargo::home()?.display()
    ))
}

/// The newest version of the C library that a program names.
fn needed_glibc(program: &[u8]) -> (u32, u32) {
    const MARK: &[u8] = b"GLIBC_2.";
    program
        .windows(MARK.len() + 2)
        .filter_map(|window| window.strip_prefix(MARK))
        .filter_map(|digits| {
            let length = digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
        })
        .max()
        .map_or((0, 0), |minor| (2, minor))
}

#[cfg(test)]
mod tests {
    use super::needed_glibc;

    #[test]
    fn the_newest_version_counts() {
        let program = b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0GLIBC_PRIVATE\0 GLIBC_2.x";
        assert_eq!(needed_glibc(program), (2, 34));
        assert_eq!(needed_glibc(b"a static one"), (0, 0));
    }
}
