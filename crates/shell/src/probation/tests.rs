use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// A port whose counters only grow.
#[derive(Default)]
struct Port(Sample);

impl Port {
    fn new() -> Port {
        Port(Sample { responsive: true, ..Sample::default() })
    }

    fn serve(&mut self, requests: u64, ns: u64) -> &mut Port {
        self.0.requests += requests;
        (0..requests).for_each(|_| self.0.latency.record(ns));
        self
    }

    fn fail(&mut self, requests: u64) -> &mut Port {
        self.0.errors += requests;
        self.serve(requests, 10_000)
    }

    fn after(&mut self, ms: u64) -> Sample {
        self.0.at_ns += ms * MS;
        self.0.clone()
    }
}

/// What is observed of a port that served so many requests, each so long.
fn before(requests: u64, ns: u64) -> Observed {
    let mut port = Port::new();
    let begin = port.after(0);
    port.serve(requests, ns).after(10_000).since(&begin)
}

fn begin(baseline: Observed, terms: Terms) -> (Probation, Port) {
    let mut port = Port::new();
    port.serve(77_000, 123 * MS).fail(500);
    let sample = port.after(5);
    (Probation::new(terms, baseline, sample), port)
}

/// The usual one: 30 s, after 100,000 requests of 100 us.
fn usual() -> (Probation, Port) {
    begin(before(100_000, 100_000), Terms::new(30 * SECOND))
}

fn worse(verdict: Verdict) -> String {
    match verdict {
        Verdict::Worse(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_driver_that_is_as_good_passes() {
    let (mut probation, mut port) = usual();
    for second in 1..30 {
        let sample = port.serve(5_000, 150_000).after(1_000);
        assert_eq!(probation.observe(sample), Verdict::Watching, "second {second}");
    }
    let sample = port.serve(5_000, 150_000).after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Passed(String::new()));
    let report = probation.report(ProbationOutcome::Passed, String::new());
    assert_eq!((report.elapsed_ms, report.observed.requests, report.observed.errors), (30_000, 150_000, 0));
    assert_eq!(report.baseline.requests, 100_000);
}

#[test]
fn an_idle_device_is_not_judged_and_says_so() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(7, 400 * MS).after(30_000);
    assert_eq!(probation.observe(sample), Verdict::Unjudged("too few requests to judge: 7".into()));
    let terms = Terms { require_judged: true, ..Terms::new(30 * SECOND) };
    let (mut probation, mut port) = begin(before(100_000, 100_000), terms);
    let sample = port.serve(7, 400 * MS).after(30_000);
    assert_eq!(worse(probation.observe(sample)), "too few requests to judge: 7");
}

#[test]
fn few_requests_that_all_fail_are_worse_at_the_end() {
    for failed in [1, 2, 5] {
        let (mut probation, mut port) = usual();
        let sample = port.fail(failed).after(29_000);
        assert_eq!(probation.observe(sample), Verdict::Watching);
        let sample = port.after(1_000);
        let why = worse(probation.observe(sample));
        assert!(why.starts_with(&format!("100 % of requests failed ({failed} of {failed})")), "{why}");
    }
    // So are those of which half fail.
    let (mut probation, mut port) = usual();
    let sample = port.serve(4, 100_000).fail(4).after(30_000);
    assert!(worse(probation.observe(sample)).starts_with("50 % of requests failed (4 of 8)"));
    // A stray one among good ones is not, nor what failed before too.
    let (mut probation, mut port) = usual();
    let sample = port.serve(9, 100_000).fail(1).after(30_000);
    assert_eq!(probation.observe(sample), Verdict::Unjudged("too few requests to judge: 10".into()));
    let failing = Observed { requests: 4, errors: 4, error_rate: 1.0, ..before(0, 0) };
    let (mut probation, mut port) = begin(failing, Terms::new(30 * SECOND));
    let sample = port.fail(2).after(30_000);
    assert_eq!(probation.observe(sample), Verdict::Unjudged("too few requests to judge: 2".into()));
}

#[test]
fn one_fault_of_the_driver_is_worse() {
    let (mut probation, mut port) = usual();
    let mut sample = port.serve(5_000, 100_000).after(1_000);
    sample.faults += 1;
    let why = worse(probation.observe(sample));
    assert!(why.contains("1 of them breaches of the driver interface"), "{why}");
}

#[test]
fn errors_go_back_at_once_and_say_how_many() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(980, 100_000).fail(20).after(1_000);
    let why = worse(probation.observe(sample));
    assert_eq!(why, "2.00 % of requests failed (20 of 1000); 0.10 % is allowed, before it was 0 %");
}

#[test]
fn a_stray_error_does_not_go_back_unless_none_is_allowed() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(150, 100_000).fail(2).after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let terms = Terms { max_error_rate: Some(0.0), ..Terms::new(30 * SECOND) };
    let (mut probation, mut port) = begin(before(100_000, 100_000), terms);
    let sample = port.serve(150, 100_000).fail(1).after(1_000);
    assert!(worse(probation.observe(sample)).contains("1 of 151"));
}

#[test]
fn what_failed_before_too_is_not_held_against_it() {
    let failing = Observed { errors: 500, error_rate: 0.05, ..before(10_000, 100_000) };
    let (mut probation, mut port) = begin(failing, Terms::new(30 * SECOND));
    let sample = port.serve(950, 100_000).fail(50).after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.serve(900, 100_000).fail(100).after(1_000);
    assert!(worse(probation.observe(sample)).contains("before it was 5.00 %"));
}

#[test]
fn few_requests_that_all_fail_are_enough() {
    let (mut probation, mut port) = usual();
    let sample = port.fail(9).after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.fail(1).after(1_000);
    assert!(worse(probation.observe(sample)).starts_with("100 % of requests failed"));
}

#[test]
fn faults_count_as_errors() {
    let (mut probation, mut port) = usual();
    port.0.faults += 20;
    let sample = port.serve(1_000, 100_000).after(1_000);
    let why = worse(probation.observe(sample));
    assert!(why.contains("20 of 1000, 20 of them breaches of the driver interface"), "{why}");
}

#[test]
fn latency_goes_back_when_it_has_settled() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(500, MS).after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "the first moments are passed over");
    let sample = port.serve(500, MS).after(1_000);
    let why = worse(probation.observe(sample));
    assert_eq!(why, "the mean latency is 1.0 ms; 350 us is allowed, before it was 100 us");
}

#[test]
fn a_slow_hundredth_goes_back_though_the_mean_is_good() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(9_800, 50_000).serve(200, 8 * MS).after(3_000);
    let why = worse(probation.observe(sample));
    assert!(why.starts_with("the latency of 99 of 100 requests is 8"), "{why}");
}

#[test]
fn what_is_faster_than_anyone_can_tell_is_not_slower() {
    let (mut probation, mut port) = begin(before(100_000, 8_000), Terms::new(30 * SECOND));
    let sample = port.serve(10_000, 80_000).after(3_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "ten times as long, and within the slack");
}

#[test]
fn a_bound_in_time_needs_nothing_before() {
    let terms = Terms { max_latency: LatencyBound::Ns(5 * MS), ..Terms::new(30 * SECOND) };
    let (mut probation, mut port) = begin(Observed::default(), terms);
    let sample = port.serve(1_000, 4 * MS).after(3_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.serve(1_000, 6 * MS).after(3_000);
    assert!(worse(probation.observe(sample)).contains("5.0 ms is allowed"));
}

#[test]
fn a_bound_in_time_holds_for_the_mean_and_for_few_requests() {
    let terms = Terms { max_latency: LatencyBound::Ns(10 * MS), ..Terms::new(30 * SECOND) };
    let (mut probation, mut port) = begin(Observed::default(), terms);
    let sample = port.serve(150, 20 * MS).after(3_000);
    let why = worse(probation.observe(sample));
    assert_eq!(why, "the mean latency is 20.0 ms; 10.0 ms is allowed, before it was 0 us");
    // So slow that few requests end at all.
    let (mut probation, mut port) = begin(Observed::default(), terms);
    let sample = port.serve(9, 500 * MS).after(5_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "nine may be chance");
    let sample = port.serve(1, 500 * MS).after(500);
    assert!(worse(probation.observe(sample)).starts_with("the mean latency is 500.0 ms"));
}

#[test]
fn few_requests_that_are_plainly_slower_are_enough() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(20, 3 * MS).after(3_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "slower, but not plainly");
    let (mut probation, mut port) = usual();
    let sample = port.serve(20, 4 * MS).after(3_000);
    assert_eq!(
        worse(probation.observe(sample)),
        "the mean latency is 4.0 ms; 350 us is allowed, before it was 100 us"
    );
    let (mut probation, mut port) = usual();
    let sample = port.serve(19, 100_000).serve(1, 900 * MS).after(3_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "one long wait is not a slow driver");
}

#[test]
fn a_percentile_that_is_not_judged_is_said() {
    let passes = |baseline, requests| {
        let (mut probation, mut port) = begin(baseline, Terms::new(30 * SECOND));
        let sample = port.serve(requests, 100_000).after(30_000);
        probation.observe(sample)
    };
    let few = "too few requests to judge the latency of 99 of 100: 999";
    assert_eq!(passes(before(100_000, 100_000), 999), Verdict::Passed(few.into()));
    let few = "too few requests before the update to judge the latency of 99 of 100: 200";
    assert_eq!(passes(before(200, 100_000), 5_000), Verdict::Passed(few.into()));
}

#[test]
fn a_few_failures_before_excuse_nothing() {
    let failing = Observed { requests: 4, errors: 2, error_rate: 0.5, ..before(0, 0) };
    let (mut probation, mut port) = begin(failing, Terms::new(30 * SECOND));
    let sample = port.serve(800, 100_000).fail(200).after(1_000);
    let why = worse(probation.observe(sample));
    assert!(why.starts_with("20 % of requests failed (200 of 1000); 0.10 % is allowed"), "{why}");
}

#[test]
fn a_factor_of_nothing_is_not_judged_and_said() {
    let (mut probation, mut port) = begin(before(12, 100_000), Terms::new(SECOND));
    let sample = port.serve(1_000, 900 * MS).after(1_000);
    let note = "too few requests before the update to judge latency: 12";
    assert_eq!(probation.observe(sample), Verdict::Passed(note.into()));
}

#[test]
fn a_request_that_does_not_end_goes_back() {
    let (mut probation, mut port) = usual();
    port.0.oldest_ns = 600 * SECOND;
    let sample = port.after(9_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "it was there before the update");
    let sample = port.after(1_000);
    let why = worse(probation.observe(sample));
    assert_eq!(why, "a request has not ended after 10.0 s; 10.0 s is allowed");
}

#[test]
fn a_request_that_hangs_at_the_end_is_waited_for() {
    let hanging = || {
        let (mut probation, mut port) = usual();
        let sample = port.serve(5_000, 150_000).after(28_000);
        assert_eq!(probation.observe(sample), Verdict::Watching);
        port.0.oldest_ns = 2 * SECOND;
        let sample = port.after(2_000);
        assert_eq!(probation.observe(sample), Verdict::Watching, "the time is over, and something hangs");
        (probation, port)
    };
    let (mut probation, mut port) = hanging();
    port.0.oldest_ns = 10 * SECOND;
    let sample = port.after(8_000);
    assert!(worse(probation.observe(sample)).starts_with("a request has not ended after 10.0 s"));
    let (mut probation, mut port) = hanging();
    port.0.oldest_ns = 0;
    let sample = port.after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Passed(String::new()), "it ended after all");
    // One slow request after another is no reason to go on for ever.
    let (mut probation, mut port) = hanging();
    port.0.oldest_ns = 2 * SECOND;
    let sample = port.after(9_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Passed(String::new()));
}

#[test]
fn a_port_that_falls_silent_at_the_end_is_waited_for() {
    let (mut probation, mut port) = usual();
    let sample = port.serve(5_000, 150_000).after(29_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    port.0.responsive = false;
    for _ in 0..10 {
        let sample = port.after(1_000);
        assert_eq!(probation.observe(sample), Verdict::Watching);
    }
    let sample = port.after(1_000);
    assert!(worse(probation.observe(sample)).starts_with("the port has not answered for 10.0 s"));
}

#[test]
fn what_a_silent_beginning_left_out_is_not_the_new_drivers() {
    let mut port = Port::new();
    port.0.responsive = false;
    let begin = port.after(5);
    let mut probation = Probation::new(Terms::new(30 * SECOND), before(100_000, 100_000), begin);
    port.0.responsive = true;
    // The history of a queue that did not answer at first: slow, and full of errors.
    let sample = port.serve(50_000, 123 * MS).fail(5_000).after(3_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.serve(5_000, 150_000).after(26_995);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.after(5);
    assert_eq!(probation.observe(sample), Verdict::Passed(String::new()), "the time counts from the update");
    let observed = probation.report(ProbationOutcome::Passed, String::new()).observed;
    assert_eq!((observed.requests, observed.errors), (5_000, 0));
}

#[test]
fn a_port_that_is_silent_from_the_beginning_goes_back() {
    let mut port = Port::new();
    port.0.responsive = false;
    let begin = port.after(5);
    let mut probation = Probation::new(Terms::new(30 * SECOND), before(100_000, 100_000), begin);
    let sample = port.after(9_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    let sample = port.after(1_000);
    assert!(worse(probation.observe(sample)).starts_with("the port has not answered for 10.0 s"));
}

#[test]
fn slow_requests_are_given_the_time_they_always_took() {
    let (mut probation, mut port) = begin(before(50, 4 * SECOND), Terms::new(60 * SECOND));
    port.0.oldest_ns = 12 * SECOND;
    let sample = port.after(12_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    port.0.oldest_ns = 20 * SECOND;
    let sample = port.after(8_000);
    assert!(worse(probation.observe(sample)).contains("16.0 s is allowed"));
}

#[test]
fn a_port_that_does_not_answer_goes_back_but_not_for_a_moment() {
    let (mut probation, mut port) = usual();
    port.0.responsive = false;
    let sample = port.after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    port.0.responsive = true;
    let sample = port.serve(1_000, 100_000).after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching);
    port.0.responsive = false;
    let sample = port.after(1_000);
    assert_eq!(probation.observe(sample), Verdict::Watching, "counted anew");
    let sample = port.after(10_000);
    assert!(worse(probation.observe(sample)).starts_with("the port has not answered for 10.0 s"));
}

#[test]
fn a_good_beginning_does_not_hide_a_bad_end() {
    let (mut probation, mut port) = begin(before(100_000, 100_000), Terms::new(3600 * SECOND));
    for _ in 0..600 {
        let sample = port.serve(10_000, 100_000).after(1_000);
        assert_eq!(probation.observe(sample), Verdict::Watching);
    }
    for second in 1.. {
        assert!(second < 10, "1 % of errors is found within seconds");
        let sample = port.serve(9_900, 100_000).fail(100).after(1_000);
        if let Verdict::Worse(_) = probation.observe(sample) {
            break;
        }
    }
    assert!(probation.window.len() <= 32, "what is past the window is forgotten");
}

#[test]
fn it_looks_often_enough_and_not_too_often() {
    assert_eq!(Terms::new(3600 * SECOND).interval_ns(), SECOND);
    assert_eq!(Terms::new(2 * SECOND).interval_ns(), 100 * MS);
    assert_eq!(Terms::new(0).interval_ns(), 20 * MS);
}

#[test]
fn a_report_reads_back() {
    let (probation, _) = usual();
    let report = probation.report(ProbationOutcome::Reverted, "because".into());
    let text = serde_json::to_string(&report).expect("written");
    assert_eq!(serde_json::from_str::<ProbationReport>(&text).expect("read"), report);
    assert!(text.contains("\"outcome\":\"reverted\""), "{text}");
}

proptest! {
    /// Whatever comes in, in whatever order, nothing breaks, and the time alone ends what is not worse.
    #[test]
    fn it_always_ends(
        length in 0..u64::MAX / 4,
        rate in proptest::option::of(0.0..1.0f64),
        oldest: u64,
        responsive: bool,
        samples in proptest::collection::vec(
            (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<bool>()), 1..40),
    ) {
        let terms = Terms { max_error_rate: rate, ..Terms::new(length) };
        let mut probation = Probation::new(terms, Observed::default(), Sample::default());
        let mut at_ns = 0u64;
        for (requests, errors, faults, oldest_ns, responsive) in samples {
            at_ns = at_ns.saturating_add(oldest_ns % 1_000_000_007);
            let sample = Sample {
                at_ns,
                requests: requests.into(),
                errors: errors.into(),
                faults: faults.into(),
                oldest_ns,
                responsive,
                ..Sample::default()
            };
            let _ = probation.observe(sample);
            let _ = probation.report(ProbationOutcome::Running, String::new());
        }
        // Whatever hangs by then.
        let last = Sample { at_ns: u64::MAX, oldest_ns: oldest, responsive, ..Sample::default() };
        prop_assert_ne!(probation.observe(last), Verdict::Watching);
    }
}
