// Gumbel-max sampling of one column per row, in one pass over the logits.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let mine = drawn_of(draw_of(task.row), at, 0u, task.quads);
    let best = reduce(at, subgroup_size, mine, true);
    if (at.first == 0u && task.exists) {
        put_choice(task.row.index, best);
    }
}
