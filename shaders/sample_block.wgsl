// Sampling of one column per row by blocks: the row's partition function in one pass, then one variate for the share that
// each invocation has summed, then one for each column of the share that wins.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let row = task.row;
    let mine = sum_of(row, at, 0u, task.quads, false);
    let total = reduce(at, subgroup_size, mine, row.hard);
    let entered = entrant(row.stream, BLOCK, at.first, at.step, mine, total);
    let block = reduce(at, subgroup_size, entered, true);
    let end = select(0u, task.quads, is_ordinary(block));
    let members = member_of(row, at, 0u, end, u32(-block.exponent), at.step);
    let best = choice_of(row, total, reduce(at, subgroup_size, members, true));
    if (at.first == 0u && task.exists) {
        put_choice(row.index, 0u, best);
        let draw = Draw(row, 1.0, row.hard, true);
        put_log_sum_exp(draw, best, total);
        put_log_probability(draw, 0u, is_ordinary(best), best, total);
    }
}
