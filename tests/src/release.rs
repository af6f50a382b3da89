use crate::Result;
use anyhow::{Context, bail};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest that anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(90);

/// The module at `path` as if it had been released as `version`, which must be as long as the text of
/// the version that it has, `from`. A manifest is text, so that is one word in the
/// file.
pub fn released_as(path: &Path, from: &str, version: &str) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).with_context(|| format!("module {}", path.display()))?;
    let (old, new) = (format!("\0version={from}\0"), format!("\0version={version}\0"));
    if old.len() != new.len() {
        bail!("version {version} is not as long as {from}");
    }
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes());
    let at = at.with_context(|| format!("{} is not version {from}", path.display()))?;
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    Ok(bytes)
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begin.elapsed() > LIMIT {
            bail!("waited {} s for this: {what}", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
