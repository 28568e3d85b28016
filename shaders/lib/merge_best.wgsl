// Of two candidates for a row's choice, the one that is above: see `best`.
fn merge(a: Partial, b: Partial, hard: bool) -> Partial {
    if (above(a, b)) {
        return a;
    }
    return b;
}
