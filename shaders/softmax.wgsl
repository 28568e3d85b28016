// Softmax of one row per workgroup, in two passes over memory: the row's partition function as an
// extended-exponent number, then each column's share of it (Dukhan & Ablavatski, arXiv 2001.04438).
// With the `sum_online` fragments the same two passes are the online algorithm.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    if (index >= params.rows) {
        return;
    }
    let row = row_of(index);
    let mine = sum_of(row, at, 0u, quads_in(row.limit), true);
    let total = reduce(at, subgroup_size, mine, row.hard);
    let normal = normal_of(total);
    if (at.local == 0u) {
        put_log_sum_exp(row, total, normal);
    }
    write(row, at, total, normal, 0u, params.quads);
}
