//! How statements run on a [`Connection`]: sqlx's own way, but through a transaction pooler without names,
//! and a read that its server fails at is run again on another one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bharatmart_config::PoolerMode;
use futures_util::{
    FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Either, Execute, Executor, Postgres, SqlStr,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::Connection;
use crate::{
    error::is_of_the_server,
    server::{Health, Link},
};

/// A statement with its arguments, and whether the server may keep it under a name.
#[derive(Clone)]
struct Statement {
    sql: SqlStr,
    arguments: Option<PgArguments>,
    named: bool,
}

impl Statement {
    fn of<'q>(mut query: impl Execute<'q, Postgres>) -> sqlx::Result<Self> {
        Ok(Self {
            arguments: query.take_arguments().map_err(sqlx::Error::Encode)?,
            named: query.persistent(),
            sql: query.sql(),
        })
    }
}

impl Execute<'_, Postgres> for Statement {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(
        &mut self,
    ) -> Result<Option<PgArguments>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.named
    }
}

impl Link {
    /// Marks the connection as busy and makes `statement` fit for it.
    fn start(&mut self, statement: Statement) -> Statement {
        self.health = Health::Busy;
        Statement {
            // Even with its cache of statements off, sqlx gives a name to what may have one.
            named: statement.named && self.mode == PoolerMode::Session,
            ..statement
        }
    }
}

type Step = Either<PgQueryResult, PgRow>;

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Postgres;

    /// The rows of a read, and of a statement that needs something behind it, are handed out when all are
    /// there; those of a transaction as they come.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Step>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = match Statement::of(query) {
            Ok(statement) => statement,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        if !self.is_read() && !self.is_wrapped() {
            return self.steps(statement).boxed();
        }
        self.all_steps(statement)
            .map_ok(|steps| stream::iter(steps).map(Ok))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = Statement::of(query);
        async move {
            let statement = statement?;
            if self.is_read() || self.is_wrapped() {
                let steps = self.all_steps(statement).await?;
                return Ok(steps.into_iter().find_map(Either::right));
            }
            let link = self.link();
            let statement = link.start(statement);
            let row = link.connection.fetch_optional(statement).await;
            link.note(&row);
            row
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        self.link().connection.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'c: 'e,
    {
        self.link().connection.describe(sql)
    }
}

impl Connection {
    /// Runs a statement to its end.
    async fn all_steps(&mut self, statement: Statement) -> sqlx::Result<Vec<Step>> {
        if self.is_read() {
            return self.read(statement).await;
        }
        self.open_statement().await?;
        let outcome = self.steps(statement).try_collect().await;
        // What is behind the statement must be done before its first row is handed out.
        self.close_statement(outcome).await
    }

    /// Runs a read, on another server if the one at hand fails.
    async fn read(&mut self, statement: Statement) -> sqlx::Result<Vec<Step>> {
        loop {
            let error = match self.read_here(statement.clone()).await {
                Err(error) if is_of_the_server(&error) => error,
                outcome => return outcome,
            };
            self.fail_over(error).await?;
        }
    }

    async fn read_here(&mut self, statement: Statement) -> sqlx::Result<Vec<Step>> {
        let replica = self.replica().cloned();
        let steps = self.steps(statement).try_collect();
        let Some(replica) = replica else {
            return steps.await;
        };
        tokio::select! {
            biased;
            outcome = steps => outcome,
            // It may never answer; its monitor has noticed.
            () = replica.lost() => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
        }
    }

    fn steps(&mut self, statement: Statement) -> Steps<'_> {
        let link = self.link();
        let statement = link.start(statement);
        Steps {
            steps: link.connection.fetch_many(statement),
            health: &mut link.health,
        }
    }
}

/// The steps of a statement; notes on the connection how it ended.
struct Steps<'e> {
    steps: BoxStream<'e, sqlx::Result<Step>>,
    health: &'e mut Health,
}

impl Stream for Steps<'_> {
    type Item = sqlx::Result<Step>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let step = ready!(self.steps.poll_next_unpin(context));
        match &step {
            Some(Ok(_)) => {}
            None => *self.health = Health::Idle,
            Some(Err(error)) => *self.health = Health::after(error),
        }
        Poll::Ready(step)
    }
}
