//! Which node is asked next, and when none may be.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use serde_json::json;

use super::{Client, ClientError};

/// A server that reads the beginning of one request, answers it with `answer`, and closes.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).expect("and says something");
        stream.write_all(answer.as_bytes()).expect("it listens");
    });
    address
}

/// An address at which nobody is.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

fn write(endpoints: Vec<String>) -> Result<serde_json::Value, ClientError> {
    Client::new(endpoints, Duration::from_secs(5)).write("/x", &json!({}))
}

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const NO_LEADER: &str = "HTTP/1.1 503 x\r\ncontent-length: 23\r\n\r\n{\"message\":\"no leader\"}";
const WRONG: &str = "HTTP/1.1 400 x\r\ncontent-length: 19\r\n\r\n{\"message\":\"wrong\"}";

#[test]
fn the_next_node_is_asked_where_one_is_not_there_or_has_no_leader() {
    write(vec![nobody(), answering(NO_LEADER), answering(DONE)]).expect("the third answers");
}

#[test]
fn a_refusal_is_final() {
    let error = write(vec![answering(WRONG), answering(DONE)]).expect_err("it is refused");
    assert!(matches!(&error, ClientError::Refused { status: 400, words, .. } if words == "wrong"), "{error}");
}

#[test]
fn a_write_that_may_be_done_is_not_sent_again_and_a_read_is() {
    let error = write(vec![answering(""), answering(DONE)]).expect_err("it is not known");
    assert!(matches!(error, ClientError::Unknown { .. }), "{error}");
    let client = Client::new(vec![answering(""), answering(DONE)], Duration::from_secs(5));
    client.read("/x", &json!({})).expect("the second answers");
}

#[test]
fn where_nobody_answers_each_is_named() {
    let (one, other) = (nobody(), nobody());
    let error = write(vec![one.clone(), format!("http://{other}/")]).expect_err("nobody is there");
    assert!(error.to_string().contains(&one) && error.to_string().contains(&other), "{error}");
}
