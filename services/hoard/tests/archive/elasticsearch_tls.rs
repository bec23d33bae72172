//! The second delivery over TLS: whom it believes, and that the archive does not notice what it refuses.

use std::path::PathBuf;

use hoard::Config;
use hoard::elasticsearch::client::Trust;
use tempfile::TempDir;
use tls_front::{Authority, Front};

use crate::elasticsearch::{config, numbers, until_found};
use crate::search::SearchStub;
use crate::world::{Hoard, World};

/// The name by which clients come to a front here.
const ADDRESS: &str = "127.0.0.1";

/// A cluster behind TLS, and a file with the certificates to trust.
struct Secured {
    search: SearchStub,
    front: Front,
    folder: TempDir,
}

impl Secured {
    /// The certificate is for `name` and signed by `authority`.
    async fn start(authority: &Authority, name: &str) -> Self {
        let search = SearchStub::start().await;
        let address = search.url.strip_prefix("http://").expect("ours");
        let front = Front::start(authority, name, address.parse().expect("an address"));
        Self {
            front: front.await.expect("a free port"),
            folder: tempfile::tempdir().expect("a folder"),
            search,
        }
    }

    /// Settings that trust this authority alone.
    fn config(&self, world: &World, trusted: &Authority) -> Config {
        let file: PathBuf = self.folder.path().join("ca.pem");
        std::fs::write(&file, trusted.pem()).expect("written");
        let mut config = config(world, &self.search);
        if let Some(elasticsearch) = &mut config.elasticsearch {
            elasticsearch.url = self.front.url().parse().expect("a URL");
            elasticsearch.trust = Trust::new(Some(&file)).expect("a certificate");
        }
        config
    }
}

fn authority() -> Authority {
    Authority::new().expect("random bytes")
}

fn refused_connections(hoard: &Hoard) -> f64 {
    hoard.metric("hoard_elasticsearch_request_failures_total{failure=\"connection\"}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_an_authority_of_its_own_gets_every_document() {
    let world = World::with_shards(2).await;
    let authority = authority();
    let secured = Secured::start(&authority, ADDRESS).await;
    let hoard = world.start(secured.config(&world, &authority));
    world.send(0..120).await;
    until_found(&world, &secured.search, 120).await;
    world.until_archived(120).await;
    assert_eq!(refused_connections(&hoard), 0.0);
    hoard.stop().await;
    assert_eq!(numbers(&secured.search), (0..120).collect());
    world.assert_exact().await;
}

/// Whatever the reason: no byte of a document goes out, and the archive goes on.
async fn is_refused(signed_by: &Authority, name: &str, trusted: &Authority) {
    let world = World::with_shards(1).await;
    let secured = Secured::start(signed_by, name).await;
    let hoard = world.start(secured.config(&world, trusted));
    world.send(0..40).await;
    world
        .until("refused connections are counted", async || {
            refused_connections(&hoard) >= 2.0
        })
        .await;
    world.until_archived(40).await;
    world.send(40..60).await;
    world.until_archived(60).await;
    hoard.stop().await;
    assert_eq!(secured.search.cluster().requests, 0, "nothing was sent");
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_authority_is_not_trusted_gets_nothing() {
    is_refused(&authority(), ADDRESS, &authority()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_a_certificate_for_another_name_gets_nothing() {
    let trusted = authority();
    is_refused(&trusted, "search.example", &trusted).await;
}
