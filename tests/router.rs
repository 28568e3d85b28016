//! Routing: cases on every adapter.

mod common;

use onesum::conformance::router::cases;
use onesum::conformance::{Profile, run};
use onesum::host::{Gpu, adapters};

/// Every variant on every adapter gives the bits of the reference.
#[test]
fn quick_profile_on_every_adapter() {
    let all: Vec<_> = adapters().iter().map(|a| Gpu::of(a).unwrap()).collect();
    assert!(!all.is_empty(), "no adapter: tools/test installs one");
    let start = std::time::Instant::now();
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .iter()
            .map(|gpu| scope.spawn(|| (&gpu.info, run(gpu, cases(Profile::Quick), |_, _| {}), start.elapsed())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (info, report, time) in reports {
        println!("{} ({:?}) {time:?}\n{report}", info.name, info.backend);
        assert!(report.ok());
        assert!(report.executed >= 1500, "{} cases", report.executed);
    }
}
