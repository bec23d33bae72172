//! The listener, and the bytes that pass.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::heads::{Heads, Listener};

/// Further clients wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// A client that opens a connection and says nothing is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Of each connection, for each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// A port that speaks TLS, in front of one that does not. Dropping it closes all of its connections.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    _accept: JoinSet<()>,
}

#[derive(Clone)]
struct Way {
    acceptor: TlsAcceptor,
    to: SocketAddr,
    heads: Option<Heads>,
}

impl Front {
    /// Listens on a free port of the loop-back interface; its certificate is for `name`.
    ///
    /// # Errors
    /// No certificate can be made for the name, or no port is free.
    pub async fn start(authority: &Authority, name: &str, to: SocketAddr) -> io::Result<Self> {
        Self::listen(authority, name, to, None).await
    }

    /// The same, and keeps what is asked for.
    ///
    /// # Errors
    /// As [`Front::start`].
    pub async fn hearing(
        authority: &Authority,
        name: &str,
        to: SocketAddr,
        heads: &Heads,
    ) -> io::Result<Self> {
        Self::listen(authority, name, to, Some(heads.clone())).await
    }

    async fn listen(
        authority: &Authority,
        name: &str,
        to: SocketAddr,
        heads: Option<Heads>,
    ) -> io::Result<Self> {
        let acceptor = authority.acceptor(name).map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut accept = JoinSet::new();
        accept.spawn(accept_all(listener, Way { acceptor, to, heads }));
        Ok(Self {
            address,
            _accept: accept,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://<address>:<port>`, for clients that are to find the name of an address.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn accept_all(listener: TcpListener, way: Way) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ends with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: existing connections have to end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let way = way.clone();
        connections.spawn(async move {
            // A client that refuses the certificate and one that goes away end it in the same way.
            pass(stream, way).await.unwrap_or_default();
            drop(place);
        });
    }
}

/// From the handshake until one of both ends has ended both directions.
async fn pass(stream: TcpStream, way: Way) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let handshake = way.acceptor.accept(stream);
    let client = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??;
    let server = TcpStream::connect(way.to).await?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = server.into_split();
    let up = carry(from_client, to_server, way.heads.map(Listener::new));
    let down = carry(from_server, to_client, None);
    tokio::try_join!(up, down)?;
    Ok(())
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut listener: Option<Listener>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return to.shutdown().await;
        }
        if let Some(listener) = &mut listener {
            listener.hear(&buffer[..bytes]);
        }
        to.write_all(&buffer[..bytes]).await?;
        // TLS holds records back until it is told.
        to.flush().await?;
    }
}
