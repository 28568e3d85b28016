//! Tunings: what files say, which entry a shape gets, and that no token, choice or probability depends on it.

use onesum::expert_choice;
use onesum::host::Gpu;
use onesum::permute::{CombineSpec, DispatchSpec};
use onesum::softmax::{Dtype, Shape};
use onesum::tuning::{Adapter, Entry, RADIUS, Tunable, Tuning, TuningError};
use onesum::{Caps, Library, gumbel, permute, plan, router, sample, softmax, stats};

const HEAD: &str = "version = 1\n[adapter]\nname = \"a\"\nbackend = \"vulkan\"\ndriver = \"d 1.0\"\n[variants]\n";

fn library() -> Library {
    let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    Library::new(&device).unwrap()
}

fn entry<V: std::str::FromStr<Err: std::fmt::Debug>>(rows: [u32; 2], cols: [u32; 2], name: &str) -> Entry<V> {
    Entry { rows, cols, choices: None, variant: name.parse().unwrap() }
}

fn with_choices<V>(choices: [u32; 2], entry: Entry<V>) -> Entry<V> {
    Entry { choices: Some(choices), ..entry }
}

/// One entry in each table, each with a variant that no default is.
fn everything() -> Tuning {
    let adapter = Adapter { name: "an \"adapter\"".into(), backend: "vulkan".into(), driver: "of mine\\1".into() };
    let mut tuning = Tuning { adapter, ..Tuning::default() };
    let v = &mut tuning.variants;
    v.softmax.push(entry([8, 32], [1000, 1024], "softmax/stream/f32/baseline/w64/x4"));
    v.gumbel.push(entry([8, 32], [1000, 1024], "softmax/onchip/f32/baseline/w256k8/x4"));
    v.sample.push(with_choices([1, 1], entry([8, 32], [1000, 1024], "sample/stream/f32/baseline/w64/x4")));
    v.router.push(with_choices([8, 8], entry([8, 32], [128, 128], "router/lane/f32/baseline/w64/x4")));
    v.plan.push(with_choices([8, 8], entry([8, 32], [128, 128], "plan/serial/w8")));
    v.dispatch.push(with_choices([8, 8], entry([8, 32], [2048, 2048], "permute/dispatch/f32/w256l32/x4")));
    v.combine.push(with_choices([8, 8], entry([8, 32], [2048, 2048], "permute/combine/f32/w256l32/x4")));
    v.stats.push(entry([8, 32], [128, 128], "stats/f32/w64l16/x4"));
    v.expert_choice.push(with_choices([2, 2], entry([8, 32], [128, 128], "expert_choice/shared/f32/w256")));
    tuning
}

#[test]
fn files_round_trip() {
    let tuning = everything();
    let text = tuning.to_toml();
    assert_eq!(Tuning::from_toml(&text), Ok(tuning), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("    {")).count(), 9);
    let nothing = Tuning::from_toml(HEAD).unwrap();
    assert_eq!(Tuning::from_toml(&nothing.to_toml()), Ok(nothing));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let softmax = |entry: &str| format!("{HEAD}softmax = [\n{entry}\n]\n");
    let stream = "variant = \"softmax/stream/f32/baseline/w64/x4\"";
    let router = "variant = \"router/lane/f32/baseline/w64/x4\"";
    for (text, expected) in [
        ("version = 1\nrows =".to_owned(), "line 2: "),
        ("[adapter]\nname = \"a\"\nbackend = \"b\"\ndriver = \"d\"".into(), "missing field `version`"),
        ("version = 1".into(), "missing field `adapter`"),
        ("version = 2\nwhatever = 1".into(), "it is of version 2, not 1"),
        ("version = \"1\"".into(), "it is of version \"1\", not 1"),
        (format!("color = 1\n{HEAD}"), "line 1: unknown field `color`"),
        (HEAD.replace("driver", "drivers"), "line 5: unknown field `drivers`"),
        (format!("{HEAD}relu = []"), "line 7: unknown field `relu`, expected one of `softmax`, `gumbel`"),
        (softmax(&format!("{{ rows = [1, 2], {stream} }}")), "line 8: missing field `cols`"),
        (softmax(&format!("{{ rows = [1, 2], cols = [1, 2], speed = 3, {stream} }}")), "unknown field `speed`"),
        (softmax(&format!("{{ rows = [1], cols = [1, 2], {stream} }}")), "invalid length 1"),
        (softmax(&format!("{{ rows = [-1, 2], cols = [1, 2], {stream} }}")), "line 8: invalid value"),
        (softmax(&format!("{{ rows = [1, 4294967296], cols = [1, 2], {stream} }}")), "line 8: invalid value"),
        (
            softmax("{ rows = [1, 2], cols = [1, 2], variant = \"softmax/strem/f32/baseline/w64/x4\" }"),
            "line 8: no variant is called \"softmax/strem/f32/baseline/w64/x4\"",
        ),
        (softmax(&format!("{{ rows = [1, 2], cols = [1, 2], {router} }}")), "no variant is called \"router/"),
        (
            softmax(&format!("{{ rows = [2, 1], cols = [1, 2], {stream} }}")),
            "softmax, entry 1 (softmax/stream/f32/baseline/w64/x4): rows from 2 to 1 are no ascending range from 1 on",
        ),
        (softmax(&format!("{{ rows = [1, 1], cols = [0, 2], {stream} }}")), "cols from 0 to 2 are no ascending range"),
        (
            softmax(&format!("{{ rows = [1, 1], cols = [1, 2], choices = [1, 1], {stream} }}")),
            "choices are not of this kernel",
        ),
        (format!("{HEAD}router = [{{ rows = [1, 1], cols = [8, 8], {router} }}]"), "choices are missing"),
        (
            softmax(&format!(
                "{{ rows = [1, 4], cols = [8, 64], {stream} }},\n{{ rows = [4, 8], cols = [1, 8], {} }}",
                stream.replace("w64", "w256")
            )),
            "softmax, entry 2 (softmax/stream/f32/baseline/w256/x4): its shapes overlap those of entry 1",
        ),
        (
            softmax("{ rows = [1, 1], cols = [8, 8], variant = \"softmax/online/f32/baseline/w256/x4\" }"),
            "no variant that may be put in the default's place",
        ),
        (
            format!(
                "{HEAD}sample = [{{ rows = [1, 1], cols = [8, 8], choices = [1, 1], variant = \"sample/block/f32/baseline/w256/x4\" }}]"
            ),
            "no variant that may be put in the default's place",
        ),
        (
            format!(
                "{HEAD}combine = [{{ rows = [1, 1], cols = [8, 8], choices = [1, 1], variant = \"permute/dispatch/f32/w256/x4\" }}]"
            ),
            "no variant that may be put in the default's place",
        ),
    ] {
        let said = Tuning::from_toml(&text).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert_eq!(said.lines().count(), 1, "{said:?}");
    }
    // Other types, and other columns of the same rows, are no overlap.
    let apart = format!(
        "{{ rows = [1, 4], cols = [8, 64], {stream} }}, {{ rows = [1, 4], cols = [8, 64], {} }}, {{ rows = [1, 4], cols = [65, 65], {stream} }}",
        stream.replace("f32", "bf16")
    );
    assert_eq!(Tuning::from_toml(&softmax(&apart)).unwrap().variants.softmax.len(), 3);
    let wrong = Tuning::from_toml(&softmax(&format!("{{ rows = [3, 2], cols = [1, 2], {stream} }}")));
    assert!(matches!(wrong, Err(TuningError::Entry { kernel: "softmax", entry: 1, .. })));
}

/// Of the names of two streams, the one that a shape gets; `None` for the default, which is neither.
fn nearest(entries: &[Entry<softmax::Variant>], rows: u32, cols: u32) -> Option<u32> {
    let mut tuning = Tuning::default();
    tuning.variants.softmax = entries.to_vec();
    tuning.nearest(&softmax::Spec::new(Shape::new(rows, cols)), &Caps::baseline()).map(|v| v.width)
}

#[test]
fn the_nearest_entry_within_the_radius() {
    let narrow = entry([1, 4], [1024, 2048], "softmax/stream/f32/baseline/w64/x4");
    let wide = entry([64, 64], [1024, 1024], "softmax/stream/f32/baseline/w256/x4");
    let both = [narrow, wide];
    assert_eq!(RADIUS, 2.0);
    // Inside, and outside by less and more than two octaves.
    assert_eq!(nearest(&both, 2, 1500), Some(64));
    assert_eq!(nearest(&[narrow], 1, 8192), Some(64));
    assert_eq!(nearest(&[narrow], 1, 8196), None);
    assert_eq!(nearest(&[narrow], 1, 256), Some(64));
    assert_eq!(nearest(&[narrow], 1, 252), None);
    assert_eq!(nearest(&[narrow], 16, 2048), Some(64));
    assert_eq!(nearest(&[narrow], 17, 2048), None);
    // Both directions count: one octave and one are 1.4, two and one are more than 2.
    assert_eq!(nearest(&[narrow], 8, 4096), Some(64));
    assert_eq!(nearest(&[narrow], 16, 4096), None);
    // Sixteen rows are two octaves from either, seventeen are nearer to 64.
    assert_eq!(nearest(&both, 16, 1024), Some(64));
    assert_eq!(nearest(&[wide, narrow], 16, 1024), Some(256));
    assert_eq!(nearest(&both, 17, 1024), Some(256));
    // No rows are as one row; no entries, no variant.
    assert_eq!(nearest(&both, 0, 1024), Some(64));
    assert_eq!(nearest(&[], 1, 1024), None);
    // Numbers that no file can have.
    let turned = Entry { rows: [u32::MAX, 0], ..narrow };
    assert_eq!(nearest(&[turned], u32::MAX, u32::MAX), None);
}

#[test]
fn choices_count_as_rows_and_columns_do() {
    let lane = |choices| with_choices(choices, entry([64, 64], [128, 128], "router/lane/f32/baseline/w64/x4"));
    let mut tuning = Tuning::default();
    tuning.variants.router.push(lane([4, 8]));
    let near = |choices| tuning.nearest(&router::Spec::new(Shape::new(64, 128), choices), &Caps::baseline()).is_some();
    assert!(near(1) && near(6) && near(16));
    // Too many for the registers of this variant, however near.
    assert!(!near(17));
}

/// What cannot be used here is passed over, by the nearest that can, then by the default.
#[test]
fn entries_that_cannot_be_used() {
    let at = |name: &str| entry::<softmax::Variant>([64, 64], [1024, 1024], name);
    let further = entry([64, 64], [2048, 2048], "softmax/stream/f32/baseline/w64/x4");
    let spec = softmax::Spec::new(Shape::new(64, 1024));
    for name in [
        "softmax/onchip/f32/subgroup/w256k4/x4",   // no subgroups
        "softmax/stream/f32/baseline/w256/x1",     // for other shapes
        "softmax/stream/bf16/baseline/w256/x4",    // of another type
        "softmax/rows/f32/baseline/w256l8k4/x4",   // too many columns
        "softmax/online/f32/baseline/w256/x4",     // less accurate
        "softmax/stream/f16-f32/baseline/w256/x4", // of another type
    ] {
        let mut tuning = Tuning::default();
        tuning.variants.softmax.push(at(name));
        let alone = library().with_tuning(tuning.clone());
        assert_eq!(alone.choose(&spec), spec.select(alone.caps()), "{name}");
        assert_eq!(alone.softmax(&spec).unwrap().variant(), spec.select(alone.caps()), "{name}");
        tuning.variants.softmax.push(further);
        assert_eq!(library().with_tuning(tuning).choose(&spec), further.variant, "{name}");
    }
    // Where there are subgroups, the first is used.
    let caps = Caps { subgroup: true, ..Caps::baseline() };
    let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let mut tuning = Tuning::default();
    tuning.variants.softmax.push(at("softmax/onchip/f32/subgroup/w256k4/x4"));
    let library = Library::with_caps(&device, caps, None).unwrap().with_tuning(tuning);
    assert_eq!(library.choose(&spec).to_string(), "softmax/onchip/f32/subgroup/w256k4/x4");
}

/// More operands than split rows have bindings for: the default, which has.
#[test]
fn entries_that_lack_bindings() {
    let mut tuning = Tuning::default();
    tuning.variants.softmax.push(entry([1, 1], [4096, 4096], "softmax/split/f32/baseline/w256/x4"));
    let library = library();
    let caps = Caps { max_storage_buffers: 4, ..library.caps().clone() };
    let library = Library::with_caps(library.device(), caps, None).unwrap().with_tuning(tuning);
    let plain = softmax::Spec::new(Shape::new(1, 4096));
    assert_eq!(library.choose(&plain).schedule, softmax::Schedule::Split);
    let options = softmax::Options { temperature: true, lengths: true, ..softmax::Options::default() };
    let full = softmax::Spec { options, ..plain };
    assert_ne!(library.choose(&full).schedule, softmax::Schedule::Split);
    assert!(library.softmax(&full).is_ok());
}

/// Each kernel is built with the variant of its table, and without one with the default.
#[test]
fn every_kernel_asks() {
    let (plain, tuned) = (library(), library().with_tuning(everything()));
    let v = everything().variants;
    let shape = Shape::new(16, 1000);

    let spec = softmax::Spec::new(shape);
    assert_eq!(tuned.softmax(&spec).unwrap().variant(), v.softmax[0].variant);
    assert_ne!(plain.softmax(&spec).unwrap().variant(), v.softmax[0].variant);
    let name = "softmax/split/f32/baseline/w256/x4".parse().unwrap();
    assert_eq!(tuned.softmax(&softmax::Spec { variant: Some(name), ..spec }).unwrap().variant(), name);

    let outputs = gumbel::Outputs { soft: true, index: true, ..gumbel::Outputs::default() };
    let spec = gumbel::Spec { outputs, ..gumbel::Spec::new(shape) };
    let kernel = tuned.gumbel(&spec).unwrap();
    assert_eq!((kernel.variant(), kernel.sample_variant()), (v.gumbel[0].variant, Some(v.sample[0].variant)));
    assert_ne!(plain.gumbel(&spec).unwrap().variant(), v.gumbel[0].variant);

    let spec = sample::Spec::new(shape);
    assert_eq!(tuned.sample(&spec).unwrap().variant(), v.sample[0].variant);
    assert_ne!(plain.sample(&spec).unwrap().variant(), v.sample[0].variant);
    // Several draws want split rows.
    let two = sample::Spec { draws: 2, ..spec };
    assert_eq!(tuned.sample(&two).unwrap().variant(), two.select(plain.caps()));

    let spec = router::Spec::new(Shape::new(16, 128), 8);
    assert_eq!(tuned.router(&spec).unwrap().variant(), v.router[0].variant);
    assert_ne!(plain.router(&spec).unwrap().variant(), v.router[0].variant);

    let spec = plan::Spec::new(16, 8, 128);
    assert_eq!(tuned.plan(&spec).unwrap().variant(), v.plan[0].variant);
    assert_ne!(plain.plan(&spec).unwrap().variant(), v.plan[0].variant);

    let spec = DispatchSpec::new(permute::Shape::new(16, 8, 2048));
    assert_eq!(tuned.dispatch(&spec).unwrap().variant(), v.dispatch[0].variant);
    assert_ne!(plain.dispatch(&spec).unwrap().variant(), v.dispatch[0].variant);
    let spec = CombineSpec::new(permute::Shape::new(16, 8, 2048));
    assert_eq!(tuned.combine(&spec).unwrap().variant(), v.combine[0].variant);
    assert_ne!(plain.combine(&spec).unwrap().variant(), v.combine[0].variant);

    let spec = stats::Spec::new(Shape::new(16, 128));
    assert_eq!(tuned.stats(&spec).unwrap().variant(), v.stats[0].variant);
    assert_ne!(plain.stats(&spec).unwrap().variant(), v.stats[0].variant);

    let spec = expert_choice::Spec::new(16, 128, 2);
    assert_eq!(tuned.expert_choice(&spec).unwrap().variant(), v.expert_choice[0].variant);
    assert_ne!(plain.expert_choice(&spec).unwrap().variant(), v.expert_choice[0].variant);
}

/// How many candidates there are; the default is one of them.
fn default_is_taken<S: Tunable>(caps: &Caps, spec: &S) -> usize {
    let (default, candidates) = (spec.select(caps), spec.candidates(caps));
    assert!(candidates.contains(&default), "{default} at {:?} with {caps:?}", spec.sizes());
    candidates.len()
}

#[test]
fn defaults_are_candidates() {
    let usual = Caps { max_storage_buffers: 8, ..Caps::baseline() };
    let cpu = Caps { cpu: true, ..usual.clone() };
    let lavapipe = Caps { subgroup: true, min_subgroup_size: 8, int64: true, max_invocations: 1024, ..cpu.clone() };
    let gpu = Caps { subgroup: true, min_subgroup_size: 32, f16: true, max_workgroup_bytes: 32_768, ..usual.clone() };
    let small = Caps { max_invocations: 64, ..usual.clone() };
    let mut several = 0;
    for caps in [Caps::baseline(), usual, cpu, lavapipe, gpu, small] {
        for dtype in Dtype::ALL {
            for (rows, cols) in
                [(1, 1), (7, 33), (4096, 128), (512, 1000), (3, 4096), (64, 50_257), (2, 262_144), (1, 4_000_000)]
            {
                let shape = Shape::new(rows, cols);
                let spec = softmax::Spec { input: dtype, output: dtype, ..softmax::Spec::new(shape) };
                several += default_is_taken(&caps, &spec);
                several += default_is_taken(&caps, &sample::Spec { input: dtype, ..sample::Spec::new(shape) });
                several +=
                    default_is_taken(&caps, &sample::Spec { input: dtype, draws: 5, ..sample::Spec::new(shape) });
                let shape = permute::Shape::new(rows, 2, cols);
                several += default_is_taken(&caps, &DispatchSpec { dtype, ..DispatchSpec::new(shape) });
                several += default_is_taken(&caps, &CombineSpec { output: dtype, ..CombineSpec::new(shape) });
            }
            for (tokens, experts, k) in [(1, 8, 2), (16, 256, 8), (4096, 64, 6), (70_000, 384, 8), (5, 33, 20)] {
                let shape = Shape::new(tokens, experts);
                several += default_is_taken(&caps, &router::Spec { input: dtype, ..router::Spec::new(shape, k) });
                several += default_is_taken(&caps, &plan::Spec::new(tokens, k, experts));
                several += default_is_taken(&caps, &stats::Spec { input: dtype, ..stats::Spec::new(shape) });
                let spec = expert_choice::Spec::new(tokens, experts, (tokens * k).div_ceil(experts));
                several += default_is_taken(&caps, &expert_choice::Spec { input: dtype, ..spec });
            }
        }
    }
    assert!(several > 2000, "{several}");
}

#[test]
fn candidates_keep_what_is_drawn() {
    let lavapipe = Caps { cpu: true, subgroup: true, min_subgroup_size: 8, max_invocations: 1024, ..Caps::baseline() };
    let sampling = sample::Spec::new(Shape::new(8, 32_000)).candidates(&lavapipe);
    assert!(sampling.len() > 5 && sampling.iter().all(|v| !v.schedule.by_blocks()));
    let softmax = softmax::Spec::new(Shape::new(8, 32_000)).candidates(&lavapipe);
    assert!(softmax.len() > 5 && softmax.iter().all(|v| !v.schedule.is_rival()));
}

/// On a real adapter, through a library that others share: every candidate draws the same columns.
#[test]
fn a_tuned_library_draws_the_same() {
    let mut gpu = Gpu::open(None).unwrap();
    let plain = gpu.library.clone();
    let (rows, cols) = (5, 1003);
    let logits: Vec<f32> = (0..rows * cols).map(|i| ((i * 37 + 11) % 101) as f32 / 17.0).collect();
    let streams: Vec<_> = (0..rows).map(|row| onesum::noise::Stream { seed: row.into(), position: 3 }).collect();
    let spec = sample::Spec::new(Shape::new(rows, cols));
    let want = gpu.sample(&logits, rows, cols, 0.7, &streams).unwrap();
    let candidates = spec.candidates(plain.caps());
    assert!(candidates.len() > 3);
    for variant in candidates {
        let mut tuning = Tuning { adapter: Adapter::of(&gpu.info), ..Tuning::default() };
        tuning.variants.sample.push(Entry { rows: [1, 8], cols: [1000, 1003], choices: Some([1, 1]), variant });
        assert!(tuning.matches(&gpu.info));
        gpu.library = plain.with_tuning(tuning);
        assert_eq!(gpu.library.sample(&spec).unwrap().variant(), variant);
        assert_eq!(gpu.sample(&logits, rows, cols, 0.7, &streams).unwrap(), want, "{variant}");
    }
    let elsewhere =
        Tuning { adapter: Adapter { driver: "another".into(), ..Adapter::of(&gpu.info) }, ..Tuning::default() };
    assert!(!elsewhere.matches(&gpu.info));
    // The library that it was made from is as before.
    assert_eq!(plain.choose(&spec), spec.select(plain.caps()));
}
