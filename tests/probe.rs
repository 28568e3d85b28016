//! What is probed of every adapter here, as far as it must hold everywhere.

use onesum::conformance::probe::{Probe, Topic, probe};
use onesum::host::{Gpu, adapters};

fn on_every_adapter(check: impl Fn(&Gpu, &Probe)) {
    let adapters = adapters();
    assert!(!adapters.is_empty());
    for adapter in &adapters {
        let gpu = Gpu::of(adapter).unwrap();
        check(&gpu, &probe(&gpu).unwrap());
    }
}

/// What equality to the bit on every device rests on.
#[test]
fn what_results_rely_on_holds() {
    on_every_adapter(|gpu, probe| {
        let name = &gpu.info.name;
        let nearest: Vec<_> = probe.functions.iter().filter_map(|m| m.not_nearest).collect();
        assert_eq!(nearest, [0, 0, 0], "{name}: sums, differences, products");
        let exempt = ["exp and log are within the specification", "+, -, *, / keep subnormal numbers"];
        for relied in probe.relied.iter().filter(|r| !exempt.contains(&r.property)) {
            assert!(relied.holds, "{name}: {}", relied.property);
        }
        for (question, bits) in [
            ("1 + 2^-24, a tie", 0x3f80_0000),
            ("(1 + 2^-23) + 2^-24, a tie", 0x3f80_0002),
            ("(1 + 2^-12) * (1 + 2^-12), a tie", 0x3f80_1000),
        ] {
            assert_eq!(probe.answer(question).map(|a| a.bits), Some(bits), "{name}: {question}");
        }
    });
}

#[test]
fn everything_is_asked_and_measured() {
    on_every_adapter(|gpu, probe| {
        for m in &probe.functions {
            assert!(m.arguments >= 100_000 && m.ulps >= 0.0 && m.absolute >= 0.0, "{m:?}");
        }
        let text = probe.to_string();
        for (topic, least) in [(Topic::Contraction, 7), (Topic::Subnormal, 11), (Topic::Nan, 19), (Topic::Integer, 8)] {
            assert!(probe.answers.iter().filter(|a| a.topic == topic).count() >= least, "{topic:?}");
        }
        for answer in &probe.answers {
            assert_ne!(answer.bits, 0xdead_beef, "{}: the shader does not know it", answer.question);
            assert!(text.contains(answer.question), "{text}");
        }
        assert_eq!(probe.subgroups.is_some(), gpu.library.caps().subgroup);
        assert_eq!(text.contains("subgroups: not offered"), probe.subgroups.is_none());
    });
}

#[test]
fn subgroups_are_of_a_reported_size() {
    on_every_adapter(|gpu, probe| {
        if let Some(subgroups) = &probe.subgroups {
            assert!(!subgroups.seen.is_empty());
            for seen in &subgroups.seen {
                let [least, most] = subgroups.reported;
                assert!(least <= seen.size[0] && seen.size[1] <= most, "{}: {seen:?}", gpu.info.name);
                assert!(seen.active[0] >= 1 && seen.active[1] <= seen.size[1], "{}: {seen:?}", gpu.info.name);
            }
        }
    });
}

#[test]
fn reported_limits_are_there() {
    on_every_adapter(|gpu, probe| {
        assert_eq!(probe.limits.len(), 5);
        for tried in &probe.limits {
            let enough = if tried.what.starts_with("iterations") { 60_000 } else { tried.asked };
            assert!(tried.got >= enough && tried.refused.is_none(), "{}: {tried:?}", gpu.info.name);
        }
    });
}

/// A device without any feature, and with the least limits.
#[test]
fn a_baseline_device_can_be_probed() {
    for adapter in &adapters() {
        let limits = wgpu::Limits::downlevel_defaults();
        let gpu = Gpu::with(adapter, wgpu::Features::empty(), limits).unwrap();
        let probe = probe(&gpu).unwrap();
        assert_eq!((probe.f16, probe.int64, &probe.subgroups), (false, false, &None));
        assert!(probe.to_string().contains("f16 not offered, 64-bit integers not offered"));
        assert!(probe.limits.iter().all(|t| t.refused.is_none()), "{:?}", probe.limits);
    }
}
