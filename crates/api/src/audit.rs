//! What administrators have done, for administrators.

use axum::Json;
use bharatmart_database::{
    Database, Freshness,
    audit_log::{self, AuditFilter, Entry},
};

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AdminUser, FromParams, Params, ValidatedQuery},
    page::{List, PageParams, SortedBy},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default().routes(routes!(list_audit_log))
}

struct ListAuditLog {
    filter: AuditFilter,
    page: PageParams,
}

impl FromParams for ListAuditLog {
    fn from_params(params: &mut Params) -> Self {
        let mut text = |name, what| params.optional_text::<255>(name, what);
        let action = text("action", "Only this action, such as `product.update`.");
        let resource_type = text("resource_type", "Only what was done to this kind of thing.");
        let resource_id = text("resource_id", "Only what was done to this one.");
        Self {
            filter: AuditFilter {
                actor_id: params.optional("actor_id", "Only what this person has done."),
                action,
                resource_type,
                resource_id,
            },
            page: PageParams::from_params(params),
        }
    }
}

/// List what administrators have done
///
/// It is written in the transaction that does it, cannot be changed, and is kept for a year.
#[utoipa::path(
    get,
    path = "/api/audit",
    tag = "Audit",
    security(("bearer" = ["admin"])),
    params(ValidatedQuery<ListAuditLog>),
    responses((status = 200, description = "A page of entries, the latest first.", body = List<Entry>))
)]
async fn list_audit_log(
    _: AdminUser,
    Own(database): Own<Database>,
    ValidatedQuery(ListAuditLog { filter, page }): ValidatedQuery<ListAuditLog>,
) -> Result<Json<List<Entry>>, ApiError> {
    let request = page.of_list(|| filter.fingerprint(), SortedBy::Time)?;
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = audit_log::list(&mut connection, &filter, &request).await?;
    List::respond(found, &request)
}
