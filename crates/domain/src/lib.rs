//! The words of the shop: ids, money, statuses and their legal transitions, pages, the clock.
//!
//! Nothing here does I/O or is async. Values are parsed at the edge and trusted inside.

mod clock;
mod id;
mod money;
mod page;
mod status;

pub use clock::{Clock, SystemClock};
pub use id::{OrderId, PaymentId, ProductId, UserId};
pub use money::{Money, ParseMoneyError};
pub use page::{Cursor, CursorError, Page, PageRequest, Position};
pub use status::{
    AccountMailKind, IllegalTransition, MailKind, OrderStatus, PaymentMethod, PaymentStatus,
    ReportKind, Role, UnknownName,
};
