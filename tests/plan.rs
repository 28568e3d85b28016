//! The plan of grouped matrix products: every output against the reference on every adapter, faults, properties, bad operands.

mod common;

use onesum::conformance::plan::{Case, Fault, cases, run_case};
use onesum::conformance::{Outcome, Profile, run};
use onesum::host::{Gpu, adapters};

/// Every output of every variant on every adapter is what the reference says.
#[test]
fn quick_profile_on_every_adapter() {
    let all: Vec<_> = adapters().iter().map(|a| Gpu::of(a).unwrap()).collect();
    assert!(!all.is_empty(), "no adapter: tools/test installs one");
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> =
            all.iter().map(|gpu| scope.spawn(|| (&gpu.info, run(gpu, cases(Profile::Quick), |_, _| {})))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (info, report) in reports {
        println!("{} ({:?})\n{report}", info.name, info.backend);
        assert!(report.ok());
        // Four storage buffers, as on GL here, are too few for one dispatch.
        assert!(report.executed >= 200, "{} cases", report.executed);
    }
}

/// The checks pass what is right and find what is not.
#[test]
fn planted_faults_are_found() {
    let gpu = common::gpu();
    for name in ["serial/w8", "group/w256"] {
        let name =
            format!("plan/{name}:tokens=70,experts=3,k=4,fill=uniform,block=16,capacity=37,priority=batch,extras=1");
        let case: Case = name.parse().unwrap();
        assert_eq!(run_case(gpu, &case, None), Outcome::Passed(0));
        for fault in Fault::ALL {
            assert!(matches!(run_case(gpu, &case, Some(fault)), Outcome::Failed(_)), "{fault:?}");
        }
    }
}
