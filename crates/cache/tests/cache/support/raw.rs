use std::time::Duration;

use anyhow::Result;
use redis::{AsyncConnectionConfig, Client, FromRedisValue};

const LIMIT: Duration = Duration::from_secs(5);

/// Sends a command past the cache.
pub async fn raw<T: FromRedisValue>(client: &Client, command: &[&[u8]]) -> Result<T> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LIMIT))
        .set_response_timeout(Some(LIMIT));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&limits)
        .await?;
    let mut words = redis::Cmd::new();
    for word in command {
        words.arg(*word);
    }
    Ok(words.query_async(&mut connection).await?)
}

/// The server at `host:port`.
pub fn client_of(address: &str) -> Result<Client> {
    Ok(Client::open(format!("redis://{address}"))?)
}

/// The name of a product's page in Redis.
pub fn page_name(prefix: &str, id: bharatmart_domain::ProductId) -> String {
    format!("{prefix}:product:v2:{id}")
}
