//! Deliveries to a real mail server, and to one that misbehaves on demand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Result, bail};
use bharatmart_config::{DatabaseConfig, MailConfig, MailTransport, Process, SmtpSecurity, Source};
use bharatmart_domain::{MailKind, OrderId};
use bharatmart_test_support::{ScratchDir, TestDatabase, read_mail_dir, servers::SmtpServer};
use sqlx::PgPool;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

struct Bench {
    database: Database,
    pool: PgPool,
    job: SendEmail,
    _test: TestDatabase,
}

impl Bench {
    /// A shop with one order, about which there is a mail to send.
    async fn new() -> Result<Self> {
        let test = TestDatabase::create().await;
        let source = Source::from_map(BTreeMap::from([("DATABASE_URL", test.url())]));
        let config = DatabaseConfig::read(&source, Process::Worker)?;
        let pool = test.pool().await;
        let order = sqlx::query_scalar(
            "WITH customer AS (
                 INSERT INTO users (email, full_name) VALUES ('asha@example.in', 'Asha')
                 RETURNING id
             )
             INSERT INTO orders (user_id, shipping_address) SELECT id, 'Pune' FROM customer
             RETURNING id",
        )
        .fetch_one(&pool)
        .await?;
        Ok(Self {
            database: Database::connect(&config, "deliver-test")?,
            pool,
            job: SendEmail {
                to: "asha@example.in".into(),
                subject: "Order Confirmation – ₹499".into(),
                body: "Namaste Asha,\n\nThank you & goodbye.".into(),
                kind: MailKind::OrderConfirmation,
                order_id: OrderId(order),
            },
            _test: test,
        })
    }

    async fn send(&self, mailer: &Mailer) -> Result<Outcome, JobError> {
        send(&self.database, mailer, &self.job).await
    }

    async fn status(&self) -> Result<String> {
        let status = sqlx::query_scalar(
            "SELECT status FROM mail_deliveries WHERE order_id = $1 AND kind = $2",
        )
        .bind(self.job.order_id.0)
        .bind(self.job.kind.as_str())
        .fetch_one(&self.pool)
        .await?;
        Ok(status)
    }
}

fn mailer(transport: MailTransport) -> Result<Mailer> {
    Ok(Mailer::new(&MailConfig {
        transport,
        from: "BharatMart <orders@shop.example>".into(),
        frontend_url: "https://shop.example".into(),
    })?)
}

fn smtp_mailer(port: u16) -> Result<Mailer> {
    mailer(MailTransport::Smtp {
        host: "127.0.0.1".into(),
        port,
        security: SmtpSecurity::None,
        credentials: None,
    })
}

/// What a misbehaving mail server answers. No installed one can be told to.
#[derive(Clone, Copy)]
struct Answers {
    to_rcpt: &'static str,
    /// `None`: it hangs up instead.
    to_content: Option<&'static str>,
}

/// A mail server that answers so; its port, and how often it was given a content.
async fn misbehaving(answers: Answers) -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let contents = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&contents);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            // A client that goes away is no matter of the test.
            tokio::spawn(async move { converse(stream, answers, &counted).await.ok() });
        }
    });
    Ok((port, contents))
}

async fn converse(stream: TcpStream, answers: Answers, contents: &AtomicUsize) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 here\r\n").await?;
    loop {
        let line = read_line(&mut stream).await?;
        let answer = match line.get(..4) {
            Some("RCPT") => answers.to_rcpt,
            Some("DATA") => {
                stream.write_all(b"354 go on\r\n").await?;
                while read_line(&mut stream).await? != ".\r\n" {}
                contents.fetch_add(1, Ordering::SeqCst);
                let Some(answer) = answers.to_content else {
                    return Ok(());
                };
                answer
            }
            Some("QUIT") => "221 bye",
            _ => "250 fine",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        bail!("the client hung up");
    }
    Ok(line)
}

#[tokio::test]
async fn two_deliveries_of_one_job_are_one_mail() -> Result<()> {
    let (bench, server) = (Bench::new().await?, SmtpServer::start().await?);
    let mailer = smtp_mailer(server.port())?;
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::Sent);
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::SettledBefore);
    assert_eq!(bench.status().await?, "sent");

    let [mail] = &server.mails()?[..] else {
        bail!("not one mail");
    };
    let order = bench.job.order_id.to_string();
    let kind = bench.job.kind.as_str();
    assert_eq!(mail.message_id, format!("{order}.{kind}@shop.example"));
    assert_eq!(mail.headers["x-bharatmart-order"], order);
    assert_eq!(mail.headers["x-bharatmart-type"], kind);
    assert_eq!(mail.from, "orders@shop.example");
    assert_eq!(mail.to, ["asha@example.in"]);
    assert_eq!(mail.subject, bench.job.subject);
    assert!(mail.text.starts_with("Namaste Asha,"), "{}", mail.text);
    assert!(mail.text.contains(&order), "{}", mail.text);
    assert!(
        mail.html.contains("Thank you &amp; goodbye."),
        "{}",
        mail.html
    );
    Ok(())
}

#[tokio::test]
async fn a_mail_that_a_dead_worker_was_sending_is_not_sent_again() -> Result<()> {
    let (bench, server) = (Bench::new().await?, SmtpServer::start().await?);
    sqlx::query(
        "INSERT INTO mail_deliveries (order_id, kind, message_id, status)
         VALUES ($1, $2, 'x@y', 'sending')",
    )
    .bind(bench.job.order_id.0)
    .bind(bench.job.kind.as_str())
    .execute(&bench.pool)
    .await?;
    let mailer = smtp_mailer(server.port())?;
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::Unconfirmed);
    assert_eq!(bench.status().await?, "unconfirmed");
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::SettledBefore);
    assert_eq!(server.mails()?, []);
    Ok(())
}

#[tokio::test]
async fn a_server_that_hangs_up_on_the_content_gets_it_once() -> Result<()> {
    let bench = Bench::new().await?;
    let (port, contents) = misbehaving(Answers {
        to_rcpt: "250 fine",
        to_content: None,
    })
    .await?;
    let mailer = smtp_mailer(port)?;
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::Unconfirmed);
    assert_eq!(bench.status().await?, "unconfirmed");
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::SettledBefore);
    assert_eq!(contents.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn a_mail_that_the_server_put_off_is_sent_later_and_once() -> Result<()> {
    let (bench, server) = (Bench::new().await?, SmtpServer::start().await?);
    let (port, contents) = misbehaving(Answers {
        to_rcpt: "250 fine",
        to_content: Some("451 later"),
    })
    .await?;
    let error = bench.send(&smtp_mailer(port)?).await.unwrap_err();
    assert!(matches!(error, JobError::Retry(_)), "{error}");
    assert!(error.to_string().contains("451"), "{error}");
    assert_eq!(bench.status().await?, "pending");
    assert_eq!(contents.load(Ordering::SeqCst), 1);

    let mailer = smtp_mailer(server.port())?;
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::Sent);
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::SettledBefore);
    assert_eq!(server.mails()?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_recipient_that_the_server_does_not_know_fails_the_job_for_good() -> Result<()> {
    let bench = Bench::new().await?;
    let (port, contents) = misbehaving(Answers {
        to_rcpt: "550 unknown",
        to_content: None,
    })
    .await?;
    let error = bench.send(&smtp_mailer(port)?).await.unwrap_err();
    assert!(matches!(error, JobError::Fail(_)), "{error}");
    assert_eq!(bench.status().await?, "pending");
    assert_eq!(contents.load(Ordering::SeqCst), 0);
    Ok(())
}

#[tokio::test]
async fn an_unusable_recipient_fails_the_job_for_good_and_is_not_shown() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.job.to = "asha-at-home".into();
    let error = bench.send(&smtp_mailer(1)?).await.unwrap_err();
    assert!(matches!(error, JobError::Fail(_)), "{error}");
    assert!(!error.to_string().contains("asha"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_mail_in_a_file_is_one_whole_file() -> Result<()> {
    let (bench, folder) = (Bench::new().await?, ScratchDir::create()?);
    let mailer = mailer(MailTransport::File {
        dir: folder.path().join("mails"),
    })?;
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::Sent);
    assert_eq!(bench.send(&mailer).await.unwrap(), Outcome::SettledBefore);
    let dir = folder.path().join("mails");
    assert_eq!(std::fs::read_dir(&dir)?.count(), 1);
    assert_eq!(read_mail_dir(&dir)?.len(), 1);
    Ok(())
}

/// An attempt that is the only one.
fn only_attempt() -> JobContext {
    JobContext {
        name: "send-email".into(),
        id: "a".into(),
        payload: serde_json::Value::Null,
        attempt: 1,
        attempts: 1,
        deadline: Instant::now() + Duration::from_secs(30),
        cancelled: tokio_util::sync::CancellationToken::new(),
    }
}

#[tokio::test]
async fn a_mail_waits_for_the_one_before_it_but_not_for_one_that_was_given_up() -> Result<()> {
    let bench = Bench::new().await?;
    let (server, folder) = (SmtpServer::start().await?, ScratchDir::create()?);
    let broken = smtp_mailer(bharatmart_test_support::free_port())?;
    let later = SendEmail {
        kind: MailKind::OrderCancelled,
        ..bench.job.clone()
    };
    let mut connection = bench.database.write().await?;
    for kind in [bench.job.kind, later.kind] {
        deliveries::announce(&mut connection, bench.job.order_id, kind).await?;
    }
    drop(connection);
    let file = mailer(MailTransport::File {
        dir: folder.path().into(),
    })?;
    let postponed = send(&bench.database, &file, &later).await;
    assert!(
        matches!(postponed, Err(JobError::Postpone(_))),
        "{postponed:?}"
    );

    // Nobody listens there, and it was the last attempt.
    let job = bench.job.clone();
    let given_up = deliver(&bench.database, &broken, job.clone(), &only_attempt()).await;
    assert!(given_up.is_err());
    assert_eq!(bench.status().await?, "failed");
    let sent = send(&bench.database, &file, &later).await;
    assert!(matches!(sent, Ok(Outcome::Sent)), "{sent:?}");

    // Replayed by hand.
    let working = smtp_mailer(server.port())?;
    let replayed = deliver(&bench.database, &working, job, &only_attempt()).await;
    assert!(replayed.is_ok(), "{replayed:?}");
    assert_eq!(server.mails()?.len(), 1);
    assert_eq!(read_mail_dir(folder.path())?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_last_attempt_that_runs_out_of_time_is_over_before_its_job_and_says_so() -> Result<()> {
    let bench = Bench::new().await?;
    // It takes connections and says nothing.
    let silence = TcpListener::bind("127.0.0.1:0").await?;
    let mailer = smtp_mailer(silence.local_addr()?.port())?;
    let context = JobContext {
        deadline: Instant::now() + Duration::from_secs(2),
        ..only_attempt()
    };
    let outcome = deliver(&bench.database, &mailer, bench.job.clone(), &context).await;
    assert!(Instant::now() < context.deadline, "{outcome:?}");
    assert!(matches!(outcome, Err(JobError::Retry(_))), "{outcome:?}");
    assert_eq!(bench.status().await?, "failed");
    Ok(())
}

#[tokio::test]
async fn after_a_long_outage_the_mails_of_an_order_still_keep_their_order() -> Result<()> {
    let bench = Bench::new().await?;
    let folder = ScratchDir::create()?;
    let file = mailer(MailTransport::File {
        dir: folder.path().into(),
    })?;
    let later = SendEmail {
        kind: MailKind::OrderCancelled,
        ..bench.job.clone()
    };
    let mut connection = bench.database.write().await?;
    for kind in [bench.job.kind, later.kind] {
        deliveries::announce(&mut connection, bench.job.order_id, kind).await?;
    }
    drop(connection);
    sqlx::query("UPDATE mail_deliveries SET created_at = created_at - interval '1 hour'")
        .execute(&bench.pool)
        .await?;
    let postponed = send(&bench.database, &file, &later).await;
    assert!(
        matches!(postponed, Err(JobError::Postpone(_))),
        "{postponed:?}"
    );
    // It has waited long enough for the other one.
    sqlx::query("UPDATE mail_deliveries SET first_tried_at = now() - interval '11 minutes'")
        .execute(&bench.pool)
        .await?;
    let sent = send(&bench.database, &file, &later).await;
    assert!(matches!(sent, Ok(Outcome::Sent)), "{sent:?}");
    Ok(())
}

#[tokio::test]
async fn a_last_attempt_while_the_database_is_away_is_none() -> Result<()> {
    let bench = Bench::new().await?;
    let source = Source::from_map(BTreeMap::from([(
        "DATABASE_URL",
        format!(
            "postgres://127.0.0.1:{}/none",
            bharatmart_test_support::free_port()
        ),
    )]));
    let config = DatabaseConfig::read(&source, Process::Worker)?;
    let nowhere = Database::connect(&config, "deliver-test")?;
    let mailer = smtp_mailer(1)?;
    let outcome = deliver(&nowhere, &mailer, bench.job.clone(), &only_attempt()).await;
    assert!(matches!(outcome, Err(JobError::Postpone(_))), "{outcome:?}");
    Ok(())
}
