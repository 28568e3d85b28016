//! Filters, and what was probably meant by one that selects nothing.

use std::collections::BTreeSet;

use onesum::conformance::{self, Filter, KERNELS, Kernel, Pattern, case};

use super::Profile;
use crate::failure::Failure;
use crate::hint::did_you_mean;

/// The patterns of the command line, each of which selects something.
pub fn patterns(filters: &[String], profile: Profile) -> Result<Vec<Pattern>, Failure> {
    let pattern = |text: &String| {
        // It would select everything, which an unset variable is not meant to.
        if text.trim_matches([' ', ':']).is_empty() {
            return Err(Failure::usage(format!("the filter {text:?} is empty: without any, all cases are selected")));
        }
        let pattern: Pattern = text.parse().map_err(|why| Failure::usage(with_hint(why, hint(text))))?;
        if selects(&pattern, profile.cases()) {
            return Ok(pattern);
        }
        let larger = conformance::Profile::ALL.into_iter().find(|(larger, _)| selects(&pattern, *larger));
        Err(Failure::usage(if let Some((_, larger)) = larger {
            format!("{text:?} selects no case of the profile {}, but some of --profile {larger}", profile.name())
        } else {
            let nothing = || format!("{text:?} selects no case");
            match case(text) {
                // Keys in another order, or left out.
                Ok(case) => with_hint(nothing(), Some(format!("is it meant to be '{case}'?"))),
                Err(why) if text.matches('=').count() > 2 => with_hint(format!("no case is {why}"), hint(text)),
                Err(_) => with_hint(nothing(), hint(text)),
            }
        }))
    };
    filters.iter().map(pattern).collect()
}

fn selects(pattern: &Pattern, profile: conformance::Profile) -> bool {
    let filter = Filter { patterns: vec![pattern.clone()], profile, ..Filter::default() };
    filter.cases().next().is_some()
}

fn with_hint(why: String, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{why}; {hint}"),
        None => why,
    }
}

/// The word that a filter should have had instead of one that no case has.
fn hint(text: &str) -> Option<String> {
    let (variant, rest) = text.split_once(':').unwrap_or((text, ""));
    let mut parts = variant.split('/');
    let first = parts.next().unwrap_or_default();
    let kernels = KERNELS.map(|kernel| kernel.name.to_owned());
    let Some(kernel) = Kernel::of(text) else {
        // Whoever complains of the kernel names them all.
        return did_you_mean(first, &kernels).filter(|hint| hint.starts_with("is "));
    };

    // Each part of a variant's name, and each KEY=VALUE that is no number.
    let of_kernel = format!("{} ", kernel.name);
    let words: BTreeSet<String> =
        kernel.vocabulary().iter().filter_map(|term| term.strip_prefix(&of_kernel)).map(str::to_owned).collect();
    let (pairs, names): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| word.contains('='));
    let unknown = parts.find(|part| !names.iter().any(|name| name.starts_with(part)));
    if let Some(part) = unknown {
        return did_you_mean(part, &names);
    }
    let known: Vec<String> = kernel.cases(conformance::Profile::Quick).take(1).map(|case| case.to_string()).collect();
    let mut keys: BTreeSet<_> = known.iter().flat_map(|name| name.split([':', ','])).filter_map(key).collect();
    keys.extend(pairs.iter().filter_map(|pair| key(pair)));
    let pair = rest.split(',').find(|pair| !pair.is_empty() && !pairs.iter().any(|known| known == pair))?;
    let (key, value) = pair.split_once('=')?;
    if !keys.contains(key) {
        let keys: Vec<_> = keys.into_iter().map(str::to_owned).collect();
        return did_you_mean(key, &keys);
    }
    let values = pairs.iter().filter_map(|pair| pair.split_once('=')).filter(|(k, _)| *k == key);
    let values: Vec<_> = values.map(|(_, value)| value.to_owned()).collect();
    if values.is_empty() { None } else { did_you_mean(value, &values) }
}

fn key(pair: &str) -> Option<&str> {
    pair.split_once('=').map(|(key, _)| key)
}
