// Merges the partial sums of each row into one and gives its log-sum-exp: one row per invocation.
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read_write> merged: array<vec4<u32>>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (row >= params.rows) {
        return;
    }
    var all = no_mass();
    for (var i = 0u; i < params.merged; i++) {
        all = merge(all, partial_at(first_partial(row) + i), false);
    }
    let kind = special(all);
    lse[params.lse_offset + row * params.lse_stride] = select(log_sum_exp(normal_of(all)), kind.lse, kind.is);
    let word = vec4(bitcast<u32>(all.anchor), bitcast<u32>(all.exponent), bitcast<u32>(all.high), bitcast<u32>(all.low));
    merged[params.dst_offset + row * params.dst_stride] = word;
}
