//! The conformance suite on every adapter of this machine, and on the suite itself.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Instant;

use onesum::conformance::{
    Case, Fault, Filter, KERNELS, Kernel, Memory, OptionSet, Outcome, Profile, cases, devices, run_case, run_cases,
    run_on, terms,
};
use onesum::host::{Gpu, adapters};
use onesum::softmax::{Dtype, Tier};
use onesum::{Caps, Library};

/// Of terms with a kernel, a kernel's schedule or a kernel's tier, the first.
fn is_kernels(term: &str) -> bool {
    term.split(' ').next().is_some_and(|of| !of.contains('/'))
}

fn quick_names() -> impl Iterator<Item = String> {
    let filter = Filter { profile: Profile::Quick, ..Filter::default() };
    filter.cases().map(|case| case.to_string()).collect::<Vec<_>>().into_iter()
}

/// The quick profile is a part of the standard one, which every adapter runs (see `common::standard_profile`), and every case of it
/// is needed.
#[test]
fn quick_profile_has_everything() {
    let vocabulary: BTreeSet<String> = KERNELS.iter().flat_map(Kernel::vocabulary).collect();
    let covered: BTreeSet<String> = quick_names().flat_map(|name| terms(&name)).collect();
    assert_eq!(vocabulary.difference(&covered).collect::<Vec<_>>(), Vec::<&String>::new());
    let standard: BTreeSet<_> =
        KERNELS.iter().flat_map(|kernel| kernel.cases(Profile::Standard)).map(|case| case.to_string()).collect();
    assert!(quick_names().all(|name| standard.contains(&name)));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for term in quick_names().flat_map(|name| terms(&name)) {
        *times.entry(term).or_default() += 1;
    }
    let idle: Vec<_> = quick_names().filter(|name| terms(name).iter().all(|term| times[term] > 1)).collect();
    assert!(idle.is_empty(), "not needed: {idle:?}");
}

/// A twin runs as many cases of the quick profile as have every term of the kernels.
#[test]
fn twins_run_everything() {
    let mut seen = BTreeSet::new();
    let names = quick_names().filter(|name| {
        let before = seen.len();
        // What the device lacks, some other case need not.
        let needs = name.contains("/subgroup/") || name.contains("/shuffle/") || name.contains("f16n");
        seen.extend(terms(name).into_iter().filter(|term| is_kernels(term)).map(|term| (term, needs)));
        seen.len() > before
    });
    let names: Vec<_> = names.collect();
    for kernel in &KERNELS {
        let words: BTreeSet<_> = kernel.vocabulary().into_iter().filter(|term| is_kernels(term)).collect();
        assert!(words.is_subset(&names.iter().flat_map(|name| terms(name)).collect()), "{}", kernel.name);
    }
    let patterns = names.iter().map(|name| name.parse().unwrap()).collect();
    let filter = Filter { patterns, profile: Profile::Quick, ..Filter::default() };
    let all = adapters();
    for adapter in all.iter().filter(|adapter| common::is_twin(adapter, &all)) {
        let start = Instant::now();
        let report = run_on(&devices(adapter).unwrap(), &filter, |_, _, _| ControlFlow::Continue(()));
        println!("{}, {} s\n{report}", report.adapter.line(), start.elapsed().as_secs());
        assert!(report.ok());
        for kernel in &KERNELS {
            let words: BTreeSet<_> = kernel.vocabulary().into_iter().filter(|term| is_kernels(term)).collect();
            let missing: Vec<_> = words.difference(&report.covered).collect();
            let covered = words.len() - missing.len();
            println!("{}: {covered} of {} terms covered", kernel.name, words.len());
            assert!(missing.iter().all(|term| report.skipped_terms.contains(*term)), "no case has one of {missing:?}");
            // Programs that need nothing, which every device runs, have more than half of them.
            assert!(2 * covered > words.len(), "{}", kernel.name);
        }
    }
}

/// Every adapter runs softmax's standard profile without a failure. A floor under the number of cases keeps skips from eating it up.
#[test]
fn standard_profile() {
    common::standard_profile("softmax", |_, report| {
        assert!(report.executed >= 2_000, "{} cases", report.executed);
        assert!(report.kinds.values().all(|tally| tally.executed >= 40 || tally.skipped > 0), "{:?}", report.kinds);
    });
}

/// Subgroups smaller than the lanes that share a row, which no caller gets without asking for it: each row is then the
/// work of one invocation, and as right as ever.
#[test]
fn smaller_subgroups_than_claimed() {
    for adapter in &adapters() {
        let mut gpu = Gpu::of(adapter).unwrap();
        let caps = Caps { min_subgroup_size: 32, ..gpu.library.caps().clone() };
        gpu.library = Library::with_caps(gpu.library.device(), caps, None).unwrap();
        // Of one program each.
        let plain_shuffles = |c: &Case| {
            c.variant.tier == Tier::Shuffle
                && (c.variant.input, c.variant.output) == (Dtype::F32, Dtype::F32)
                && (c.options, c.memory) == (OptionSet::Plain, Memory::Separate)
        };
        let report = run_cases(&gpu, cases(Profile::Standard).filter(plain_shuffles), |_, _| {});
        println!("{report}");
        assert!(report.failures.is_empty());
        assert!(report.executed >= 200 || !gpu.library.caps().subgroup, "{} cases", report.executed);
    }
}

/// What the trap of Mesa 22.3.6 wants: rows as long as a variant takes, and beyond the grid's first dimension.
#[test]
fn limits() {
    let gpu = Gpu::open(None).unwrap();
    let longest = |name: &str, below: u32| {
        let v: onesum::softmax::Variant = name.parse().unwrap();
        format!("{name}:rows=1,cols={},gap=0,fill=uniform", v.max_columns() - below)
    };
    let names = [
        longest("softmax/stream/f32/baseline/w8/x4", 0),
        longest("softmax/stream/f32/baseline/w8/x1", 1),
        longest("softmax/online/f32/shuffle/w8/x4", 0),
        longest("softmax/recompute/f32/baseline/w8/x4", 0),
        longest("softmax/reload/f32/shuffle/w8/x4", 0),
        "softmax/rows/f32/baseline/w8l1k32/x4:rows=65537,cols=8,gap=0,fill=uniform".into(),
        "softmax/stream/f32/shuffle/w8/x4:rows=65534,cols=4,gap=0,fill=uniform".into(),
        "softmax/stream/f32/shuffle/w8/x4:rows=65535,cols=4,gap=0,fill=uniform".into(),
        "softmax/stream/f32/shuffle/w8/x4:rows=65536,cols=4,gap=0,fill=uniform".into(),
        "softmax/stream/f32/baseline/w8/x1:rows=70001,cols=5,gap=1,fill=wide".into(),
        "softmax/split/f32/shuffle/w8/x4:rows=3,cols=1048576,gap=0,fill=uniform".into(),
        "softmax/split/f32/baseline/w256/x4:rows=1,cols=1048576,gap=0,fill=wide".into(),
        "softmax/split/f32/shuffle/w8/x4:rows=1,cols=16777216,gap=0,fill=uniform".into(),
    ];
    for name in &names {
        let mut case: Case = name.parse().unwrap();
        if case.variant.supported(gpu.library.caps()).is_err() {
            case.variant.tier = Tier::Baseline;
        }
        let name = case.to_string();
        match run_case(&gpu, &case, None) {
            Outcome::Passed(ulps) => println!("{name}: {ulps} ULP"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let n = names.len();
    println!("conformance: {n} executed, {n} passed, 0 failed, 0 skipped");
}

/// The suite finds every fault that is planted into a correct result.
#[test]
fn planted_faults_are_found() {
    let gpu = Gpu::open(None).unwrap();
    for name in [
        "softmax/stream/f32/baseline/w8/x4:rows=3,cols=64,gap=4,fill=uniform",
        "softmax/onchip/f32/baseline/w64k4/x1:rows=2,cols=333,gap=3,fill=above-overflow",
        "softmax/rows/f16/baseline/w8l1k8/x1:rows=4,cols=31,gap=2,fill=uniform",
        "softmax/split/bf16/baseline/w8/x4:rows=2,cols=100,gap=8,fill=uniform",
    ] {
        let case: Case = name.parse().unwrap();
        assert!(matches!(run_case(&gpu, &case, None), Outcome::Passed(_)), "{name}");
        for fault in Fault::ALL {
            // A 16-bit result that is one f32 ULP beyond the f32 part of its budget is rounded storage, no fault.
            let counts_ulps = name.contains("/f32/");
            if fault == Fault::OneUlpBeyond && !counts_ulps {
                continue;
            }
            let outcome = run_case(&gpu, &case, Some(fault));
            assert!(matches!(outcome, Outcome::Failed(_)), "{name}: {fault:?} was not found: {outcome:?}");
        }
    }
}
