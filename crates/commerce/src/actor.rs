//! Who asks.

use bharatmart_domain::{Role, UserId};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// Who they are to the shop.
    pub role: Role,
}

impl Actor {
    /// Whether they run the shop.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether what belongs to `owner` is for them to see.
    #[must_use]
    pub fn may_see(&self, owner: UserId) -> bool {
        self.is_admin() || self.user_id == owner
    }
}
