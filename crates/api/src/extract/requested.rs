//! Which request it is, and where it comes from.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use axum::extract::{ConnectInfo, FromRequestParts};
use bharatmart_commerce::Origin;
use bharatmart_domain::UserId;
use http::{Extensions, request::Parts};

use crate::{limits::ClientAddress, observe::RequestId};

/// A request that may be one of an administrator, for the audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requested {
    id: Option<String>,
    address: Option<String>,
}

impl Requested {
    /// As asked for by `actor`.
    pub(crate) fn by(self, actor: UserId) -> Origin {
        Origin {
            actor_id: Some(actor),
            ..self.by_somebody()
        }
    }

    /// As asked for by somebody who has yet to prove who they are.
    pub(crate) fn by_somebody(self) -> Origin {
        Origin {
            actor_id: None,
            request_id: self.id,
            client_address: self.address,
        }
    }

    pub(crate) fn of(parts: &Parts) -> Self {
        let extensions = &parts.extensions;
        Self {
            id: extensions
                .get::<RequestId>()
                .map(|id| id.as_str().to_owned()),
            address: client_address(extensions).map(|address| address.to_string()),
        }
    }
}

/// The address of the client, as far as it is known: behind a proxy that is not trusted, the proxy's.
fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    let behind_proxy = extensions.get::<ClientAddress>();
    let peer = || extensions.get::<ConnectInfo<SocketAddr>>();
    behind_proxy
        .map(|client| client.0)
        .or_else(|| Some(peer()?.0.ip().to_canonical()))
}

impl<S: Sync> FromRequestParts<S> for Requested {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}
