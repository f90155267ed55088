//! The commands of our README: kubectl, helm and our own programs are asked whether they would take them, and what they name is there.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    guide,
    manifests::{Build, Object},
    tools::Tools,
};
use crate::{
    deploy::{
        json::{items, text},
        readme,
        tool::output,
    },
    paths,
};

const README: &str = "deploy/kubernetes/README.md";
/// Secrets that commands make.
const SECRETS: [&str; 4] = [
    "bharatmart-secrets",
    "bharatmart-cache-auth",
    "bharatmart-tls",
    "bharatmart-ocir",
];
/// What kubectl calls the kinds of which the README names single ones.
const KINDS: [(&str, &str); 8] = [
    ("configmap", "ConfigMap"),
    ("deployment", "Deployment"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("job", "Job"),
    ("scaledobject", "ScaledObject"),
    ("secret", "Secret"),
    ("service", "Service"),
    ("statefulset", "StatefulSet"),
];
const OUR_NAMESPACE: &str = "bharatmart";

/// Goes over all commands; returns how many there are.
pub async fn check(builds: &[Build], tools: &Tools, connections: usize) -> Result<usize> {
    let markdown = fs::read_to_string(paths::workspace().join(README))
        .with_context(|| format!("cannot read {README}"))?;
    ensure!(
        markdown.contains(&format!("{connections} connections")),
        "{README} does not say that there may be {connections} connections to the database"
    );
    let commands = readme::commands(&markdown);
    for command in &commands {
        one(command, builds, tools)
            .await
            .with_context(|| command.clone())?;
    }
    Ok(commands.len())
}

/// The overlay that the README shows, as a folder to be built.
pub fn overlay(scratch: &Path) -> Result<std::path::PathBuf> {
    let markdown = fs::read_to_string(paths::workspace().join(README))?;
    let yaml = markdown
        .split_once("```yaml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .with_context(|| format!("{README} shows no overlay"))?
        .0;
    let shown: Value = serde_norway::from_str(yaml)?;
    let components: Vec<_> = items(&shown["components"])
        .map(|path| text(path).trim_start_matches("../../components/"))
        .collect();
    let folder = guide::variant(scratch, "readme", "base", &components)?;
    let file = folder.join("kustomization.yaml");
    let mut whole: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    ensure!(
        shown["resources"] == json!(["../../base"]),
        "the overlay of {README} is not on top of the base"
    );
    for (key, value) in shown.as_object().into_iter().flatten() {
        if key != "resources" && key != "components" {
            whole[key] = value.clone();
        }
    }
    fs::write(file, whole.to_string())?;
    Ok(folder)
}

async fn one(command: &str, builds: &[Build], tools: &Tools) -> Result<()> {
    let words: Vec<&str> = command
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', '(', ')']))
        .collect();
    for word in &words {
        path(word)?;
    }
    match words.as_slice() {
        ["kubectl", rest @ ..] => kubectl(rest, builds, tools).await,
        ["helm", rest @ ..] => takes(&tools.helm, rest).await,
        ["cp", _, _] => Ok(()),
        ["cd", _, "&&", "kustomize", "edit", "set", "image", image] => {
            let (name, _) = image.split_once('=').context("no image")?;
            let is_known = builds
                .iter()
                .flat_map(Build::workloads)
                .flat_map(Object::containers)
                .any(|container| text(&container["image"]).starts_with(&format!("{name}:")));
            ensure!(is_known, "no container has the image {name}");
            Ok(())
        }
        _ => bail!("nobody knows how to check this"),
    }
}

/// A file or folder of ours is there.
fn path(word: &str) -> Result<()> {
    let word = word.rsplit_once('=').map_or(word, |(_, value)| value);
    // Made by the command before it.
    if word.starts_with("deploy/") && !word.ends_with("/secrets.env") {
        ensure!(paths::workspace().join(word).exists(), "there is no {word}");
    }
    Ok(())
}

/// Whether a program has this subcommand with these flags: before it shows its help it reads what comes before.
async fn takes(program: &Path, arguments: &[&str]) -> Result<()> {
    output(Command::new(program).args(arguments).arg("--help")).await?;
    Ok(())
}

async fn kubectl(words: &[&str], builds: &[Build], tools: &Tools) -> Result<()> {
    let inside = words.iter().position(|word| *word == "--");
    let (own, inside) = match inside {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, [].as_slice()),
    };
    takes(&tools.kubectl, own).await?;
    in_a_pod(inside, builds).await?;
    match own {
        ["apply", "-f", file] => applied(file),
        ["apply", "-k", folder] => {
            let name = folder.rsplit('/').next().unwrap_or(folder);
            ensure!(
                builds.iter().any(|build| build.name == name),
                "{folder} is built by nobody"
            );
            Ok(())
        }
        // A certificate would have to be there.
        ["create", "secret", "tls", name, ..] => secret(name),
        ["create", "secret", _, name, ..] => {
            secret(name)?;
            created(own, name, tools).await
        }
        ["create", "configmap", name, ..] => created(own, name, tools).await,
        _ => named(own, builds),
    }
}

/// Each file that is applied by itself is checked as the rest is.
fn applied(file: &str) -> Result<()> {
    let name = file.trim_start_matches("deploy/kubernetes/");
    let mut known = guide::STEPS.iter().chain(&guide::FURTHER);
    ensure!(known.any(|step| *step == name), "{name} is checked nowhere");
    Ok(())
}

fn secret(name: &str) -> Result<()> {
    ensure!(SECRETS.contains(&name), "nothing uses the Secret {name}");
    Ok(())
}

/// The object is made, though nowhere, and of the example where a file is to be made of it.
async fn created(words: &[&str], name: &str, tools: &Tools) -> Result<()> {
    let mut command = Command::new(&tools.kubectl);
    command
        .current_dir(paths::workspace())
        .args(
            words
                .iter()
                .map(|word| word.replace("/secrets.env", "/secrets.env.example")),
        )
        .args(["--dry-run=client", "--output=json"]);
    let made: Value = serde_json::from_str(&output(&mut command).await?)?;
    let namespace = value(words, "-n").context("no namespace")?;
    let metadata = &made["metadata"];
    ensure!(
        metadata["name"] == name && metadata["namespace"] == namespace,
        "makes {metadata}"
    );
    ensure!(
        made["data"]
            .as_object()
            .is_some_and(|data| !data.is_empty()),
        "makes it empty"
    );
    Ok(())
}

/// What is run in a container.
async fn in_a_pod(words: &[&str], builds: &[Build]) -> Result<()> {
    match words {
        [] => Ok(()),
        [
            program @ ("bharatmart-api" | "bharatmart-worker"),
            rest @ ..,
        ] => takes(&paths::programs(false)?.join(program), rest).await,
        ["redis-cli", "LLEN", list] => {
            let is_known = builds
                .iter()
                .flat_map(|build| build.kinds("ScaledObject"))
                .flat_map(|scaler| items(&scaler.spec()["triggers"]))
                .any(|trigger| trigger["metadata"]["listName"] == *list);
            ensure!(is_known, "nothing scales by {list}");
            Ok(())
        }
        _ => bail!("nobody knows how to check what runs in the pod"),
    }
}

/// The objects that a command names are there, in the namespace that it names.
fn named(words: &[&str], builds: &[Build]) -> Result<()> {
    if words.starts_with(&["label", "namespace"]) {
        return Ok(());
    }
    let namespace = value(words, "-n").or_else(|| value(words, "--namespace"));
    let namespace = namespace.context("no namespace")?;
    if namespace != OUR_NAMESPACE {
        return Ok(());
    }
    let kind_of = |word: &str| KINDS.iter().find(|(short, _)| *short == word);
    let mut objects = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if let Some((kind, name)) = word.split_once('/')
            && let Some((_, kind)) = kind_of(kind)
        {
            objects.push((*kind, name));
        } else if let (Some((_, kind)), Some(name)) = (kind_of(word), words.get(at + 1))
            && !name.starts_with('-')
        {
            objects.push((*kind, *name));
        }
    }
    let is_of_one = matches!(
        words.first(),
        Some(
            &("annotate" | "exec" | "logs" | "patch" | "port-forward" | "rollout" | "set" | "wait")
        )
    );
    let is_of_all = words.starts_with(&["rollout", "restart", "deployment"]);
    ensure!(
        !is_of_one || is_of_all || !objects.is_empty(),
        "names no object"
    );
    for (kind, name) in &objects {
        let found = builds.iter().find_map(|build| build.find(kind, name));
        let object = found.with_context(|| format!("there is no {kind} {name}"))?;
        ensure!(
            object.0["metadata"]["namespace"] == OUR_NAMESPACE,
            "{object} is elsewhere"
        );
        details(words, object)?;
    }
    if let Some(selector) = value(words, "--selector") {
        let (label, wanted) = selector.split_once('=').context("no selector")?;
        let selector = json!({ "matchLabels": { label: wanted } });
        ensure!(
            builds
                .iter()
                .any(|build| build.chosen(&selector).next().is_some()),
            "chooses no pods"
        );
    }
    Ok(())
}

/// Ports, variables and patches, as far as they are about this object.
fn details(words: &[&str], object: &Object) -> Result<()> {
    match words.first() {
        Some(&"port-forward") => {
            let ports = words.last().context("no port")?;
            let port = ports.rsplit(':').next().and_then(|port| port.parse().ok());
            let known: BTreeSet<_> = items(&object.spec()["ports"])
                .map(|port| port["port"].as_u64())
                .collect();
            ensure!(
                port.is_some() && known.contains(&port),
                "{object} has ports {known:?}"
            );
        }
        Some(&"set") => {
            for (name, _) in words.iter().filter_map(|word| word.split_once('=')) {
                let is_there = object
                    .containers()
                    .flat_map(|container| items(&container["env"]))
                    .any(|variable| variable["name"] == name);
                ensure!(is_there, "{object} has no {name} that could be changed");
            }
        }
        Some(&"patch") => {
            let patch = value(words, "--patch").context("no patch")?;
            let patch: Value = serde_json::from_str(patch)?;
            for (name, _) in patch["spec"].as_object().context("no spec")? {
                ensure!(!object.spec()[name].is_null(), "{object} has no {name}");
            }
        }
        _ => {}
    }
    Ok(())
}

/// The word after a flag.
fn value<'a>(words: &[&'a str], flag: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == flag)?;
    words.get(at + 1).copied()
}
