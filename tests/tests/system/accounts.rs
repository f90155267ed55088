//! The mails about an account, from the API through queue and worker to a mail server, and back through their links.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bharatmart_test_support::{ReceivedMail, ShopClient, servers::SmtpServer, wait_until};
use redis::AsyncTypedCommands;
use serde_json::json;

use crate::stack::{SOON, Stack, customer};

const NEW_PASSWORD: &str = "Correct-Horse-43";
const SHOP: &str = "https://shop.example";

/// The only mail of this kind, once it is there.
async fn mail_of(smtp: &SmtpServer, kind: &str) -> Result<ReceivedMail> {
    let of_kind = || -> Result<Vec<ReceivedMail>> {
        let mut mails = smtp.mails()?;
        mails.retain(|mail| mail.headers["x-bharatmart-type"] == kind);
        Ok(mails)
    };
    wait_until(&format!("a mail of {kind}"), SOON, async || {
        Ok(!of_kind()?.is_empty())
    })
    .await?;
    let [mail] = <[ReceivedMail; 1]>::try_from(of_kind()?).expect("there is one");
    Ok(mail)
}

/// The token of the link in a mail.
fn token(mail: &ReceivedMail, page: &str) -> Result<String> {
    let start = format!("{SHOP}/{page}?token=");
    for part in [&mail.text, &mail.html] {
        assert!(part.contains(&start), "{part}");
    }
    let (_, rest) = mail.text.split_once(&start).context("it has a link")?;
    let token: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    assert_eq!(token.len(), 43, "256 bits in base64url");
    Ok(token)
}

#[tokio::test]
async fn a_mailbox_is_proven_and_a_password_replaced_by_mailed_links() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let smtp = SmtpServer::start().await?;
    let _email = stack
        .worker("email")
        .smtp(&smtp)
        .env("FRONTEND_URL", SHOP)
        .start()
        .await?;
    let priya = customer(&api).await?;

    let mail = mail_of(&smtp, "verify_email").await?;
    assert_eq!(mail.to, [priya.email()]);
    let verify = token(&mail, "verify-email")?;
    let answer = priya
        .post("/api/auth/verify-email", &json!({ "token": verify }))
        .await?;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let (_, me) = priya.get("/api/auth/me").await?;
    assert!(me["user"]["email_verified_at"].is_string(), "{me}");

    let forgotten = json!({ "email": priya.email() });
    for address in [&forgotten, &json!({ "email": "nobody@example.in" })] {
        let (status, _) = priya.post("/api/auth/forgot-password", address).await?;
        assert_eq!(status, 202);
    }
    let mail = mail_of(&smtp, "reset_password").await?;
    assert_eq!(mail.to, [priya.email()]);
    let reset = token(&mail, "reset-password")?;
    let body = json!({ "token": reset, "password": NEW_PASSWORD });
    let (status, answer) = priya.post("/api/auth/reset-password", &body).await?;
    assert_eq!(status, 200, "{answer}");
    let mail = mail_of(&smtp, "password_changed").await?;
    assert_eq!(
        (mail.to.as_slice(), mail.text.contains("?token=")),
        ([priya.email().to_owned()].as_slice(), false)
    );
    let mut again = ShopClient::new(api.base_url())?;
    again.login(priya.email(), NEW_PASSWORD).await?;

    wait_until("all mails to be sent", SOON, async || {
        stack.is_idle("email-notifications").await
    })
    .await?;
    assert_eq!(smtp.mails()?.len(), 3, "and none to nobody");
    let kept = everything_kept(&stack).await?;
    for secret in [&verify, &reset] {
        assert!(!kept.contains(secret), "only mails hold tokens");
    }
    assert!(kept.contains("account-mail-"), "{kept}");
    Ok(())
}

/// What Redis and the database hold of jobs and mails.
async fn everything_kept(stack: &Stack) -> Result<String> {
    let mut redis = stack.redis().await?;
    let mut kept = Vec::new();
    let queue = format!("{}:email-notifications", stack.prefix);
    let done: Vec<String> = redis.zrange(format!("{queue}:completed"), 0, -1).await?;
    for job in done {
        let fields: HashMap<String, String> = redis.hgetall(format!("{queue}:{job}")).await?;
        kept.push(format!("{job} {fields:?}"));
    }
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT outbox::text FROM outbox UNION ALL SELECT account_mails::text FROM account_mails",
    )
    .fetch_all(&stack.pool)
    .await?;
    kept.extend(rows);
    Ok(kept.join("\n"))
}

#[tokio::test]
async fn a_mail_that_the_server_refuses_for_now_goes_out_with_a_token_that_is_good() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let smtp = SmtpServer::start().await?;
    let priya = customer(&api).await?;
    let nowhere = bharatmart_test_support::free_port();
    let mut email = stack
        .worker("email")
        .smtp(&smtp)
        .env("SMTP_PORT", nowhere.to_string())
        .start()
        .await?;
    let tried = r#"mails_total{kind="verify_email",outcome="retried"}"#;
    wait_until("an attempt in vain", SOON, async || {
        let times = email.metric(tried).await?;
        Ok(times.is_some_and(|times| times > 0.0))
    })
    .await?;
    email.kill9();
    let _email = stack
        .worker("email")
        .smtp(&smtp)
        .env("FRONTEND_URL", SHOP)
        .start()
        .await?;
    let mail = mail_of(&smtp, "verify_email").await?;
    let body = json!({ "token": token(&mail, "verify-email")? });
    let (status, answer) = priya.post("/api/auth/verify-email", &body).await?;
    assert_eq!(status, 200, "{answer}");
    Ok(())
}
