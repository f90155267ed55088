//! How statements run on a [`Connection`]: sqlx's own way, but through a transaction pooler without names,
//! and a read that its server fails at is run again on another one.

use bharatmart_config::PoolerMode;
use futures_util::{
    FutureExt, StreamExt, TryFutureExt, TryStreamExt,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use sqlx::{
    Either, Execute, Executor, Postgres, SqlStr,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::Connection;
use crate::error::is_of_the_server;

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

type Step = Either<PgQueryResult, PgRow>;

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Postgres;

    /// Rows are handed out when all are there: so a read can be run again, and nothing is left half done.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Step>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = Statement::of(query);
        async move { self.steps(statement?).await }
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
            let steps = self.steps(statement?).await?;
            Ok(steps.into_iter().find_map(Either::right))
        }
        .boxed()
    }

    /// Refused: what is prepared in one transaction may not be there in the next.
    fn prepare_with<'e>(
        self,
        _: SqlStr,
        _: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        ready(Err(not_by_itself())).boxed()
    }

    /// Refused, as preparing is.
    fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'c: 'e,
    {
        ready(Err(not_by_itself())).boxed()
    }
}

fn not_by_itself() -> sqlx::Error {
    sqlx::Error::Configuration("a statement is not prepared without being run".into())
}

impl Connection {
    /// Runs a statement to its end.
    async fn steps(&mut self, statement: Statement) -> sqlx::Result<Vec<Step>> {
        if self.is_read() {
            return self.read(statement).await;
        }
        if !self.is_wrapped() {
            return self.steps_here(statement).await;
        }
        self.open_statement().await?;
        let outcome = self.steps_here(statement).await;
        self.close_statement(outcome).await
    }

    /// Runs a read, on another server if the one at hand fails.
    async fn read(&mut self, statement: Statement) -> sqlx::Result<Vec<Step>> {
        loop {
            let error = match self.steps_here(statement.clone()).await {
                Err(error) if is_of_the_server(&error) => error,
                Ok(steps) => {
                    self.remember().await?;
                    return Ok(steps);
                }
                Err(error) => return Err(error),
            };
            self.fail_over(error).await?;
        }
    }

    async fn steps_here(&mut self, mut statement: Statement) -> sqlx::Result<Vec<Step>> {
        // Even with its cache of statements off, sqlx gives a name to what may have one.
        statement.named &= self.link().mode == PoolerMode::Session;
        self.lease
            .run(|connection| connection.fetch_many(statement).try_collect().boxed())
            .await
    }
}
