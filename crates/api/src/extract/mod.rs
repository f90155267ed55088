//! Extractors: what a handler receives is parsed, within bounds and allowed.

mod auth;
mod json;
mod key;
mod last_event_id;
mod local;
mod path;
mod prefer;
mod query;
mod requested;

pub(crate) use auth::{AdminUser, AuthUser, BAD_TOKEN};
pub(crate) use json::{Body, ChangeStatus, RawBody, ValidatedJson};
pub(crate) use key::{IDEMPOTENCY_KEY, KeyedJson};
pub(crate) use last_event_id::{LAST_EVENT_ID, LastEventId};
pub(crate) use local::LocalSignIn;
pub(crate) use path::Id;
pub(crate) use prefer::Wait;
pub(crate) use query::{FromParams, Params, ValidatedQuery};
pub(crate) use requested::Requested;
