//! What the first stages are given and do: the files that `.dockerignore` lets through, and compiling them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result, ensure};

use bharatmart_test_support::install::find_program;
use tokio::process::Command;

use super::containers::{Containers, dockerfile};
use crate::{
    cargo::{self, PROGRAMS},
    deploy::tool,
    paths,
};

/// What takes long to send to a builder, or is nobody else's to see.
const KEPT_BACK: [&str; 5] = [
    ".env",
    ".git",
    "frontend/dist",
    "frontend/node_modules",
    "target",
];
/// What the API and the worker do not share begins here.
const LAST_STAGE: &str = "\nFROM ${BASE_IMAGE}\n";

/// Everything that the compiler has read is in the folder `context`, and what must not be is not. The programs have been built.
pub async fn complete(context: &Path) -> Result<usize> {
    let workspace = paths::workspace();
    for name in KEPT_BACK {
        ensure!(
            !context.join(name).exists(),
            ".dockerignore lets {name} through"
        );
    }
    let mut files = 0;
    for program in PROGRAMS {
        let listed = paths::programs(false)?.join(format!("{program}.d"));
        let list = fs::read_to_string(&listed)
            .with_context(|| format!("there is no {}", listed.display()))?;
        for path in list.split_whitespace().skip(1) {
            files += usize::from(is_in(context, Path::new(path))?);
        }
    }
    // The macros read these, and do not tell the compiler.
    for entry in fs::read_dir(workspace.join(".sqlx"))? {
        files += usize::from(is_in(context, &entry?.path())?);
    }
    ensure!(files > 200, "the programs were built of {files} files only");
    let manifest = context.join("Cargo.toml");
    let mut metadata = cargo::command(&["metadata", "--locked", "--offline"]);
    metadata
        .args(["--format-version", "1", "--manifest-path"])
        .arg(manifest);
    tool::output(&mut metadata).await?;
    Ok(files)
}

/// Whether `path` is a file of the checkout; an error when it is and `context` has no such file.
fn is_in(context: &Path, path: &Path) -> Result<bool> {
    let Ok(inside) = path.strip_prefix(paths::workspace()) else {
        return Ok(false);
    };
    // What build scripts have made.
    if inside.starts_with("target") {
        return Ok(false);
    }
    ensure!(
        context.join(inside).is_file(),
        ".dockerignore keeps {} back, of which the programs are built",
        inside.display()
    );
    Ok(true)
}

/// The API's and the worker's first stages are the same, which a builder then does once.
pub fn shared_stages() -> Result<()> {
    let first_stages = |image: &str| -> Result<String> {
        let text = fs::read_to_string(dockerfile(image))?;
        let (_, text) = text.split_once("\n\n").context("no comment at the top")?;
        let (stages, _) = text.split_once(LAST_STAGE).context("no last stage")?;
        Ok(stages.to_owned())
    };
    ensure!(
        first_stages("api")? == first_stages("worker")?,
        "the first stages of api.Dockerfile and worker.Dockerfile are not the same"
    );
    Ok(())
}

/// Compiles the folder `context` as the Dockerfiles do, and again with a change in it, which the dependencies outlast.
pub async fn compile(containers: &Containers, context: &Path) -> Result<()> {
    let tools = toolchain().await?;
    let first = containers.build("api", context, &tools).await?;
    ensure!(
        compiled(&first).any(|name| name == "tokio") && compiled(&first).any(is_ours),
        "the first build compiled nothing: {first}"
    );
    let changed = context.join("crates/domain/src/lib.rs");
    OpenOptions::new()
        .append(true)
        .open(&changed)
        .and_then(|mut file| file.write_all(b"// Changed.\n"))
        .with_context(|| format!("cannot change {}", changed.display()))?;
    let second = containers.build("api", context, &tools).await?;
    ensure!(
        compiled(&second).any(is_ours),
        "a change of the sources compiled nothing: {second}"
    );
    let again: Vec<_> = compiled(&second).filter(|name| !is_ours(name)).collect();
    ensure!(
        again.is_empty(),
        "a change of the sources compiled dependencies again: {}",
        again.join(", ")
    );
    let worker = containers.build("worker", context, &tools).await?;
    let again: Vec<_> = compiled(&worker).collect();
    ensure!(
        again.is_empty(),
        "the worker's image compiled again what the API's has: {}",
        again.join(", ")
    );
    for image in ["api", "worker"] {
        let said = containers
            .run(image, image, &["--rm".to_owned()], &["--version"])
            .await?;
        ensure!(
            said.contains(env!("CARGO_PKG_VERSION")),
            "the compiled {image} says that it is {said}"
        );
    }
    Ok(())
}

/// The crates that a build says it compiles.
fn compiled(said: &str) -> impl Iterator<Item = &str> {
    said.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Compiling "))
        .filter_map(|rest| rest.split(' ').next())
}

fn is_ours(name: &str) -> bool {
    name.starts_with("bharatmart-")
}

/// Where this machine's Node.js is, and where its image has it, unless both are in the same place.
pub fn node() -> Result<Vec<String>> {
    let program = find_program("node").context("node is not installed")?;
    let folder = program.canonicalize()?;
    let folder = folder.ancestors().nth(2).context("node is in no folder")?;
    if folder.starts_with("/usr") {
        return Ok(Vec::new());
    }
    Ok(vec![format!("--volume={}:/usr/local:ro", folder.display())])
}

/// Where this machine's Rust and the sources of other people's crates are, and where the image of Rust has them.
async fn toolchain() -> Result<Vec<String>> {
    let ask = async |arguments: &[&str]| -> Result<String> {
        let mut rustc = Command::new("rustc");
        rustc.args(arguments).current_dir(paths::workspace());
        Ok(tool::output(&mut rustc).await?.trim().to_owned())
    };
    let root = ask(&["--print", "sysroot"]).await?;
    let about = ask(&["--version", "--verbose"]).await?;
    let about = |name: &str| {
        about
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .with_context(|| format!("rustc does not tell its {name}"))
    };
    let name = format!("{}-{}", about("release")?, about("host")?);
    let home = cargo::home()?;
    Ok(vec![
        // Kept for the next build, as a registry or a CI's cache keeps them.
        "--layers".to_owned(),
        format!("--volume={root}:/rustup/toolchains/{name}:ro"),
        format!(
            "--volume={0}/bin/rustup:/cargo/bin/rustup:ro",
            home.display()
        ),
        format!("--volume={0}/registry:/cargo/registry", home.display()),
    ])
}
