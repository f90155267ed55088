//! `cargo xtask fuzz`: Schemathesis against the running API, with the API's own document.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_test_support::{
    ScratchDir, ShopClient, TEST_PASSWORD,
    install::{self, Requirement, find_program},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    bench::program::{Program, Servers},
    cargo,
    console::{Steps, line},
    paths,
};

/// Its settings, the hooks and the pinned version are here.
const FOLDER: &str = "tests/openapi";
const ADMIN: &str = "admin@example.in";

#[derive(clap::Args)]
pub struct Arguments {
    /// Requests made up for each operation, in each role
    #[arg(long, default_value_t = 200)]
    examples: u32,
    /// The seed that an earlier run printed
    #[arg(long)]
    seed: Option<String>,
}

/// Somebody who asks.
struct Role {
    name: &'static str,
    /// Nobody without.
    person: Option<Person>,
}

struct Person {
    token: String,
    user_id: String,
}

/// The ids of things that are there.
struct Things {
    product: String,
    order: String,
    payment: String,
    customer: String,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut steps = Steps::new(5);
    let mut step = steps.begin("Requirements");
    let needed = [
        Requirement::Postgres,
        Requirement::Redis,
        Requirement::Python,
    ];
    install::ensure(&needed, |text| step.note(text))?;
    let schemathesis = schemathesis(|text| step.note(text)).await?;
    step.note("cargo build");
    cargo::run(&["build", "--bin", "bharatmart-api", "--locked"]).await?;
    step.done("built");

    let step = steps.begin("API");
    let servers = Servers::start(false).await?;
    let mut command = servers.command("bharatmart-api")?;
    command
        .env("JWT_EXPIRY", "8h")
        .env("JWT_REFRESH_EXPIRY", "9h")
        .env("SHUTDOWN_DRAIN_DELAY", "0")
        .env(
            "PAYMENT_WEBHOOK_SECRET",
            "a secret for made-up webhooks, 32 bytes or more",
        );
    let api = Program::start(command).await?;
    let url = format!("http://127.0.0.1:{}", api.port);
    let mut created = servers.command("bharatmart-api")?;
    created.args([
        "create-admin",
        "--email",
        ADMIN,
        "--password",
        TEST_PASSWORD,
    ]);
    ensure!(created.status().await?.success(), "`create-admin` failed");
    let (roles, things) = meet(&url).await?;
    step.done(&url);

    let folder = ScratchDir::create()?;
    let config = folder.path().join("schemathesis.toml");
    fs::write(&config, settings(&things)?).context("cannot write the settings")?;
    let mut failed = Vec::new();
    for role in &roles {
        let step = steps.begin(&format!("As {}", role.name));
        let mut command = Command::new(&schemathesis);
        command
            .arg("--config-file")
            .arg(&config)
            .args(["run", &format!("{url}/api/openapi.json")])
            .args(["--checks", "all", "--continue-on-failure", "--no-color"])
            .args(["--warnings", "off", "--workers", "2"])
            .args(["--max-examples", &arguments.examples.to_string()])
            .env("FUZZ_PRODUCT_ID", &things.product)
            .env("FUZZ_ORDER_ID", &things.order)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(seed) = &arguments.seed {
            command.args(["--seed", seed]);
        }
        if let Some(Person { token, user_id }) = &role.person {
            command
                .args(["--header", &format!("Authorization: Bearer {token}")])
                // It would end the session that all the others are in.
                .args(["--exclude-path", "/api/auth/logout"])
                .env("FUZZ_USER_ID", user_id);
        }
        let output = command
            .output()
            .await
            .context("cannot start schemathesis")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        step.done(if output.status.success() {
            "content"
        } else {
            "found fault"
        });
        if output.status.success() {
            line(summary(&text));
        } else {
            line(&text);
            line(String::from_utf8_lossy(&output.stderr));
            failed.push(role.name);
        }
    }
    api.stop().await?;
    ensure!(
        failed.is_empty(),
        "schemathesis found fault as {}",
        failed.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// What became of how many cases, and by which seed.
fn summary(text: &str) -> String {
    let at = text.find("Test cases:").unwrap_or(text.len());
    text[at..].trim_end().to_owned()
}

/// Makes the people and what they have.
async fn meet(url: &str) -> Result<([Role; 3], Things)> {
    let mut admin = ShopClient::new(url)?;
    admin.login(ADMIN, TEST_PASSWORD).await?;
    let mut customer = ShopClient::new(url)?;
    customer.sign_up().await?;
    let body =
        json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 1_000_000 });
    let product = made(admin.post("/api/products", &body).await?)?;
    let order = made(customer.place_order(&[(&product, 1)]).await?)?;
    let body = json!({ "order_id": order, "payment_method": "upi" });
    let payment = made(customer.post("/api/payments", &body).await?)?;
    let things = Things {
        product,
        order,
        payment,
        customer: customer.user_id().to_owned(),
    };
    let role = |name, client: &ShopClient| -> Result<Role> {
        let token = client.token().context("nobody is signed in")?.to_owned();
        let user_id = client.user_id().to_owned();
        let person = Some(Person { token, user_id });
        Ok(Role { name, person })
    };
    let nobody = Role {
        name: "nobody",
        person: None,
    };
    let roles = [
        nobody,
        role("a customer", &customer)?,
        role("an administrator", &admin)?,
    ];
    Ok((roles, things))
}

fn made((status, body): (u16, Value)) -> Result<String> {
    match body["id"].as_str() {
        Some(id) if status == 201 => Ok(id.to_owned()),
        _ => bail!("{status} {body}"),
    }
}

/// The committed settings, and where the ids come from.
fn settings(things: &Things) -> Result<String> {
    let folder = paths::workspace().join(FOLDER);
    let committed = fs::read_to_string(folder.join("schemathesis.toml"))
        .context("cannot read schemathesis.toml")?;
    let hooks = folder.join("hooks.py");
    let mut text = format!("hooks = {:?}\n{committed}", hooks.display().to_string());
    let Things {
        product,
        order,
        payment,
        customer,
    } = things;
    for (name, id) in [
        ("products", product),
        ("orders", order),
        ("payments", payment),
        ("users", customer),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"
[dictionaries.{name}]
values = ["{id}"]

[[operations]]
include-path-regex = "^/api/{name}/\\{{id\\}}"
parameters = {{ "path.id" = {{ dictionary = "{name}", probability = 0.7 }} }}
"#
        );
    }
    Ok(text)
}

/// The program, in a virtual environment of its own; `progress` is told before it is installed.
async fn schemathesis(mut progress: impl FnMut(&str)) -> Result<PathBuf> {
    let wanted = paths::workspace().join(FOLDER).join("requirements.txt");
    let wanted_text =
        fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let environment = paths::target()?.join("schemathesis");
    let installed = environment.join("installed-requirements.txt");
    let program = environment.join("bin/schemathesis");
    if fs::read(&installed).is_ok_and(|text| text == wanted_text) {
        return Ok(program);
    }
    progress("pip install schemathesis");
    let python = find_program("python3").context("python3 is not installed")?;
    python_run(&python, &["-m", "venv", "--clear"], &environment).await?;
    let pip = environment.join("bin/python3");
    python_run(
        &pip,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ],
        &wanted,
    )
    .await?;
    fs::write(&installed, wanted_text).context("cannot note what is installed")?;
    Ok(program)
}

async fn python_run(python: &Path, arguments: &[&str], last: &Path) -> Result<()> {
    let output = Command::new(python)
        .args(arguments)
        .arg(last)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot start {}", python.display()))?;
    ensure!(
        output.status.success(),
        "`python3 {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
