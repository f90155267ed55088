//! Orders as a CSV file (RFC 4180) of any length.

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use bharatmart_database::{
    Database, Freshness,
    orders::{self, ExportedOrder, OrderFilter},
};
use bharatmart_domain::OrderId;
use bharatmart_telemetry::chain;
use chrono::{DateTime, SecondsFormat, Utc};
use csv::{Terminator, Writer, WriterBuilder};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::time::sleep;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AdminUser, ValidatedQuery},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default().routes(routes!(export_orders))
}

/// How many orders are held at a time.
const PAGE: usize = 1_000;
/// The waits before a page is asked for again.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(2),
    Duration::from_secs(8),
];
const COLUMNS: [&str; 11] = [
    "id",
    "created_at",
    "status",
    "user_id",
    "email",
    "total_amount",
    "payment_method",
    "shipping_address",
    "items",
    "processed_at",
    "updated_at",
];

/// Export orders
///
/// All of them as CSV (RFC 4180), the oldest first. A transfer that breaks off is not whole.
#[utoipa::path(
    get,
    path = "/api/orders/export",
    tag = "Orders",
    security(("bearer" = ["admin"])),
    params(ValidatedQuery<OrderFilter>),
    responses(
        (status = 200, description = "The orders, after a line with the names of the columns.",
            body = String, content_type = "text/csv", headers(
            ("Content-Disposition" = String, description = "That it is a file (RFC 6266)."),
        )),
    )
)]
async fn export_orders(
    _: AdminUser,
    Own(database): Own<Database>,
    ValidatedQuery(filter): ValidatedQuery<OrderFilter>,
) -> Result<Response, ApiError> {
    let mut export = Export {
        database,
        filter,
        last: None,
        is_over: false,
    };
    let mut head = writer();
    head.write_record(COLUMNS).map_err(internal)?;
    // What fails here fails as any request does.
    let first = export.fill(head).await?;
    export.database = export.database.with_any_queue();
    let rest = stream::unfold(export, |mut export| async move {
        if export.is_over {
            return None;
        }
        let page = export.fill_in_the_end().await;
        if let Err(error) = &page {
            // The answer has begun. Ending it in the middle is the only way to tell that it is not whole.
            tracing::warn!(error = chain(error), "an export of orders broke off");
            export.is_over = true;
        }
        Some((page, export))
    });
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"orders.csv\""),
    ];
    Ok((headers, body).into_response())
}

/// An export under way. Between two pages it holds no connection, however slow its reader is.
struct Export {
    database: Database,
    filter: OrderFilter,
    /// The last order that was written.
    last: Option<(DateTime<Utc>, OrderId)>,
    is_over: bool,
}

impl Export {
    /// Writes the next page, even if the database is away for a moment: an export has thousands of them.
    async fn fill_in_the_end(&mut self) -> Result<Bytes, ApiError> {
        for pause in PAUSES {
            match self.fill(writer()).await {
                Err(ApiError::Unavailable { .. }) => sleep(pause).await,
                page => return page,
            }
        }
        self.fill(writer()).await
    }

    /// Writes the next page.
    async fn fill(&mut self, mut csv: Writer<Vec<u8>>) -> Result<Bytes, ApiError> {
        // Pages may come from several servers: each must know all orders that were there at the beginning.
        let mut connection = self.database.read(Freshness::Current).await?;
        let limit = i64::try_from(PAGE).map_err(internal)?;
        let orders = orders::export(&mut connection, &self.filter, self.last, limit).await?;
        drop(connection);
        for order in &orders {
            write(&mut csv, order).map_err(internal)?;
        }
        self.last = orders.last().map(|last| (last.created_at, last.id));
        self.is_over = orders.len() < PAGE;
        let text = csv
            .into_inner()
            .map_err(|error| internal(error.into_error()))?;
        Ok(text.into())
    }
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(Vec::new())
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> ApiError {
    ApiError::Internal(error.into())
}

fn write(csv: &mut Writer<Vec<u8>>, order: &ExportedOrder) -> csv::Result<()> {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let text = |value: &dyn fmt::Display| value.to_string();
    let cells: [String; COLUMNS.len()] = [
        text(&order.id),
        time(order.created_at),
        text(&order.status),
        text(&order.user_id),
        order.email.clone(),
        text(&order.total_amount),
        order
            .payment_method
            .as_ref()
            .map_or_else(String::new, |method| text(method)),
        order.shipping_address.clone(),
        text(&order.items),
        order.processed_at.map_or_else(String::new, time),
        time(order.updated_at),
    ];
    for cell in &cells {
        csv.write_field(harmless(cell).as_ref())?;
    }
    csv.write_record(None::<&[u8]>)
}

/// With what a formula begins, also in full width, which some spreadsheets take for the same.
const FORMULA: [char; 11] = [
    '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// A cell that no spreadsheet takes for a formula (OWASP, CSV Injection): an apostrophe makes it a text.
fn harmless(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(FORMULA) {
        format!("'{cell}").into()
    } else {
        cell.into()
    }
}
