// Gumbel-max sampling of one column per row, in one pass over the logits.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let draw = draw_of(task.row);
    let drawn = drawn_of(draw, at, subgroup_size, 0u, task.quads);
    let total = total_of(at, subgroup_size, drawn.tally);
    if (at.first == 0u && task.exists) {
        put_choice(task.row.index, 0u, drawn.best);
        put_log_sum_exp(draw, drawn.best, total);
        put_log_probability(draw, 0u, is_ordinary(drawn.best), drawn.best, total);
    }
}
