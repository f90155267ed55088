//! Terraform's own judgement of `deploy/oci/terraform`.

use anyhow::Result;

pub async fn check() -> Result<Option<String>> {
    Ok(None)
}
