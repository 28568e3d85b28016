//! The suite is tried on itself: shaders with one small fault each must be found.

use std::ops::ControlFlow;

use onesum::conformance::KERNELS;
use onesum::conformance::mutants::{EQUIVALENT, Fate, Options, run};
use onesum::host::Gpu;

/// A selection over all files, always the same. What survives is no fault, but for one in twenty.
#[test]
fn mutants_die() {
    let gpu = Gpu::open(None).unwrap();
    let options = Options { most: Some(70), ..Options::default() };
    let report = run(&gpu.device, &gpu.queue, &options, |_, _| ControlFlow::Continue(())).unwrap();
    println!("{report}");
    assert!(report.broken.is_empty(), "cases fail without a mutant");
    assert!(report.counted() >= 60, "{} mutants", report.counted());
    assert!(report.score() >= 0.95, "{:?}", report.unexplained().collect::<Vec<_>>());
    for kernel in &KERNELS {
        let finds = |fate: &Fate| matches!(fate, Fate::Killed { case, .. } if case.starts_with(kernel.name));
        assert!(report.killed.iter().any(|(_, fate)| finds(fate)), "no case of {} finds a mutant", kernel.name);
    }
}

/// A name repeats a mutant, and nothing else: the exponential's first constant, which every budget sees.
#[test]
fn a_name_is_enough() {
    let gpu = Gpu::open(None).unwrap();
    let line = include_str!("../shaders/lib/exp.wgsl").lines().position(|l| l.starts_with("const LN2_A")).unwrap() + 1;
    let options = Options { names: vec![format!("lib/exp@{line}:")], ..Options::default() };
    let report = run(&gpu.device, &gpu.queue, &options, |mutant, _| {
        assert_eq!(mutant.line, line);
        ControlFlow::Continue(())
    })
    .unwrap();
    println!("{report}");
    assert_eq!((report.killed.len(), report.survived.len()), (1, 0));
}

/// Reasons are given once, and are of files that exist.
#[test]
fn explanations_are_of_shaders() {
    for (i, (name, why)) in EQUIVALENT.iter().enumerate() {
        let file = name.split('@').next().unwrap();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("shaders/{file}.wgsl"));
        assert!(path.is_file(), "{name}");
        assert!(!why.is_empty());
        assert!(EQUIVALENT.iter().skip(i + 1).all(|(other, _)| other != name), "{name} twice");
    }
}
