// From the totals of the experts, where their slots begin: some experts per invocation. All of a workgroup come here together.
fn scan_experts(local: u32) {
    let quads = params.stride / 4u;
    let share = (quads + WIDTH - 1u) / WIDTH;
    let first = min(local * share, quads);
    let end = min(first + share, quads);
    var part = 0u;
    for (var quad = first; quad < end; quad++) {
        let total = scratch[params.totals_offset / 4u + quad];
        for (var i = 0u; i < 4u; i++) {
            part += select(0u, padded(total[i]), quad * 4u + i < params.experts);
        }
    }
    var base = before(local, part);
    for (var quad = first; quad < end; quad++) {
        let total = scratch[params.totals_offset / 4u + quad];
        var bases = vec4(0u);
        for (var i = 0u; i < 4u; i++) {
            let expert = quad * 4u + i;
            bases[i] = base;
            put_expert(expert, total[i], base);
            base += select(0u, padded(total[i]), expert < params.experts);
        }
        scratch[params.bases_offset / 4u + quad] = bases;
    }
}
