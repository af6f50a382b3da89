//! "Did you mean": the nearest of the names that would have been right.

/// The candidate nearest to `given`, if any is near enough to be what was meant.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint for an unknown name: what was probably meant, or all there is.
pub fn hint<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(given, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    match all.len() {
        0 => String::new(),
        1..=20 => format!("there is: {}", all.join(", ")),
        n => format!("there is: {}, and {} more", all[..20].join(", "), n - 20),
    }
}

/// Edit distance in which two neighbours exchanged count as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut cost = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            cost[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = cost[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(cost[(i - 1) * width + j] + 1).min(cost[i * width + j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(cost[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    cost[cost.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_understood() {
        let names = ["queues", "store", "modules", "slots"];
        assert_eq!(nearest("quues", names), Some("queues"));
        assert_eq!(nearest("sotre", names), Some("store"));
        assert_eq!(nearest("colour", names), None);
    }

    #[test]
    fn the_list_is_given_when_nothing_is_near() {
        assert_eq!(hint("zzz", ["vol0", "vol1"]), "there is: vol0, vol1");
        assert_eq!(hint("vol7", ["vol0"]), "did you mean `vol0`?");
        assert_eq!(hint("x", []), "");
    }
}
