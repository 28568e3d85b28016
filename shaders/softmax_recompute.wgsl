// The rival with three passes: the maximum; the sum of exp(x - maximum); the same exponentials again,
// divided. Three reads, one write. Uses the built-in exp through the `sum_online` fragments.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let task = task_of(index, at);
    let row = task.row;
    let quads = task.quads;
    let sink = vec4(select(excluded4().x, sink_of(row), HAS_SINK && at.first == 0u), excluded4().yzw);

    // Pass 1: the maximum (at temperature 0, the arg max).
    var peak = start();
    for (var q = at.first; q < quads; q += at.step) {
        let x = logits(row, q);
        peak.seen = classed(peak.seen, x);
        peak.partial = best(peak.partial, x, q * 4u);
    }
    // After the columns, so that a tie goes to the column.
    peak.seen = classed(peak.seen, sink);
    peak.partial = best(peak.partial, sink, SINK_COLUMN);
    var total = reduce(at, subgroup_size, with_class(peak.partial, peak.seen), true);

    // Pass 2: the sum.
    var sum = framed(total.anchor);
    for (var q = at.first; q < quads; q += at.step) {
        sum = add_quad(sum, logits(row, q));
    }
    sum = add_quad(sum, sink);
    let whole = reduce(at, subgroup_size, sum.partial, false);
    if (!row.hard && total.exponent > NOTHING && total.exponent < INFINITE) {
        total = whole;
    }
    let normal = normal_of(total);
    if (at.first == 0u && task.exists) {
        put_log_sum_exp(row, total, normal);
    }
    write(row, at, total, normal, 0u, task.end);
}
