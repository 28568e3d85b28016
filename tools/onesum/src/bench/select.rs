//! What is measured: definitions, by preset and name, with what the command line puts in their place.

use super::definitions::{Definition, Kernel, Preset, Size, Types};
use super::variants;
use crate::failure::Failure;
use crate::hint::did_you_mean;

/// What the command line says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The definitions are the user's: all of them are meant unless more is said.
    pub own: bool,
    /// Parts of definitions' names.
    pub filters: &'a [String],
    pub preset: Option<Preset>,
    /// Instead of what definitions have.
    pub sizes: &'a [Size],
    pub types: &'a [Types],
    pub words: &'a [String],
}

/// The definitions that are meant, with what is put in their place.
pub fn select(all: &[Definition], wish: Wish<'_>) -> Result<Vec<Definition>, Failure> {
    let mut chosen: Vec<Definition> = by_name(all, wish)?.into_iter().cloned().collect();
    if !wish.sizes.is_empty() {
        reshape(&mut chosen, wish.sizes);
    }
    if !wish.words.is_empty() {
        name_variants(&mut chosen, wish)?;
    }
    for definition in &mut chosen {
        if !wish.types.is_empty() {
            definition.types = wish.types.to_vec();
        }
        if let Some(what) = definition.cases().find_map(|case| case.check().err()) {
            return Err(Failure::usage(format!("{}: {what}", definition.name)));
        }
    }
    Ok(chosen)
}

/// In the order of the definitions.
fn by_name<'a>(all: &'a [Definition], wish: Wish<'_>) -> Result<Vec<&'a Definition>, Failure> {
    let within = |preset| all.iter().filter(move |d| d.presets.contains(&preset)).collect::<Vec<_>>();
    let one_off = !(wish.sizes.is_empty() && wish.types.is_empty() && wish.words.is_empty());
    let softmax = [Kernel::Softmax.name().to_owned()];
    let (pool, filters) = match (wish.preset, wish.own) {
        (Some(preset), _) if one_off && wish.filters.is_empty() && !wish.own => {
            return Ok(within(preset).into_iter().filter(|d| d.kernel == Kernel::Softmax).collect());
        }
        (Some(preset), _) => (within(preset), wish.filters),
        (None, true) => (all.iter().collect(), wish.filters),
        (None, false) if !wish.filters.is_empty() => (within(Preset::All), wish.filters),
        (None, false) if one_off => (within(Preset::All), &softmax[..]),
        (None, false) => (within(Preset::Quick), wish.filters),
    };
    // A whole name is that definition, of whatever preset unless one is asked for.
    let exact = if wish.preset.is_some() { &pool[..] } else { &all.iter().collect::<Vec<_>>()[..] };
    let mut names: Vec<&str> = Vec::new();
    for filter in filters {
        // A part of every name.
        if filter.trim().is_empty() {
            return Err(Failure::usage(format!("the filter {filter:?} is empty: without any, the preset is run")));
        }
        let whole = exact.iter().filter(|d| d.name == *filter).map(|d| d.name.as_str());
        let mut found: Vec<_> = whole.collect();
        if found.is_empty() {
            found.extend(pool.iter().map(|d| d.name.as_str()).filter(|name| name.contains(filter.as_str())));
        }
        if found.is_empty() {
            return Err(unknown(filter, all, wish));
        }
        names.extend(found);
    }
    Ok(if filters.is_empty() { pool } else { all.iter().filter(|d| names.contains(&d.name.as_str())).collect() })
}

fn unknown(filter: &str, all: &[Definition], wish: Wish<'_>) -> Failure {
    let kernels = [Kernel::Softmax, Kernel::Gumbel, Kernel::Sample, Kernel::Route, Kernel::Permute];
    if kernels.iter().any(|&kernel| variants::check(kernel, filter).is_ok()) {
        let advice = format!("variants are named by --variant {filter}, after the name of a definition");
        return Failure::usage(format!("no definition's name contains {filter:?}: {advice}"));
    }
    if let (Some(preset), Some(elsewhere)) = (wish.preset, all.iter().find(|d| d.name.contains(filter))) {
        let (preset, name) = (preset.name(), &elsewhere.name);
        let presets: Vec<_> = elsewhere.presets.iter().map(|p| p.name()).collect();
        let presets = presets.join(", ");
        return Failure::usage(format!("the preset {preset} has no {filter:?}; {name} is in {presets}"));
    }
    let names: Vec<_> = all.iter().map(|d| d.name.clone()).collect();
    let hint = did_you_mean(filter, &names).filter(|hint| hint.starts_with("is ")).map(|hint| hint + "; ");
    let hint = hint.unwrap_or_default();
    let list = if wish.own { "--list" } else { "--list --preset all" };
    Failure::usage(format!("no definition's name contains {filter:?}: {hint}`onesum bench {list}` lists them"))
}

/// These shapes instead, of the first definition of each kernel: what others of a kernel differ in is their shapes.
fn reshape(chosen: &mut Vec<Definition>, sizes: &[Size]) {
    let mut seen = Vec::new();
    chosen.retain(|d| {
        !seen.contains(&d.kernel) && {
            seen.push(d.kernel);
            true
        }
    });
    for definition in chosen {
        let choices = match definition.kernel {
            Kernel::Route => |size: &Size| 8.min(size.cols),
            Kernel::Permute => |_: &Size| 8,
            _ => |_: &Size| 0,
        };
        let whole = |size: &Size| if size.choices > 0 { *size } else { Size { choices: choices(size), ..*size } };
        definition.sizes = sizes.iter().map(whole).collect();
    }
}

/// These variants instead. Where types are left open, they are those that the variants have.
fn name_variants(chosen: &mut Vec<Definition>, wish: Wish<'_>) -> Result<(), Failure> {
    let mut complaint = None;
    for definition in chosen.iter_mut() {
        let (known, unknown): (Vec<_>, Vec<_>) =
            wish.words.iter().cloned().partition(|word| variants::check(definition.kernel, word).is_ok());
        if let Some(word) = unknown.first() {
            complaint = complaint.or(variants::check(definition.kernel, word).err());
        }
        let types = variants::types(definition.kernel, &known);
        if wish.types.is_empty() && !types.is_empty() {
            let kept: Vec<_> = definition.types.iter().copied().filter(|t| types.contains(t)).collect();
            definition.types = if kept.is_empty() { types } else { kept };
        }
        definition.words = known;
    }
    chosen.retain(|d| !d.words.is_empty());
    match complaint {
        Some(complaint) if chosen.is_empty() => Err(Failure::usage(complaint)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::definitions::{built_in, parse};
    use super::*;

    fn names(wish: Wish<'_>) -> Vec<String> {
        select(&built_in().unwrap(), wish).unwrap().into_iter().map(|d| d.name).collect()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&s| s.to_owned()).collect()
    }

    #[test]
    fn names_and_presets() {
        let named = |list: &[&str]| names(Wish { filters: &strings(list), ..Wish::default() });
        let quick = names(Wish::default());
        assert!(quick.len() == 5 && quick.iter().all(|name| name.ends_with("-quick")), "{quick:?}");
        // A whole name is that definition alone, a part all that have it, but for those of `quick`.
        assert_eq!(named(&["softmax"]), ["softmax"]);
        assert_eq!(named(&["route", "two-"]), ["two-pass", "route"]);
        assert_eq!(named(&["sample-quick"]), ["sample-quick"]);
        let samples = named(&["sample-"]);
        assert!(samples.len() > 4 && samples.iter().all(|n| n.starts_with("sample-") && n != "sample-quick"));
        let llm = Wish { preset: Some(Preset::Llm), ..Wish::default() };
        assert!(names(llm).iter().all(|name| name != "two-pass" && name != "softmax"));
        let route = strings(&["route"]);
        assert_eq!(names(Wish { preset: Some(Preset::Quick), filters: &route, ..Wish::default() }), ["route-quick"]);
    }

    #[test]
    fn what_nobody_is_called() {
        let all = built_in().unwrap();
        let said = |wish| select(&all, wish).unwrap_err().line().unwrap();
        let filters = strings(&["nonsense"]);
        assert!(said(Wish { filters: &filters, ..Wish::default() }).contains("--list --preset all"));
        let filters = strings(&["softmax/stream"]);
        assert!(said(Wish { filters: &filters, ..Wish::default() }).contains("--variant softmax/stream"));
        let filters = strings(&["two-pas5"]);
        assert!(
            said(Wish { filters: &filters, ..Wish::default() }).contains("is \"two-pas5\" meant to be \"two-pass\"?")
        );
        let (filters, llm) = (strings(&["two-pass"]), Some(Preset::Llm));
        let line = said(Wish { filters: &filters, preset: llm, ..Wish::default() });
        assert!(line.contains("the preset llm has no \"two-pass\"; two-pass is in paper"), "{line}");
        let words = strings(&["nonsense"]);
        assert!(said(Wish { words: &words, ..Wish::default() }).contains("no variant's name contains"));
    }

    #[test]
    fn one_offs() {
        let all = built_in().unwrap();
        let sizes = ["3x64".parse().unwrap()];
        let filters = strings(&["route", "sample"]);
        let chosen = select(&all, Wish { filters: &filters, sizes: &sizes, ..Wish::default() }).unwrap();
        let shapes: Vec<_> = chosen.iter().map(|d| (d.name.as_str(), d.sizes[0].to_string())).collect();
        assert_eq!(shapes, [("sample", "3x64".to_owned()), ("route", "3x64x8".to_owned())]);
        // Without a name they are of softmax; types follow variants.
        let words = strings(&["rows/bf16-f16/"]);
        let chosen = select(&all, Wish { words: &words, ..Wish::default() }).unwrap();
        assert_eq!((chosen[0].name.as_str(), chosen[0].types[0].to_string()), ("softmax", "bf16-f16".to_owned()));
        let words = strings(&["stream/"]);
        let chosen = select(&all, Wish { words: &words, ..Wish::default() }).unwrap();
        assert_eq!(chosen[0].types, [Types::F32]);
        let three = ["3x4x5".parse().unwrap()];
        let refused = select(&all, Wish { sizes: &three, ..Wish::default() }).unwrap_err();
        assert_eq!(refused.code(), 2);
    }

    #[test]
    fn files_of_the_users() {
        let text = "[[bench]]\nname = 'mine'\nkernel = 'sample'\nshapes = ['3x40']\n";
        let all = parse("mine.toml", text).unwrap();
        let chosen = select(&all, Wish { own: true, ..Wish::default() }).unwrap();
        let case = chosen[0].cases().next().unwrap();
        assert_eq!(case.name(), "mine/3x40/f32");
    }
}
