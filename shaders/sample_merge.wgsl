// The best of a split row's candidates: LANES invocations a row.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let row = index * (WIDTH / LANES) + at.local / LANES;
    let known = first_partial(min(row, params.rows - 1u));
    var best = no_mass();
    for (var i = at.first; i < params.merged; i += at.step) {
        best = merge(best, partial_at(known + i), true);
    }
    best = reduce(at, subgroup_size, best, true);
    if (at.first == 0u && row < params.rows) {
        put_choice(row, 0u, best);
    }
}
