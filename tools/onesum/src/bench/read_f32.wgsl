alias Quad = vec4<f32>;

fn one_of(sums: Quad) -> u32 {
    return bitcast<u32>(dot(sums, vec4(1.0)));
}

