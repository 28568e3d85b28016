// Sampling by blocks of a row split over `parts` workgroups: each leaves its share of the partition function, and which of
// its blocks wins if the part does.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let part = index % params.parts;
    let wanted = index / params.parts;
    if (wanted >= params.rows) {
        return;
    }
    let row = row_of(wanted);
    let first = part * params.part_quads;
    let end = min(first + params.part_quads, quads_in(row.limit));
    let mine = sum_of(row, at, first, end, false);
    let total = reduce(at, subgroup_size, mine, row.hard);
    let entered = entrant(row.stream, BLOCK, part * LANES + at.first, at.step, mine, total);
    let block = reduce(at, subgroup_size, entered, true);
    if (at.first == 0u) {
        put_partial(first_partial(wanted) + part * SLOT, block);
        put_total(first_partial(wanted) + part * SLOT, total);
    }
}
