// Pass 2 alone, of a row split over `parts` workgroups: each merges all partial sums of the row, in the
// same order, and writes its share.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let part = index % params.parts;
    let wanted = index / params.parts;
    if (wanted >= params.rows) {
        return;
    }
    let row = row_of(wanted);
    var mine = no_mass();
    for (var i = at.first; i < params.merged; i += at.step) {
        mine = merge(mine, partial_at(first_partial(row.index) + i), row.hard);
    }
    let total = reduce(at, subgroup_size, mine, row.hard);
    let normal = normal_of(total);
    if (at.first == 0u && part == 0u) {
        put_log_sum_exp(row, total, normal);
    }
    let first = part * params.part_quads;
    write(row, at, total, normal, first, min(first + params.part_quads, params.quads));
}
