// Gumbel-max sampling of a row split over `parts` workgroups: each leaves its best candidate.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let part = index % params.parts;
    let wanted = index / params.parts;
    if (wanted >= params.rows) {
        return;
    }
    let row = row_of(wanted);
    let first = part * params.part_quads;
    let end = min(first + params.part_quads, quads_in(row.limit));
    let best = drawn_of(draw_of(row), at, subgroup_size, first, end);
    if (at.first == 0u) {
        put_partial(first_partial(wanted) + part, best);
    }
}
