//! The control API's client: HTTP over the daemon's Unix socket.

use crate::failure::Failure;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use steadfast_api::{PREFIX, Problem};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// A client of one daemon. Every call makes a connection of its own.
pub(crate) struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// One server-sent event.
pub(crate) struct Event {
    /// One of [`steadfast_api::event`].
    pub(crate) name: String,
    /// A JSON document.
    pub(crate) data: String,
}

impl Client {
    /// A client of the daemon at `socket`. Nothing is connected yet.
    pub(crate) fn new(socket: PathBuf) -> Result<Client, Failure> {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build().map_err(Failure::new)?;
        Ok(Client { socket, runtime })
    }

    /// Fetches a document.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (status, body) = self.runtime.block_on(self.exchange(Method::GET, path, None))?;
        self.document(status, &body)
    }

    /// Posts a document and reads the answer. An answer that is not a `T` is a [`Problem`].
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::new)?;
        let (status, body) = self.runtime.block_on(self.exchange(Method::POST, path, Some(body)))?;
        self.document(status, &body)
    }

    /// Calls something off, or takes it away, and reads the answer.
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (status, body) = self.runtime.block_on(self.exchange(Method::DELETE, path, None))?;
        self.document(status, &body)
    }

    /// Calls `each` for every event, until it returns `false` or the daemon stops.
    pub(crate) fn events(
        &self,
        path: &str,
        mut each: impl FnMut(Event) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let response = self.send(Method::GET, path, None).await?;
            let status = response.status();
            let mut body = response.into_body();
            if !status.is_success() {
                let body = body.collect().await.map_err(|e| self.broken(e))?.to_bytes();
                return Err(self.problem(status, &body));
            }
            let mut events = EventReader::default();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|e| self.broken(e))?.into_data() else { continue };
                for event in events.push(&data) {
                    if !each(event)? {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| self.broken(e))?;
        Ok((status, body.to_bytes()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| no_daemon(&self.socket, &e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        tokio::spawn(async move {
            // An error of the connection reaches the request that waits on it.
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(format!("{PREFIX}{path}"))
            .header(header::HOST, "steadfast")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(Failure::new)?;
        sender.send_request(request).await.map_err(|e| self.broken(e))
    }

    fn document<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|e| match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => problem.into(),
            Err(_) if status.is_success() => self.broken(e),
            Err(_) => self.problem(status, body),
        })
    }

    fn problem(&self, status: StatusCode, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => problem.into(),
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                Failure::new(format!(
                    "the daemon at {} answered {status}: {}",
                    self.socket.display(),
                    text.trim()
                ))
            }
        }
    }

    fn broken(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(format!("the daemon at {} did not answer: {error}", self.socket.display()))
            .hint("was it stopped meanwhile? its log says why")
    }
}

/// Says what it means that `socket` cannot be connected to.
fn no_daemon(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::ConnectionRefused if steadfast_daemon::daemon_holds(socket) => Failure::new(format!(
            "the daemon at {path} is stopping: it answers no more"
        ))
        .hint("it waits for requests in flight, and its log says for which; another SIGTERM ends it at once"),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::new(format!("no daemon at {path}")).hint(
                "start one with `steadfast serve --device vol0=file:disk.img`, \
                 or name its socket with --socket PATH or STEADFAST_SOCKET",
            )
        }
        io::ErrorKind::PermissionDenied => Failure::new(format!("no permission to use {path}"))
            .hint("run this as the daemon's user, or let its group in with `control.mode = \"0660\"`"),
        _ => Failure::new(format!("cannot connect to {path}: {error}")),
    }
}

/// Puts a name into one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Cuts a stream of bytes into events.
#[derive(Default)]
struct EventReader {
    rest: Vec<u8>,
}

impl EventReader {
    fn push(&mut self, data: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(data);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|w| w == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            events.extend(parse_event(&String::from_utf8_lossy(&block)));
        }
        events
    }
}

fn parse_event(block: &str) -> Option<Event> {
    let mut event = Event { name: "message".to_owned(), data: String::new() };
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = value.to_owned(),
            "data" => event.data.push_str(value),
            _ => {}
        }
    }
    (!event.data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_wherever_the_bytes_break() {
        let text = b": hello\n\nevent: device\ndata: {\"a\":1}\n\nevent: receipt\ndata: 2\n\n";
        for cut in 0..text.len() {
            let mut reader = EventReader::default();
            let mut events = reader.push(&text[..cut]);
            events.extend(reader.push(&text[cut..]));
            let seen: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.data.as_str())).collect();
            assert_eq!(seen, [("device", "{\"a\":1}"), ("receipt", "2")], "cut at {cut}");
        }
    }

    #[test]
    fn no_daemon_says_how_to_start_one() {
        let client = Client::new(PathBuf::from("/nonexistent/control.sock")).expect("a client");
        let failure = client.get::<Vec<String>>("/devices").expect_err("nobody is there");
        assert_eq!(failure.message, "no daemon at /nonexistent/control.sock");
        assert!(failure.hint.contains("steadfast serve"), "{}", failure.hint);
    }

    #[test]
    fn names_are_safe_in_a_path() {
        assert_eq!(segment("vol-0.a"), "vol-0.a");
        assert_eq!(segment("a/../b c"), "a%2F..%2Fb%20c");
    }
}
