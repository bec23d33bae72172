//! The network between the service and Kinesis: a relay that refuses connections, answers byte by
//! byte, or not at all.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use local_cloud::LocalCloud;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

/// Bytes that one step of an answer has, and how long it takes.
const STEP: Duration = Duration::from_millis(5);
const UNLIMITED: usize = usize::MAX;

pub(crate) struct Gate {
    address: SocketAddr,
    upstream: SocketAddr,
    /// Bytes a step; 0 holds answers back.
    pace: Arc<AtomicUsize>,
    relay: JoinSet<()>,
}

impl Gate {
    pub(crate) async fn in_front_of(cloud: &LocalCloud) -> Self {
        let upstream = cloud
            .endpoint_url()
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut gate = Self {
            address: listener.local_addr().expect("an address"),
            upstream,
            pace: Arc::new(AtomicUsize::new(UNLIMITED)),
            relay: JoinSet::new(),
        };
        gate.serve(listener);
        gate
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all connections and refuses new ones.
    pub(crate) async fn close(&mut self) {
        self.relay.shutdown().await;
    }

    /// Takes connections again, at the same address.
    pub(crate) fn open(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("reusable");
        socket.bind(self.address).expect("the same port");
        let listener = socket.listen(64).expect("it listens");
        self.serve(listener);
    }

    /// From now on answers come so many bytes at a time; 0 holds them back.
    pub(crate) fn pace(&self, bytes: usize) {
        self.pace.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn full_pace(&self) {
        self.pace(UNLIMITED);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (upstream, pace) = (self.upstream, Arc::clone(&self.pace));
        self.relay.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, upstream, Arc::clone(&pace)));
            }
        });
    }
}

/// Ends with either side; what went wrong is the other side's to see.
async fn relay(client: TcpStream, upstream: SocketAddr, pace: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .unwrap_or_default();
    };
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let mut left = &buffer[..read];
            while !left.is_empty() {
                let pace = pace.load(Ordering::Relaxed);
                if pace < UNLIMITED {
                    tokio::time::sleep(STEP).await;
                }
                let (now, later) = left.split_at(pace.min(left.len()));
                if to_client.write_all(now).await.is_err() {
                    return;
                }
                left = later;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}
