//! Whether the sign-in behind an access token still holds.
//!
//! An access token says so itself for as long as it lives. That somebody has signed out or was put out since is found
//! out by asking the database, once in a while for each sign-in and not for each request. While the database does not
//! answer, the token's own word counts: whatever matters needs the database as well.

use std::time::{Duration, Instant};

use bharatmart_database::{self as database, Database, Freshness, accounts};
use moka::{Expiry, future::Cache};
use tokio::time::timeout;
use uuid::Uuid;

/// Sign-ins that are remembered at a time; some 100 bytes each.
const REMEMBERED: u64 = 100_000;
/// How long a request waits for the database to say.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a database that did not say is not asked again.
const RESPITE: Duration = Duration::from_secs(2);

/// What is known of a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It held a moment ago.
    Holds,
    /// Somebody has ended it. It never begins again.
    Ended,
    /// The database did not say.
    Unknown,
}

/// What is known of the sign-ins; cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    known: Cache<Uuid, Standing>,
    database: Database,
}

/// How long something is known.
struct Times {
    check_interval: Duration,
    /// The longest that a token of the sign-in can live on.
    token_lifetime: Duration,
}

impl Expiry<Uuid, Standing> for Times {
    fn expire_after_create(&self, _: &Uuid, standing: &Standing, _: Instant) -> Option<Duration> {
        Some(match standing {
            Standing::Holds => self.check_interval,
            Standing::Ended => self.token_lifetime,
            Standing::Unknown => RESPITE.min(self.check_interval),
        })
    }

    fn expire_after_update(
        &self,
        family: &Uuid,
        standing: &Standing,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(family, standing, now)
    }
}

impl Sessions {
    /// Asks `database` about each sign-in once in `check_interval`. No token of one lives longer than `token_lifetime`.
    #[must_use]
    pub fn new(check_interval: Duration, token_lifetime: Duration, database: Database) -> Self {
        let times = Times {
            check_interval,
            token_lifetime,
        };
        Self {
            known: Cache::builder()
                .max_capacity(REMEMBERED)
                .expire_after(times)
                .build(),
            database,
        }
    }

    /// Whether the sign-in of this family is known to have ended. However many ask at a time, one asks the database.
    pub(crate) async fn has_ended(&self, family: Uuid) -> bool {
        self.known.get_with(family, self.ask(family)).await == Standing::Ended
    }

    /// Remembers what this process has done itself.
    pub(crate) async fn end(&self, family: Uuid) {
        self.known.insert(family, Standing::Ended).await;
    }

    async fn ask(&self, family: Uuid) -> Standing {
        let ask = async {
            let mut connection = self.database.read(Freshness::Latest).await?;
            accounts::session(&mut connection, family).await
        };
        let answer: Result<database::Result<_>, _> = timeout(PATIENCE, ask).await;
        match answer {
            Ok(Ok(session)) => match session {
                Some(session) if session.stands => Standing::Holds,
                Some(_) | None => Standing::Ended,
            },
            // Whoever watches the database tells that it is away.
            Ok(Err(error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "whether a sign-in holds is not known"
                );
                Standing::Unknown
            }
            Err(_) => {
                tracing::debug!("whether a sign-in holds is not known in time");
                Standing::Unknown
            }
        }
    }
}
