//! Users, for administrators.

use axum::Json;
use bharatmart_commerce::Accounts;
use bharatmart_database::{
    Database, Freshness,
    users::{self, User, UserChanges, UserFilter},
};
use bharatmart_domain::{Role, UserId};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AdminUser, Body, FromParams, Id, Params, ValidatedJson, ValidatedQuery},
    fields::{Line, Nullable, Text, sent},
    page::{List, PageParams, SortedBy},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list_users))
        .routes(routes!(read_user, update_user))
}

/// A person's name.
pub(crate) type FullName = Line<1, 200>;
/// A telephone number, however people write it.
pub(crate) type Phone = Line<1, 32>;
/// A postal address.
pub(crate) type Address = Text<1, 1000>;

struct ListUsers {
    filter: UserFilter,
    page: PageParams,
}

impl FromParams for ListUsers {
    fn from_params(params: &mut Params) -> Self {
        let about =
            "Only those whose name or e-mail address contains this text, whatever its capitals.";
        Self {
            filter: UserFilter {
                search: params.optional_text::<200>("search", about),
            },
            page: PageParams::from_params(params),
        }
    }
}

/// List the users
#[utoipa::path(
    get,
    path = "/api/users",
    tag = "Users",
    security(("bearer" = ["admin"])),
    params(ValidatedQuery<ListUsers>),
    responses((status = 200, description = "A page of users, those who signed up last first.", body = List<User>))
)]
async fn list_users(
    _: AdminUser,
    Own(database): Own<Database>,
    ValidatedQuery(ListUsers { filter, page }): ValidatedQuery<ListUsers>,
) -> Result<Json<List<User>>, ApiError> {
    let request = page.of_list(|| filter.fingerprint(), SortedBy::Time)?;
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = users::list(&mut connection, &filter, &request).await?;
    List::respond(found, &request)
}

/// Read a user
#[utoipa::path(
    get,
    path = "/api/users/{id}",
    tag = "Users",
    security(("bearer" = ["admin"])),
    params(Id<UserId>),
    responses(
        (status = 200, description = "The user.", body = User),
        (status = 404, description = "There is no such user."),
    )
)]
async fn read_user(
    _: AdminUser,
    Own(database): Own<Database>,
    Id(id): Id<UserId>,
) -> Result<Json<User>, ApiError> {
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let user = users::find(&mut connection, id).await?;
    user.map(Json).ok_or(ApiError::NotFound("User"))
}

/// Fields that are not sent stay as they are; `null` clears those that may be empty.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "role": "admin" }))]
struct UpdateUser {
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, nullable = false)]
    full_name: Option<FullName>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<Phone>)]
    phone: Option<Nullable<Phone>>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<Address>)]
    address: Option<Nullable<Address>>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(nullable = false)]
    role: Option<Role>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(nullable = false)]
    is_active: Option<bool>,
}

impl Body for UpdateUser {}

/// Change a user
///
/// Somebody who may do less than before is signed out.
#[utoipa::path(
    patch,
    path = "/api/users/{id}",
    tag = "Users",
    security(("bearer" = ["admin"])),
    params(Id<UserId>),
    request_body = UpdateUser,
    responses(
        (status = 200, description = "The user as they are now.", body = User),
        (status = 404, description = "There is no such user."),
        (status = 409, description = "The shop would be left without an administrator."),
    )
)]
async fn update_user(
    admin: AdminUser,
    Own(accounts): Own<Accounts>,
    Id(id): Id<UserId>,
    ValidatedJson(body): ValidatedJson<UpdateUser>,
) -> Result<Json<User>, ApiError> {
    let changes = UserChanges {
        full_name: body.full_name.map(Line::into_string),
        address: body.address.map(|text| text.0.map(Text::into_string)),
        phone: body.phone.map(|text| text.0.map(Line::into_string)),
        role: body.role,
        is_active: body.is_active,
    };
    let user = accounts.change_user(&admin.origin, id, &changes).await?;
    user.map(Json).ok_or(ApiError::NotFound("User"))
}
