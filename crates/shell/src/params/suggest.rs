/// Longest word for which a neighbour is looked for; bounds the work that a hostile name can cause.
const MAX_CHARS: usize = 64;

/// The word of `known` that `word` was most likely meant to be: at most a third of its letters wrong.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = normal(word).take(MAX_CHARS + 1).collect();
    if word.is_empty() || word.len() > MAX_CHARS {
        return None;
    }
    let most = (word.len() / 3).max(1);
    known
        .filter(|k| k.len() <= MAX_CHARS)
        .map(|k| (distance(&word, &normal(k).collect::<Vec<_>>()), k))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Case and the two kinds of dash are what people get wrong first; they cost nothing.
fn normal(word: &str) -> impl Iterator<Item = char> + '_ {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() })
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: [&str; 4] = ["io_depth", "path", "read_only", "size"];

    fn near(word: &str) -> Option<&'static str> {
        nearest(word, KNOWN.into_iter())
    }

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(near("io_dept"), Some("io_depth"));
        assert_eq!(near("IO-Depth"), Some("io_depth"));
        assert_eq!(near("paht"), Some("path"));
        assert_eq!(near("readonly"), Some("read_only"));
    }

    #[test]
    fn says_nothing_rather_than_something_silly() {
        assert_eq!(near(""), None);
        assert_eq!(near("colour"), None);
        assert_eq!(near(&"p".repeat(10_000)), None);
    }
}
