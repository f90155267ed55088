use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bharatmart_cache::{Body, Key, Loaded};
use tokio::sync::watch;

use super::Count;

/// Why a load failed.
#[derive(Debug, thiserror::Error)]
#[error("the shop is out of order")]
pub struct OutOfOrder;

/// What stands for the database: one version number that every body shows, and how often it was asked.
#[derive(Clone)]
pub struct Shop(Arc<State>);

struct State {
    version: AtomicU64,
    loads: Count,
    /// Whether loads that begin now wait once they have read.
    closed: AtomicBool,
    open: watch::Sender<bool>,
    /// How long a load takes besides.
    slowness: Duration,
}

impl Shop {
    pub fn new() -> Self {
        Self::slow(Duration::ZERO)
    }

    /// One whose loads take so long.
    pub fn slow(slowness: Duration) -> Self {
        Self(Arc::new(State {
            version: AtomicU64::new(1),
            loads: Count::default(),
            closed: AtomicBool::new(false),
            open: watch::Sender::new(true),
            slowness,
        }))
    }

    /// Puts another version there; says which.
    pub fn change(&self) -> u64 {
        self.0.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::SeqCst)
    }

    /// How often it was asked.
    pub fn loads(&self) -> usize {
        self.0.loads.get()
    }

    /// Loads that begin from now on read, and wait for [`Shop::open`] before they answer.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.open.send_replace(false);
    }

    /// Loads that begin from now on answer at once; those before still wait.
    pub fn open_for_later(&self) {
        self.0.closed.store(false, Ordering::SeqCst);
    }

    /// Loads that wait answer too.
    pub fn open(&self) {
        self.open_for_later();
        self.0.open.send_replace(true);
    }

    /// Reads what is there now.
    pub fn load(
        &self,
        key: &Key,
    ) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, Result<Loaded, OutOfOrder>>
    + Send
    + 'static {
        let (state, name) = (Arc::clone(&self.0), format!("{key:?}"));
        move || {
            Box::pin(async move {
                state.loads.add();
                let version = state.version.load(Ordering::SeqCst);
                let waits = state.closed.load(Ordering::SeqCst);
                tokio::time::sleep(state.slowness).await;
                if waits {
                    let mut open = state.open.subscribe();
                    // The sender is in `state`.
                    let _ = open.wait_for(|open| *open).await;
                }
                Ok(Loaded::Found(format!("{version} of {name}").into_bytes()))
            })
        }
    }

    /// The version that `body` shows of `key`.
    pub fn version_in(key: &Key, body: &Body) -> Result<u64> {
        let text = std::str::from_utf8(&body.bytes)?;
        let (version, name) = text.split_once(" of ").context("a body of ours")?;
        anyhow::ensure!(name == format!("{key:?}"), "the body of {name} for {key:?}");
        Ok(version.parse()?)
    }
}
