//! Bull Board, for those who are used to it.

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    servers::{Refusals, SmtpServer},
    wait_until,
};
use serde_json::{Value, json};

use crate::{
    EMAILS, ORDERS, Shop,
    stack::{SOON, id},
};

#[tokio::test]
async fn the_board_lists_our_failed_mail_and_retries_it() -> Result<()> {
    let shop = Shop::open().await?;
    let smtp = SmtpServer::start().await?;
    let no_such_mailbox = Refusals {
        share: 1.0,
        times: u32::MAX,
        reply: "550 5.1.1 no such mailbox",
    };
    smtp.refuse(Some(no_such_mailbox))?;
    let _worker = shop.stack.worker("all").smtp(&smtp).start().await?;
    let (_program, board) = shop.node.board(&[ORDERS, EMAILS]).await?;
    let order = id(&shop.order("cash_on_delivery").await?)?;
    let job = format!("email-{order}-order_confirmation");

    let http = shop.customer.http();
    let list = format!("{board}/api/queues?activeQueue={EMAILS}&status=failed&page=1");
    let emails = async || -> Result<Value> {
        let answer = http.get(&list).send().await?.error_for_status()?;
        let mut answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let queues = answer["queues"].as_array_mut().context("no queues")?;
        let emails = queues.iter_mut().find(|queue| queue["name"] == EMAILS);
        Ok(emails.context("no such queue")?.take())
    };
    let failed = wait_until("the board to show a failed mail", SOON, async || {
        let queue = emails().await;
        match queue {
            Ok(queue) => (queue["counts"]["failed"] == 1).then_some(Ok(queue)),
            Err(error) => Some(Err(error)),
        }
    })
    .await??;
    let shown = &failed["jobs"][0];
    assert_eq!(shown["id"], json!(job), "{failed}");
    assert_eq!(shown["name"], "send-email");
    assert_eq!(shown["data"]["orderId"], json!(order));
    assert_eq!(shown["attempts"], 1, "refused for good: {shown}");
    assert_eq!(shown["isFailed"], true, "{shown}");
    let reason = shown["failedReason"].as_str().unwrap_or_default();
    assert!(reason.contains("5.1.1"), "{shown}");

    smtp.refuse(None)?;
    let retry = format!("{board}/api/queues/{EMAILS}/{job}/retry");
    let answer = http.put(retry).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "{status}: {}", answer.text().await?);
    wait_until("the mail to arrive", SOON, async || {
        Ok(smtp.mails()?.len() == 1)
    })
    .await?;
    wait_until("the board to show that it was sent", SOON, async || {
        let queue = emails().await?;
        Ok(queue["counts"]["completed"] == 1 && queue["counts"]["failed"] == 0)
    })
    .await
}
