// One invocation a row: nothing to exchange.
fn reduce(at: Lane, subgroup_size: u32, mine: Partial, hard: bool) -> Partial {
    return mine;
}
