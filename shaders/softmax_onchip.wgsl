// Softmax with the row on chip: each invocation keeps KEEP quads of it in registers, so that global
// memory is read once. LANES invocations share a row, WIDTH / LANES rows share a workgroup.

fn run(index: u32, at: Lane, subgroup_size: u32) {
    let lane = at.local % LANES;
    let wanted = index * (WIDTH / LANES) + at.local / LANES;
    // Rows past the end keep the barriers company: every invocation of a workgroup must reach them.
    let exists = wanted < params.rows;
    let row = row_of(min(wanted, params.rows - 1u));
    let quads = select(0u, quads_in(row.limit), exists);

    var keep: array<vec4<f32>, KEEP>;
    let with_sink = HAS_SINK && lane == 0u;
    let sink = vec4(select(excluded4().x, sink_of(row), with_sink), excluded4().yzw);
    var peak = sink.x;
    for (var i = 0u; i < KEEP; i++) {
        let x = logits_or_nothing(row, lane + i * LANES, quads);
        keep[i] = x;
        peak = max(peak, largest(x));
    }

    var sum = framed(peak);
    if (row.hard) {
        sum = start();
        for (var i = 0u; i < KEEP; i++) {
            sum.seen = classed(sum.seen, keep[i]);
            sum.partial = best(sum.partial, keep[i], (lane + i * LANES) * 4u);
        }
        sum.seen = classed(sum.seen, sink);
        sum.partial = best(sum.partial, sink, SINK_COLUMN);
    } else {
        for (var i = 0u; i < KEEP; i++) {
            sum = add_quad(sum, keep[i]);
        }
        if (HAS_SINK) {
            sum = add_quad(sum, sink);
        }
    }
    let total = reduce(at, subgroup_size, with_class(sum.partial, sum.seen), row.hard);
    let normal = normal_of(total);
    if (lane == 0u && exists) {
        put_log_sum_exp(row, total, normal);
    }
    let kind = special(total);
    let dst_row = params.dst_offset + row.index * params.dst_stride;
    for (var i = 0u; i < KEEP; i++) {
        let q = lane + i * LANES;
        if (exists && q < params.quads) {
            let y = output(row, total, normal, keep[i], q * 4u);
            store_quad(dst_row, q, select(y, vec4(kind.fill), kind.is));
        }
    }
}
