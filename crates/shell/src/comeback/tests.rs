use super::*;

fn release(version: &str, build: &str) -> Release {
    Release { driver: "file".into(), version: version.into(), hash: format!("{version}{build}") }
}

fn served(named: &str) -> Served {
    let mut served = Served::first(release("1.0.0", "a"), named, Some(release("1.0.0", "a")));
    served.updated(&release("1.0.0", "a"), &release("1.1.0", "a"), &Changes::new(), false, None);
    served
}

fn driver() -> Named {
    Named::Driver("file".into())
}

fn pinned(versions: &str) -> Named {
    Named::Pinned("file".into(), versions.parse().expect("versions"))
}

/// Version and build that come up, and what is said.
fn comes(text: &str, named: &Named, located: &Release, served: &Served) -> (String, String) {
    let comeback = decide(text, named, Some(located), Some(served), WhenUnproven::Back);
    (comeback.served.map_or_else(|| located.hash.clone(), |(release, _)| release.hash), comeback.note)
}

#[test]
fn what_served_last_serves_again() {
    let (hash, note) = comes("file", &driver(), &release("1.0.0", "a"), &served("file"));
    assert_eq!(hash, "1.1.0a");
    assert!(note.contains("file 1.1.0") && note.contains("served it last"), "{note}");
    let (hash, note) = comes("file", &driver(), &release("1.1.0", "a"), &served("file"));
    assert_eq!((hash.as_str(), note.as_str()), ("1.1.0a", ""), "nothing is different");
    // A newer one that is there is not taken by itself.
    let (hash, _) = comes("file", &driver(), &release("2.0.0", "a"), &served("file"));
    assert_eq!(hash, "1.1.0a");
    let none = decide("file", &driver(), None, Some(&served("file")), WhenUnproven::Back);
    assert_eq!(none.served.map(|(release, _)| release.hash).as_deref(), Some("1.1.0a"), "its file has gone");
    let first = decide("file", &driver(), Some(&release("1.0.0", "a")), None, WhenUnproven::Back);
    assert_eq!((first.served, first.note.as_str()), (None, ""), "for the first time");
}

#[test]
fn a_pinned_version_wins_and_is_said_to() {
    let text = "file@1.0.0";
    let (hash, note) = comes(text, &pinned("=1.0.0"), &release("1.0.0", "a"), &served(text));
    assert_eq!(hash, "1.0.0a");
    assert!(note.contains("pins `file@1.0.0`") && note.contains("file 1.1.0"), "{note}");
    let text = "file@1";
    let (hash, _) = comes(text, &pinned("~1"), &release("1.0.0", "a"), &served(text));
    assert_eq!(hash, "1.1.0a", "it is one of those that are pinned");
}

#[test]
fn what_was_edited_or_built_anew_is_taken_and_said() {
    let (hash, note) = comes("file@1.2.0", &pinned("=1.2.0"), &release("1.2.0", "a"), &served("file"));
    assert!(hash == "1.2.0a" && note.contains("has named `file@1.2.0` since"), "{note}");
    let (hash, note) = comes("file", &driver(), &release("1.1.0", "b"), &served("file"));
    assert!(hash == "1.1.0b" && note.contains("another build"), "{note}");
    let (hash, note) = comes("/x.so", &Named::File, &release("1.2.0", "a"), &served("/x.so"));
    assert!(hash == "1.2.0a" && note.contains("another module in `/x.so`"), "{note}");
    let (hash, note) = comes("/x.so", &Named::File, &release("1.0.0", "a"), &served("/x.so"));
    assert!(hash == "1.1.0a" && note.contains("served it last"), "the file is what it was: {note}");
    // What the port went back from is not new.
    let mut back = served("/x.so");
    back.updated(&release("1.1.0", "a"), &release("1.2.0", "a"), &Changes::new(), false, None);
    back.updated(&release("1.2.0", "a"), &release("1.1.0", "a"), &Changes::new(), true, None);
    assert_eq!(comes("/x.so", &Named::File, &release("1.2.0", "a"), &back).0, "1.1.0a");
    assert_eq!(back.before, Some(release("1.2.0", "a")), "going back leads forward again");
}

#[test]
fn a_module_on_probation_comes_up_as_its_policy_says() {
    let changes = Changes::from([("x".to_owned(), Some("1".to_owned()))]);
    let mut record = Served::first(release("1.0.0", "a"), "file", Some(release("1.0.0", "a")));
    record.updated(&release("1.0.0", "a"), &release("1.1.0", "a"), &changes, false, Some(7));
    let located = release("1.0.0", "a");
    let decided = |policy| decide("file", &driver(), Some(&located), Some(&record), policy);
    let back = decided(WhenUnproven::Back);
    assert!(
        back.goes_back && back.note.contains("on probation") && back.note.contains("receipt 7"),
        "{back:?}"
    );
    assert_eq!(back.ran, Some(release("1.1.0", "a")));
    let keep = decided(WhenUnproven::Keep);
    assert_eq!(keep.served, Some((release("1.1.0", "a"), changes.clone())), "with what came with it");
    assert!(!keep.goes_back && keep.note.contains("stays"), "{keep:?}");
    let mut again = record.clone();
    again.came_up(release("1.0.0", "a"), "file", None, true);
    assert!(again.rejected == ["1.1.0a"] && again.unproven.is_none());
    record.proven(8);
    assert!(record.unproven.is_some(), "that was another one");
    record.proven(7);
    assert_eq!((record.module.clone(), record.before.clone()), (release("1.1.0", "a"), Some(located)));
    assert_eq!(record.params, changes);
    record.activated();
    assert!(record.params.is_empty());
}

#[test]
fn what_goes_back_from_probation_is_as_it_was() {
    let mut record = served("file");
    let before = record.clone();
    let changes = Changes::from([("x".to_owned(), Some("1".to_owned()))]);
    record.updated(&release("1.1.0", "a"), &release("1.2.0", "a"), &changes, false, Some(9));
    record.updated(&release("1.2.0", "a"), &release("1.1.0", "a"), &Changes::new(), true, None);
    assert!(record.rejected == ["1.2.0a"]);
    assert_eq!(Served { rejected: VecDeque::new(), ..record }, before);
}

#[test]
fn the_last_ones_that_it_went_back_from_are_remembered() {
    let mut record = served("file");
    // The newest have the smallest hashes.
    let builds: Vec<Release> = (0..40).map(|n| release("1.2.0", &format!("{:02}", 99 - n))).collect();
    let back = |record: &mut Served, from: &Release| {
        record.updated(from, &release("1.1.0", "a"), &Changes::new(), true, None);
    };
    builds.iter().for_each(|build| back(&mut record, build));
    let hashes = |builds: &[Release]| builds.iter().map(|build| build.hash.clone()).collect::<Vec<_>>();
    assert_eq!(record.rejected, hashes(&builds[8..]));
    // Once more is no reason to forget another; it is the newest then.
    back(&mut record, &builds[8]);
    assert_eq!(record.rejected.len(), 32);
    assert_eq!(record.rejected.back(), Some(&builds[8].hash));
    assert_eq!(record.rejected.front(), Some(&builds[9].hash));
    record.updated(&release("1.1.0", "a"), &builds[20], &Changes::new(), false, None);
    assert!(!record.rejected.contains(&builds[20].hash) && record.rejected.len() == 31, "somebody wants it");
    // Files of before have a list as well.
    let text = serde_json::to_string(&served("file"))
        .expect("written")
        .replace("\"rejected\":[]", "\"rejected\":[\"b\",\"a\"]");
    let read: Served = serde_json::from_str(&text).expect("read");
    assert_eq!(read.rejected, ["b", "a"]);
}

#[test]
fn what_was_put_away_has_not_served_well() {
    let (good, hung) = (release("1.0.0", "a"), release("1.1.0", "a"));
    let mut served = Served::first(good.clone(), "file", Some(good.clone()));
    served.updated(&good, &hung, &Changes::new(), false, None);
    served.put_away(&hung.hash);
    let comes = decide("file", &driver(), Some(&good), Some(&served), WhenUnproven::Back);
    assert_eq!(comes.ran, Some(hung.clone()));
    assert_eq!(comes.served.map(|(release, _)| release), Some(good.clone()));
    assert!(comes.note.contains("was put away"), "{}", comes.note);
    // Whoever puts it there again means it.
    served.updated(&good, &hung, &Changes::new(), false, None);
    let comes = decide("file", &driver(), Some(&good), Some(&served), WhenUnproven::Back);
    assert_eq!(comes.served.map(|(release, _)| release), Some(hung.clone()));
    // Where nothing else has served, it is what the configuration names.
    let mut first = Served::first(hung.clone(), "file", Some(hung.clone()));
    first.put_away(&hung.hash);
    let comes = decide("file", &driver(), Some(&good), Some(&first), WhenUnproven::Back);
    assert!(comes.served.is_none() && comes.note.contains("was put away"), "{comes:?}");
}
