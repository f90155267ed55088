//! What a log must not hold, however much it says.

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    App, AppBuilder, ReceivedMail, ShopClient, TEST_PASSWORD, free_port, servers::SmtpServer,
    wait_until,
};
use serde_json::json;

use crate::stack::{SOON, Stack};

const DATABASE_PASSWORD: &str = "Kesar-Pista-77";
const JWT_SECRET: &str = "a-key-that-signs-and-is-at-least-32-bytes";
const WEBHOOK_SECRET: &str = "a-secret-of-the-gateway-and-of-the-shop";
const API_KEY: &str = "a-key-for-the-gateway-that-nobody-sees";
const WRONG_PASSWORD: &str = "Wrong-Horse-99";
const NEW_PASSWORD: &str = "Newer-Horse-43";
const CARD: &str = "4111111111111111";

/// The same database by a URL with a password, which the test server does not look at.
fn with_password(url: &str) -> Result<String> {
    let (scheme, rest) = url.split_once("://").context("it is a URL")?;
    let (user, host) = rest.split_once('@').context("it names a user")?;
    let user = user.split(':').next().unwrap_or(user);
    Ok(format!("{scheme}://{user}:{DATABASE_PASSWORD}@{host}"))
}

fn talkative(app: AppBuilder, stack: &Stack) -> Result<AppBuilder> {
    Ok(app
        .database_url(&with_password(stack.database.url())?)
        .env(
            "DATABASE_DIRECT_URL",
            with_password(stack.database.direct_url())?,
        )
        .env("LOG_LEVEL", "trace")
        .env("JWT_SECRET", JWT_SECRET)
        .env("PAYMENT_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .env("PAYMENT_API_KEY", API_KEY))
}

/// Has payments charged by this gateway.
fn charging(app: AppBuilder, gateway: &App) -> AppBuilder {
    app.env("PAYMENT_PROVIDER", "http")
        .env("PAYMENT_GATEWAY_URL", gateway.base_url())
}

/// The token of the link in the mail of this kind.
async fn mailed_token(smtp: &SmtpServer, kind: &str) -> Result<String> {
    let find = || -> Result<Option<ReceivedMail>> {
        let mut mails = smtp.mails()?.into_iter();
        Ok(mails.find(|mail| mail.headers["x-bharatmart-type"] == kind))
    };
    wait_until(kind, SOON, async || Ok(find()?.is_some())).await?;
    let mail = find()?.context("it was there a moment ago")?;
    let (_, rest) = mail.text.split_once("?token=").context("it has a link")?;
    Ok(rest.chars().take_while(|c| !c.is_whitespace()).collect())
}

/// Sends text as a body; the status.
async fn post_text(client: &ShopClient, path: &str, text: String) -> Result<u16> {
    let request = client
        .http()
        .post(format!("{}{path}", client.base_url()))
        .header("content-type", "application/json")
        .body(text);
    Ok(request.send().await?.status().as_u16())
}

/// Does whatever takes or gives a secret; the secrets that came up.
async fn use_secrets(stack: &Stack, api: &App, smtp: &SmtpServer) -> Result<Vec<String>> {
    let product = stack.product("Copper Bottle", 899, 5).await?;
    let mut priya = ShopClient::new(api.base_url())?;
    priya.sign_up().await?;
    let email = priya.email().to_owned();
    let mut secrets = vec![mailed_token(smtp, "verify_email").await?];
    let mut keep = |client: &ShopClient| -> Result<()> {
        for token in [client.token(), client.refresh_token()] {
            secrets.push(token.context("it has signed in")?.to_owned());
        }
        Ok(())
    };
    keep(&priya)?;
    priya.login(&email, TEST_PASSWORD).await?;
    keep(&priya)?;
    let wrong = json!({ "email": email, "password": WRONG_PASSWORD });
    let (status, _) = priya.post("/api/auth/login", &wrong).await?;
    ensure!(status == 401, "{status}");
    let refresh = json!({ "refreshToken": priya.refresh_token() });
    let (status, answer) = priya.post("/api/auth/refresh", &refresh).await?;
    ensure!(status == 200, "{status}");
    for name in ["token", "refreshToken"] {
        secrets.push(answer[name].as_str().context("a token")?.to_owned());
    }

    for text in [
        format!(r#"{{"email":"{email}","password":"{WRONG_PASSWORD}""#),
        format!(r#"{{"email":"{email}","password":"{WRONG_PASSWORD}","password":1}}"#),
        format!(r#"{{"email":7,"password":["{WRONG_PASSWORD}"]}}"#),
        format!("\"{WRONG_PASSWORD}\""),
    ] {
        let status = post_text(&priya, "/api/auth/login", text).await?;
        ensure!(status == 400, "{status}");
    }
    let order = priya.place_order(&[(&product.to_string(), 1)]).await?.1;
    let pay =
        json!({ "order_id": order["id"], "payment_method": "credit_card", "payment_token": CARD });
    let (status, answer) = priya.post("/api/payments", &pay).await?;
    ensure!(status == 201, "{status}: {answer}");
    // The gateway has been asked with its key, and has signed what it says with the secret.
    wait_until("the webhook", SOON, async || {
        Ok(api.metric("payment_webhooks_total").await? >= Some(1.0))
    })
    .await?;

    priya
        .post("/api/auth/forgot-password", &json!({ "email": email }))
        .await?;
    let reset = mailed_token(smtp, "reset_password").await?;
    for (body, expected) in [
        (json!({ "token": reset, "password": "password1" }), 400),
        (json!({ "token": reset, "password": NEW_PASSWORD }), 200),
        (json!({ "token": reset, "password": NEW_PASSWORD }), 400),
    ] {
        let (status, answer) = priya.post("/api/auth/reset-password", &body).await?;
        ensure!(status == expected, "{status}: {answer}");
    }
    secrets.push(reset);
    // All that it leads to is done, and logged.
    wait_until("all mails", SOON, async || Ok(smtp.mails()?.len() >= 5)).await?;
    Ok(secrets)
}

#[tokio::test]
async fn no_log_of_any_level_holds_a_secret() -> Result<()> {
    let stack = Stack::new().await?;
    let smtp = SmtpServer::start().await?;
    let port = free_port();
    let gateway = talkative(App::gateway(free_port(), API_KEY), &stack)?.env(
        "PAYMENT_SANDBOX_WEBHOOK_URL",
        format!("http://127.0.0.1:{port}/api/payments/webhook"),
    );
    let gateway = gateway.start().await?;
    let api = charging(talkative(stack.api(), &stack)?, &gateway).env("PORT", port.to_string());
    let api = api.start().await?;
    let worker = charging(talkative(stack.worker("all"), &stack)?, &gateway);
    let worker = worker.smtp(&smtp).start().await?;
    let came_up = use_secrets(&stack, &api, &smtp).await?;
    let settings = [
        DATABASE_PASSWORD,
        JWT_SECRET,
        WEBHOOK_SECRET,
        API_KEY,
        TEST_PASSWORD,
        WRONG_PASSWORD,
        NEW_PASSWORD,
        CARD,
    ];
    for app in [&api, &worker, &gateway] {
        let log = app.log();
        ensure!(
            log.contains(r#""level":"DEBUG""#),
            "it says all: {}",
            app.log_tail(3)
        );
        let secrets = came_up.iter().map(String::as_str).chain(settings);
        let found: Vec<_> = secrets
            .flat_map(|secret| log.lines().filter(move |line| line.contains(secret)))
            .collect();
        ensure!(
            found.is_empty(),
            "{} lines, such as {}",
            found.len(),
            found[0]
        );
    }
    Ok(())
}
