// The rival with three passes that writes the exponentials and scales them in place: three reads (one of
// them of its own output), two writes. Uses the built-in exp through the `sum_online` fragments.

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

    // Pass 2: the exponentials, kept in the output, and their sum.
    let dst_row = params.dst_offset + row.index * params.dst_stride;
    var sum = framed(total.anchor);
    for (var q = at.first; q < task.end; q += at.step) {
        let e = exp(logits(row, q) - total.anchor);
        sum.partial.high += (e.x + e.y) + (e.z + e.w);
        store_quad(dst_row, q, e);
    }
    sum = add_quad(sum, sink);
    let whole = reduce(at, subgroup_size, sum.partial, false);
    let degenerate = row.hard || total.exponent == NOTHING || total.exponent >= INFINITE;
    if (!degenerate) {
        total = whole;
    }
    let normal = normal_of(total);
    if (at.first == 0u && task.exists) {
        put_log_sum_exp(row, total, normal);
    }
    let kind = special(total);

    // Pass 3: each invocation scales what it wrote itself.
    for (var q = at.first; q < task.end; q += at.step) {
        var y = reload_quad(dst_row, q) * (1.0 / total.high);
        if (degenerate) {
            y = select(one_hot(total, q * 4u, 1.0, 0.0), vec4(kind.fill), kind.is);
        }
        store_quad(dst_row, q, y);
    }
}
