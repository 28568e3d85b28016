//! Cases with sizes drawn at random, and failing cases made smaller. Both work on names: whatever kernel it is, a case is a query
//! whose numbers are sizes.

use super::Failure;
use super::data::Random;
use super::run::Trial;
use super::suite::case;

/// Elements that a random case has at most: the reference takes its time, too.
const MOST: u64 = 1 << 20;

/// As many tries as making a case smaller takes.
const TRIES: usize = 200;

fn taken_apart(name: &str) -> (&str, Vec<(&str, &str)>) {
    let (variant, rest) = name.split_once(':').unwrap_or((name, ""));
    (variant, rest.split(',').filter_map(|pair| pair.split_once('=')).collect())
}

fn put_together(variant: &str, pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{variant}:{}", pairs.join(","))
}

/// `name` with some of its sizes drawn anew: near what they were, on either side of a power of two, small, or anything.
pub(super) fn random_name(random: &mut Random, name: &str) -> String {
    let (variant, pairs) = taken_apart(name);
    let mut room = MOST;
    let mut draw = |value: &str| {
        let Ok(old) = value.parse::<u32>() else { return value.to_owned() };
        let fresh = match random.below(6) {
            0 => old.saturating_sub(1).saturating_add(random.below(3)),
            1 => (1 << random.below(13)) - 1 + random.below(3),
            2 => random.below(9),
            3 => 1 + random.below(300),
            4 => {
                let below = 2 << random.below(12);
                1 + random.below(below)
            }
            _ => old,
        };
        let fresh = u64::from(fresh).min(room.max(1));
        room /= fresh.max(1);
        fresh.to_string()
    };
    let mut pairs: Vec<_> = pairs.iter().map(|&(key, value)| (key, draw(value))).collect();
    // A routing of more choices than there are experts is refused, and a refusal tries nothing.
    if variant.starts_with("router/") {
        let size = |key| pairs.iter().find(|pair| pair.0 == key)?.1.parse::<u32>().ok();
        let most = size("experts").unwrap_or(u32::MAX);
        for (_, choices) in pairs.iter_mut().filter(|pair| pair.0 == "k") {
            *choices = choices.parse::<u32>().unwrap_or(most).min(most).to_string();
        }
    }
    put_together(variant, &pairs)
}

/// The smallest failing case that is found from a failing one, by halving and decreasing sizes and leaving options out. Nothing
/// if none smaller fails.
pub(super) fn shrunk(name: &str, fails: impl Fn(&dyn Trial) -> Option<Failure>) -> Option<(String, Failure)> {
    let mut smallest = None;
    let mut best = name.to_owned();
    let mut tries = 0;
    loop {
        let next = smaller(&best).into_iter().find_map(|candidate| {
            tries += 1;
            let trial = case(&candidate).ok().filter(|_| tries <= TRIES)?;
            let name = trial.to_string();
            fails(&*trial).filter(|_| name != best).map(|failure| (name, failure))
        });
        let Some((name, failure)) = next else { return smallest };
        best.clone_from(&name);
        smallest = Some((name, failure));
    }
}

/// Names of cases that are smaller in one respect.
fn smaller(name: &str) -> Vec<String> {
    let (variant, pairs) = taken_apart(name);
    let owned: Vec<_> = pairs.iter().map(|&(key, value)| (key, value.to_owned())).collect();
    let mut all = Vec::new();
    for (i, (_, value)) in pairs.iter().enumerate() {
        let with = |value: u32| {
            let mut pairs = owned.clone();
            pairs[i].1 = value.to_string();
            put_together(variant, &pairs)
        };
        if let Ok(n) = value.parse::<u32>() {
            let mut sizes = vec![n.min(1), n / 2, n.saturating_sub(4), n.saturating_sub(1)];
            sizes.dedup();
            all.extend(sizes.into_iter().filter(|&size| size < n).map(with));
        } else {
            let mut pairs = owned.clone();
            pairs.remove(i);
            all.push(put_together(variant, &pairs));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fault that needs three rows and a mask is found with no more than that.
    #[test]
    fn a_failing_case_becomes_small() {
        let fails = |trial: &dyn Trial| {
            let name = trial.to_string();
            let rows = taken_apart(&name).1.iter().find(|(key, _)| *key == "rows")?.1.parse::<u32>().ok()?;
            (rows >= 3 && name.contains("options=mask")).then(|| Failure::Broken("planted".into()))
        };
        let name = "softmax/stream/f32/baseline/w8/x4:rows=70,cols=1000,gap=12,fill=wide,options=mask,memory=pooled";
        let (smaller, failure) = shrunk(name, fails).unwrap();
        assert_eq!(smaller, "softmax/stream/f32/baseline/w8/x4:rows=3,cols=0,gap=0,fill=uniform,options=mask");
        assert_eq!(failure, Failure::Broken("planted".into()));
        assert_eq!(shrunk(&smaller, fails), None);
    }

    #[test]
    fn sizes_at_random_are_cases_within_bounds() {
        let mut random = Random::of("test");
        let name = "plan/serial/w8:tokens=70,experts=31,k=4,fill=zipf";
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let name = random_name(&mut random, name);
            let sizes = taken_apart(&name).1.into_iter().filter_map(|(_, value)| value.parse::<u64>().ok());
            assert!(sizes.map(|n| n.max(1)).product::<u64>() <= MOST, "{name}");
            assert!(case(&name).is_ok(), "{name}");
            seen.insert(name);
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    /// No capacity at all is a size as well.
    #[test]
    fn the_greatest_sizes_have_neighbours() {
        let name = format!("plan/one/w1:tokens=7,experts=3,k=2,fill=zipf,capacity={}", u32::MAX);
        let mut random = Random::of("greatest");
        let sizes: Vec<_> = (0..200)
            .filter_map(|_| taken_apart(&random_name(&mut random, &name)).1.last()?.1.parse::<u64>().ok())
            .collect();
        assert!(sizes.len() == 200 && sizes.iter().all(|&n| n <= MOST), "{sizes:?}");
    }

    /// A routing has no more choices than experts; a plan may.
    #[test]
    fn random_choices_are_as_many_as_there_can_be() {
        let most = |name: &str| {
            let mut random = Random::of("choices");
            let sizes = (0..500).map(|_| {
                let name = random_name(&mut random, name);
                let of =
                    |key| taken_apart(&name).1.iter().find(|pair| pair.0 == key).unwrap().1.parse::<u32>().unwrap();
                (of("k"), of("experts"))
            });
            sizes.filter(|(k, experts)| k > experts).count()
        };
        assert_eq!(most("router/row/f32/baseline/w8/x4:tokens=7,experts=31,k=6,scoring=softmax,fill=normal"), 0);
        assert!(most("plan/serial/w8:tokens=70,experts=31,k=4,fill=zipf") > 0);
    }
}
