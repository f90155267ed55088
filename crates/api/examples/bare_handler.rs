//! What `cargo xtask bench cache` compares the API with: axum answering one route with the bytes of a
//! file, from memory, on the runtime that the API uses.
//!
//! ```text
//! bare_handler PORT PATH FILE
//! ```

use std::{error::Error, io};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, path, file] = arguments.as_slice() else {
        return Err(io::Error::other("usage: bare_handler PORT PATH FILE").into());
    };
    let body = Bytes::from(std::fs::read(file)?);
    let router = Router::new().route(
        path,
        get(async move || ([(CONTENT_TYPE, "application/json")], body.clone())),
    );
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    axum::serve(listener, router).await?;
    Ok(())
}
