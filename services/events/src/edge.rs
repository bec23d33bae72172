//! What a trusted edge says of a client: its address and its country.
//!
//! Anyone can write a header. So these are believed only of a peer that is one of the trusted proxies;
//! of everyone else the peer's own address counts, and no header.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::http::{HeaderMap, HeaderName};
use ipnetwork::IpNetwork;

use crate::{
    country::{CountryCode, CountryDatabase},
    reload::Reloadable,
};

/// The address of whoever opened the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Whom to believe, and what.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// The networks of the proxies in front of the service.
    pub trusted_proxies: Vec<IpNetwork>,
    /// The header in which they name the client's address.
    pub address_header: Option<HeaderName>,
    /// The header in which they name the country.
    pub country_header: Option<HeaderName>,
    /// Where the country of an address is looked up, if no header says it.
    pub country_database: Option<Arc<Reloadable<CountryDatabase>>>,
}

impl Edge {
    /// The client's address: what a trusted proxy says, else the peer's.
    pub(crate) fn address(&self, headers: &HeaderMap, Peer(peer): Peer) -> IpAddr {
        let peer = peer.ip().to_canonical();
        let header = self.address_header.as_ref().filter(|_| self.trusts(peer));
        let named = header.and_then(|name| self.nearest(headers, name));
        named.unwrap_or(peer)
    }

    /// The client's country, if a trusted proxy names it or the database knows it.
    pub(crate) fn country(&self, headers: &HeaderMap, peer: Peer) -> Option<CountryCode> {
        let header = self.country_header.as_ref();
        let header = header.filter(|_| self.trusts(peer.0.ip().to_canonical()));
        let named = header
            .and_then(|name| headers.get(name)?.to_str().ok())
            .and_then(CountryCode::new);
        named.or_else(|| {
            let database = self.country_database.as_ref()?.current();
            database.country_of(self.address(headers, peer))
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(address))
    }

    /// The last address in the header that is no proxy's: each proxy writes behind what came to it
    /// from whom it got the request, so what stands before that is whatever the client wrote.
    fn nearest(&self, headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
        let mut nearest = None;
        for value in headers.get_all(name).iter().rev() {
            for text in value.to_str().ok()?.rsplit(',') {
                let address = address(text.trim())?.to_canonical();
                nearest = Some(address);
                if !self.trusts(address) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// Some edges write the port too, CloudFront that of an IPv6 address without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare_port = || text.rsplit_once(':')?.0.parse().ok();
    text.parse().ok().or_else(with_port).or_else(bare_port)
}

#[cfg(test)]
#[path = "edge/tests.rs"]
mod tests;
