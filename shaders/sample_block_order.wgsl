// Of a split row: the part that wins, in it the block that the part has chosen, and in that the column.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    if (index >= params.rows) {
        return;
    }
    let row = row_of(index);
    let slots = first_partial(index);
    var mine = no_mass();
    for (var part = at.first; part < params.parts; part += at.step) {
        mine = merge(mine, total_at(slots + part * SLOT), row.hard);
    }
    let total = reduce(at, subgroup_size, mine, row.hard);
    var entered = no_mass();
    for (var part = at.first; part < params.parts; part += at.step) {
        entered = merge(entered, entrant(row.stream, PART, part, 1u, total_at(slots + part * SLOT), total), true);
    }
    let won = reduce(at, subgroup_size, entered, true);
    let part = select(0u, u32(-won.exponent), is_ordinary(won));
    let block = partial_at(slots + part * SLOT);
    let first = part * params.part_quads;
    let end = min(first + params.part_quads, quads_in(row.limit));
    let step = max(u32(block.high), 1u);
    let some = is_ordinary(won) && is_ordinary(block);
    let members = member_of(row, at, first, select(0u, end, some), u32(-block.exponent) - part * LANES, step);
    let best = choice_of(row, total, reduce(at, subgroup_size, members, true));
    if (at.first == 0u) {
        put_choice(index, 0u, best);
        let draw = Draw(row, 1.0, row.hard, true);
        put_log_sum_exp(draw, best, total);
        put_log_probability(draw, 0u, is_ordinary(best), best, total);
    }
}
