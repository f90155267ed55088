//! Runs the tools that read what we deploy.

use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// What a tool writes to its standard output; when it fails, an error with all that it wrote.
pub async fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(run(command).await?.stdout)?)
}

/// The same with what it writes to its standard error, for tools that warn there and succeed.
pub async fn all_output(command: &mut Command) -> Result<String> {
    let Output { stdout, stderr, .. } = run(command).await?;
    Ok(String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

async fn run(command: &mut Command) -> Result<Output> {
    let name = command.as_std().get_program().to_string_lossy();
    let name = name.rsplit('/').next().unwrap_or(&name).to_owned();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {name}"))?;
    ensure!(
        output.status.success(),
        "{name} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
