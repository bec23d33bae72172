//! SDK clients of a cloud, and the program as a child process.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls;
use local_cloud::Account;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A client of each service, without retries: a test sees each answer.
pub(crate) struct Clients {
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) firehose: aws_sdk_firehose::Client,
}

impl Clients {
    pub(crate) fn connect(endpoint_url: &str, region: &str, credentials: &Credentials) -> Self {
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        // Each SDK's builder is a type of its own.
        macro_rules! client {
            ($sdk:ident, $($extra:tt)*) => {
                $sdk::Client::from_conf(
                    $sdk::Config::builder()
                        .behavior_version(BehaviorVersion::latest())
                        .http_client(http_client.clone())
                        .endpoint_url(endpoint_url)
                        .region(Region::new(region.to_owned()))
                        .credentials_provider(credentials.clone())
                        .retry_config(RetryConfig::disabled())
                        $($extra)*
                        .build(),
                )
            };
        }
        Self {
            s3: client!(aws_sdk_s3, .force_path_style(true)),
            sqs: client!(aws_sdk_sqs,),
            kinesis: client!(aws_sdk_kinesis,),
            firehose: client!(aws_sdk_firehose,),
        }
    }

    /// As the account that the endpoint belongs to.
    pub(crate) fn of(endpoint_url: &str, account: &Account) -> Self {
        let (id, secret) = (&account.access_key_id, &account.secret_access_key);
        Self::connect(
            endpoint_url,
            &account.region,
            &Credentials::new(id, secret, None, None, "test"),
        )
    }
}

/// `local-cloud` on a free port, with its state in a folder.
pub(crate) struct Program {
    child: Child,
    pub(crate) clients: Clients,
}

impl Program {
    /// Starts the program and waits until it says where it listens.
    pub(crate) async fn start(region: &str, folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local-cloud"))
            .arg(format!("--side=region={region},listen=127.0.0.1:0"))
            .arg("--data-folder")
            .arg(folder)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program was built with this test");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let address = async {
            loop {
                let line = log
                    .next_line()
                    .await
                    .expect("the log is text")
                    .expect("the program did not end");
                if let Some(address) = address_in(&line) {
                    return address;
                }
            }
        };
        let address = tokio::time::timeout(Duration::from_secs(30), address)
            .await
            .expect("it listens soon");
        let clients = Clients::of(&format!("http://{address}"), &Account::development(region));
        Self { child, clients }
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// The address in a log line, whose fields may be coloured.
fn address_in(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let end = line[start..].find(|character: char| !matches!(character, '0'..='9' | '.' | ':'));
    Some(line[start..end.map_or(line.len(), |end| start + end)].to_owned())
}
