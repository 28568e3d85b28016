//! The form of the shaders: what can be linked is valid WGSL, within the baseline's limits, and reaches its barriers
//! together; and the house has a room for everything of a kernel.

#[path = "common/lint.rs"]
mod lint;
#[path = "common/rounding.rs"]
mod rounding;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess};
use onesum::conformance::{Access, Linked, programs, representatives};
use onesum::shader::{Dialect, Header};
use onesum::softmax::{Dtype, Shape, Spec, Tier, Variant, wgsl};

/// WGSL's baseline: 16,384 bytes less what implementations take for themselves.
const WORKGROUP_BYTES: u32 = 16_352;

/// Invocations of a workgroup and storage buffers of a stage in the baseline, which suffice where no option wants one of its own.
const INVOCATIONS: u32 = 256;
const STORAGE_BUFFERS: usize = 4;

fn parse(text: &str) -> naga::Module {
    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}\n{text}", e.emit_to_string(text)))
}

/// Valid with these extensions and no other.
fn validate(module: &naga::Module, header: &Header, int64: bool) -> Result<ModuleInfo, String> {
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, header.f16);
    capabilities.set(Capabilities::SUBGROUP, header.subgroups);
    capabilities.set(Capabilities::SHADER_INT64, int64);
    let result = Validator::new(ValidationFlags::all(), capabilities).validate(module);
    result.map_err(|e| format!("{e:?}"))
}

/// Files of a program whose sums and products have the same bits everywhere: nothing in them is left to compilers.
fn is_exact(program: &str, file: &str) -> bool {
    // Log-probabilities and blocks are made of sums of exponentials, as softmax is, and so are capped and biased logits.
    let sums = [
        "exp",
        "ln",
        "sum_extended",
        "exchange_sums",
        "normal_extended",
        "outcome",
        "logprobs_on",
        "scored_on",
        "temperature_on",
        "divided_off",
        "temperature_kept",
        "cap_on",
        "slopes_on",
    ];
    let lib = file.strip_prefix("lib/").unwrap_or(file);
    match program.split('/').next() {
        Some("router" | "permute") => true,
        Some("sample") => !sums.contains(&lib),
        Some("gumbel") if program.starts_with("gumbel/perturbed/") => !sums.contains(&lib) && !lib.starts_with("mask_"),
        _ => ["logarithm", "noise"].contains(&lib),
    }
}

/// Where these files are in a linked text.
fn files_of(text: &str) -> Vec<(Range<usize>, &str)> {
    const HEAD: &str = "// ---- shaders/";
    let starts: Vec<usize> = text.match_indices(HEAD).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let name = |at: usize| text[at + HEAD.len()..].split(".wgsl").next().unwrap_or_default();
    starts.iter().zip(ends).map(|(&from, to)| (from..to, name(from))).collect()
}

/// What compilers may round otherwise in the exact files of a program's text.
fn open_to_compilers(program: &str, wgsl: &str, module: &naga::Module, info: &ModuleInfo) -> BTreeSet<String> {
    let files = files_of(wgsl);
    let counts = |span: Range<usize>| {
        files.iter().any(|(range, file)| is_exact(program, file) && range.start <= span.start && span.end <= range.end)
    };
    rounding::open_to_compilers(module, info, wgsl, counts)
}

// ---- every program

/// A program, and the overrides of all programs of its text.
struct Text {
    linked: Linked,
    overrides: Vec<BTreeMap<&'static str, u32>>,
}

/// Every text that the library links, each once.
fn texts() -> Vec<Text> {
    let mut all: Vec<Text> = Vec::new();
    let mut known = HashMap::new();
    for linked in programs() {
        let given: BTreeMap<_, _> = linked.overrides.iter().map(|&(name, value)| (name, value as u32)).collect();
        // The text is its header and its files.
        let files: Vec<_> = linked.fragments.iter().map(|f| f.name).collect();
        let at = *known.entry((linked.header.f16, linked.header.constants.clone(), files)).or_insert(all.len());
        if at == all.len() {
            all.push(Text { linked, overrides: vec![given] });
        } else if !all[at].overrides.contains(&given) {
            all[at].overrides.push(given);
        }
    }
    all
}

/// Bindings as a bind group layout has them.
fn declared(module: &naga::Module) -> BTreeMap<u32, Access> {
    let bound = module.global_variables.iter().filter_map(|(_, v)| Some((v.binding?.binding, v.space)));
    bound
        .map(|(binding, space)| match space {
            AddressSpace::Uniform => (binding, Access::Uniform),
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => (binding, Access::ReadWrite),
            AddressSpace::Storage { .. } => (binding, Access::Read),
            other => panic!("{other:?} has no binding"),
        })
        .collect()
}

/// Its kernel is one of the algorithms that ours is compared with.
fn is_rival(linked: &Linked) -> bool {
    ["softmax/online/", "softmax/recompute/", "softmax/reload/"].iter().any(|rival| linked.name.starts_with(rival))
}

/// Everything that must hold of one text; what does not.
fn faults_of(text: &Text) -> BTreeSet<String> {
    let linked = &text.linked;
    let wgsl = linked.text(Dialect::Naga);
    let module = match naga::front::wgsl::parse_str(&wgsl) {
        Ok(module) => module,
        Err(error) => return BTreeSet::from([error.emit_to_string(&wgsl)]),
    };
    let mut faults = lint::divergent_barriers(&module);
    faults.extend(lint::unportable(&module));
    faults.extend(lint::non_finite(&module));
    if !is_rival(linked) {
        faults.extend(lint::inaccurate_functions(&module).into_iter().map(|f| format!("the built-in {f}")));
    }
    for (dialect, subgroups) in [(Dialect::Naga, false), (Dialect::Browser, linked.header.subgroups)] {
        let extensions: Vec<_> = [(linked.header.f16, "f16"), (subgroups, "subgroups")]
            .into_iter()
            .filter_map(|(used, name)| used.then_some(name))
            .collect();
        faults.extend(lint::unportable_words(&linked.text(dialect), &extensions));
    }
    let mut hold = |holds: bool, fault: &dyn Fn() -> String| {
        if !holds {
            faults.insert(fault());
        }
    };

    // The capabilities that it says it needs suffice, and those that not every device has are needed.
    let header = &linked.header;
    let valid = validate(&module, header, linked.int64);
    hold(valid.is_ok(), &|| valid.as_ref().err().cloned().unwrap_or_default());
    hold(!linked.int64 || validate(&module, header, false).is_err(), &|| "64-bit integers, but not used".into());
    let without = Header { subgroups: false, ..header.clone() };
    hold(!header.subgroups || validate(&module, &without, linked.int64).is_err(), &|| "no subgroup operation".into());

    // The shader is the truth: what it declares is what the layout has.
    let layout: BTreeMap<_, _> = linked.bindings.iter().copied().collect();
    hold(layout.len() == linked.bindings.len(), &|| "a binding twice".into());
    hold(declared(&module) == layout, &|| format!("declares {:?}, not {layout:?}", declared(&module)));
    let storage = linked.bindings.iter().filter(|(_, access)| *access != Access::Uniform).count();
    let options = linked.name.replace("+int64", "").replace("+wide", "").matches('+').count();
    // `plan/one` is chosen only where there is one more than in the baseline.
    let most = STORAGE_BUFFERS + options + usize::from(linked.name.starts_with("plan/one/"));
    hold(storage <= most, &|| format!("{storage} storage buffers for {options} options"));

    // A pipeline without an override is no pipeline: every one that is given is declared.
    let names: BTreeSet<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
    for given in &text.overrides {
        let unknown: Vec<_> = given.keys().filter(|name| !names.contains(*name)).collect();
        hold(unknown.is_empty(), &|| format!("no overrides {unknown:?}"));
        // Sizes must not be left to defaults.
        let value = |name: &str| given.get(name).copied().unwrap_or(u32::MAX / 1024);
        let width = lint::invocations(&module, value);
        hold(Some(&width) == given.get("WIDTH") && width <= INVOCATIONS, &|| format!("{width} invocations"));
        let bytes = lint::workgroup_bytes(&module, value);
        hold(bytes <= WORKGROUP_BYTES, &|| format!("{bytes} bytes of workgroup memory with {given:?}"));
    }
    if let Ok(info) = &valid {
        faults.extend(open_to_compilers(&linked.name, &wgsl, &module, info));
    }
    faults
}

/// Of what the library links: every two files together that are ever linked together, and a seventh of the other texts.
/// `ONESUM_EVERY_TEXT=1` takes all of them, which is minutes.
#[test]
fn every_program_is_valid_and_passes_the_lints() {
    let mut texts = texts();
    let all = std::env::var_os("ONESUM_EVERY_TEXT").is_some();
    let first: HashSet<_> = representatives().map(|linked| linked.name).collect();
    let mut turn = 0;
    texts.retain(|text| {
        turn += 1;
        all || first.contains(&text.linked.name) || turn % 7 == 0
    });
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(BTreeMap::<String, Vec<&str>>::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(text) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for fault in faults_of(text) {
                        failed.lock().unwrap().entry(fault).or_default().push(&text.linked.name);
                    }
                }
            });
        }
    });
    for (fault, names) in &*failed.lock().unwrap() {
        println!("{fault}: {} texts, such as {}", names.len(), names[0]);
    }
    assert!(failed.lock().unwrap().is_empty());
    println!("{} texts", texts.len());
    assert!(texts.len() > if all { 40_000 } else { 6_000 }, "{} texts", texts.len());
    let kernels: BTreeSet<_> = texts.iter().map(|t| t.linked.kernel()).collect();
    let all = ["copy", "expert_choice", "gumbel", "permute", "plan", "router", "sample", "softmax", "stats"];
    assert_eq!(kernels, BTreeSet::from(all));
}

/// No file under `shaders/` is dead, and none is used twice in one program.
#[test]
fn every_file_is_used() {
    let mut used = BTreeSet::new();
    for linked in programs() {
        let names: BTreeSet<_> = linked.fragments.iter().map(|f| f.name.to_string()).collect();
        assert_eq!(names.len(), linked.fragments.len(), "{}: a file twice", linked.name);
        used.extend(names);
    }
    let library = stems("shaders/lib", "wgsl").into_iter().map(|name| format!("lib/{name}"));
    assert_eq!(used, stems("shaders", "wgsl").into_iter().chain(library).collect());
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
        validate(&module, &header, false).unwrap_or_else(|e| panic!("{name}: {e}"));
        validate(&module, &Header::default(), false).unwrap_err();
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
            let lines = browser.lines().skip_while(|l| l.starts_with("//"));
            let directives: Vec<_> = lines.take_while(|l| l.starts_with("enable")).collect();
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
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;
var<workgroup> a: atomic<u32>;
var<workgroup> w: array<u32, 64>;
fn fence() { workgroupBarrier(); }
fn add_one(at: ptr<function, u32>, i: u32) { *at += i; }
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
    let header = Header { subgroups: true, ..Header::default() };
    validate(&module, &header, false).unwrap_or_else(|e| panic!("{body}: {e}"));
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
        "if (s[0] == 1u) { storageBarrier(); }",
        "if (local == 0u) { s[0] = workgroupUniformLoad(&w[0]); }",
        "for (var i = 0u; i < s[1]; i++) { s[2] = workgroupUniformLoad(&w[1]); }",
        "var i = 0u; loop { i += 1u; if (i > local) { break; } } if (i == 3u) { fence(); }",
        "var x = 0u; add_one(&x, local); if (x == 0u) { fence(); }",
        "if (local < 32u) { s[0] = subgroupBroadcastFirst(u); }",
        "if (atomicAdd(&a, 1u) == 0u) { fence(); }",
        "switch local { case 0u: { fence(); } default: {} }",
        "if (size > 8u && local > 3u) { fence(); }",
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

/// The faults of a lint in the entry point's text with this body.
fn found(lint: fn(&naga::Module) -> BTreeSet<String>, body: &str) -> BTreeSet<String> {
    lint(&parse(&ENTRY.replace("BODY", body)))
}

/// Without any one of its fences, some program is open to compilers; and none is there in vain.
#[test]
fn every_fence_is_needed_and_its_lack_is_found() {
    const FENCE: &str = "fenced(";
    // (file, line, which of the line's): whether a program needs it.
    let mut fences: BTreeMap<(String, String, usize), bool> = BTreeMap::new();
    for linked in representatives() {
        let wgsl = linked.text(Dialect::Naga);
        for (range, file) in files_of(&wgsl).into_iter().filter(|(_, file)| is_exact(&linked.name, file)) {
            for (at, _) in wgsl[range.clone()].match_indices(FENCE) {
                let at = range.start + at;
                let from = wgsl[..at].rfind('\n').map_or(0, |n| n + 1);
                let line = wgsl[from..].lines().next().unwrap_or_default().trim();
                // Of a line that is believed nothing is known; the zero of a sum is fenced for the sake of its sign.
                let other = line.contains(rounding::BELIEVED) || line == "return fenced(vec4<f32>());";
                if wgsl[..at].ends_with("fn ") || line.starts_with("//") || other {
                    continue;
                }
                let which = wgsl[from..at].matches(FENCE).count();
                let needed = fences.entry((file.to_owned(), line.to_owned(), which)).or_default();
                if !*needed {
                    let without = format!("{}{}", &wgsl[..at], &wgsl[at + FENCE.len() - 1..]);
                    let module = parse(&without);
                    let info = validate(&module, &linked.header, linked.int64).unwrap();
                    *needed = !open_to_compilers(&linked.name, &without, &module, &info).is_empty();
                }
            }
        }
    }
    let idle: Vec<_> = fences.iter().filter(|(_, needed)| !**needed).map(|(fence, _)| fence).collect();
    assert!(idle.is_empty(), "{idle:#?}");
    println!("{} fences", fences.len());
    assert!(fences.len() > 40, "{}", fences.len());
}

/// What the lint says of a function of two numbers in a file where it counts.
fn rounding_faults(body: &str) -> BTreeSet<String> {
    let text = format!(
        "@group(0) @binding(0) var<storage, read_write> x: array<f32, 8>;\n\
         fn masked(a: f32) -> f32 {{ return bitcast<f32>(bitcast<u32>(a) | u32(x[7])); }}\n\
         fn twice(a: f32, b: f32) -> f32 {{ return a * b; }}\n\
         struct Pair {{ first: f32, second: f32 }}\n\
         @compute @workgroup_size(1) fn main() {{\nlet a = x[0];\nlet b = x[1];\nlet c = x[2];\n{body}\n}}\n"
    );
    let module = parse(&text);
    let info = validate(&module, &Header::default(), false).unwrap();
    rounding::open_to_compilers(&module, &info, &text, |_| true)
}

#[test]
fn what_compilers_may_round_otherwise_is_found() {
    for (body, what) in [
        ("x[3] = a * b + c;", "a product that goes into a sum"),
        ("x[3] = c - a * b;", "a product that goes into a sum"),
        ("x[3] = c + -(a * b);", "a product that goes into a sum"),
        ("x[3] = twice(a, b) + c;", "a product that goes into a sum"),
        ("var p = a; if (a > b) { p = a * b; } x[3] = p + c;", "a product that goes into a sum"),
        ("x[3] = select(a * b, b, a > b) + c;", "a product that goes into a sum"),
        ("x[3] = bitcast<f32>(bitcast<u32>(a * b)) + c;", "a product that goes into a sum"),
        ("let p = Pair(a, a * b); x[3] = p.second + c;", "a product that goes into a sum"),
        ("var v = vec2(a, b); v.y = a * b; x[3] = v.y + c;", "a product that goes into a sum"),
        ("var s = 0.0; for (var i = 0u; i < 4u; i++) { s += x[i]; } x[3] = s;", "a sum that goes into a sum"),
        ("x[3] = (a + b) - a;", "a sum that goes into a sum"),
        ("x[3] = a * b * c;", "a product that goes into a product"),
        ("x[3] = max(a * b, c) * c;", "a product that goes into a product"),
        ("x[3] = a / b;", "a quotient, which need not be rounded right"),
    ] {
        let faults = rounding_faults(body);
        assert_eq!(faults.iter().filter(|f| f.starts_with(what)).count(), 1, "{body}: {faults:?}");
        assert_eq!(faults.len(), 1, "{body}: {faults:?}");
    }
    for body in [
        "x[3] = a * b;",
        "x[3] = masked(a * b) + c;",
        "x[3] = masked(a + b) - a;",
        "x[3] = (a + b) * c;",
        "x[3] = a * 0.5 + c;",
        "x[3] = (a * b) * 4.0;",
        "x[3] = masked(a * b) * c;",
        "let p = Pair(a, a * b); x[3] = p.first + c;",
        "x[3] = a * b; x[4] = x[3] + c;",
        "x[3] = f32(u32(a * b)) + c;",
        "x[3] = a * b + c;   // unfenced: as the test wants",
    ] {
        assert_eq!(rounding_faults(body), BTreeSet::new(), "{body}");
    }
}

#[test]
fn nan_and_infinity_are_not_recognised_by_comparison() {
    for body in [
        "let y = x[0].x; if (y != y) { s[0] = 1u; }",
        "var y = x[0].x; if (!(y == y)) { s[0] = 1u; }",
        "if (x[local].y != x[local].y) { s[0] = 1u; }",
        "if (any(x[u] != x[u])) { s[0] = 1u; }",
        "let y = x[0].x; if (y - y != 0.0) { s[0] = 1u; }",
        "let y = x[0].x; if (y <= y) { s[0] = 1u; }",
        "if (x[0].x == bitcast<f32>(0x7f800000u)) { s[0] = 1u; }",
        "x[0] = vec4(bitcast<f32>(0x7fc00000u));",
        "x[0] = bitcast<vec4<f32>>(vec4(0u, 0xff800000u, 0u, 0u));",
    ] {
        assert_ne!(found(lint::non_finite, body), BTreeSet::new(), "{body}");
    }
    for body in [
        "let y = bitcast<u32>(x[0].x); if (y != y + 1u) { s[0] = 1u; }",
        "if (s[0] == s[0]) { s[0] = 1u; }",
        "if (x[0].x != x[0].y) { s[0] = 1u; }",
        "x[0] = vec4(bitcast<f32>(u));",
        "x[0] = vec4(bitcast<f32>(0x7f7fffffu));",
        "if ((bitcast<u32>(x[0].x) & 0x7f800000u) == 0x7f800000u) { s[0] = 1u; }",
    ] {
        assert_eq!(found(lint::non_finite, body), BTreeSet::new(), "{body}");
    }
}

#[test]
fn inaccurate_functions_are_found() {
    for function in ["exp", "exp2", "log", "log2", "tanh", "sqrt", "inverseSqrt", "sin", "cos", "atan", "acosh"] {
        let body = format!("x[0] = {function}(x[1]);");
        assert_eq!(found(lint::inaccurate_functions, &body).len(), 1, "{body}");
    }
    for body in ["x[0].x = pow(x[1].x, 2.0);", "x[0] = fma(x[1], x[2], x[3]);", "x[0].x = dot(x[1], x[2]);"] {
        assert_eq!(found(lint::inaccurate_functions, body).len(), 1, "{body}");
    }
    let exact = "x[0] = floor(max(x[1], x[2])) / 3.0; s[0] = countOneBits(s[1]);";
    assert_eq!(found(lint::inaccurate_functions, exact), BTreeSet::new());
}

#[test]
fn what_is_not_portable_is_found() {
    let plain = ENTRY.replace("BODY", "s[0] = subgroupShuffleXor(size, 1u);");
    assert_eq!(lint::unportable(&parse(&plain)), BTreeSet::new());
    for (from, to) in [
        ("@builtin(subgroup_size)", "@builtin(num_subgroups)"),
        ("@builtin(subgroup_size)", "@builtin(subgroup_id)"),
        ("subgroupShuffleXor(size, 1u)", "quadBroadcast(size, 1u)"),
        ("s[0] = subgroupShuffleXor(size, 1u)", "if (u == 0u) { loop { s[0] = quadSwapX(size); break; } }"),
        ("@group(0) @binding(1)", "@group(1) @binding(1)"),
        ("var<workgroup> a", "@group(0) @binding(3) var<uniform> second: u32; var<workgroup> a"),
        ("var<workgroup> a", "@group(0) @binding(3) var image: texture_2d<f32>; var<workgroup> a"),
    ] {
        assert!(plain.contains(from), "{from}");
        assert_ne!(lint::unportable(&parse(&plain.replace(from, to))), BTreeSet::new(), "{to}");
    }

    let words = |text: &str| lint::unportable_words(text, &["f16"]);
    assert_eq!(words("enable f16;\n// subgroupElect\nlet quads = quad + load_quad(1);"), BTreeSet::new());
    for text in [
        "enable subgroups;",
        "enable f16, subgroups;",
        "enable dual_source_blending;",
        "requires packed_4x8_integer_dot_product;",
        "diagnostic(off, derivative_uniformity);",
        "if (subgroupElect()) { }",
        "let x = quadSwapDiagonal(y);",
        "@builtin(subgroup_id) id: u32",
    ] {
        assert_ne!(words(text), BTreeSet::new(), "{text}");
    }
}

#[test]
fn limits_are_counted() {
    let text = "override WIDTH: u32 = 64; var<workgroup> w: array<vec4<f32>, WIDTH>; var<workgroup> one: u32;
        @compute @workgroup_size(WIDTH, 2) fn main() { w[0] = vec4(f32(one)); }";
    let module = parse(text);
    assert_eq!(lint::invocations(&module, |_| 256), 512);
    assert_eq!(lint::workgroup_bytes(&module, |_| 256), 4100);
}

/// What `faults_of` holds against a program: not only what the lints find.
#[test]
fn a_program_that_is_not_as_it_says_is_found() {
    let name = "softmax/onchip/f32/baseline/w256k4/x4";
    let linked = programs().find(|linked| linked.name == name).unwrap();
    let overrides = |linked: &Linked| linked.overrides.iter().map(|&(name, value)| (name, value as u32)).collect();
    let faults = |linked: Linked| faults_of(&Text { overrides: vec![overrides(&linked)], linked });
    assert_eq!(faults(linked.clone()), BTreeSet::new());

    let mut change: Vec<Linked> = vec![linked; 6];
    change[0].bindings[1].1 = Access::ReadWrite;
    change[1].bindings.pop();
    change[2].overrides[0].1 = 512.0;
    change[3].overrides.push(("NOTHING", 1.0));
    change[4].header.subgroups = true;
    change[5].int64 = true;
    for (i, linked) in change.into_iter().enumerate() {
        assert_ne!(faults(linked), BTreeSet::new(), "change {i}");
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
fn cases_of() -> BTreeSet<String> {
    use onesum::conformance::{KERNELS, Profile};

    let with_cases = KERNELS.iter().filter(|kernel| kernel.cases(Profile::Quick).next().is_some());
    with_cases.map(|kernel| kernel.name.to_string()).collect()
}
