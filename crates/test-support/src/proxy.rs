use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Stall,
    Cut,
}

/// A TCP proxy that can fail like a network: refuse, break off, or go silent.
#[derive(Debug)]
pub struct FlakyProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl FlakyProxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `target` (`host:port`).
    /// Ends with this value.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(target: impl Into<String>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, crate::free_port()))
            .await
            .context("the proxy cannot listen")?;
        let address = listener.local_addr()?;
        let (mode, watcher) = watch::channel(Mode::Pass);
        tokio::spawn(serve(listener, address, target.into(), watcher));
        Ok(Self { address, mode })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Breaks off all connections and refuses new ones.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Keeps all connections open, takes new ones, and lets no byte through.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    /// Works again; what [`FlakyProxy::stall`] held arrives late.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    target: String,
    mut mode: watch::Receiver<Mode>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let cut = *mode.borrow_and_update() == Mode::Cut;
        if cut {
            // Without a listener the operating system itself refuses.
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            accepted = accept => if let Ok((client, _)) = accepted {
                connections.spawn(connect(client, target.clone(), mode.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, target: String, mut mode: watch::Receiver<Mode>) {
    if mode.wait_for(|mode| *mode == Mode::Pass).await.is_err() {
        return;
    }
    // When the target refuses, the client sees its connection break: that is what a proxy can say.
    let Ok(server) = TcpStream::connect(&target).await else {
        return;
    };
    // Small packets must not wait for each other, or the proxy adds 40 ms to every answer.
    if client
        .set_nodelay(true)
        .and_then(|()| server.set_nodelay(true))
        .is_err()
    {
        return;
    }
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    tokio::join!(
        pass(client_in, server_out, mode.clone()),
        pass(server_in, client_out, mode),
    );
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if mode.wait_for(|mode| *mode == Mode::Pass).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            break;
        }
    }
}
