// Softmax in two passes over memory: each row's partition function as an extended-exponent number, then each column's
// share of it (Dukhan & Ablavatski, arXiv 2001.04438). With the `sum_online` fragments the same two passes are the
// online algorithm.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let row = task.row;
    let mine = sum_of(row, at, 0u, task.quads, true);
    let total = reduce(at, subgroup_size, mine, row.hard);
    let normal = normal_of(total);
    if (at.first == 0u && task.exists) {
        put_log_sum_exp(row, total, normal);
    }
    write(row, at, total, normal, 0u, task.end);
}
