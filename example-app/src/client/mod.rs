//! The command line's client: asks one node, and the next one where that is not there.

mod commands;
mod events;
mod members;
mod table;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use serde::Serialize;
use serde_json::Value;

pub use self::commands::{Get, compact, delete, get, put, snapshot, status, transfer};
pub use self::events::events;
pub use self::members::{add_member, change_member, members, set_priority};
pub use self::table::table;
use crate::api::raft_status::RaftStatus;

/// How long a connection may take to be made.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// Talks to the nodes of one cluster.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    endpoints: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A node refused, in these words.
    /// What to do: as the words say.
    #[error("{endpoint} refuses: {words} (HTTP {status})")]
    Refused {
        /// Which node.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        words: String,
    },
    /// The request was sent, and no answer came: it may have been carried out or not.
    /// What to do: look before trying again.
    #[error("{endpoint} did not answer: {source}. The write may or may not be done")]
    Unknown {
        /// Which node.
        endpoint: String,
        /// What went wrong.
        source: ureq::Error,
    },
    /// No node could be asked.
    /// What to do: start one, or name others by --endpoints.
    #[error("no node answers: {}", .tried.join("; "))]
    Nobody {
        /// What happened at each.
        tried: Vec<String>,
    },
}

/// Whether a request may be sent again where it may have been carried out already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// It changes nothing.
    Harmless,
    /// Only where it was certainly not carried out.
    OnlyIfNotDone,
}

impl Client {
    /// A client of the nodes at `endpoints` (host:port, with or without http://), which waits `timeout` for
    /// each.
    pub fn new(endpoints: impl IntoIterator<Item = String>, timeout: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // The nodes are asked directly, whatever proxy the environment names.
            .proxy(None)
            // A connection of its own for each request: then one that is refused was never asked.
            .max_idle_connections(0)
            .build();
        let trim =
            |endpoint: String| endpoint.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Client { agent: config.into(), endpoints: endpoints.into_iter().map(trim).collect() }
    }

    /// The nodes, in the order in which they are asked.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Reads: asks one node after the other, until one answers.
    pub fn read(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.call(path, body, Repeat::Harmless)
    }

    /// Writes: asks the next node only where the one before has certainly not carried it out.
    pub fn write(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.call(path, body, Repeat::OnlyIfNotDone)
    }

    /// Asks one node for its view of itself.
    pub fn raft_status(&self, endpoint: &str) -> Result<RaftStatus, ureq::Error> {
        self.agent.get(format!("http://{endpoint}/raft/status")).call()?.body_mut().read_json()
    }

    /// Asks one node for an answer that has no end.
    fn open(&self, endpoint: &str, path: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.get(format!("http://{endpoint}{path}"));
        request.config().timeout_global(None).timeout_connect(Some(OPEN_MAX)).build().call()
    }

    /// Has one node do something; its answer, or why not.
    pub fn ask_one(&self, endpoint: &str, path: &str, body: &Value) -> Result<Value, ClientError> {
        match self.ask(endpoint, path, body) {
            Ok((200, answer)) => Ok(answer),
            Ok((status, answer)) => {
                Err(ClientError::Refused { endpoint: endpoint.to_owned(), status, words: words(&answer) })
            }
            Err(source) if never_sent(&source) => {
                Err(ClientError::Nobody { tried: vec![format!("{endpoint}: {source}")] })
            }
            Err(source) => Err(ClientError::Unknown { endpoint: endpoint.to_owned(), source }),
        }
    }

    fn call(&self, path: &str, body: &impl Serialize, repeat: Repeat) -> Result<Value, ClientError> {
        let mut tried = Vec::new();
        for endpoint in &self.endpoints {
            match self.ask(endpoint, path, body) {
                Ok((200, answer)) => return Ok(answer),
                // No leader, overloaded: certainly not done. Another node may know better.
                Ok((status @ (429 | 503), answer)) => {
                    tried.push(format!("{endpoint}: {} (HTTP {status})", words(&answer)));
                }
                Ok((status, answer)) => {
                    let words = words(&answer);
                    return Err(ClientError::Refused { endpoint: endpoint.clone(), status, words });
                }
                Err(source) if repeat == Repeat::Harmless || never_sent(&source) => {
                    tried.push(format!("{endpoint}: {source}"));
                }
                Err(source) => return Err(ClientError::Unknown { endpoint: endpoint.clone(), source }),
            }
        }
        Err(ClientError::Nobody { tried })
    }

    fn ask(&self, endpoint: &str, path: &str, body: &impl Serialize) -> Result<(u16, Value), ureq::Error> {
        let mut answer = self.agent.post(format!("http://{endpoint}{path}")).send_json(body)?;
        let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string()?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}

fn words(answer: &Value) -> String {
    answer["message"].as_str().or_else(|| answer.as_str()).unwrap_or("no reason was given").to_owned()
}

/// Whether the node cannot have heard the request.
fn never_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        _ => false,
    }
}
