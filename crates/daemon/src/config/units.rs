use std::time::Duration;
use steadfast_shell::params::{Fault, TimeUnit, parse_time};

/// A time: a number with `ms`, `s`, `m` or `h`; seconds without.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time (a number with ms, s, m or h, such as 500ms, 45s, 2m)");
    let too_long = || format!("`{text}` is too long (at most 24 hours)");
    // A number alone is of seconds, whatever else could be read in it.
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text_in_s = if bare { format!("{text}s") } else { text.to_owned() };
    let ms = match parse_time(&text_in_s, TimeUnit::Ms) {
        Ok(ms) => ms,
        Err(Fault::OutOfRange) if !text.starts_with('-') => return Err(too_long()),
        Err(Fault::NotWhole) => return Err(format!("`{text}` is not a whole number of milliseconds")),
        Err(_) => return Err(wrong()),
    };
    if text.starts_with("0x") || text.starts_with('-') {
        return Err(wrong());
    }
    if ms <= 24 * 3_600_000 { Ok(Duration::from_millis(ms)) } else { Err(too_long()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("45"), Ok(Duration::from_secs(45)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(parse_duration("25h").is_err());
        assert!(parse_duration("2 weeks").is_err());
        assert!(parse_duration("99999999999999999m").is_err());
        for text in ["", "s", "10 s", "10S", "1.5s", "-1s", "0x10", "10K", "10sec"] {
            assert!(parse_duration(text).is_err_and(|e| e.contains("such as 500ms")), "{text:?}");
        }
        assert!(parse_duration("500us").is_err_and(|e| e.contains("whole number of milliseconds")));
    }
}
