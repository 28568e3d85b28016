//! Load statistics: states against the reference on every adapter.

mod common;

use onesum::conformance::stats::cases;
use onesum::conformance::{Profile, run};
use onesum::host::{Gpu, adapters};

/// Every variant on every adapter counts what the reference counts.
#[test]
fn quick_profile_on_every_adapter() {
    let all: Vec<_> = adapters().iter().map(|a| Gpu::of(a).unwrap()).collect();
    assert!(!all.is_empty(), "no adapter: tools/test installs one");
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> =
            all.iter().map(|gpu| scope.spawn(|| (&gpu.info, { let mut t = std::time::Instant::now(); run(gpu, cases(Profile::Quick), |c, _| { eprintln!("TIME {:?} {} {c}", gpu.info.backend, t.elapsed().as_millis()); t = std::time::Instant::now(); }) }))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (info, report) in reports {
        println!("{} ({:?})\n{report}", info.name, info.backend);
        assert!(report.ok());
        assert!(report.executed >= 250, "{} cases", report.executed);
    }
}
