//! The unmodified `spiffe` against a Workload API: the socket in SPIFFE_ENDPOINT_SOCKET.
//!
//!     rust-client 3
//!
//! Writes one JSON object a line for each X.509 context with another certificate, until it had that many changes;
//! then one for the JWT-SVID.

use std::error::Error;
use std::time::Duration;

use spiffe::{WorkloadApiClient, X509Source};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rotations: usize = std::env::args().nth(1).ok_or("rotations?")?.parse()?;
    tokio::time::timeout(Duration::from_secs(300), run(rotations)).await?
}

async fn run(rotations: usize) -> Result<(), Box<dyn Error>> {
    let source = X509Source::new().await?;
    let mut updates = source.updated();
    let mut last = Vec::new();
    let mut left = rotations + 1;
    loop {
        let context = source.x509_context()?;
        let svid = context.default_svid().ok_or("no SVID")?.clone();
        let leaf = svid.cert_chain()[0].as_bytes().to_vec();
        if leaf != last {
            let domain = svid.spiffe_id().trust_domain().clone();
            let roots = source.bundle_set()?.get(&domain).ok_or("no bundle")?.authorities().len();
            println!(r#"{{"kind":"x509","id":"{}","roots":{}}}"#, svid.spiffe_id(), roots);
            last = leaf;
            left -= 1;
        }
        if left == 0 {
            break;
        }
        updates.changed().await?;
    }
    source.shutdown().await;

    let client = WorkloadApiClient::connect_env().await?;
    let svid = client.fetch_jwt_svid(&["db"], None).await?;
    let keys = client
        .fetch_jwt_bundles()
        .await?
        .get(svid.spiffe_id().trust_domain())
        .ok_or("no JWT bundle")?
        .jwt_authorities()
        .count();
    let validated = client.validate_jwt_token("db", svid.token()).await?;
    let refused = client.validate_jwt_token("not-db", svid.token()).await.is_err();
    println!(
        r#"{{"kind":"jwt","id":"{}","keys":{},"validated":"{}","otherAudience":{}}}"#,
        svid.spiffe_id(),
        keys,
        validated.spiffe_id(),
        refused
    );
    Ok(())
}
