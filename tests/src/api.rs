//! The control API, spoken by hand: HTTP/1.1 and JSON on a Unix socket.

use crate::Result;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection that is kept open from request to request.
#[derive(Debug)]
pub struct Api(BufReader<UnixStream>);

impl Api {
    /// Connects to a daemon's control socket.
    pub fn connect(socket: &Path) -> Result<Api> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Api(BufReader::new(stream)))
    }

    /// `GET path`: status and body.
    pub fn get(&mut self, path: &str) -> Result<(u16, Value)> {
        self.exchange("GET", path, "")
    }

    /// `POST path` with a JSON body: status and body.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.exchange("POST", path, &body.to_string())
    }

    /// Replaces a driver; returns the receipt, whatever its outcome.
    pub fn update(&mut self, device: &str, module: &Path, options: Value) -> Result<Value> {
        let mut body = serde_json::json!({ "module": module, "allow_older": true });
        if let (Some(body), Some(options)) = (body.as_object_mut(), options.as_object()) {
            body.extend(options.clone());
        }
        let (status, answer) = self.post(&format!("/v1/devices/{device}/update"), &body)?;
        if answer.get("outcome").is_none() {
            bail!("update of {device} to {}: status {status}: {answer}", module.display());
        }
        Ok(answer)
    }

    /// Saves parameters of a port, for the next activation; fails when they are refused.
    pub fn save(&mut self, port: &str, set: Value) -> Result {
        let (status, answer) =
            self.post(&format!("/v1/ports/{port}/params"), &serde_json::json!({ "set": set }))?;
        if status != 200 {
            bail!("parameters of {port}: status {status}: {answer}");
        }
        Ok(())
    }

    /// Initialises a port anew with what is saved; returns the receipt. Fails unless it was done.
    pub fn activate(&mut self, port: &str, options: &Value) -> Result<Value> {
        let (status, answer) = self.post(&format!("/v1/ports/{port}/activate"), options)?;
        let receipt = &answer["receipt"];
        if receipt["outcome"] != "done" {
            bail!("activation of {port}: status {status}: {answer:#}");
        }
        Ok(receipt.clone())
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: steadfast\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.with_context(|| format!("no HTTP status in '{status_line}'"))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", n)) => length = n.trim().parse()?,
                Some(("transfer-encoding", how)) => chunked = how.trim() == "chunked",
                Some(_) => {}
                None => break,
            }
        }
        let bytes = if chunked { self.chunks()? } else { self.bytes(length)? };
        let value = serde_json::from_slice(&bytes);
        Ok((status, value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into()))))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("the daemon closed its control connection");
        }
        Ok(line.trim_end().to_owned())
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16)?;
            all.extend(self.bytes(size)?);
            self.line()?;
            if size == 0 {
                return Ok(all);
            }
        }
    }
}
