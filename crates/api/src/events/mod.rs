//! An order's history as server-sent events (WHATWG HTML): what there is, and then each change as it comes,
//! from whichever process it was made.

mod poller;
mod streams;

use std::time::Duration;

use axum::{
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use bharatmart_commerce::{Actor, Shop};
use bharatmart_database::{
    Database, Freshness,
    orders::{self, Cursor, HistoryEntry},
};
use bharatmart_domain::{OrderId, UserId};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, StatusCode, header::CACHE_CONTROL};
use serde::Serialize;
use serde_json::json;
use tokio::time::{sleep, timeout};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AuthUser, Id, LastEventId},
    provider::Provider,
    state::AppState,
    tokens::bearer,
};

pub use streams::EventStreams;
use streams::Follower;

/// Tells nginx to hand an answer on as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// How often a stream on which nothing happens shows that it is alive: before proxies give it up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a client comes back whose stream broke off, in milliseconds. Not all at once: they may be many.
const RETRY: std::ops::Range<u64> = 2_000..6_000;

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default().routes(routes!(follow_order))
}

/// How the document describes each event of a stream, by the fields that it has on the wire.
struct OrderEvent;

impl PartialSchema for OrderEvent {
    fn schema() -> RefOr<Schema> {
        let text = |about: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(about))
        };
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("An event of an order, as a client of server-sent events sees it."))
            .property("id", text("For `Last-Event-ID`."))
            .property(
                "event",
                text("`status` for a change; `end` for the last one.")
                    .enum_values(Some(["status", "end"])),
            )
            .property(
                "data",
                text("JSON: `order_id` and the entry of the order's history; of `end` the order's status."),
            )
            .required("event")
            .required("data")
            .into()
    }
}

impl ToSchema for OrderEvent {}

/// The data of an event `status`.
#[derive(Serialize)]
struct StatusData {
    order_id: OrderId,
    #[serde(flatten)]
    entry: HistoryEntry,
}

/// Follow an order
///
/// Server-sent events: the order's history, or what came after `Last-Event-ID`, and then each change as it comes. An
/// event `status` has the entry of the history as its data, and that entry's id; `end` comes after a final status.
#[utoipa::path(
    get,
    path = "/api/orders/{id}/events",
    tag = "Orders",
    security(("bearer" = [])),
    params(Id<OrderId>, LastEventId),
    responses(
        (status = 200, description = "The events, until the order has a final status or the sign-in ends.",
            body = OrderEvent, content_type = "text/event-stream"),
        (status = 204, description = "There is nothing after the last event, and never will be."),
        (status = 404, description = "There is no such order, or it is somebody else's."),
        (status = 429, description = "The user has as many streams open as they may."),
    )
)]
async fn follow_order(
    user: AuthUser,
    headers: HeaderMap,
    Own(shop): Own<Shop>,
    State(provider): State<Provider>,
    State(streams): State<EventStreams>,
    Id(order): Id<OrderId>,
    LastEventId(seen): LastEventId,
) -> Result<Response, ApiError> {
    // The newest state: a replica might not know yet what the client has seen.
    let mut connection = shop.database.read(Freshness::Latest).await?;
    let found = orders::find(&mut connection, order)
        .await?
        .filter(|found| Actor::from(&user).may_see(found.user_id))
        .ok_or(ApiError::NotFound("Order"))?;
    let mut last = 0;
    if let Some(seen) = seen {
        match orders::history_status(&mut connection, order, seen).await? {
            // This is how an event source is told not to come again.
            Some(status) if status.is_final() => return Ok(StatusCode::NO_CONTENT.into_response()),
            Some(_) => last = seen,
            // Not one of this order's: whoever sends it learns all of them.
            None => {}
        }
    }
    drop(connection);
    let follower = streams.open(user.id, Cursor { order, last })?;
    let left = user.expires.saturating_sub(shop.clock.now().timestamp());
    let permission = Permission {
        token: bearer(&headers).transpose()?.unwrap_or_default().to_owned(),
        left: Duration::from_secs(u64::try_from(left).unwrap_or(0)),
        owner: found.user_id,
        provider,
        database: shop.database,
    };
    let (draining, interval) = (streams.draining(), streams.check_interval());
    let ended = async move {
        draining
            .run_until_cancelled_owned(permission.end(interval))
            .await;
    };
    let events = hint()
        .map(Ok)
        .chain(events(order, follower).take_until(Box::pin(ended)));
    let stream =
        Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat"));
    let headers = [(CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")];
    Ok((headers, stream).into_response())
}

/// Why somebody may follow an order.
struct Permission {
    token: String,
    /// How long the token lives on.
    left: Duration,
    /// Whose order it is.
    owner: UserId,
    provider: Provider,
    database: Database,
}

impl Permission {
    /// Waits until the token ends, or the sign-in behind it or the role that it takes is found to have ended, which is
    /// looked at once in `interval`.
    async fn end(self, interval: Duration) {
        let revoked = async {
            loop {
                sleep(interval).await;
                let asked = self
                    .provider
                    .authenticate(&self.token, None, &self.database);
                // Large, and there only for a moment, unlike the stream.
                match Box::pin(asked).await {
                    Ok(user) if Actor::from(&user).may_see(self.owner) => {}
                    Err(error) if error.status() != StatusCode::UNAUTHORIZED => {
                        // The token's own word counts while nobody can say.
                        tracing::debug!(%error, "whether a stream's sign-in holds is not known");
                    }
                    Ok(_) | Err(_) => return,
                }
            }
        };
        // It does not matter which of them it was.
        let _ = timeout(self.left, revoked).await;
    }
}

/// Tells the client when to come back.
fn hint() -> impl Stream<Item = Event> {
    let retry = Duration::from_millis(rand::random_range(RETRY));
    stream::iter([Event::default().retry(retry)])
}

/// What a follower hears, and after a final status that this was all.
fn events(order: OrderId, follower: Follower) -> impl Stream<Item = Result<Event, axum::Error>> {
    stream::unfold(Some(follower), move |follower| async move {
        let mut follower = follower?;
        let entry = follower.next().await?;
        let is_final = entry.to_status.is_final();
        let end = is_final.then(|| {
            let data = json!({ "order_id": order, "status": entry.to_status });
            Ok(Event::default().event("end").data(data.to_string()))
        });
        let event = Event::default().id(entry.id.to_string()).event("status");
        let event = event.json_data(StatusData {
            order_id: order,
            entry,
        });
        let events = [event].into_iter().chain(end);
        Some((stream::iter(events), (!is_final).then_some(follower)))
    })
    .flatten()
}
