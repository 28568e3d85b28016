//! What was probably meant.

/// As many are named where none is near.
const NAMED: usize = 12;

/// The nearest of these, or what there is.
pub fn did_you_mean(word: &str, of: &[String]) -> Option<String> {
    let near = |name: &&String| strsim::jaro_winkler(word, name);
    let nearest = of.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
    Some(if near(&nearest) > 0.75 {
        format!("is {word:?} meant to be {nearest:?}?")
    } else {
        let more = if of.len() > NAMED { format!(" and {} more", of.len() - NAMED) } else { String::new() };
        format!("instead of {word:?} there are {}{more}", of[..of.len().min(NAMED)].join(", "))
    })
}
