// Pass 1 alone, of a row split over `parts` workgroups: each leaves one partial sum.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let part = index % params.parts;
    let wanted = index / params.parts;
    if (wanted >= params.rows) {
        return;
    }
    let row = row_of(wanted);
    let first = part * params.part_quads;
    let end = min(first + params.part_quads, quads_in(row.limit));
    let mine = sum_of(row, at, first, end, part == 0u);
    let total = reduce(at, subgroup_size, mine, row.hard);
    if (at.first == 0u) {
        put_partial(first_partial(row.index) + part, total);
    }
}
