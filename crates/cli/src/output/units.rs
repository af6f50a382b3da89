//! Numbers for people.

/// Bytes as a power of 1024, exact where it is one.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        if n >= 1 << shift {
            let whole = n >> shift;
            let exact = whole << shift == n;
            return if exact {
                format!("{whole} {unit}")
            } else {
                format!("{:.1} {unit}", n as f64 / (1u64 << shift) as f64)
            };
        }
    }
    format!("{n} B")
}

/// A time in the unit that suits it.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// Microseconds with one decimal.
pub(crate) fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

/// A count, its thousands set apart.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([bytes(512), bytes(4096), bytes(1 << 30)], ["512 B", "4 KiB", "1 GiB"]);
        assert_eq!(bytes(1_500_000), "1.4 MiB");
        assert_eq!([time(900), time(23_400), time(1_300_000)], ["900 ns", "23.4 us", "1.3 ms"]);
        assert_eq!(time(2_000_000_000), "2.00 s");
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }
}
