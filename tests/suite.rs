//! How the suite is used: random cases, selection by names, runs that end early.

use std::ops::ControlFlow;
use std::time::Duration;

use onesum::conformance::{Filter, Outcome, Pattern, Profile, case, run, run_with};
use onesum::host::Gpu;

fn quick() -> Filter {
    Filter { profile: Profile::Quick, ..Filter::default() }
}

/// Sizes that nobody chose; a second run tries the same, up to where its time is over.
#[test]
fn random_cases_are_right_and_repeatable() {
    let gpu = Gpu::open(None).unwrap();
    // So many cases, whatever time they take; a few more are on their way when it is told.
    let filter = Filter { random: Some(7), budget: Some(Duration::from_secs(600)), ..Filter::default() };
    let (mut names, mut ran) = (Vec::new(), 0);
    let report = run_with(&gpu.device, &gpu.queue, &filter, |i, name, outcome| {
        names.push((i, name.to_owned()));
        ran += usize::from(!matches!(outcome, Outcome::Skipped(_)));
        if ran < 20 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap();
    println!("{report}");
    assert!(report.failures.is_empty() && report.executed >= 20, "{}", report.executed);
    names.sort();
    let filter = Filter { budget: Some(Duration::from_secs(1)), ..filter };
    let again = |i: usize, name: &str, _: &Outcome| {
        assert!(names.get(i).is_none_or(|(_, known)| known == name), "{name}");
        ControlFlow::Continue(())
    };
    run_with(&gpu.device, &gpu.queue, &filter, again).unwrap();
    let filter = Filter { random: Some(8), ..filter };
    let mut other = 0;
    run_with(&gpu.device, &gpu.queue, &filter, |i, name, _| {
        other += usize::from(names.get(i).is_some_and(|(_, known)| known != name));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(other > 0);
}

/// Sizes with which there is nothing to try are skipped, and too great ones are refused: no panic, whatever a name says.
#[test]
fn sizes_without_a_meaning_are_skipped() {
    let gpu = Gpu::open(None).unwrap();
    for name in [
        "softmax/stream/f32/baseline/w8/x1:rows=0,cols=4",
        "gumbel/stream/f32/baseline/w8/x1:rows=3,cols=0",
        "router/lane/f32/baseline/w8/x4:tokens=3,experts=0,k=1",
        "plan/serial/w8:tokens=3,experts=0,k=2,fill=duplicates",
        "plan/serial/w8:tokens=3,experts=5,k=0,fill=hot",
        "permute/combine/f32/w8l1/x4:tokens=1,choices=0,hidden=4",
        "expert_choice/serial/f32/w8:tokens=3,experts=0,capacity=1,fill=ties,options=choices",
        "stats/f32/w8l1/x1:tokens=3,experts=0,k=1",
    ] {
        let outcome = case(name).unwrap_or_else(|why| panic!("{name}: {why}")).run(&gpu);
        assert!(matches!(outcome, Outcome::Skipped(_)), "{name}: {outcome:?}");
    }
    for name in [
        "softmax/stream/f32/baseline/w8/x1:rows=65536,cols=4,gap=4294967295",
        "sample/stream/f32/baseline/w8l1/x1:rows=4294967295,cols=4294967295",
        "plan/serial/w8:tokens=4294967295,experts=4294967295,k=4294967295,fill=ascending",
    ] {
        assert!(case(name).err().unwrap().contains("2^28"), "{name}");
    }
}

fn selected(patterns: &[&str], profile: Profile) -> Vec<String> {
    let patterns = patterns.iter().map(|p| p.parse().unwrap()).collect();
    Filter { patterns, profile, ..Filter::default() }.cases().map(|c| c.to_string()).collect()
}

#[test]
fn names_and_their_beginnings_select() {
    let all = selected(&[], Profile::Quick);
    let sampled = selected(&["sample"], Profile::Quick);
    assert!(!sampled.is_empty() && sampled.iter().all(|name| name.starts_with("sample/")));
    assert_eq!(sampled.len(), all.iter().filter(|name| name.starts_with("sample/")).count());
    let two = selected(&["sample/split", "plan:fill=zipf"], Profile::Standard);
    assert!(two.iter().any(|name| name.starts_with("sample/split/")));
    assert!(two.iter().all(|n| n.starts_with("sample/split") || (n.starts_with("plan/") && n.contains("fill=zipf"))));
    // What a name leaves out selects, too.
    let plain = selected(&["softmax/onchip:options=plain,memory=separate"], Profile::Quick);
    assert!(!plain.is_empty() && plain.iter().all(|name| !name.contains("options=") && !name.contains("memory=")));
    // A whole name is that case, in no profile or in several.
    let name = "softmax/stream/f32/baseline/w8/x4:rows=77,cols=1234,gap=0,fill=wide";
    assert_eq!(selected(&[name], Profile::Quick), [name]);
    assert!(selected(&["softmax/stream/f64"], Profile::Full).is_empty());
    // What is listed can be run.
    let refused = selected(&[], Profile::Full).into_iter().find_map(|name| case(&name).err());
    assert_eq!(refused, None);
    for wrong in ["softmx", "softmax/stream:fill", "relu/w8"] {
        assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
    }
    for wrong in [
        "softmax/stream/f32/baseline/w8/x4:rows=4000000000,cols=4000000000",
        "softmax/stream/f32/baseline/w8/x4:rows=-1",
        "softmax/stream/f32/baseline/w8/x4:fill=nothing",
        "softmax/stream/f32/baseline/w7/x4:rows=1",
        "nothing",
        "",
    ] {
        assert!(case(wrong).is_err(), "{wrong}");
    }
}

/// The time that is given, and the first failure, end a run; the report says so.
#[test]
fn runs_end_early_when_told() {
    let gpu = Gpu::open(None).unwrap();
    let none = Filter { budget: Some(Duration::ZERO), ..quick() };
    let report = run(&gpu.device, &gpu.queue, &none).unwrap();
    assert_eq!((report.executed, report.ok()), (0, false));
    let left = format!("the time was over before {} cases were", none.cases().count());
    assert_eq!(report.ended, Some(left));
    // A case that asks for what the library refuses.
    let refused = "router/lane/f32/baseline/w8/x4:tokens=3,experts=8,k=9,scoring=softmax,fill=normal";
    let patterns = vec![refused.parse().unwrap(), "plan".parse().unwrap()];
    let filter = Filter { patterns, fail_fast: true, ..quick() };
    let report = run(&gpu.device, &gpu.queue, &filter).unwrap();
    assert_eq!((report.failures.len(), report.ok()), (1, false), "{report}");
    assert_eq!(report.failures[0].case, refused);
    assert!(report.executed <= 3 && report.ended.is_some());
    // Whoever is told of the cases.
    let filter = Filter { fail_fast: false, ..filter };
    let report = run_with(&gpu.device, &gpu.queue, &filter, |_, _, _| ControlFlow::Break(())).unwrap();
    assert!((1..=4).contains(&report.executed), "{report}");
    assert!(report.ended.unwrap().contains("stopped"));
}
