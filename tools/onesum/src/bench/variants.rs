//! Who competes: the words of definitions and of `--variant`, and the variants that they mean.

use std::fmt::Display;

use onesum::softmax::{self, Dtype};
use onesum::{expert_choice, permute, plan, router, sample, stats};

use super::definitions::{Kernel, Types};

/// What `select` picks.
pub const CHOSEN: &str = "chosen";
/// The likeliest variant of each other schedule.
pub const OTHERS: &str = "others";
/// Other algorithms for the same.
pub const RIVALS: &str = "rivals";
/// As the model of this shape routes, where that is another thing.
pub const MODEL: &str = "model";
/// The plan of a routing.
pub const PLAN: &str = "plan";
/// Its load.
pub const STATS: &str = "stats";
/// The routing by experts.
pub const EXPERT_CHOICE: &str = "expert-choice";

/// The variants of a kernel, and the element types of each; none where it has any.
fn all(kernel: Kernel) -> Vec<(String, Option<Types>)> {
    let both = |dtype: Dtype| Some(Types::both(dtype));
    let softmax = || softmax::Variant::all().map(|v| (v, Some(Types { input: v.input, output: v.output })));
    match kernel {
        Kernel::Softmax => softmax().map(|(v, types)| (v.to_string(), types)).collect(),
        Kernel::Gumbel => softmax().map(|(v, types)| (gumbel_name(&v), types)).collect(),
        Kernel::Sample => sample::Variant::all().map(|v| (v.to_string(), both(v.input))).collect(),
        Kernel::Route => (router::Variant::all().map(|v| (v.to_string(), both(v.input))))
            .chain(plan::Variant::ALL.map(|v| (v.to_string(), None)))
            .chain(stats::Variant::all().map(|v| (v.to_string(), both(v.input))))
            .chain(expert_choice::Variant::all().map(|v| (v.to_string(), both(v.input))))
            .collect(),
        Kernel::Permute => {
            let types = |v: &permute::Variant| Some(Types { input: v.input, output: v.output });
            permute::Variant::all().map(|v| (v.to_string(), types(&v))).collect()
        }
    }
}

/// A variant of softmax, where it makes Gumbel-Softmax.
pub fn gumbel_name(variant: &softmax::Variant) -> String {
    variant.to_string().replacen("softmax", "gumbel", 1)
}

/// `stream` of `softmax/stream/f32/baseline/w64/x4`.
fn schedule(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

fn is_keyword(kernel: Kernel, word: &str) -> bool {
    matches!(word, CHOSEN | OTHERS | RIVALS)
        || (kernel == Kernel::Route && matches!(word, MODEL | PLAN | STATS | EXPERT_CHOICE))
}

/// Whether a word means anything.
///
/// # Errors
/// That it does not.
pub fn check(kernel: Kernel, word: &str) -> Result<(), String> {
    if is_keyword(kernel, word) || all(kernel).iter().any(|(name, _)| name.contains(word)) {
        return Ok(());
    }
    Err(format!("no variant's name contains {word:?}: `onesum wgsl --list` lists those of {}", kernel.name()))
}

/// The element types of the variants that these words speak of; none if they speak of no variant.
pub fn types(kernel: Kernel, words: &[String]) -> Vec<Types> {
    let mut list = Vec::new();
    let means = |name: &str| words.iter().any(|word| !is_keyword(kernel, word) && name.contains(word.as_str()));
    for types in all(kernel).iter().filter(|(name, _)| means(name)).filter_map(|(_, types)| *types) {
        if !list.contains(&types) {
            list.push(types);
        }
    }
    list
}

/// The variants of what is made of a routing: the chosen one for its keyword, and those that are named.
pub fn beside<V: PartialEq + Copy + Display>(
    words: &[String],
    keyword: &str,
    chosen: V,
    all: impl Iterator<Item = V>,
) -> Vec<V> {
    let asked = words.iter().any(|word| word == keyword);
    let mut picked = if asked { vec![chosen] } else { Vec::new() };
    let named = |v: &V| {
        let name = v.to_string();
        words.iter().any(|word| !is_keyword(Kernel::Route, word) && name.contains(word.as_str()))
    };
    picked.extend(all.filter(|v| !(asked && *v == chosen)).filter(named));
    picked
}

/// Those that could compete.
pub struct Field<V> {
    /// What `select` picks.
    pub chosen: V,
    /// Those that run here and take the shape.
    pub runnable: Vec<V>,
    /// Quads can be moved.
    pub quads: bool,
}

impl<V: Copy + PartialEq + Display> Field<V> {
    /// The variants that the words mean, each once, in the order of the words. `rank` says whether a variant is of a kind that
    /// this adapter does not like, then how likely it is to be fast, least first.
    pub fn pick<K: Ord>(&self, words: &[String], rank: impl Fn(&V) -> (bool, K), rival: impl Fn(&V) -> bool) -> Vec<V> {
        let mut schedules: Vec<(String, bool)> = Vec::new();
        for variant in &self.runnable {
            let name = schedule(&variant.to_string()).to_owned();
            if schedules.iter().all(|(known, _)| *known != name) {
                schedules.push((name, rival(variant)));
            }
        }
        let likeliest = |wanted: &str| {
            let of_schedule = self.runnable.iter().copied().filter(|v| schedule(&v.to_string()) == wanted);
            of_schedule.min_by_key(|v| rank(v))
        };
        let of_kind =
            |rivals: bool| schedules.iter().filter(move |(_, r)| *r == rivals).filter_map(|(s, _)| likeliest(s));
        let mut picked: Vec<V> = Vec::new();
        for word in words {
            let meant: Vec<V> = match word.as_str() {
                CHOSEN => vec![self.chosen],
                // What the adapter does not like is no competition, unless it is the only one of a rival.
                OTHERS => of_kind(false).filter(|v| !rank(v).0).collect(),
                RIVALS => of_kind(true).collect(),
                word if schedules.iter().any(|(s, _)| s == word) => likeliest(word).into_iter().collect(),
                word => self.runnable.iter().copied().filter(|v| self.named(v, word)).collect(),
            };
            for variant in meant {
                if !picked.contains(&variant) {
                    picked.push(variant);
                }
            }
        }
        picked
    }

    /// Single elements are moved where that is asked for, or where quads cannot be.
    fn named(&self, variant: &V, word: &str) -> bool {
        let name = variant.to_string();
        let asked = word.contains("x1") || word.contains("x4");
        // A variant of Gumbel-Softmax is one of softmax.
        let word = word.replacen("gumbel/", "softmax/", 1);
        name.contains(&word) && (asked || !self.quads || !name.ends_with("/x1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn words_mean_variants() {
        let runnable: Vec<_> = softmax::Variant::all()
            .filter(|v| (v.input, v.output, v.tier) == (Dtype::F32, Dtype::F32, softmax::Tier::Baseline))
            .collect();
        let chosen = *runnable.iter().find(|v| v.schedule == softmax::Schedule::Stream).unwrap();
        let field = Field { chosen, runnable, quads: true };
        let pick = |list: &[&str]| {
            let picked =
                field.pick(&words(list), |v| (v.width > 8 || !v.quads, u32::MAX - v.lanes), |v| v.schedule.is_rival());
            picked.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(pick(&["chosen", "chosen"]), ["softmax/stream/f32/baseline/w8l1/x4"]);
        let rivals = pick(&["rivals"]);
        assert_eq!(rivals.len(), 3);
        assert!(rivals.iter().all(|name| name.ends_with("/w8/x4")), "{rivals:?}");
        assert_eq!(pick(&["reload"]), [rivals[2].clone()]);
        // No onchip variant of the baseline has eight lanes: others leave it out, its name does not.
        assert!(!pick(&["others"]).iter().any(|name| name.contains("onchip")));
        assert_eq!(pick(&["onchip"]).len(), 1);
        let streams = pick(&["softmax/stream"]);
        assert!(streams.len() > 2 && streams.iter().all(|name| name.ends_with("/x4")), "{streams:?}");
        assert!(pick(&["stream/f32/baseline/w8/x1"]).iter().all(|name| name.ends_with("/x1")));
    }

    #[test]
    fn words_are_of_a_kernel() {
        assert!(check(Kernel::Route, "plan").is_ok() && check(Kernel::Softmax, "plan").is_err());
        assert!(check(Kernel::Gumbel, "gumbel/stream").is_ok() && check(Kernel::Softmax, "gumbel/").is_err());
        let types = types(Kernel::Softmax, &words(&["chosen", "rows/bf16-f16/"]));
        assert_eq!(types.iter().map(ToString::to_string).collect::<Vec<_>>(), ["bf16-f16"]);
    }
}
