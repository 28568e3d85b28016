// Pass 1 over the quads [first, end) of a row: what one of its invocations finds.
fn sum_of(row: Row, at: Lane, first: u32, end: u32, with_sink: bool) -> Partial {
    var sum = start();
    for (var q = first + at.local; q < end; q += 4u * WIDTH) {
        let a = logits(row, q);
        let b = logits_or_nothing(row, q + WIDTH, end);
        let c = logits_or_nothing(row, q + 2u * WIDTH, end);
        let d = logits_or_nothing(row, q + 3u * WIDTH, end);
        if (row.hard) {
            sum.seen = classed(classed(classed(classed(sum.seen, a), b), c), d);
            sum.partial = best(sum.partial, a, params.first_column + q * 4u);
            sum.partial = best(sum.partial, b, params.first_column + (q + WIDTH) * 4u);
            sum.partial = best(sum.partial, c, params.first_column + (q + 2u * WIDTH) * 4u);
            sum.partial = best(sum.partial, d, params.first_column + (q + 3u * WIDTH) * 4u);
        } else {
            sum = add(sum, a, b, c, d);
        }
    }
    if (HAS_SINK && with_sink && at.local == 0u) {
        let none = excluded4();
        let sink = vec4(sink_of(row), none.yzw);
        if (row.hard) {
            sum.seen = classed(sum.seen, sink);
            sum.partial = best(sum.partial, sink, SINK_COLUMN);
        } else {
            sum = add(sum, sink, none, none, none);
        }
    }
    return with_class(sum.partial, sum.seen);
}
