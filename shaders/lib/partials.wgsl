// Partial sums in memory: [rows, parts], 16 bytes each.
@group(0) @binding(9) var<storage, read_write> partials: array<vec4<u32>>;

fn put_partial(i: u32, p: Partial) {
    partials[i] = vec4(bitcast<u32>(p.anchor), bitcast<u32>(p.exponent), bitcast<u32>(p.high), bitcast<u32>(p.low));
}

fn partial_at(i: u32) -> Partial {
    let word = partials[i];
    return Partial(bitcast<f32>(word.x), bitcast<i32>(word.y), bitcast<f32>(word.z), bitcast<f32>(word.w));
}

fn first_partial(row: u32) -> u32 {
    return params.partials_offset + row * params.partials_stride;
}
