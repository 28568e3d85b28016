// Reads back an f32 output that this invocation wrote.
fn reload_quad(base: u32, quad: u32) -> vec4<f32> {
    let end = params.cols - 1u;
    let column = quad * 4u;
    return vec4(
        dst[base + column],
        dst[base + min(column + 1u, end)],
        dst[base + min(column + 2u, end)],
        dst[base + min(column + 3u, end)],
    );
}
