//! `cargo xtask fuzz`: Schemathesis against the running API, with the API's own document.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::Path,
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_test_support::{
    ScratchDir, ShopClient, TEST_PASSWORD,
    install::{self, Requirement},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    bench::program::{Program, Servers},
    cargo,
    console::{Steps, line},
    openapi, paths, python,
};

/// Its settings, the hooks and the pinned version are here.
const FOLDER: &str = "tests/openapi";
const REQUIREMENTS: &str = "tests/openapi/requirements.txt";
const ADMIN: &str = "admin@example.in";
/// Where Schemathesis writes what was asked and answered.
const HAR: &str = "requests.har";
/// How long a question of our own may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Products for an administrator to change and delete.
const PRODUCTS: usize = 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// Requests made up for each operation, in each role
    #[arg(long, default_value_t = 200)]
    examples: u32,
    /// The seed that an earlier run printed
    #[arg(long)]
    seed: Option<String>,
}

/// What one must be for an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Nobody,
    Customer,
    Admin,
}

/// Somebody who asks.
struct Role {
    name: &'static str,
    rank: Rank,
    /// Nobody without.
    person: Option<Person>,
}

struct Person {
    token: String,
    user_id: String,
}

/// The ids of things that are there.
struct Things {
    /// Which may be changed and deleted.
    products: Vec<String>,
    /// Which stays, for orders.
    lasting_product: String,
    order: String,
    unpaid_order: String,
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
    let schemathesis = python::environment("schemathesis", REQUIREMENTS, |text| step.note(text))
        .await?
        .join("schemathesis");
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
        command.arg("--config-file").arg(&config);
        ask(&mut command, &url, role, &things, &arguments);
        command.current_dir(folder.path());
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
        let successes = Successes::read(&folder.path().join(HAR), role.rank)?;
        line(successes.to_string());
        let still_there = match &role.person {
            Some(person) => is_signed_in(&url, person).await?,
            None => true,
        };
        ensure!(
            successes.are_enough() && still_there,
            "most of what may be done as {} was refused, so little was tried",
            role.name
        );
    }
    api.stop().await?;
    ensure!(
        failed.is_empty(),
        "schemathesis found fault as {}",
        failed.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// Says what to ask `url` for, and as whom.
fn ask(command: &mut Command, url: &str, role: &Role, things: &Things, arguments: &Arguments) {
    command
        .args(["run", &format!("{url}/api/openapi.json")])
        .args(["--checks", "all", "--continue-on-failure", "--no-color"])
        .args(["--warnings", "off", "--workers", "2", "--report", "har"])
        .args(["--report-har-path", HAR])
        .args(["--max-examples", &arguments.examples.to_string()])
        .env("FUZZ_PRODUCT_ID", &things.lasting_product)
        .env("FUZZ_ORDER_ID", &things.unpaid_order)
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
}

/// Whether a token is still good: if not, all that came of the later requests were refusals.
async fn is_signed_in(url: &str, person: &Person) -> Result<bool> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let answer = client
        .get(format!("{url}/api/auth/me"))
        .bearer_auth(&person.token)
        .send()
        .await?;
    Ok(answer.status().is_success())
}

/// Which operations of those that a role may ask for succeeded at least once.
struct Successes {
    tried: BTreeSet<String>,
    succeeded: BTreeSet<String>,
}

impl Successes {
    /// From a HTTP Archive (HAR 1.2).
    fn read(archive: &Path, rank: Rank) -> Result<Self> {
        let text = fs::read(archive).context("schemathesis wrote no report")?;
        let archive: Value = serde_json::from_slice(&text)?;
        let known = operations()?;
        let mut found = Self {
            tried: BTreeSet::new(),
            succeeded: BTreeSet::new(),
        };
        for entry in archive["log"]["entries"].as_array().into_iter().flatten() {
            let (request, status) = (&entry["request"], entry["response"]["status"].as_u64());
            let (Some(method), Some(url), Some(status)) =
                (request["method"].as_str(), request["url"].as_str(), status)
            else {
                bail!("not a HTTP Archive");
            };
            // Others are asked for to see that they are refused.
            let Some(operation) = known.iter().find(|each| each.has(method, url)) else {
                continue;
            };
            if operation.rank > rank {
                continue;
            }
            let operation = operation.to_string();
            if (200..400).contains(&status) {
                found.succeeded.insert(operation.clone());
            }
            found.tried.insert(operation);
        }
        Ok(found)
    }

    /// Some operations need what nothing in the document says, such as a mailed token.
    fn are_enough(&self) -> bool {
        2 * self.succeeded.len() > self.tried.len()
    }
}

impl std::fmt::Display for Successes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let never: Vec<_> = self.tried.difference(&self.succeeded).collect();
        write!(
            formatter,
            "{} of {} operations succeeded; never: {}",
            self.succeeded.len(),
            self.tried.len(),
            never
                .iter()
                .map(|name| name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )
    }
}

/// An operation of the document.
struct Operation {
    rank: Rank,
    method: String,
    path: String,
}

impl Operation {
    /// Whether a request was one for it.
    fn has(&self, method: &str, url: &str) -> bool {
        let path = url
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map_or("", |(_, path)| path);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let (mut asked, mut known) = (path.split('/'), self.path[1..].split('/'));
        let is_path = loop {
            match (asked.next(), known.next()) {
                (None, None) => break true,
                (Some(word), Some(name)) if word == name || name.starts_with('{') => {}
                _ => break false,
            }
        };
        is_path && self.method == method
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// The operations of the document, those without parameters in their paths first: `/api/orders/export` is no order.
fn operations() -> Result<Vec<Operation>> {
    let path = paths::workspace().join(openapi::DOCUMENT);
    let document: Value = serde_json::from_slice(&fs::read(path)?)?;
    let paths = document["paths"].as_object().context("no paths")?;
    let of_path = |(path, item): (&String, &Value)| -> Vec<Operation> {
        let operations = item.as_object().into_iter().flatten();
        operations
            .map(|(method, operation)| Operation {
                rank: rank(operation),
                method: method.to_uppercase(),
                path: path.clone(),
            })
            .collect()
    };
    let mut operations: Vec<_> = paths.iter().flat_map(of_path).collect();
    operations.sort_by_key(|operation| operation.path.contains('{'));
    Ok(operations)
}

/// By the first of the requirements that the document has for it.
fn rank(operation: &Value) -> Rank {
    match operation["security"][0]["bearer"].as_array() {
        None => Rank::Nobody,
        Some(roles) if roles.is_empty() => Rank::Customer,
        Some(_) => Rank::Admin,
    }
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
    let lasting_product = made(admin.post("/api/products", &body).await?)?;
    let mut products = Vec::new();
    for _ in 0..PRODUCTS {
        products.push(made(admin.post("/api/products", &body).await?)?);
    }
    let order = made(customer.place_order(&[(&lasting_product, 1)]).await?)?;
    let unpaid_order = made(customer.place_order(&[(&lasting_product, 1)]).await?)?;
    let body = json!({ "order_id": order, "payment_method": "upi" });
    let payment = made(customer.post("/api/payments", &body).await?)?;
    let things = Things {
        products,
        lasting_product,
        order,
        unpaid_order,
        payment,
        customer: customer.user_id().to_owned(),
    };
    let role = |name, rank, client: &ShopClient| -> Result<Role> {
        let token = client.token().context("nobody is signed in")?.to_owned();
        let user_id = client.user_id().to_owned();
        let person = Some(Person { token, user_id });
        Ok(Role { name, rank, person })
    };
    let nobody = Role {
        name: "nobody",
        rank: Rank::Nobody,
        person: None,
    };
    let roles = [
        nobody,
        role("a customer", Rank::Customer, &customer)?,
        role("an administrator", Rank::Admin, &admin)?,
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
        products,
        order,
        payment,
        customer,
        ..
    } = things;
    for (name, ids) in [
        ("products", products.as_slice()),
        ("orders", std::slice::from_ref(order)),
        ("payments", std::slice::from_ref(payment)),
        ("users", std::slice::from_ref(customer)),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"
[dictionaries.{name}]
values = {ids:?}

[[operations]]
include-path-regex = "^/api/{name}/\\{{id\\}}"
parameters = {{ "path.id" = {{ dictionary = "{name}", probability = 0.7 }} }}
"#
        );
    }
    Ok(text)
}
