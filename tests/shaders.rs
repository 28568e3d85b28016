//! The form of the shaders: what can be linked is valid WGSL, within the baseline's limits, and reaches its barriers
//! together; and the house has a room for everything of a kernel.

#[path = "common/lint.rs"]
mod lint;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use naga::valid::{Capabilities, ValidationFlags, Validator};
use onesum::shader::{Dialect, Fragment, Header, link};
use onesum::softmax::{Causal, Dtype, MaskType, Schedule, Shape, Spec, Tier, Variant, wgsl};
use onesum::{gumbel, sample};

/// WGSL's baseline: 16,384 bytes less what implementations take for themselves.
const WORKGROUP_BYTES: u32 = 16_352;

fn parse(text: &str) -> naga::Module {
    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}\n{text}", e.emit_to_string(text)))
}

/// Valid with the capabilities of its tier and no other.
fn validate(module: &naga::Module, header: &Header) -> Result<(), String> {
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, header.f16);
    capabilities.set(Capabilities::SUBGROUP, header.subgroups);
    let result = Validator::new(ValidationFlags::all(), capabilities).validate(module);
    result.map(|_| ()).map_err(|e| format!("{e:?}"))
}

// ---- every combination of fragments

type Switch = fn(&mut Spec);

/// What can be in use, each alone.
const SWITCHES: [Switch; 12] = [
    |s| s.log = true,
    |s| s.lse = true,
    |s| s.options.scale = Some(0.5),
    |s| s.options.soft_cap = Some(30.0),
    |s| {
        s.options.causal = true;
        s.options.positions = Some(Causal { queries: 4, offset: 0 });
    },
    |s| {
        s.options.alibi = true;
        s.options.positions = Some(Causal { queries: 4, offset: 0 });
    },
    |s| s.options.mask = Some(MaskType::F32),
    |s| s.options.mask = Some(MaskType::F16),
    |s| s.options.temperature = true,
    |s| s.options.lengths = true,
    |s| s.options.sinks = true,
    |s| s.options.gumbel = true,
];

/// None, each, every pair, all: two options that do not go together show.
fn combinations(plain: &Spec) -> Vec<Spec> {
    let with = |switches: &[Switch]| {
        let mut spec = plain.clone();
        for switch in switches {
            switch(&mut spec);
        }
        spec
    };
    let mut all = vec![plain.clone(), with(&SWITCHES)];
    for (i, &a) in SWITCHES.iter().enumerate() {
        all.extend(SWITCHES[..=i].iter().map(|&b| with(&[a, b])));
    }
    all
}

/// Every variant with some combinations, and every combination with some geometry of each schedule and tier in f32.
fn reachable() -> impl Iterator<Item = (Variant, Spec)> {
    let mut thorough = HashSet::new();
    Variant::all().enumerate().flat_map(move |(n, v)| {
        let f32_only = v.input == Dtype::F32 && v.output == Dtype::F32;
        let all = f32_only && thorough.insert((v.schedule, v.tier, v.keep, v.quads));
        let plain = Spec { input: v.input, output: v.output, ..Spec::new(Shape::new(1, 4)) };
        let turn = move |i: usize| all || (n + i).is_multiple_of(23);
        combinations(&plain)
            .into_iter()
            .enumerate()
            .filter(move |(i, spec)| turn(*i) && !(v.schedule == Schedule::Reload && spec.log))
            .map(move |(_, spec)| (v, spec))
    })
}

#[test]
fn every_combination_is_valid_and_passes_the_lints() {
    let mut seen = HashSet::new();
    for (variant, spec) in reachable() {
        for text in wgsl(&spec, &variant, Dialect::Naga) {
            // Geometries that differ in width only share their text; the widest decides.
            if !seen.insert((text.clone(), variant.width)) {
                continue;
            }
            let module = parse(&text);
            let header =
                Header { f16: variant.native_f16, subgroups: variant.tier != Tier::Baseline, ..Header::default() };
            assert_eq!(validate(&module, &header), Ok(()), "{variant} {spec:?}");
            assert_eq!(lint::divergent_barriers(&module), BTreeSet::new(), "{variant} {spec:?}");
            let bytes = lint::workgroup_bytes(&module, |_| variant.width);
            assert!(bytes <= WORKGROUP_BYTES, "{variant}: {bytes} bytes of workgroup memory");
            if !variant.schedule.is_rival() {
                assert_eq!(lint::inaccurate_functions(&module), BTreeSet::new(), "{variant} {spec:?}");
            }
        }
    }
    println!("{} texts", seen.len());
    assert!(seen.len() > 3_000, "{} texts", seen.len());
}

/// Every variant of sampling, without options and with all.
#[test]
fn sampling_is_valid_and_passes_the_lints() {
    let all = sample::Options {
        scale: Some(2.0),
        mask: Some(MaskType::F32),
        bits: true,
        temperature: true,
        lengths: true,
        logprobs: true,
    };
    for variant in sample::Variant::all() {
        for options in [sample::Options::default(), all] {
            let spec = sample::Spec { input: variant.input, options, ..sample::Spec::new(Shape::new(1, 4)) };
            for text in sample::wgsl(&spec, &variant, Dialect::Naga) {
                let module = parse(&text);
                let subgroups = variant.tier != Tier::Baseline;
                let header = Header { f16: variant.native_f16, subgroups, ..Header::default() };
                assert_eq!(validate(&module, &header), Ok(()), "{variant} {options:?}");
                assert_eq!(lint::divergent_barriers(&module), BTreeSet::new(), "{variant} {options:?}");
                assert_eq!(lint::inaccurate_functions(&module), BTreeSet::new(), "{variant} {options:?}");
                assert!(lint::workgroup_bytes(&module, |_| variant.width) <= WORKGROUP_BYTES, "{variant}");
            }
        }
    }
}

/// What Gumbel-Softmax has of its own: perturbed logits and one-hot rows.
#[test]
fn gumbel_is_valid_and_passes_the_lints() {
    let options = gumbel::Options { scale: Some(2.0), mask: Some(MaskType::F16), temperature: true, lengths: true };
    let outputs = gumbel::Outputs { soft: false, lse: false, index: true, hard: true, perturbed: true };
    for variant in Variant::all().filter(|v| !v.schedule.is_rival() && v.tier == Tier::Baseline) {
        let (input, output) = (variant.input, variant.output);
        let spec = gumbel::Spec { input, output, outputs, options, ..gumbel::Spec::new(Shape::new(1, 4)) };
        let texts = gumbel::wgsl(&spec, &variant, None, Dialect::Naga);
        assert_eq!(texts.len(), 2);
        for text in texts {
            let module = parse(&text);
            let f16 = text.contains("enable f16;");
            assert!(variant.native_f16 || !f16, "{variant}");
            assert_eq!(validate(&module, &Header { f16, ..Header::default() }), Ok(()), "{variant}");
            assert_eq!(lint::divergent_barriers(&module), BTreeSet::new(), "{variant}");
            assert_eq!(lint::inaccurate_functions(&module), BTreeSet::new(), "{variant}");
            assert_eq!(lint::workgroup_bytes(&module, |_| variant.width), 0, "{variant}");
        }
    }
}

/// The kernels that are no variant of softmax or sampling.
#[test]
fn the_small_kernels_pass_the_lints_too() {
    let partials = ["lib/exp", "lib/partial", "lib/sum_extended", "lib/partials", "lib/outcome"];
    let merge = [&partials[..], &["lib/normal_extended", "lib/ln", "softmax_merge"]].concat();
    for own in [vec!["lib/entry_baseline", "copy"], vec!["softmax_empty"], merge] {
        let names = [vec!["lib/params", "lib/lane"], own].concat();
        let module = parse(&linked(&names));
        assert_eq!(validate(&module, &Header::default()), Ok(()), "{names:?}");
        assert_eq!(lint::divergent_barriers(&module), BTreeSet::new(), "{names:?}");
        assert_eq!(lint::inaccurate_functions(&module), BTreeSet::new(), "{names:?}");
        assert_eq!(lint::workgroup_bytes(&module, |_| 256), 0, "{names:?}");
    }
}

fn linked(names: &[&'static str]) -> String {
    let texts: Vec<_> = names.iter().map(|n| read(&root().join(format!("shaders/{n}.wgsl")))).collect();
    let fragments: Vec<_> = names.iter().zip(&texts).map(|(&name, text)| Fragment { name, text: leak(text) }).collect();
    link(Dialect::Naga, &Header::default(), &fragments)
}

/// A fragment's text is part of the program, in tests as elsewhere.
fn leak(text: &str) -> &'static str {
    Box::leak(text.to_string().into_boxed_str())
}

/// A tier's features are asked for because they are needed.
#[test]
fn a_tier_without_its_feature_is_invalid() {
    for (name, header) in [
        ("softmax/stream/f32/shuffle/w8/x4", Header { subgroups: true, ..Header::default() }),
        ("softmax/stream/f16n/baseline/w8/x4", Header { f16: true, ..Header::default() }),
    ] {
        let variant: Variant = name.parse().unwrap();
        let spec = Spec { input: variant.input, output: variant.output, ..Spec::new(Shape::new(1, 4)) };
        let module = parse(&wgsl(&spec, &variant, Dialect::Naga)[0]);
        assert_eq!(validate(&module, &header), Ok(()), "{name}");
        validate(&module, &Header::default()).unwrap_err();
    }
}

/// Browsers want `enable subgroups;`, which naga rejects. Nothing else differs.
#[test]
fn dialects_differ_in_one_directive() {
    let enable = "enable subgroups;\n";
    for variant in Variant::all() {
        let spec = Spec { input: variant.input, output: variant.output, ..Spec::new(Shape::new(1, 4)) };
        let naga = wgsl(&spec, &variant, Dialect::Naga);
        for (naga, browser) in naga.iter().zip(wgsl(&spec, &variant, Dialect::Browser)) {
            let directives: Vec<_> = browser.lines().take_while(|l| l.starts_with("enable")).collect();
            assert_eq!(directives.contains(&enable.trim_end()), variant.tier != Tier::Baseline, "{variant}");
            assert_eq!(directives.contains(&"enable f16;"), variant.native_f16, "{variant}");
            assert_eq!(browser.matches("enable ").count(), directives.len(), "{variant}: directives come first");
            assert_eq!(&browser.replace(enable, ""), naga, "{variant}");
        }
    }
}

// ---- the lints find what is planted

const ENTRY: &str = "
@group(0) @binding(0) var<uniform> u: u32;
@group(0) @binding(1) var<storage, read_write> s: array<u32>;
var<workgroup> w: array<u32, 64>;
fn fence() { workgroupBarrier(); }
fn is_first(i: u32) -> bool { if (i == 0u) { return true; } return false; }
@compute @workgroup_size(64)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_size) size: u32,
) { BODY }";

fn faults(body: &str) -> BTreeSet<String> {
    let module = parse(&ENTRY.replace("BODY", body));
    // What the lint is for: naga has nothing against any of these.
    assert_eq!(validate(&module, &Header { subgroups: true, ..Header::default() }), Ok(()), "{body}");
    lint::divergent_barriers(&module)
}

#[test]
fn divergent_barriers_are_found() {
    for body in [
        "if (local == 0u) { workgroupBarrier(); }",
        "if (u == 0u) { if (local < 3u) { } else { storageBarrier(); } }",
        "if (local == 0u) { return; } workgroupBarrier();",
        "for (var i = 0u; i < local; i++) { workgroupBarrier(); }",
        "for (var i = 0u; i < 4u; i++) { workgroupBarrier(); if (s[i] == 0u) { break; } }",
        "for (var i = 0u; i < 4u; i++) { if (i == local) { continue; } workgroupBarrier(); }",
        "for (var i = 0u; i < 4u; i++) { if (i == local) { return; } } workgroupBarrier();",
        "loop { workgroupBarrier(); continuing { break if w[0] == 1u; } }",
        "if (w[3] == 0u) { fence(); }",
        "if (is_first(local)) { fence(); }",
        "var x = 0u; if (local == 1u) { x = 1u; } if (x == 0u) { fence(); }",
        "var x = array<u32, 4>(); x[local % 4u] = 1u; if (x[0] == 0u) { fence(); }",
        "var x = 0u; for (var i = 0u; i < 3u; i++) { if (x > 0u) { fence(); } x = local; }",
        "if (local == 0u) { s[0] = subgroupAdd(u); }",
        "if (subgroupAdd(u) == 0u) { workgroupBarrier(); }",
        "let x = subgroupShuffleXor(u, 1u); if (x > 3u) { s[0] = subgroupMax(x); }",
        "if (vec2(u, local).y == 0u) { workgroupBarrier(); }",
        "if (select(false, true, s[0] > 1u)) { workgroupBarrier(); }",
    ] {
        assert_ne!(faults(body), BTreeSet::new(), "{body}");
    }
}

#[test]
fn uniform_barriers_are_let_pass() {
    for body in [
        "workgroupBarrier();",
        "if (u == group.x) { workgroupBarrier(); }",
        "if (u == 0u) { return; } fence();",
        "for (var i = 1u; i < size; i *= 2u) { s[local] = subgroupShuffleXor(local, i); }",
        "for (var step = 32u; step > 0u; step /= 2u) { workgroupBarrier(); if (local < step) { w[local] = 1u; } }",
        "if (local == 0u) { s[0] = 1u; } fence();",
        "for (var i = local; i < 64u; i += 3u) { s[i] = 1u; } fence();",
        "for (var i = 0u; i < u; i++) { if (i == 3u) { break; } fence(); }",
        "let first = is_first(local); fence(); if (first) { s[0] = 1u; }",
        "if (is_first(u)) { fence(); }",
        "var x = u; x += 1u; if (x == 3u) { fence(); }",
        "if (workgroupUniformLoad(&w[0]) == 0u) { fence(); }",
    ] {
        assert_eq!(faults(body), BTreeSet::new(), "{body}");
    }
}

/// Faults planted into a real shader, not a made-up one.
#[test]
fn mutants_of_a_real_shader_are_found() {
    let text = |name: &str| {
        let variant: Variant = name.parse().unwrap();
        wgsl(&Spec::new(Shape::new(1, 4)), &variant, Dialect::Naga).remove(0)
    };
    let baseline = text("softmax/onchip/f32/baseline/w256k4/x4");
    let subgroup = text("softmax/stream/f32/subgroup/w256/x4");
    for (text, from, to) in [
        (&baseline, "workgroupBarrier();", "if (at.local == 0u) { workgroupBarrier(); }"),
        (&baseline, "let total = reduce(", "if (!task.exists) { return; }\n    let total = reduce("),
        (&baseline, "step > 0u; step /= 2u", "step > u32(mine.high); step /= 2u"),
        (&subgroup, "let total = reduce(", "if (mine.high > 1.0) { return; }\n    let total = reduce("),
        (&subgroup, "distance < most; distance", "distance < size; distance"),
    ] {
        assert!(text.contains(from), "{from:?} is still there to be replaced");
        let mutant = text.replace(from, to);
        assert_ne!(lint::divergent_barriers(&parse(&mutant)), BTreeSet::new(), "{to}");
    }
    assert!(lint::workgroup_bytes(&parse(&baseline), |_| 1024) > WORKGROUP_BYTES);
    let built_in = baseline.replace("let z = f / (m + 1.0);", "let z = f / exp2(m);");
    assert_eq!(lint::inaccurate_functions(&parse(&built_in)), BTreeSet::from(["Exp2".to_string()]));
}

// ---- the house

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names of a folder's files, without their ending.
fn stems(folder: &str, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// What follows the marker of each fragment is the file, whole and unchanged.
#[test]
fn a_linked_text_is_its_files() {
    let variant: Variant = "softmax/split/f16/shuffle/w8/x1".parse().unwrap();
    let spec = Spec { input: Dtype::F16, output: Dtype::F16, lse: true, ..Spec::new(Shape::new(1, 4)) };
    for text in wgsl(&spec, &variant, Dialect::Browser) {
        let parts: Vec<_> = text.split("\n// ---- shaders/").skip(1).collect();
        assert!(parts.len() > 10);
        for part in parts {
            let (name, body) = part.split_once('\n').unwrap();
            assert_eq!(body, read(&root().join("shaders").join(name)), "{name}");
        }
    }
}

/// One file, one entry point; fragments in `lib/` have none but those that are called `entry_*`.
#[test]
fn entry_points_are_where_they_belong() {
    for folder in ["shaders", "shaders/lib"] {
        for name in stems(folder, "wgsl") {
            let text = read(&root().join(folder).join(format!("{name}.wgsl")));
            let (entries, runs) = (text.matches("@compute").count(), text.matches("fn run(").count());
            let expected = usize::from(folder == "shaders" || name.starts_with("entry_"));
            // A kernel has its entry point, or is the `run` that a tier's entry point calls.
            assert_eq!(entries + runs, expected, "{folder}/{name}");
        }
    }
}

/// The kernels that a folder has files of. `copy` is a yardstick: there is nothing to hold it against.
fn kernels(folder: &str, ending: &str) -> BTreeSet<String> {
    let others = ["copy", "mod", "place"];
    // `softmax_sum` is softmax's, `expert_choice` is a kernel.
    let known = stems("src/kernel", "rs");
    let kernel_of = |name: &String| {
        let owner = known.iter().filter(|k| *k == name || name.starts_with(&format!("{k}_"))).max_by_key(|k| k.len());
        owner.unwrap_or(name).clone()
    };
    stems(folder, ending).iter().map(kernel_of).filter(|name| !others.contains(&name.as_str())).collect()
}

/// A kernel found in one room is found in all.
#[test]
fn every_kernel_has_all_its_rooms() {
    let semantics = read(&root().join("docs/semantics.md"));
    let sections = semantics.lines().filter_map(|l| l.strip_prefix("## "));
    let rooms: BTreeMap<&str, BTreeSet<String>> = BTreeMap::from([
        ("shaders", kernels("shaders", "wgsl")),
        ("src/kernel", kernels("src/kernel", "rs")),
        ("src/reference", kernels("src/reference", "rs")),
        ("docs/semantics.md", sections.map(|s| s.trim().to_lowercase()).collect()),
        #[cfg(feature = "conformance")]
        ("src/conformance", cases_of()),
    ]);
    // A page of prose may have sections on other things.
    let known: BTreeSet<_> =
        rooms.iter().filter(|(room, _)| **room != "docs/semantics.md").flat_map(|(_, k)| k).collect();
    assert!(known.contains(&"softmax".to_string()));
    for kernel in known {
        for (room, names) in &rooms {
            assert!(names.contains(kernel), "{kernel} is not in {room}");
        }
    }
}

/// The kernels that the conformance suite has cases of.
#[cfg(feature = "conformance")]
fn cases_of() -> BTreeSet<String> {
    use onesum::conformance::{KERNELS, Profile};

    let with_cases = KERNELS.iter().filter(|kernel| kernel.cases(Profile::Quick).next().is_some());
    with_cases.map(|kernel| kernel.name.to_string()).collect()
}
