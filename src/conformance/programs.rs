//! Every program that the library can link: for compilers other than the one at hand, and for whatever reads WGSL.

use std::collections::{HashMap, HashSet};

pub use crate::library::Access;
use crate::library::Program;
use crate::shader::{Dialect, Fragment, Header, link};
use crate::{Caps, copy, expert_choice, permute, plan, router, sample, softmax, stats};

/// One shader module with one entry point, `main`, and what a pipeline needs besides: all bindings are in group 0.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Unique. Kernel and variant, what is in use, the form: `@pooled` has every storage buffer read-write, `@shared` reads its
    /// input through its output, `+int64` is for devices with 64-bit integers, `+wide` for those of them that run on the CPU.
    pub name: String,
    /// Language extensions and constants.
    pub header: Header,
    /// Uses 64-bit integers: for native devices with `SHADER_INT64` only, WGSL has none.
    pub int64: bool,
    /// The files it is made of, in order.
    pub fragments: Vec<Fragment>,
    /// Pipeline constants by name.
    pub overrides: Vec<(&'static str, f64)>,
    /// Bindings, and how each is used.
    pub bindings: Vec<(u32, Access)>,
}

impl Linked {
    fn of(program: Program) -> Self {
        let Program { name, header, fragments, overrides, bindings } = program;
        // A file that needs them is called after them.
        let int64 = fragments.iter().any(|f| f.name.ends_with("_int64") || f.name.ends_with("product_64"));
        Self { name, header, int64, fragments, overrides, bindings }
    }

    /// The whole WGSL text.
    #[must_use]
    pub fn text(&self, dialect: Dialect) -> String {
        link(dialect, &self.header, &self.fragments)
    }

    /// Its kernel, which its name begins with.
    #[must_use]
    pub fn kernel(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// Invocations of a workgroup, all in its first dimension.
    #[must_use]
    pub fn workgroup(&self) -> u32 {
        self.overrides.iter().find(|(name, _)| *name == "WIDTH").map_or(1, |(_, width)| *width as u32)
    }
}

/// Every program there is, each once: tens of thousands, listed in a moment, since texts are only linked when asked for.
///
/// Options multiply, so that not every set of them is here: of softmax, every variant has none, all, and each alone, in every
/// form, and one variant of each kind has every two; the other kernels are alike. Many texts are equal: widths are overrides.
pub fn programs() -> impl Iterator<Item = Linked> {
    let mut seen = HashSet::new();
    listed().filter(move |program| seen.insert(program.name.clone())).map(Linked::of)
}

/// As few of them as show every two files together that are ever linked together, and every number with every file: what a
/// slow compiler is asked first.
pub fn representatives() -> impl Iterator<Item = Linked> {
    let mut ids = HashMap::new();
    let mut met: Vec<Vec<bool>> = Vec::new();
    programs().filter(move |program| {
        let files = program.fragments.iter().map(|f| (f.name, 0));
        let parts = files.chain(program.header.constants.iter().copied());
        let parts: Vec<_> = parts
            .map(|part| {
                let next = ids.len();
                *ids.entry(part).or_insert(next)
            })
            .collect();
        met.resize_with(ids.len(), Vec::new);
        let mut new = false;
        for &a in &parts {
            let row = &mut met[a];
            for &b in parts.iter().filter(|b| **b <= a) {
                if row.len() <= b {
                    row.resize(b + 1, false);
                }
                new |= !std::mem::replace(&mut row[b], true);
            }
        }
        new
    })
}

/// All of them; the same more than once.
fn listed() -> impl Iterator<Item = Program> {
    let copies = copy::Variant::ALL.into_iter().map(copy::Variant::program);
    let any = copies
        .chain(softmax::every_program())
        .chain(sample::every_program())
        .chain(router::every_program())
        .chain(plan::every_program())
        .chain(expert_choice::every_program())
        .chain(permute::every_program())
        .chain(stats::every_program());
    // Forms for every device come first, so that they represent the others where both would.
    any.flat_map(|program| [program.clone(), program.on(&with_int64(false)), program.on(&with_int64(true))])
}

fn with_int64(cpu: bool) -> Caps {
    Caps { int64: true, cpu, ..Caps::baseline() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::PRODUCT_16;

    /// Names are cache keys: one name, one program.
    #[test]
    fn names_are_unique_to_programs() {
        let mut known: HashMap<String, String> = HashMap::new();
        for program in listed() {
            let fragments: Vec<_> = program.fragments.iter().map(|f| f.name).collect();
            let rest = format!("{:?} {fragments:?} {:?} {:?}", program.header, program.overrides, program.bindings);
            let before = known.entry(program.name.clone()).or_insert_with(|| rest.clone());
            assert_eq!(*before, rest, "{}", program.name);
        }
        assert_eq!(known.len(), programs().count());
    }

    /// With 64-bit integers, whatever makes noise is another program; the rest is the same.
    #[test]
    fn noise_is_another_program_with_wider_products() {
        for program in listed() {
            let noisy = program.fragments.contains(&PRODUCT_16);
            assert_eq!(noisy, program.on(&with_int64(false)).name != program.name, "{}", program.name);
            assert_eq!(program.on(&Caps::baseline()).name, program.name);
        }
    }

    /// A file that moves quads and its twin for 64-bit integers offer the same functions and names, and none is forgotten.
    #[test]
    fn twins_offer_the_same() {
        let offers = |fragment: &Fragment| -> Vec<String> {
            let head = |line: &&str| line.starts_with("fn ") || line.starts_with("alias ");
            let name = |line: &str| line.split(" =").next().unwrap_or_default().to_owned();
            fragment.text.lines().filter(head).map(name).collect()
        };
        let mut changed = HashSet::new();
        for program in listed() {
            let wide = program.on(&with_int64(true));
            for (before, after) in program.fragments.iter().zip(&wide.fragments).filter(|(a, b)| a != b) {
                assert_eq!(offers(before), offers(after), "{} and {}", before.name, after.name);
                assert!(!before.name.ends_with("_int64") && after.name != before.name);
                changed.insert(before.name);
            }
            let narrow = |f: &&Fragment| {
                ["lib/src_", "lib/dst_", "lib/reload_"].iter().any(|kind| f.name.starts_with(kind))
                    && f.name.ends_with("_x4")
                    && !f.name.contains("f16n")
            };
            assert_eq!(wide.fragments.iter().find(narrow), None, "{}", wide.name);
        }
        // All moves, and the products.
        assert_eq!(changed.len(), 17 + 1);
    }

    /// Few, and no two files that meet are missed, by compilers without 64-bit integers neither.
    #[test]
    fn representatives_show_every_two_files_together() {
        let pairs = |linked: &Linked| -> Vec<(&str, &str)> {
            let names: Vec<_> = linked.fragments.iter().map(|f| f.name).collect();
            names.iter().flat_map(|&a| names.iter().map(move |&b| (a, b))).collect()
        };
        let few: Vec<_> = representatives().collect();
        assert!((1_000..3_000).contains(&few.len()), "{}", few.len());
        let met: HashSet<_> = few.iter().flat_map(pairs).collect();
        let met_by_all: HashSet<_> = few.iter().filter(|linked| !linked.int64).flat_map(pairs).collect();
        // A prime number, so that every kind has its turn.
        for linked in programs().step_by(7) {
            let met = if linked.int64 { &met } else { &met_by_all };
            assert!(pairs(&linked).iter().all(|pair| met.contains(pair)), "{}", linked.name);
        }
    }

    /// Writes texts in the browsers' dialect to `target/wgsl/`, for compilers other than naga: `tools/web/check`.
    /// The representatives and some of the others, or all of them with `ONESUM_EVERY_TEXT=1`.
    #[test]
    #[ignore = "writes files"]
    fn write_texts() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/wgsl");
        std::fs::create_dir_all(&folder).unwrap();
        let first: HashSet<_> = representatives().map(|linked| linked.name).collect();
        let all = std::env::var_os("ONESUM_EVERY_TEXT").is_some();
        let (mut seen, mut turn) = (HashSet::new(), 0);
        for linked in programs().filter(|linked| !linked.int64) {
            let files: Vec<_> = linked.fragments.iter().map(|f| f.name).collect();
            if !seen.insert((linked.header.f16, linked.header.constants.clone(), files)) {
                continue;
            }
            turn += 1;
            if all || turn % 32 == 0 || first.contains(&linked.name) {
                let widths: Vec<_> =
                    linked.overrides.iter().map(|(name, value)| format!("// {name} {value}\n")).collect();
                let name = linked.name.replace('/', "-");
                let text = linked.text(Dialect::Browser) + &widths.concat();
                std::fs::write(folder.join(format!("{name}.wgsl")), text).unwrap();
            }
        }
    }
}
