// What an output of this type holds.
fn held(i: u32) -> f32 {
    return half_value(atomicLoad(&dst[i / 2u]) >> (i % 2u * 16u));
}

fn reload_quad(base: u32, quad: u32) -> vec4<f32> {
    let end = params.cols - 1u;
    let column = quad * 4u;
    return vec4(
        held(base + column),
        held(base + min(column + 1u, end)),
        held(base + min(column + 2u, end)),
        held(base + min(column + 3u, end)),
    );
}
