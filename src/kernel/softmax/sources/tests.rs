//! Programs of every form: `tests/shaders.rs` sees those for separate buffers only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess};

use super::super::shard;
use super::*;
use crate::shader::Dialect;
use crate::softmax::{Causal, Options, Shape};
use crate::{Caps, copy, expert_choice, permute, plan, router, sample, stats};

#[path = "../../../../tests/common/lint.rs"]
mod lint;

const FORMS: [Form; 4] = [
    Form { src_in_dst: false, write_all: false },
    Form { src_in_dst: false, write_all: true },
    Form { src_in_dst: true, write_all: false },
    Form { src_in_dst: true, write_all: true },
];

/// Each option alone, none and all.
fn options() -> Vec<Options> {
    let none = Options::default();
    let positions = Some(Causal { queries: 2, offset: 0 });
    let all = Options {
        scale: Some(2.0),
        soft_cap: Some(3.0),
        positions,
        causal: true,
        alibi: true,
        mask: Some(MaskType::F32),
        temperature: true,
        lengths: true,
        sinks: true,
        gumbel: true,
    };
    vec![
        none,
        all,
        Options { mask: Some(MaskType::F16), ..all },
        Options { scale: all.scale, ..none },
        Options { soft_cap: all.soft_cap, ..none },
        Options { positions, ..none },
        Options { positions, causal: true, ..none },
        Options { positions, alibi: true, ..none },
        Options { mask: Some(MaskType::F32), ..none },
        Options { mask: Some(MaskType::F16), ..none },
        Options { temperature: true, ..none },
        Options { lengths: true, ..none },
        Options { positions, causal: true, lengths: true, ..none },
        Options { sinks: true, ..none },
        Options { gumbel: true, ..none },
    ]
}

/// Every program of the kernels that route.
fn routing() -> Vec<Program> {
    [
        router::every_program(),
        plan::every_program(),
        expert_choice::every_program(),
        permute::every_program(),
        stats::every_program(),
    ]
    .concat()
}

/// Every program of these variants, and those of the small kernels.
fn programs(variants: impl Iterator<Item = Variant>) -> Vec<Program> {
    let mut all: Vec<_> = copy::Variant::ALL.into_iter().map(copy::Variant::program).collect();
    all.extend([shard::merge_program(), shard::empty_program()]);
    all.extend(sample::every_program());
    all.extend(routing());
    for v in variants {
        for (i, options) in options().into_iter().enumerate() {
            let reload = v.schedule == Schedule::Reload;
            let (log, lse) = (i % 2 == 1 && !reload, i % 3 == 1);
            let spec = Spec { log, lse, options, input: v.input, output: v.output, ..Spec::new(Shape::new(1, 4)) };
            for form in FORMS.into_iter().filter(|f| !f.src_in_dst || v.input == v.output) {
                let others = if options.gumbel { &[Stage::Logits, Stage::OneHot][..] } else { &[] };
                all.extend(Stage::of(v.schedule).iter().chain(others).map(|&stage| program(&spec, &v, stage, form)));
            }
        }
    }
    all
}

/// One geometry of each kind: widths do not change the text, only how much is kept on chip does.
fn kinds() -> impl Iterator<Item = Variant> {
    let mut seen = BTreeSet::new();
    Variant::all().filter(move |v| {
        let same = v.input == v.output || (v.input, v.output) == (Dtype::F16, Dtype::F32);
        let types = (v.input.name(), v.output.name(), v.native_f16);
        same && seen.insert((v.schedule as u8, v.tier as u8, v.keep, v.quads, types))
    })
}

fn parse(program: &Program) -> naga::Module {
    let text = program.text(Dialect::Naga);
    naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}\n{}", program.name, e.emit_to_string(&text)))
}

/// Bindings as a bind group layout has them.
fn declared(module: &naga::Module) -> BTreeMap<u32, Access> {
    let bound = module.global_variables.iter().filter_map(|(_, v)| Some((v.binding?, v.space)));
    bound
        .map(|(binding, space)| {
            assert_eq!(binding.group, 0);
            let access = match space {
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::ReadWrite,
                AddressSpace::Storage { .. } => Access::Read,
                other => panic!("{other:?} has no binding"),
            };
            (binding.binding, access)
        })
        .collect()
}

/// All programs of f32, and a third of those of every other pair of types: options do not depend on types. Those that route
/// have a test of their own.
fn representative() -> Vec<Program> {
    let others = |p: &Program| !p.name.contains("/f32/") && !p.name.starts_with("copy");
    let routing: BTreeSet<_> = routing().into_iter().map(|p| p.name).collect();
    let mut all = programs(kinds());
    all.retain(|p| !routing.contains(&p.name));
    let mut turn = 0;
    all.retain(|p| {
        turn += u32::from(others(p));
        !others(p) || turn.is_multiple_of(3)
    });
    all
}

/// What is declared is what the layout has, and it is valid with the capabilities of its tier and no other.
fn check_form(program: &Program, module: &naga::Module) {
    let ours: BTreeMap<_, _> = program.bindings.iter().copied().collect();
    assert_eq!(ours.len(), program.bindings.len(), "{}: a binding twice", program.name);
    assert_eq!(declared(module), ours, "{}", program.name);

    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, program.header.f16);
    capabilities.set(Capabilities::SUBGROUP, program.header.subgroups);
    let result = Validator::new(ValidationFlags::all(), capabilities).validate(module);
    assert!(result.is_ok(), "{}: {result:?}", program.name);
}

/// The shader is the truth: what it declares is what the layout has. And it is valid, in every form.
#[test]
fn bindings_are_the_shaders() {
    let mut parsed = BTreeSet::new();
    for program in representative() {
        if !parsed.insert(program.text(Dialect::Naga)) {
            continue;
        }
        check_form(&program, &parse(&program));
    }
    assert!(parsed.len() > 1_000, "{}", parsed.len());
}

/// A pipeline without an override is no pipeline: every one that is given is declared.
#[test]
fn overrides_are_the_shaders() {
    let mut seen = BTreeSet::new();
    for program in programs(Variant::all().take(4)) {
        let given: Vec<_> = program.overrides.iter().map(|(name, _)| *name).collect();
        if !seen.insert((program.text(Dialect::Naga), given)) {
            continue;
        }
        let module = parse(&program);
        let names: BTreeSet<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        for (name, _) in &program.overrides {
            assert!(names.contains(name), "{}: {name}", program.name);
        }
    }
}

/// Names are cache keys: one name, one program.
#[test]
fn names_are_unique_to_programs() {
    let mut known: HashMap<String, String> = HashMap::new();
    for program in programs(Variant::all()) {
        let fragments: Vec<_> = program.fragments.iter().map(|f| f.name).collect();
        let rest = format!("{:?} {fragments:?} {:?} {:?}", program.header, program.overrides, program.bindings);
        let before = known.entry(program.name.clone()).or_insert_with(|| rest.clone());
        assert_eq!(*before, rest, "{}", program.name);
    }
}

fn with_int64() -> Caps {
    Caps { int64: true, ..Caps::baseline() }
}

/// As above for what routes, and: barriers reached together, no inaccurate built-in, and within the baseline's workgroup
/// memory.
#[test]
fn routing_is_valid_and_passes_the_lints() {
    let mut seen = BTreeSet::new();
    for program in routing() {
        // Overrides size workgroup memory.
        if !seen.insert((program.text(Dialect::Naga), format!("{:?}", program.overrides))) {
            continue;
        }
        let module = parse(&program);
        check_form(&program, &module);
        assert_eq!(lint::divergent_barriers(&module), BTreeSet::new(), "{}", program.name);
        assert_eq!(lint::inaccurate_functions(&module), BTreeSet::new(), "{}", program.name);
        let value = |name: &str| {
            let given = program.overrides.iter().find(|(known, _)| *known == name);
            given.unwrap_or_else(|| panic!("{}: workgroup memory sized by {name:?}", program.name)).1 as u32
        };
        let bytes = lint::workgroup_bytes(&module, value);
        assert!(bytes <= 16_352, "{}: {bytes} bytes of workgroup memory", program.name);
    }
}

/// With 64-bit integers, whatever makes noise is another program, and valid; the rest is the same.
#[test]
fn noise_by_wider_products_is_valid() {
    let mut others = 0;
    for program in representative().iter().filter(|p| p.name.contains("/f32/") && !p.name.contains('@')) {
        let wide = program.on(&with_int64());
        let noisy = program.fragments.contains(&PRODUCT_16);
        assert_eq!(noisy, wide.name != program.name, "{}", program.name);
        assert_eq!(program.on(&Caps::baseline()).name, program.name);
        if !noisy {
            continue;
        }
        others += 1;
        let mut capabilities = Capabilities::SHADER_INT64;
        capabilities.set(Capabilities::SHADER_FLOAT16, wide.header.f16);
        capabilities.set(Capabilities::SUBGROUP, wide.header.subgroups);
        let result = Validator::new(ValidationFlags::all(), capabilities).validate(&parse(&wide));
        assert!(result.is_ok(), "{}: {result:?}", wide.name);
    }
    assert!(others > 100, "{others}");
}

/// No file under `shaders/` is dead, and none is used twice in one program.
#[test]
fn every_file_is_used() {
    let mut used = BTreeSet::new();
    for program in
        programs(kinds()).into_iter().chain(permute::every_wider_program()).chain(router::every_wider_program())
    {
        for program in [program.on(&with_int64()), program] {
            let names: BTreeSet<_> = program.fragments.iter().map(|f| f.name.to_string()).collect();
            assert_eq!(names.len(), program.fragments.len(), "{}: a fragment twice", program.name);
            used.extend(names);
        }
    }
    let mut files = BTreeSet::new();
    for (folder, prefix) in [("shaders", ""), ("shaders/lib", "lib/")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "wgsl") {
                files.insert(format!("{prefix}{}", path.file_stem().unwrap().to_string_lossy()));
            }
        }
    }
    assert_eq!(used, files);
}

/// Writes every text in the browsers' dialect to `target/wgsl/`, for compilers other than naga: `tools/browser`.
#[test]
#[ignore = "writes files"]
fn write_texts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/wgsl");
    std::fs::create_dir_all(&folder).unwrap();
    for program in representative().into_iter().chain(routing()) {
        let text = program.text(Dialect::Browser);
        let widths: Vec<_> = program.overrides.iter().map(|(name, value)| format!("// {name} {value}\n")).collect();
        let name = program.name.replace('/', "-");
        std::fs::write(folder.join(format!("{name}.wgsl")), text + &widths.concat()).unwrap();
    }
}
