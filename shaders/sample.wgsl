// Gumbel-max sampling of one column per row, in one pass over the logits.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let best = drawn_of(draw_of(task.row), at, subgroup_size, 0u, task.quads);
    if (at.first == 0u && task.exists) {
        put_choice(task.row.index, best);
    }
}
