// Gumbel-max sampling of a row split over `parts` workgroups: each leaves its best candidate and, where log-probabilities
// are asked for, its share of the partition function.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let part = index % params.parts;
    let wanted = index / params.parts;
    if (wanted >= params.rows) {
        return;
    }
    let row = row_of(wanted);
    let first = part * params.part_quads;
    let end = min(first + params.part_quads, quads_in(row.limit));
    let drawn = drawn_of(draw_of(row), at, subgroup_size, first, end);
    let total = total_of(at, subgroup_size, drawn.tally);
    if (at.first == 0u) {
        put_partial(first_partial(wanted) + part * SLOT, drawn.best);
        put_total(first_partial(wanted) + part * SLOT, total);
    }
}
