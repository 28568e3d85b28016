// Rows of LANES invocations of one subgroup: no barrier, no workgroup memory.
fn reduce(at: Lane, subgroup_size: u32, mine: Partial, hard: bool) -> Partial {
    let all = reduce_within(LANES, LANES, mine, hard);
    if (at.alone) {
        return mine;
    }
    return all;
}
