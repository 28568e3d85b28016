//! What was probably meant.

/// The nearest of these, or all of them.
pub fn did_you_mean(word: &str, of: &[String]) -> Option<String> {
    let near = |name: &&String| strsim::jaro_winkler(word, name);
    let nearest = of.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
    Some(if near(&nearest) > 0.75 {
        format!("is {word:?} meant to be {nearest:?}?")
    } else {
        format!("instead of {word:?} there are {}", of.join(", "))
    })
}
