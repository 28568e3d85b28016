//! The suite finds shaders with a small fault each.

use std::time::Instant;

use onesum::conformance::mutants::{EQUIVALENT, Fate, Options, run};
use onesum::host::Gpu;

/// A selection over all kernels' files. What survives is known, with its reason.
#[test]
fn mutants_die() {
    let gpu = Gpu::open(None).unwrap();
    let (per_file, tries) = (std::env::var("PER_FILE").ok(), std::env::var("TRIES").ok());
    let mut options = Options { most: Some(75), ..Options::default() };
    if let Some(n) = per_file {
        options.most = None;
        options.per_file = n.parse().ok();
    }
    if let Some(n) = tries {
        options.tries = n.parse().unwrap();
    }
    if let Ok(n) = std::env::var("NAMES") {
        options.most = None;
        options.names = n.split(' ').map(str::to_owned).collect();
    }
    let start = Instant::now();
    let report = run(&gpu.device, &gpu.queue, &options, |mutant, fate| {
        println!("{:?} {mutant} {fate:?}", start.elapsed());
    })
    .unwrap();
    println!("{report}");
    let _ = (EQUIVALENT, Fate::Stillborn { why: String::new() });
}
