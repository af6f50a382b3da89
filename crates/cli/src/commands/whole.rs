//! The whole command in a refusal: the one that was given, with what it lacks.
//!
//! The daemon knows one port and what is missing; how it was asked for (several ports, a deadline, a probation) is in the
//! command line.

use steadfast_api::{Receipt, quoted};

/// What the daemon writes before the command that it knows.
const MARK: &str = "the whole command: `steadfast update ";

/// A receipt that names the command that was given.
pub(super) fn of_receipt(mut receipt: Receipt) -> Receipt {
    receipt.reason = as_given(&receipt.reason);
    for row in &mut receipt.checks {
        row.detail = as_given(&row.detail);
    }
    receipt
}

/// A text that names the command that was given.
pub(super) fn as_given(text: &str) -> String {
    let given: Vec<String> = std::env::args().skip(1).collect();
    with(text, given)
}

fn with(text: &str, mut own: Vec<String>) -> String {
    let Some((before, rest)) = text.split_once(MARK) else { return text.to_owned() };
    let Some((command, after)) = rest.split_once('`') else { return text.to_owned() };
    // The port and the module come first.
    let mut wanted = words(command).into_iter().skip(2);
    while let Some(option) = wanted.next() {
        let value = if matches!(option.as_str(), "--set" | "--unset") { wanted.next() } else { None };
        let is_there = match &value {
            Some(value) => {
                own.contains(&format!("{option}={value}"))
                    || own.windows(2).any(|pair| pair[0] == option && pair[1] == *value)
            }
            None => own.contains(&option),
        };
        if !is_there {
            own.push(option);
            own.extend(value);
        }
    }
    let own: Vec<String> = own.iter().map(|word| quoted(word)).collect();
    format!("{before}the whole command: `steadfast {}`{after}", own.join(" "))
}

/// Words as a shell takes them, of a command that the daemon has quoted.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut inside) = (Vec::new(), String::new(), false);
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => inside = !inside,
            '\\' if !inside => word.extend(chars.next()),
            ' ' if !inside => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_one_that_was_given_with_what_it_lacks() {
        let text = "other: another driver; the whole command: `steadfast update san0-a /m/ram.so --allow-other --force \
                    --unset at --set 'path=/a b'`; b";
        let given = ["update", "--adapter", "san0", "ram", "--rolling", "--deadline", "2s", "--unset", "at"];
        let said = with(text, given.map(str::to_owned).to_vec());
        assert_eq!(
            said,
            "other: another driver; the whole command: `steadfast update --adapter san0 ram --rolling --deadline 2s \
             --unset at --allow-other --force --set 'path=/a b'`; b"
        );
        assert_eq!(with("nothing of it", Vec::new()), "nothing of it");
    }
}
